"""What benchmarks/utility.py measures: choices by rehearsals on public images, then every arm at every seed."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.utility_arms import (
    ARMS,
    CENTRED,
    CLIP,
    PUBLIC,
    RANDOM,
    Errors,
    Plan,
    accuracy,
    denoisers,
    private_training,
    public_training,
)
from benchmarks.utility_bench import Bench
from benchmarks.utility_priors import trained_prior
from diffaudit_jax import training
from diffaudit_jax.training.dpsgd import Denoise
from diffaudit_jax.training.state import Data
from diffaudit_jax.types import Key, Params


class Play(NamedTuple):
    """One private training as all arms see it.

    Attributes:
      key: Of initial weights, batches and noise.
      private: Private images, or those that play them.
      test: Test images.
      starts: Weights to start from, by name.
      denoisers: What denoises, by name, knowing public images, or those that play them.
    """

    key: Key
    private: Data
    test: Data
    starts: Mapping[str, Params]
    denoisers: Mapping[str, Denoise]


class Prepared(NamedTuple):
    """What does not hang on epsilon.

    Attributes:
      public_plan: Steps and rate on public images alone.
      public: Accuracy of these weights at each seed.
      rehearsals: Plays among public images.
      plays: The real ones, one a seed.
    """

    public_plan: Plan
    public: list[float]
    rehearsals: list[Play]
    plays: list[Play]


def prepared(bench: Bench) -> Prepared:
    """Trains priors and public weights, and deals all images."""
    tier, case, public = bench.tier, bench.network, bench.public
    plan = _public_plan(bench)
    train = partial(
        trained_prior,
        case=case,
        public=public,
        shape=bench.pool.shape,
        batch_size=bench.batch_size,
        num_examples=bench.num_examples,
        effort=tier.prior,
    )
    priors = {name: train(bench.key(3, i), centred=bool(i)) for i, name in enumerate(("diffusion", CENTRED))}

    def play(key: Key, private: Data, test: Data, known: Data, ways: Mapping[str, Denoise]) -> Play:
        key_init, key_public, key_train = jax.random.split(key, 3)
        start = case.init(key_init)
        return Play(key_train, private, test, {RANDOM: start, PUBLIC: on_public[id(known)](key_public, start)}, ways)

    knowing = lambda known: denoisers(case, known, priors, bench.batch_size, bench.num_examples)  # noqa: E731
    parts = [_parts(bench, k) for k in range(tier.rehearsals)]
    on_public = {id(known): public_training(case.loss, plan, known) for known in (public, *(p[1] for p in parts))}
    rehearsals = [
        play(bench.key(4, k), _repeated(own, bench.num_examples), test, known, knowing(known))
        for k, (own, known, test) in enumerate(parts)
    ]
    ways = knowing(public)
    plays = [play(bench.key(2, seed), *bench.sides(seed), public, ways) for seed in range(tier.seeds)]
    scores = [accuracy(case, each.starts[PUBLIC], each.test) for each in plays]
    return Prepared(plan, scores, rehearsals, plays)


def summary(bench: Bench, ready: Prepared) -> dict[str, Any]:
    """Returns what is true at every epsilon, for the table."""
    sizes = {"private": bench.num_examples, "test": bench.num_test, "public": len(bench.public.x)}
    sizes["weights"] = sum(leaf.size for leaf in jax.tree.leaves(ready.plays[0].starts[RANDOM]))
    return {**sizes, "batch": bench.batch_size, "public_plan": ready.public_plan._asdict(), "alone": ready.public}


def measured(bench: Bench, ready: Prepared, epsilon: float) -> dict[str, Any]:
    """Chooses the plan of every arm, and trains every arm at every seed."""
    noises, trained = _private(bench, epsilon)
    arms = {}
    for arm in ARMS:
        score = lambda plan, arm=arm: np.mean([trained(arm, plan, each)[0] for each in ready.rehearsals])  # noqa: E731
        plan = max(bench.tier.plans, key=score)
        scores, errors = zip(*(trained(arm, plan, each) for each in ready.plays), strict=True)
        by_kind = dict(zip(Errors._fields, zip(*errors, strict=True), strict=True))
        arms[arm] = {"plan": plan._asdict(), "accuracy": scores, "errors": by_kind}
    return {"noise_multipliers": {str(steps): noise for steps, noise in noises.items()}, "arms": arms}


def by_every_plan(bench: Bench, ready: Prepared, epsilon: float) -> dict[str, Any]:
    """Trains every arm by every plan at the first seeds."""
    trained, plays = _private(bench, epsilon)[1], ready.plays[: bench.tier.hindsight_seeds]
    arms = {arm: [[trained(arm, plan, each)[0] for each in plays] for plan in bench.tier.plans] for arm in ARMS}
    return {"arms": arms}


Trained = Callable[[str, Plan, Play], tuple[float, Errors]]


def _private(bench: Bench, epsilon: float) -> tuple[dict[int, float], Trained]:
    """Returns the noise multiplier by steps, and what trains one arm by one plan: its accuracy and errors."""
    tier, case = bench.tier, bench.network
    settings = {"batch_size": bench.batch_size, "num_examples": bench.num_examples, "l2_clip_norm": CLIP}
    noises = {
        steps: training.noise_multiplier(epsilon, tier.delta, num_steps=steps, **settings)
        for steps in sorted({plan.steps for plan in tier.plans})
    }
    trainers = {
        plan: private_training(case.loss, noises[plan.steps], tier.delta, bench.batch_size, plan) for plan in tier.plans
    }

    def trained(arm: str, plan: Plan, play: Play) -> tuple[float, Errors]:
        start, way = ARMS[arm]
        params, errors = trainers[plan](play.key, play.starts[start], play.private, play.denoisers[way])
        return accuracy(case, params, play.test), errors

    return noises, trained


def _public_plan(bench: Bench) -> Plan:
    """Chooses by training on two parts of the public images and testing on the third, each part once."""
    case, folds = bench.network, []
    for k in range(3):
        own, known, test = _parts(bench, k)
        folds.append((jax.tree.map(lambda *both: jnp.concatenate(both), own, known), test))

    def score(plan: Plan) -> float:
        key = bench.key(4)
        found = [(public_training(case.loss, plan, fold)(key, case.init(key)), test) for fold, test in folds]
        return float(np.mean([accuracy(case, params, test) for params, test in found]))

    return max(bench.tier.public_plans, key=score)


def _parts(bench: Bench, k: int) -> tuple[Data, Data, Data]:
    """Returns thirds of the public images, in the k-th order: they play private, public and test images."""
    thirds = np.array_split(np.arange(len(bench.public.x)), 3)
    first, second, third = (jax.tree.map(lambda leaf, i=thirds[(k + j) % 3]: leaf[i], bench.public) for j in range(3))
    return first, second, third


def _repeated(few: Data, num: int) -> Data:
    return jax.tree.map(lambda leaf: leaf[np.resize(np.arange(len(few.x)), num)], few)
