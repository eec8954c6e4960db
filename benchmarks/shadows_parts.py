"""The parts of benchmarks/shadows.py: each returns what it measured, as JSON."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks.cases import pool_of
from benchmarks.shadows_tiers import BLOCK, Side, Tier
from benchmarks.studies import judged
from benchmarks.tables import LABEL, table_of
from diffaudit_jax import data, metrics, models, process, shadows, training
from diffaudit_jax.attack import Attack
from diffaudit_jax.attacks import loss_trajectory
from diffaudit_jax.auditing import Observations, audit, audit_each
from diffaudit_jax.bank import draw_bank
from diffaudit_jax.cli.progress import stage
from diffaudit_jax.data.draws import coins
from diffaudit_jax.models.tabular import SIZES
from diffaudit_jax.target import redrawn
from diffaudit_jax.types import Key, Query

UNTIL = 0.3
"""Time until which losses are looked at, of images: later ones are those of noise."""
DELTA = 1e-5
HELD_OUT = 4000
"""Images at most that a rule for copies is held against."""


class Bench(NamedTuple):
    """What all parts share: how much is done, from which seed and data, and where it is kept."""

    tier: Tier
    seed: int
    images: str
    table: str
    work: Path

    def key(self, use: int) -> Key:
        """Returns the key of one use: 0 sides, 1 shadows' coins, 2 targets', 3 training, 4 asking, 5 samples."""
        return jax.random.fold_in(jax.random.key(self.seed), use)


class Asked(NamedTuple):
    """What many models of one pool are, and what each was seen to answer.

    Attributes:
      pool: The queries; every model was trained on half of them.
      population: Others.
      inclusion: Who was inside which model, shadows first, then targets.
      seen: Of each model, about the pool.
      known: Of each target, about the population.
    """

    pool: data.Pool
    population: data.Pool
    inclusion: data.Inclusion
    seen: Sequence[Observations]
    known: Sequence[Observations]


def by_images(bench: Bench) -> dict[str, Any]:
    """Plain scores of images beside those that shadows or a population calibrate."""
    pool, population = _sides(bench, pool_of(bench.images), bench.tier.images)
    model = models.build("ddpm", pool.shape, size=bench.tier.size)
    schedule = process.from_config(models.FAMILIES["ddpm"].schedule)
    times = schedule.times(round(bench.tier.images.times / UNTIL))[: bench.tier.images.times]
    attack = loss_trajectory(times, num_noises=bench.tier.images.noises)
    return compared(
        bench, bench.tier.images, _asked(bench, "images", bench.tier.images, model, schedule, attack, pool, population)
    )


def by_tables(bench: Bench) -> dict[str, Any]:
    """The same of records of a table; and epsilon from one canary of many trainings."""
    side = bench.tier.tables
    pool, population = _sides(bench, table_of(bench.table), side)
    encoder = data.fit_encoder(pool, label=LABEL)
    records = encoder.encode(pool)
    model = models.tabddpm(*encoder.layout, num_classes=records.num_classes, **SIZES[bench.tier.size])
    attack = loss_trajectory(model.diffusion.schedule.times(side.times), num_noises=side.noises)
    others = encoder.encode(population, unseen="drop")
    asked = _asked(bench, "tables", side, model, None, attack, records, others)
    most = side.shadows[-1]
    canary = [seen.scores[0] for seen in asked.seen[:most]]  # one record, named before any answer
    bound = metrics.many_runs(canary, asked.inclusion.inside[:most, 0], DELTA)
    return {**compared(bench, side, asked), "many_runs": bound._asdict()}


def _sides(bench: Bench, source: Any, side: Side) -> tuple[Any, Any]:
    dealt = data.split(bench.key(0), source, members=side.pool, nonmembers=side.population, by="record")
    return dealt.members, dealt.nonmembers


def _asked(
    bench: Bench,
    name: str,
    side: Side,
    model: Any,
    schedule: process.Process | None,
    attack: Attack,
    pool: data.Pool,
    population: data.Pool,
) -> Asked:
    """Trains shadows and targets, or goes on with them, and asks each about the pool."""
    most, total, work = side.shadows[-1], side.shadows[-1] + side.targets, bench.work / name
    fold, rows = jax.random.fold_in, pool.rows
    halves = [data.coin_flips(fold(bench.key(1), block), rows, BLOCK).inside for block in range(most // BLOCK)]
    own = [coins(fold(bench.key(2), target), rows, 0.5)[None] for target in range(side.targets)]
    inclusion = data.Inclusion(rows, np.concatenate([*halves, *own]))
    with stage(f"{name}: training {total} models") as show:
        many = training.fit_many(
            bench.key(3),
            model,
            schedule,
            pool,
            total,
            side.recipe,
            inclusion=inclusion,
            out=work / "models",
            progress=lambda step, steps, info: show(step, steps, f"loss {float(info.loss):.4f}"),
        )

    def ask(which: Sequence[int], queries: data.Pool, out: Path) -> list[Observations]:
        labels = queries.labels if schedule is None else None  # tables are told of the label, images of nothing
        asked, targets = Query(queries.x, labels, queries.rows), (many[k].target for k in which)
        return audit_each(attack, targets, asked, key=bench.key(4), block=bench.tier.block, out=out)

    with stage(f"{name}: asking") as show:
        seen = ask(range(total), pool, work / "asked")
        known = ask(range(most, total), population, work / "known")
        show(total, total)
    return Asked(pool, population, inclusion, seen, known)


def compared(bench: Bench, side: Side, asked: Asked) -> dict[str, Any]:
    """Judges every method on each target, by the number of shadows.

    Args:
      bench: What all parts share.
      side: How many shadows there are.
      asked: What models answered.
    """
    most, rows = side.shadows[-1], []
    for target in range(side.targets):
        seen, inside = asked.seen[most + target], asked.inclusion.inside[most + target]
        taught = shadows.quantile(seen, asked.pool.x, asked.known[target], asked.population.x, seed=bench.seed)
        rows += [_row(target, 0, "plain", seen.scores, inside), _row(target, 0, "quantile", taught, inside)]
        for num in side.shadows:
            inclusion = data.Inclusion(asked.inclusion.rows, asked.inclusion.inside[:num])
            by = asked.seen[:num]
            found = {
                "LiRA": shadows.lira(seen, by, inclusion),
                "LiRA, offline": shadows.lira(seen, by, inclusion, online=False),
                "RMIA": shadows.rmia(seen, by, inclusion),
                "RMIA, offline": shadows.rmia(seen, by, inclusion, online=False),
            }
            rows += [_row(target, num, method, scores, inside) for method, scores in found.items()]
    return {"population": len(asked.population), "rows": rows}


def _row(target: int, num: int, method: str, scores: np.ndarray, inside: np.ndarray) -> dict[str, Any]:
    return {"target": target, "shadows": num, "method": method, **judged(scores, inside)}


def by_canaries(bench: Bench) -> dict[str, Any]:
    """Epsilon from below by one training, of random parts of its canaries; the others are then no canaries."""
    tier, most = bench.tier, bench.tier.canaries[-1]
    table = table_of(bench.table)
    split = data.split_coin(bench.key(0), table, queries=most, by="record")
    tossed = np.sort(np.concatenate([split.members.rows, split.nonmembers.rows]))
    encoder = data.fit_encoder(data.at_rows(table, tossed), label=LABEL)
    records = encoder.encode(split.members)
    model = models.tabddpm(*encoder.layout, num_classes=records.num_classes, **SIZES[tier.size])
    with stage("canaries: training") as show:
        run = training.fit_table(
            bench.key(3),
            model,
            records,
            tier.lessons,
            out=bench.work / "canaries" / "run",
            progress=lambda step, steps, info: show(step, steps, f"loss {float(info.loss):.4f}"),
        )
    side = tier.tables
    attack = loss_trajectory(model.diffusion.schedule.times(side.times), num_noises=side.noises)
    dealt = data.Split(records, encoder.encode(split.nonmembers))
    seen = audit(
        attack, run.target, dealt.queries, key=bench.key(4), block=tier.block, out=bench.work / "canaries" / "asked"
    )
    order = np.random.default_rng(bench.seed).permutation(most)
    rows = []
    for num in tier.canaries:
        some = order[:num]
        judged_by = (seen.scores[some], dealt.member[some], DELTA)
        bounds = {one.__name__: one(*judged_by)._asdict() for one in (metrics.one_run, metrics.one_run_fdp)}
        rows.append({"canaries": num, **bounds, "auc": list(metrics.auc(*judged_by[:2]))})
    return {"trained": len(records), "steps": tier.lessons.num_steps, "delta": DELTA, "rows": rows}


def by_copies(bench: Bench) -> dict[str, Any]:
    """Extraction: records that are repeated in a training set, and what samples give away of them."""
    tier, pool = bench.tier, pool_of(bench.images)
    num = sum(tier.planted.values())
    dealt = data.split(bench.key(0), pool, members=num, nonmembers=min(len(pool) - num, HELD_OUT), by="record")
    members = data.planted(bench.key(1), dealt.members, tier.planted)
    with stage("copies: training") as show:
        run = training.fit(
            bench.key(3),
            models.build("ddpm", pool.shape, size=tier.size),
            process.from_config(models.FAMILIES["ddpm"].schedule),
            members,
            tier.copying,
            out=bench.work / "copies" / "run",
            record={"family": "ddpm"},
            progress=lambda step, steps, info: show(step, steps, f"loss {float(info.loss):.4f}"),
        )
    target = redrawn(run.target, sampler="ddim", sample_steps=tier.sample_steps)
    with stage("copies: sampling") as show:
        bank = draw_bank(
            bench.key(5), target, tier.samples[-1], block=tier.block, out=bench.work / "copies" / "bank", progress=show
        )
    rows = []
    for drawn in tier.samples:
        found = metrics.extract(bank[:drawn], members.x, dealt.nonmembers.x)
        assert found.heldout is not None
        rows.append(
            {
                "samples": drawn,
                "clusters": len(found.clusters),
                "rules": {
                    of.rule: {
                        "recall": [
                            each._asdict() | {"share": list(each.share)} for each in metrics.recall(of, found.times)
                        ],
                        "heldout": int(beside.extracted.sum()),
                    }
                    for of, beside in zip(found.members, found.heldout, strict=True)
                },
            }
        )
    return {
        "trained": len(members),
        "distinct": num,
        "heldout": len(dealt.nonmembers),
        "steps": tier.copying.num_steps,
        "rows": rows,
    }
