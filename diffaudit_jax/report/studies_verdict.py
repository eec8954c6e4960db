"""What each study comes to in sentences.

Comparisons of errors hold together: their intervals are at the level `together`, Bonferroni's, so that a verdict may
pick the greatest among them, or those that begin at a mu.
"""

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

from diffaudit_jax.report.numbers import at_most, estimate
from diffaudit_jax.report.reconstruction_verdict import bounded

TITLES = {
    "noise": "What it costs an attacker not to be told the noise",
    "rounds": "What several releases of an image show together",
    "seen": "Whether a prior remembers the images that trained it",
    "priors": "How an attack depends on its prior",
    "sizes": "How an attack depends on the size of images",
}
LABELS = {
    "cheap": "Hiding the noise protects little",
    "costly": "Not being told the noise costs the attacker",
    "unclear": "Not clear what hiding the noise costs",
    "add": "Several releases add up as theory says",
    "unsure": "No departure from mu sqrt(T) is seen",
    "apart": "Releases depart from mu sqrt(T)",
    "remembered": "Measures the prior's memory, not the privacy of the release",
    "forgotten": "No memory of training images is seen",
    "ordered": "Nearer priors show more",
    "unordered": "Not clear whether distance decides",
    "later": "Larger images show later",
    "sizes": "Measured by size",
    "memory": "Measures the prior's memory, not the privacy of the release",
}
CHEAP = 0.1
"""Error, of its own, that an attacker may lose while hiding the noise is said to protect little; and by which releases
may depart from theory while they are said to follow it."""
RANK, DISTANCE, HALF_WAY = "rank correlation of distance and", "distance, in nats", "half way, at mu"

Document = dict[str, Any]
Found = tuple[str, str, list[str]]  # level, headline, sentences


def verdict(document: Document) -> dict[str, Any]:
    """Concludes from the document's other parts.

    Args:
      document: A report's document without its verdict.

    Returns:
      `level`, one of `LABELS`, its `label`, a `headline` and `sentences`.
    """
    level, headline, sentences = _CONCLUDED[document["study"]](document)
    if known := document["counts"]["known"]:
        level = "memory"
        sentences.insert(
            0,
            f"{known} of the {document['counts']['targets']} targets are images that a prior was trained on. It may "
            f"simply remember them, so these numbers do not say what a release shows: take targets that it has never "
            f"seen.",
        )
    return {"level": level, "label": LABELS[level], "headline": headline, "sentences": sentences}


def change(value: Mapping[str, float] | None) -> str:
    """Writes a relative difference in percent with its interval, ``+12 % [+3, +21]``; a dash where there is none."""
    if value is None:
        return "\N{EN DASH}"
    most = max(abs(100 * value[part]) for part in ("low", "value", "high"))
    digits = 0 if most >= 20 else 1
    low, mid, high = (_signed(100 * value[part], digits) for part in ("low", "value", "high"))
    return f"{mid}\N{NO-BREAK SPACE}% [{low}, {high}]"


def plain(value: Mapping[str, float | None] | None) -> str:
    """Writes an estimate with three digits, ``0.9 [0.2, 1]``; a dash where there is none, or no end."""
    if value is None:
        return "\N{EN DASH}"
    mid, low, high = (
        "\N{EN DASH}" if (end := value[part]) is None else f"{end:.3g}" for part in ("value", "low", "high")
    )
    return f"{mid} [{low}, {high}]"


