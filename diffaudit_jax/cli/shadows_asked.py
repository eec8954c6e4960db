"""Shadows are asked what a target was: one after another, with the same key and noise, and each question once."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jax.sharding import Mesh

from diffaudit_jax import data
from diffaudit_jax.auditing import Observations, audit, content_hash, fingerprints, observing
from diffaudit_jax.cli.passes import Pass, passes
from diffaudit_jax.cli.progress import stage
from diffaudit_jax.cli.setting import Setting
from diffaudit_jax.cli.shadowed import Compared
from diffaudit_jax.stream import Stream
from diffaudit_jax.target import Target
from diffaudit_jax.types import Key, Query


def ask_shadows(
    found: Compared, names: tuple[str, ...], setting: Setting, *, key: Key, block: int, mesh: Mesh
) -> dict[str, list[Observations]]:
    """Asks shadows what the target was asked; answers found in the directory are not asked for again.

    One shadow is held at a time, and its answers only until they are scored.

    Args:
      found: The shadows.
      names: Attacks.
      setting: What attacks on the target are made from.
      key: Key of the audit.
      block: Queries per dispatch.
      mesh: Devices.

    Returns:
      Name of an attack -> observations of each shadow that is chosen, without features.
    """
    made: dict[str, Pass] = {}
    streams: dict[str, Stream] = {}
    folders: dict[str, Path] = {}
    seen: dict[str, list[Observations]] = {name: [] for name in names}
    for count, k in enumerate(found.chosen, 1):
        run = found.many[k]
        # By their weights: shadows that were trained further are asked anew.
        folder = f"shadow-{k}-{content_hash(run.target.params)[:8]}"
        if not made:
            made = passes(names, _theirs(setting, run.target, found.record))
            streams = {
                where: Stream(observing(each.attack, run.target), mesh=mesh, block=block)
                for where, each in made.items()
            }
            folders = {
                where: found.directory / "observations" / _asked(each, run.target, found.queries, key)
                for where, each in made.items()
            }
        for where, each in made.items():
            with stage(f"asking shadow {count} of {len(found.chosen)}: {where}") as show:
                answers = audit(
                    each.attack,
                    run.target,
                    found.queries,
                    key=key,
                    block=block,
                    mesh=mesh,
                    out=folders[where] / folder,
                    progress=show,
                    stream=streams[where],
                ).features
            for name, (observed, attack) in each.scored.items():
                seen[name].append(Observations((), attack.score(answers[observed]), found.queries.row))
    return seen


def _theirs(setting: Setting, target: Target, record: Mapping[str, Any]) -> Setting:
    """Returns what attacks on shadows are made from: on the same noise levels, should their process be another."""
    encoder = None if "encoder" not in record else data.Encoder.from_config(record["encoder"])
    return setting._replace(
        process=None if target.diffusion is None else target.diffusion.schedule,
        variance=target.variance,
        num_numeric=None if encoder is None else encoder.layout.num_numeric,
    )


def _asked(made: Pass, target: Target, queries: Query, key: Key) -> str:
    """Returns a name for what is asked, whoever is: attack, queries and key."""
    prints = fingerprints(made.attack, target, queries, key)
    return content_hash(tuple(prints[name] for name in ("version", "attack", "queries", "key")))[:16]
