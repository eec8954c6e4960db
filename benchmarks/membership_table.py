"""The tables of benchmarks/membership.py: results/membership-TIER.json -> results/membership-TIER.md.

What the numbers mean is said by hand, in results/membership-TIER-notes.md, which goes in front.
"""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.markdown import ABSENT, TITLES, measured_on, table, write_pages
from diffaudit_jax.cli.catalogue import ENTRIES

Rows = Mapping[str, Any]


def write_tables(out: Path) -> None:
    """Writes the tables of each tier; one that was not measured says so."""

    def noted(tier: str, result: Rows | None) -> str:
        notes = out / f"membership-{tier}-notes.md"
        return document(tier, result, notes.read_text().strip() if notes.exists() else "")

    write_pages(out, "membership", noted)


def document(tier: str, result: Rows | None, notes: str = "") -> str:
    """Returns the Markdown of one tier.

    Args:
      tier: One of `TITLES`.
      result: What was measured, None for nothing.
      notes: What it means.
    """
    lines = [f"# {TITLES[tier]}: who finds the members", ""]
    lines += [f"Written by `python -m benchmarks.membership --tier {tier}`; do not edit.", ""]
    if result is None or not result["cases"]:
        return "\n".join([*lines, "Not measured."]) + "\n"
    for section in (_said(result), [notes] if notes else [], *_main(result), *_compared(result), *_studied(result)):
        lines += [*section, ""] if section else []
    return "\n".join(lines).rstrip() + "\n"


def _said(result: Rows) -> list[str]:
    tier, cases = result["setting"]["tier"], result["cases"]
    return [
        f"Every attack is asked about all members and {tier['nonmembers']} non-members. Cells: AUC with its 95 % "
        f"interval, then the true positive rate at 1 % false positives. Trajectories have {tier['times']} times, the "
        f"bank {tier['bank']} images, surrogates {tier['surrogate_steps']} training steps. One seed: the intervals are "
        f"those of the queries, for the one model that was trained, and say nothing of other trainings.",
        "",
        measured_on(cases.values()),
    ]


def _main(result: Rows) -> Iterator[list[str]]:
    """One table for each set of images: attacks by models."""
    seconds = _seconds(result["cases"].values())
    for source in result["setting"]["data"]:
        chosen = [
            row
            for row in result["cases"].values()
            if row["case"]["data"] == source and (row["case"]["family"], row["case"]["sampler"]) == ("ddpm", "ddim")
        ]
        if chosen:
            yield [f"## {Path(source).name}: every attack, under- to over-fitted", "", *_by_case(chosen, _fit, seconds)]


def _compared(result: Rows) -> Iterator[list[str]]:
    """Tables that set one kind of model beside another."""
    cases, tier = list(result["cases"].values()), result["setting"]["tier"]
    first, second = result["setting"]["data"]
    few, middle = tier["members"][0], tier["fits"][1]
    alike = [
        row
        for row in cases
        if (row["case"]["data"], row["case"]["members"], row["case"]["steps"]) == (first, few, middle)
    ]
    if len(alike) > 1:
        yield [
            "## Processes and samplers, at matched noise",
            "",
            "The two DDPMs are one model, sampled in two ways: only what is generated differs.",
            "",
            *_by_case(alike, lambda case: f"{case['family']}, {case['sampler']}"),
        ]
    others = {row["case"]["data"]: None for row in cases if row["case"]["data"] not in (first, second)}
    beside = [row for row in cases if row["case"]["data"] in (second, *others) and row["case"]["members"] == few]
    if others:
        yield [
            "## Plain images and complex ones",
            "",
            *_by_case(beside, lambda case: f"{Path(case['data']).name}, {case['steps']} steps"),
        ]


def _studied(result: Rows) -> Iterator[list[str]]:
    studies = result["studies"]
    found = {kind: {name: row for name, row in studies.items() if name.startswith(kind)} for kind in _STUDIES}
    for kind, section in _STUDIES.items():
        if found[kind]:
            yield section(found[kind])


def _fit(case: Rows) -> str:
    return f"{case['members']} members, {case['steps']} steps"


def _by_case(rows: Sequence[Rows], called: Any, seconds: Mapping[str, float] | None = None) -> list[str]:
    """Attacks down, cases across; with calls and seconds where these are given."""
    names = [name for name in ENTRIES if any(name in row["attacks"] for row in rows)]
    head = ["attack", "access", *(["calls", "s per 1,000"] if seconds is not None else [])]
    passes = {place: each["attacks"] for row in rows for place, each in row["passes"].items()}
    where = {name: place for place, names in passes.items() for name in names}
    calls = {name: judged["calls"] for row in rows for name, judged in row["attacks"].items()}

    def cost(name: str) -> list[str]:
        if seconds is None:
            return []
        took, shared = seconds.get(where[name]), len(passes[where[name]]) > 1
        return [str(calls[name]), ABSENT if took is None else f"{took:.3g}{' together' if shared else ''}"]

    return table(
        [*head, *(called(row["case"]) for row in rows)],
        [
            [name, ENTRIES[name].access, *cost(name), *(_cell(row["attacks"].get(name)) for row in rows)]
            for name in names
        ],
    )