def _noise(document: Document) -> Found:
    """How much more who estimates the noise errs; from the largest mu down to where that is no longer little."""
    found = {each["name"]: _shares(document, each) for each in document["differences"]}
    costs = found["wavelet"]
    who = "Estimating the noise from the release, instead of being told it, costs the attacker"
    num = next((i for i, (_, cost) in enumerate(costs[::-1]) if cost["high"] > CHEAP), len(costs))
    cheap, rest = costs[len(costs) - num :], costs[: len(costs) - num]
    if cheap:
        ends = f"; at mu = {rest[-1][0]:g} up to {_most(rest[-1:])}" if rest else ", the least that was tried"
        headline = f"{who} at most {_most(cheap)} of error from mu = {cheap[0][0]:g} on{ends}."
    elif costs:
        headline = f"{who} up to {_most(costs[-1:])} of error at mu = {costs[-1][0]:g}, and up to {_most(costs)} below."
    else:
        headline = "There is no error to set the cost of not knowing the noise beside."
    told = {
        "wavelet": "who estimates the noise from the release's finest wavelets",
        "typical": "who knows the noise but not the factor of clipping, and takes public images' usual norm,",
    }
    sentences = [
        f"The error of one {told.get(name, f'who believes in {name}')} changes by {_ends(rows)}."
        for name, rows in found.items()
        if rows
    ]
    if cheap:
        return "cheap", headline, sentences
    return "costly" if any(cost["low"] > 0 for _, cost in costs) else "unclear", headline, sentences


def _rounds(document: Document) -> Found:
    """Whether T releases of mu are as one of mu sqrt(T), by intervals that hold together."""
    rows = [
        (round(each["mu_ratio"] ** 2), mu, cost)
        for each in document["differences"]
        if each["mu_ratio"] > 1
        for mu, cost in _shares(document, each)
    ]
    off = [(count, mu, cost) for count, mu, cost in rows if cost["low"] > 0 or cost["high"] < 0]
    if not rows:
        return "add", "One release of mu sqrt(T) leaves no error to set that of T releases beside.", []
    most = max(row[0] for row in rows)
    ends = [(mu, cost) for count, mu, cost in rows if count == most]
    shown = [
        f"The error of {most} releases of mu = {mu:g}, beside that of one of mu = {mu * most**0.5:g}: {change(cost)}."
        for mu, cost in dict([ends[0], ends[-1]]).items()
    ]
    if off:
        count, mu, cost = max(off, key=lambda row: abs(row[2]["value"]))
        headline = (
            f"{count} releases of mu = {mu:g} do not show what one of mu = {mu * count**0.5:g} shows: their mean's "
            f"error is {change(cost)} beside it."
        )
        return "apart", headline, shown
    low, high = min(row[2]["low"] for row in rows), max(row[2]["high"] for row in rows)
    follows = max(-low, high) <= CHEAP
    said = "T releases of mu show what one of mu sqrt(T) shows" if follows else "No departure from mu sqrt(T) is seen"
    headline = (
        f"{said}: differences lie within {_signed(100 * low, 1)} and {_signed(100 * high, 1)}\N{NO-BREAK SPACE}% of "
        f"error, for T = {_listed(sorted({row[0] for row in rows}))}."
    )
    return "add" if follows else "unsure", headline, shown


def _seen(document: Document) -> Found:
    """Whether training images are reconstructed with clearly less error, by intervals that hold together."""
    (each,) = document["differences"]
    mus = [row["mu"] for row in document["rows"]]
    less = [mu for mu, gap in _shares(document, each) if gap["high"] < 0]
    sizes = {variant["name"]: variant["targets"] for variant in document["variants"]}
    told = [f"The error of training images, beside others': {_ends(_shares(document, each))}."]
    beside = f"{sizes[each['name']]} images that trained the prior and {sizes[each['than']]} that did not"
    if not less:
        return "forgotten", f"Of {beside}, the first are at no mu clearly nearer to the truth.", told
    where = "at every mu that was tried" if len(less) == len(mus) else f"at mu = {_listed(less)}"
    return (
        "remembered",
        f"The prior remembers: of {beside}, the first are reconstructed with clearly less error {where}.",
        [
            "What it makes of its own training images does not say what a release shows: take targets that it has "
            "never seen.",
            *told,
        ],
    )


