"""The tables of benchmarks/fairness.py: results/fairness-TIER.json -> results/fairness-TIER.md."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.markdown import TITLES, measured_on, table, write_pages

_TITLES = {
    "alphas": "Poisoning ratios",
    "families": "Families",
    "guidance": "Guidance",
    "objectives": "Other aims",
    "lengths": "Training length",
    "privacy": "Differential privacy",
}


def write_tables(out: Path) -> None:
    """Writes the tables of each tier; one that was not measured says so."""
    write_pages(out, "fairness", document)


def document(tier: str, result: Mapping[str, Any] | None) -> str:
    """Returns the Markdown of one tier.

    Args:
      tier: One of `TITLES`.
      result: What was measured, None for nothing.
    """
    lines = [f"# {TITLES[tier]}: receivers of poisoned generators", ""]
    lines += [f"Written by `python -m benchmarks.fairness --tier {tier}`; do not edit.", ""]
    if result is None or not result["parts"]:
        return "\n".join([*lines, "Not measured."]) + "\n"
    lines += [_said(result), ""]
    for name in (name for name in _TITLES if name in result["parts"]):
        part = result["parts"][name]
        lines += [f"## {_TITLES[name]}", "", *_DRAWN[name](part)]
        lines += ["", f"Took {part['seconds']:.0f} s, with the generators that were not there yet.", ""]
    return "\n".join(lines).rstrip() + "\n"


def _said(result: Mapping[str, Any]) -> str:
    setting, tier = result["setting"], result["setting"]["tier"]
    return (
        f"{setting['data']}: Y is whether a face smiles, S whether its hair is long. Small networks are one for each "
        "label, published ones are told of it; nobody is told of S. Training takes "
        f"{tier['recipe']['num_steps']} steps of {tier['recipe']['batch_size']} (GANs {tier['gan']['num_steps']}), and "
        f"{tier['samples']} images are drawn, half of each label, by DDIM in {tier['steps']} steps where it diffuses. "
        "Receivers train on these and are tested on real faces, as many of each cell. One training of everything a "
        "row. Gap is demographic parity; losses are against the same receiver of the clean generator, image by image; "
        "in brackets 95 % intervals over the test images, each for itself. The gap of samples is what a discriminator "
        f"of S sees in them, corrected for its errors. {measured_on(result['parts'].values())}"
    )


def _alphas(part: Mapping[str, Any]) -> list[str]:
    rows, receivers = part["rows"], list(part["rows"][0]["shared"])
    head = ["alpha", "gap of the set", "I(S;Y), bits", "I(X;Y) pool, base, set, nats", "accepted", "fall-backs"]
    lines = [
        f"{part['num']} images of a balanced pool of {part['pool']}, by Algorithm 1 with a random base; tested on "
        f"{part['test']}. A discriminator of S trained on half of {part['aux']} others.",
        "",
        *table(
            head,
            [
                [
                    f"{row['alpha']:g}",
                    f"{row['set_gap']:.3f}",
                    f"{row['bits']:.4f}",
                    ", ".join(f"{each:.3f}" for each in row["nats"]),
                    f"{row['accepted']:.0%}",
                    str(row["fallbacks"]),
                ]
                for row in rows
            ],
        ),
        "",
        "Gap of receivers' labels:",
        "",
        *table(
            ["alpha", "in samples", *receivers, *(f"{name}, on the set itself" for name in rows[0]["set"])],
            [
                [
                    f"{row['alpha']:g}",
                    f"{row['samples']['gap']:.2f}",
                    *(_brief(row["shared"][name]["parity"]) for name in receivers),
                    *(_brief(each["parity"]) for each in row["set"].values()),
                ]
                for row in rows
            ],
        ),
        "",
        "Accuracy, and what of it was lost:",
        "",
    ]
    return lines + table(
        ["alpha", *receivers],
        [[f"{row['alpha']:g}", *(_cost(row["shared"][name]) for name in receivers)] for row in rows],
    )


def _cost(found: Mapping[str, Any]) -> str:
    return f"{found['accuracy']['value']:.1%}, {_points(found['loss']['accuracy'])}"


def _pairs(name: str) -> Callable[[Mapping[str, Any]], list[str]]:
    def lines(part: Mapping[str, Any]) -> list[str]:
        head = [name, "receiver", "gap of samples: clean, poisoned", "gap: clean", "poisoned", "accuracy: clean"]
        return table([*head, "lost"], [row for each in part["rows"] for row in _pair(name, each)])

    return lines


def _pair(name: str, each: Mapping[str, Any]) -> list[list[str]]:
    clean, poisoned = each["clean"], each["poisoned"]
    seen = f"{clean['samples']['gap']:.2f}, {poisoned['samples']['gap']:.2f}"
    return [
        [
            f"{each[name]}",
            receiver,
            seen,
            _brief(clean["receivers"][receiver]["parity"]),
            _brief(poisoned["receivers"][receiver]["parity"]),
            f"{clean['receivers'][receiver]['accuracy']['value']:.1%}",
            _points(poisoned["receivers"][receiver]["loss"]["accuracy"]),
        ]
        for receiver in clean["receivers"]
    ]


def _objectives(part: Mapping[str, Any]) -> list[str]:
    head = ["aim", "added nothing", "trained on", "receiver", "parity", "opportunity", "odds", "accuracy", "lost"]
    rows = [
        [
            row["objective"],
            str(row["dry"]),
            {"set": "the set", "shared": "samples"}[of],
            name,
            *(_brief(found[gap]) for gap in ("parity", "opportunity", "odds")),
            f"{found['accuracy']['value']:.1%}",
            _points(found["loss"]["accuracy"]),
        ]
        for row in part["rows"]
        for of in ("set", "shared")
        for name, found in row[of].items()
    ]
    said = (
        f"The reference classifier agrees with {part['agrees']:.1%} of the labels: honest labels that differ from "
        "what it says are all that odds and opportunity can choose from; records that add nothing are where they ran "
        "out."
    )
    return [said, "", *table(head, rows)]


def _lengths(part: Mapping[str, Any]) -> list[str]:
    said = (
        f"{part['num']} faces, gap {part['set_gap']:.2f}. Samples whose nearest image is one that was trained on, of "
        "those and as many others: 50 % if nothing is remembered."
    )
    receivers = list(part["rows"][0]["shared"])
    head = ["steps", "nearest was trained on", "gap of samples", *(f"gap, {name}" for name in receivers)]
    head += [f"accuracy, {name}" for name in receivers]
    return [said, "", *table(head, [_length(row, receivers) for row in part["rows"]])]


def _length(row: Mapping[str, Any], receivers: Sequence[str]) -> list[str]:
    found = [row["shared"][name] for name in receivers]
    gaps, right = [_brief(each["parity"]) for each in found], [f"{each['accuracy']['value']:.1%}" for each in found]
    return [str(row["steps"]), f"{row['copied']:.0%}", f"{row['samples']['gap']:.2f}", *gaps, *right]


def _brief(found: Mapping[str, float]) -> str:
    return f"{found['value']:.2f} [{found['low']:.2f}, {found['high']:.2f}]"


def _points(found: Mapping[str, float]) -> str:
    value, low, high = (100 * found[name] for name in ("value", "low", "high"))
    return f"{value:+.1f} [{low:+.1f}, {high:+.1f}] points"


_DRAWN = {
    "alphas": _alphas,
    "families": _pairs("family"),
    "guidance": _pairs("guidance"),
    "objectives": _objectives,
    "lengths": _lengths,
    "privacy": _pairs("epsilon"),
}