def _seconds(rows: Any) -> dict[str, float]:
    """Median seconds per 1,000 queries of each pass over the cases."""
    found: dict[str, list[float]] = {}
    for row in rows:
        for place, each in row["passes"].items():
            if each["seconds"] is not None:
                found.setdefault(place, []).append(each["seconds"])
    return {place: statistics.median(values) for place, values in found.items()}


def _variants(studies: Rows) -> list[str]:
    lines = ["## Loss, statistic and truncation, by threat model", ""]
    lines += [
        "The best of all variants: as it looks with the answers in view, and chosen on one half, judged on the other."
    ]
    head = ["model", "access", "best variant", "optimistic AUC", "honest AUC"]
    best = [
        [
            _fit_of(row),
            access,
            f"{', '.join(each['best'][:3])}, keeps {each['best'][3]:.0%}",
            _estimate(each["optimistic"]),
            _estimate(each["honest"]),
        ]
        for row in studies.values()
        for access, each in row["access"].items()
    ]
    lines += [
        "",
        *table(head, best),
        "",
        f"AUC of every variant, the mean over these {len(studies)} models, by the share of the times that is kept.",
    ]
    every = [row["access"] for row in studies.values()]
    shares = every[0]["white"]["shares"]
    rows = [
        [
            f"{access}: {name}",
            *(
                f"{statistics.mean(values):.3f}"
                for values in zip(*(each[access]["auc"][name] for each in every), strict=True)
            ),
        ]
        for access in every[0]
        for name in every[0][access]["auc"]
        if ", sum, " not in name  # ranks as the mean does
    ]
    return [*lines, "", *table(["variant", *(f"{share:.0%}" for share in shares)], rows)]


def _taught(studies: Rows) -> list[str]:
    names = [_fit_of(row) for row in studies.values()]
    rows = list(studies.values())
    learned = [[name, *(_cell(row["learned"][name]) for row in rows)] for name in rows[0]["learned"]]
    calibrated = [
        [f"{name}, {which}", *(_cell(row["calibrated"][name][which]) for row in rows)]
        for name in rows[0]["calibrated"]
        for which in ("alone", "calibrated")
    ]
    return [
        "## What a shadow teaches",
        "",
        "Scorers are fitted to a shadow, trained alike on other images and asked about others still.",
        "",
        *table(["scorer", *names], learned),
        "",
        "Calibrated: less the score that the shadow gives to the same queries, as a reference that saw none of them.",
        "",
        *table(["attack", *names], calibrated),
    ]


def _protections(studies: Rows) -> list[str]:
    (row,) = studies.values()
    names = list(row["rows"]["none"])
    head = ["protection", *names]
    return [
        f"## What protections cost the attacker ({_fit_of(row)})",
        "",
        *table(head, [[name, *(_cell(each[attack]) for attack in names)] for name, each in row["rows"].items()]),
        "",
        "A budget of calls, to the attack on the x0 estimates:",
        "",
        *table(["calls a query", "x0-api"], [[calls, _cell(each)] for calls, each in row["budgets"].items()]),
    ]


def _surrogates(studies: Rows) -> list[str]:
    rows = list(studies.values())
    families = list(rows[0]["rows"])
    return [
        "## Surrogates of other architectures",
        "",
        f"Targets: {_fit_of(rows[0])}. The attack is the eps loss of the surrogate, truncated.",
        "",
        *table(
            ["target", *(f"surrogate {family}" for family in families)],
            [[row["case"]["family"], *(_cell(row["rows"][family]) for family in families)] for row in rows],
        ),
    ]


_STUDIES = {"variants": _variants, "taught": _taught, "protections": _protections, "surrogates": _surrogates}


def _fit_of(row: Rows) -> str:
    return f"{Path(row['case']['data']).name}, {_fit(row['case'])}"


def _estimate(numbers: Sequence[float]) -> str:
    value, low, high = numbers
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"


def _cell(judged: Rows | None) -> str:
    if judged is None:
        return ""
    tpr = judged["tpr"]
    return f"{_estimate(judged['auc'])}, {'?' if tpr is None else format(tpr[0], '.0%')}"