def _priors(document: Document) -> Found:
    """Whether errors rise with the distance, and what the matched prior has over none."""
    ranks = next(each["values"] for each in document["columns"] if each["name"] == f"{RANK} MSE")
    mus = [row["mu"] for row in document["rows"]]
    rows = [(mu, rank) for mu, rank in zip(mus, ranks, strict=True) if rank]
    clear = [mu for mu, rank in rows if rank["low"] is not None and rank["low"] > 0]
    first, last = (f"{plain(rank)} at mu = {mu:g}" for mu, rank in (rows[0], rows[-1]))
    over = f"the rank correlation of distance and error over {len(document['variants'])} priors is {first} and {last}"
    if clear:
        where = _listed(clear)
        headline = (
            f"The further a prior is from the targets' data, the more it errs, clearly so at mu = {where}: {over}."
        )
    else:
        headline = f"Whether a prior that is further from the targets' data errs more is not clear at any mu: {over}."
    placed = [(each["of"], each["value"]) for each in document["facts"] if each["value"]]
    distances = "; ".join(f"{name} {value['value']:.3g}" for name, value in placed)
    sentences = [f"Distances in nats: {distances}."]
    if nearer := [name for name, value in placed if value["high"] is not None and value["high"] < 0]:
        sentences.append(
            f"The distance of {' and '.join(nearer)} is clearly below 0: on public images the prior that was named "
            f"first, and is taken for the matched one, errs more. Train it longer, or name another first."
        )
    sentences += [
        f"The error by {each['name']}, beside that by {each['than']}: {_ends(rows)}."
        for each in document["differences"]
        if (rows := _shares(document, each))
    ]
    return "ordered" if clear else "unordered", headline, sentences


def _sizes(document: Document) -> Found:
    """Where similarity is half way, by size; sizes are said to differ where the intervals do not meet."""
    facts = [each for each in document["facts"] if each["name"] == f"SSIM {HALF_WAY}"]
    placed = [each for each in facts if each["value"]]
    sentences = [
        f"At {each['of']} a side, where similarity (SSIM) is half way cannot be told: {each['reason']}"
        for each in facts
        if not each["value"]
    ]
    sentences += [
        f"At {variant['name']} a side the mean squared error is {estimate(variant['scores']['mse'][0], 3)} at mu = "
        f"{document['rows'][0]['mu']:g} and {estimate(variant['scores']['mse'][-1], 3)} at mu = "
        f"{document['rows'][-1]['mu']:g}."
        for variant in document["variants"]
    ]
    if not placed:
        return "sizes", "At none of these sizes does the grid hold the mu at which images begin to show.", sentences
    places = " and ".join(f"mu = {bounded(each['value'])} at {each['of']} a side" for each in placed)
    ends = [(each["value"]["low"], each["value"]["high"]) for each in placed]
    apart = len(ends) > 1 and all(below[1] is not None and above[0] > below[1] for below, above in pairwise(ends))
    headline = f"Similarity (SSIM) is half way from unrelated images to the target at {places}."
    return "later" if apart else "sizes", headline, sentences


_CONCLUDED: Mapping[str, Callable[[Document], Found]] = {
    "noise": _noise,
    "rounds": _rounds,
    "seen": _seen,
    "priors": _priors,
    "sizes": _sizes,
}


def _shares(document: Document, difference: Mapping[str, Any]) -> list[tuple[float, dict[str, float]]]:
    """Returns (mu, relative difference of the squared error), where there is one."""
    rows = zip(document["rows"], difference["share"], strict=True)
    return [(row["mu"], cost) for row, cost in rows if cost is not None]


def _ends(rows: list[tuple[float, dict[str, float]]]) -> str:
    """Writes a relative difference at the least mu and at the largest; a dash where there is none."""
    if not rows:
        return change(None)
    return " and ".join(f"{change(cost)} at mu = {mu:g}" for mu, cost in dict([rows[0], rows[-1]]).items())


def _most(costs: list[tuple[float, dict[str, float]]]) -> str:
    most = max(0.0, *(cost["high"] for _, cost in costs))
    return f"{at_most(100 * most, 2)}\N{NO-BREAK SPACE}%"


def _signed(value: float, digits: int) -> str:
    rounded = round(value, digits)
    return f"{rounded:+.{digits}f}".replace("-", "\N{MINUS SIGN}") if rounded else f"{0:.{digits}f}"


def _listed(values: list[Any]) -> str:
    *first, last = (f"{value:g}" for value in values)
    return f"{', '.join(first)} and {last}" if first else last
