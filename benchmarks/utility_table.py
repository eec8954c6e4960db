"""The tables of benchmarks/utility.py: results/utility-TIER.json -> results/utility-TIER.md."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.markdown import TITLES, measured_on, table, write_pages
from benchmarks.utility_arms import ARMS, RANDOM
from diffaudit_jax.metrics.intervals import Estimate
from diffaudit_jax.reconstruction.attacker import gain

Row = Mapping[str, Any]
ALONE = "public images alone"
PLAIN = {start: arm for arm, (start, way) in ARMS.items() if way == "none"}
"""Start -> the arm that starts there and does not denoise."""
DENOISED = tuple(arm for arm, (_, way) in ARMS.items() if way != "none")
BEST_WITHOUT = next(arm for start, arm in PLAIN.items() if start != RANDOM)


def write_tables(out: Path) -> None:
    """Writes the tables of each tier; one that was not measured says so."""
    write_pages(out, "utility", document)


def document(tier: str, result: Mapping[str, Any] | None) -> str:
    """Returns the Markdown of one tier.

    Args:
      tier: One of `TITLES`.
      result: What was measured, None for nothing.
    """
    lines = [f"# {TITLES[tier]}: does denoising privatised gradients help?", ""]
    lines += [f"Written by `python -m benchmarks.utility --tier {tier}`; do not edit.", ""]
    parts = {name: part for name, part in (result or {"parts": {}})["parts"].items() if part["epsilons"]}
    if result is None or not parts:
        return "\n".join([*lines, "Not measured."]) + "\n"
    lines += [_said(result, parts.values()), ""]
    for name, part in parts.items():
        lines += [f"## {name}", "", *_part(part), ""]
        if part["hindsight"]:
            lines += [*_hindsight(part, result["setting"]["tier"]), ""]
        else:
            lines += ["Best plans in hindsight: not measured.", ""]
    return "\n".join(lines).rstrip() + "\n"


def _said(result: Mapping[str, Any], parts: Iterable[Row]) -> str:
    tier = result["setting"]["tier"]
    hardware = (row for part in parts for kind in ("epsilons", "hindsight") for row in part[kind].values())
    return (
        f"Accuracy on test images, mean over {tier['seeds']} seeds; each seed deals private and test images anew from "
        f"one pool, with initial weights, batches and noise that all arms share. The {tier['public']} public images, "
        f"the priors made of them, and the steps and rates chosen on them are the same for all seeds: intervals (95 %, "
        f"Student's, of differences by seed) do not cover another choice of these. Epsilon holds at delta "
        f"{tier['delta']:g}; a batch holds 1/{tier['parts']} of the private images on average, gradients are clipped "
        f"to norm 1, and AdamW's averaged weights are tested. Steps and rates are chosen among {len(tier['plans'])} "
        f"for each arm and epsilon, by {tier['rehearsals']} rehearsals on public images alone, with thirds of them as "
        f"private, public and test images: so few that the choice is rough, and what looks like a gain of denoising "
        f"may be that of a better choice; see what is told in hindsight. Denoisers are James-Stein's by row, the "
        f"posterior mean of Gaussian gradients with the moments of public ones at the current weights (Wiener), and a "
        f"diffusion prior of rows of public gradients, as they are or less the public mean (centred). "
        f"{measured_on(hardware)}"
    )


def _part(part: Row) -> list[str]:
    plans = f"{part['public_plan']['steps']} steps at {part['public_plan']['rate']:g}"
    rows = [
        f"{part['private']} private images in batches of {part['batch']}, {part['public']} public, {part['test']} "
        f"test; {part['weights']} weights. Public images alone are trained on for {plans}.",
        "",
        *_by_epsilon(part, "accuracy", ARMS, lambda row, arm: f"{np.mean(_scores(part, row, arm)):.3f}", [ALONE]),
        "",
        "Gain in points of denoising over the same start without it:",
        "",
        *_by_epsilon(part, "gain", DENOISED, lambda row, arm: _points(_over(part, row, arm, PLAIN[ARMS[arm][0]]))),
        "",
        _count(part, lambda arm: PLAIN[ARMS[arm][0]]),
        "",
        f"Gain in points over DP-SGD that starts at weights of the same public images and does not denoise "
        f"({BEST_WITHOUT}):",
        "",
        *_by_epsilon(
            part,
            f"over {BEST_WITHOUT}",
            [arm for arm in ARMS if arm != BEST_WITHOUT],
            lambda row, arm: _points(_over(part, row, arm, BEST_WITHOUT)),
            [ALONE],
        ),
        "",
        _count(part, lambda arm: BEST_WITHOUT),
        "",
        "Squared error of a step's gradient, noisy -> denoised, over that of answering 0:",
        "",
        *_by_epsilon(part, "each step", DENOISED, lambda row, arm: _errors(row["arms"][arm]["errors"], "")),
        "",
        "The same of the sum over all steps, where noise averages out and bias does not:",
        "",
        *_by_epsilon(part, "all steps", DENOISED, lambda row, arm: _errors(row["arms"][arm]["errors"], "_sum")),
        "",
        "Steps and rate that were chosen:",
        "",
        *_by_epsilon(part, "plan", ARMS, lambda row, arm: "{steps} at {rate:g}".format(**row["arms"][arm]["plan"])),
    ]
    seconds = sum(row["seconds"] for row in part["epsilons"].values())
    return [*rows, "", f"Took {seconds:.0f} s."]


def _hindsight(part: Row, tier: Row) -> list[str]:
    best = {
        epsilon: {arm: int(np.mean(scores, axis=1).argmax()) for arm, scores in row["arms"].items()}
        for epsilon, row in part["hindsight"].items()
    }

    def cell(epsilon: str, arm: str) -> str:
        row, plan = part["hindsight"][epsilon]["arms"], tier["plans"][best[epsilon][arm]]
        own, other = (np.array(row[each][best[epsilon][each]]) for each in (arm, BEST_WITHOUT))
        steps, rate = plan
        return f"{own.mean():.3f} ({steps} at {rate:g}), {_points(gain(own, other, paired=True))}"

    epsilons = sorted(part["hindsight"], key=float)
    return [
        f"In hindsight, by the best of {len(tier['plans'])} plans on the test images of {tier['hindsight_seeds']} "
        f"seeds (which nobody may look at, and which favours arms whose plans vary more; intervals leave the choice "
        f"out): accuracy, plan, and gain in points over {BEST_WITHOUT} by its own best:",
        "",
        *table(
            ["in hindsight", *(f"epsilon {epsilon}" for epsilon in epsilons)],
            [[arm, *(cell(epsilon, arm) for epsilon in epsilons)] for arm in ARMS],
        ),
    ]


def _by_epsilon(
    part: Row, what: str, arms: Iterable[str], cell: Callable[[Row, str], str], more: Sequence[str] = ()
) -> list[str]:
    rows = sorted(part["epsilons"].items(), key=lambda row: float(row[0]))
    head = [what, *(f"epsilon {epsilon}" for epsilon, _ in rows)]
    return table(head, [[arm, *(cell(row, arm) for _, row in rows)] for arm in [*more, *arms]])


def _scores(part: Row, row: Row, arm: str) -> np.ndarray:
    return np.array(part["alone"] if arm == ALONE else row["arms"][arm]["accuracy"])


def _over(part: Row, row: Row, arm: str, other: str) -> Estimate:
    return gain(_scores(part, row, arm), _scores(part, row, other), paired=True)


def _points(estimate: Estimate) -> str:
    value, low, high = (100 * each for each in estimate)
    return f"{value:+.1f} [{low:+.1f}, {high:+.1f}]"


def _count(part: Row, other: Callable[[str], str]) -> str:
    found = [_over(part, row, arm, other(arm)) for row in part["epsilons"].values() for arm in DENOISED]
    above, below = sum(each.low > 0 for each in found), sum(each.high < 0 for each in found)
    return (
        f"Of {len(found)} intervals of denoised arms, {above} lie above 0 and {below} below; of arms without any "
        f"difference {len(found) / 40:.1f} would do either."
    )


def _errors(errors: Mapping[str, Sequence[float]], of: str) -> str:
    noisy, denoised = (np.mean(errors[f"{kind}{of}"]) for kind in ("noisy", "denoised"))
    return f"{noisy:.3g} -> {denoised:.3g}"
