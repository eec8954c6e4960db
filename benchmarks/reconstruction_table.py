"""The tables of benchmarks/reconstruction.py: results/reconstruction-TIER.json -> results/reconstruction-TIER.md."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.markdown import TITLES, measured_on, table, write_pages

_SWEEP = "sweep-"
_PARTS: dict[str, str] = {
    "priors": "Priors further and further away",
    "noise": "Noise that is not told",
    "rounds": "Several rounds",
    "seen": "Targets that trained the prior",
    "sizes": "Images of half the side",
}
_NETS = {"alex": "AlexNet", "vgg": "VGG16"}


def write_tables(out: Path) -> None:
    """Writes the tables of each tier; one that was not measured says so."""
    write_pages(out, "reconstruction", document)


def document(tier: str, result: Mapping[str, Any] | None) -> str:
    """Returns the Markdown of one tier.

    Args:
      tier: One of `TITLES`.
      result: What was measured, None for nothing.
    """
    lines = [f"# {TITLES[tier]}: what a release shows to who has a prior", ""]
    lines += [f"Written by `python -m benchmarks.reconstruction --tier {tier}`; do not edit.", ""]
    if result is None or not result["parts"]:
        return "\n".join([*lines, "Not measured."]) + "\n"
    lines += [_said(result), ""]
    mus = result["setting"]["tier"]["mus"]
    for name, part in result["parts"].items():
        if name.startswith(_SWEEP):
            lines += _swept(tier, name.removeprefix(_SWEEP), part, mus)
        else:
            lines += [f"## {_PARTS[name]}", "", *_DRAWN[name](part, mus)]
        lines += ["", f"Took {part['seconds']:.0f} s, with the priors that were not there yet.", ""]
    return "\n".join(lines).rstrip() + "\n"


def _said(result: Mapping[str, Any]) -> str:
    setting, tier = result["setting"], result["setting"]["tier"]
    return (
        f"{' and '.join(setting['data'])}: {tier['targets']} targets and {tier['public']} public images each, the rest "
        f"trains the prior, {tier['recipe']['num_steps']} steps of {tier['recipe']['batch_size']}. One release of a "
        f"linear unit a target (batch of one, the worst case), {tier['steps']} DDIM steps, {tier['num']} random "
        f"reconstructions. Images are in [-1, 1]; a number and its standard error, or its 95 % interval, are over "
        f"targets. Bounds are for the attackers they name: without a prior, nothing unbiased errs less than the "
        f"uninformed error (clipping to [-1, 1] is biased); who is right by chance once in 1/kappa is right no more "
        f"often than ReRo. The prior's curve is "
        f"its own error on public images. {measured_on(result['parts'].values())}"
    )


def _swept(tier: str, name: str, part: Mapping[str, Any], mus: Sequence[float]) -> list[str]:
    scores = part["scores"]
    errors: dict[str, Callable[[int], str]] = {"epsilon": lambda k: f"{part['epsilons'][k]:.3g}"}
    for method, row in scores.items():
        errors[method] = lambda k, row=row: _pair(row["mse"][k])
    errors["uninformed"] = lambda k: _pair(part["uninformed"]["mse"][k])
    if part["prior_curve"] is not None:
        errors["prior's curve"] = lambda k: _pair(part["prior_curve"][k])
    errors["told by samples"] = lambda k: _pair(part["agreement"]["error"][k])
    columns: dict[str, Callable[[int], str]] = {}
    lpips = part.get("lpips")  # parts of before it was measured have none
    for metric in ("psnr", "ssim", "ncc", *(("lpips",) if lpips else ())):
        columns[metric.upper()] = lambda k, m=metric: _pair(scores["diffusion"][m][k])
    columns["uninformed, NCC"] = lambda k: _pair(part["uninformed"]["ncc"][k])
    columns["relative error"] = lambda k: _estimate(part["relative"]["diffusion"][k])
    columns["top-1"] = lambda k: _estimate(part["top1"]["diffusion"][k])
    if "picked" in part:
        columns["top-1, who knows all targets"] = lambda k: _estimate(part["picked"]["top1"][k])
        columns["top-1, bound"] = lambda k: f"{part['picked']['bound'][k]:.3g}"
    for kappa, row in part["rero"].items():
        columns[f"ReRo, kappa {kappa}"] = lambda k, row=row: f"{row[k]:.3g}"
    columns["rank correlation of told and true error"] = lambda k: _estimate(part["rank"][k])
    unrelated = ", ".join(f"{metric.upper()} {value:.3f}" for metric, value in part["unrelated"].items())
    return [
        f"## {name}",
        "",
        f"![target, release, DDIM, posterior mean, two samples, disagreement; by mu](reconstruction-{tier}-{name}.png)",
        "",
        "Mean squared error:",
        "",
        *_by_mu(mus, errors),
        "",
        f"By DDIM, other metrics and bounds{_of_lpips(lpips)}:",
        "",
        *_by_mu(mus, columns),
        "",
        f"Unrelated images: {unrelated}. Half way from these, at mu =",
        "",
        *_transitions(part["transition"]),
    ]


def _of_lpips(lpips: Mapping[str, Any] | None) -> str:
    if lpips is None:
        return ""
    size = lpips["enlarged"]
    of = "as they are" if size is None else f"enlarged to {size[0]}x{size[1]} pixels, where its size has no reading"
    return f" (LPIPS with {_NETS[lpips['net']]}, of images {of})"


def _transitions(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    metrics = list(next(iter(rows.values())))
    cells = [[name, *(_place(row[metric]) for metric in metrics)] for name, row in rows.items()]
    return table(["", *(metric.upper() for metric in metrics)], cells)


def _priors(part: Mapping[str, Any], mus: Sequence[float]) -> list[str]:
    head = ["MSE of", "distance, nats", *(f"mu {mu:g}" for mu in mus)]
    rows = [
        [name, _pair(part["distance"][name], 0), *(_pair(value) for value in row["mse"])]
        for name, row in part["scores"].items()
    ]
    # Over priors, not targets.
    ranks = ["rank correlation with distance", "", *(_estimate(each) for each in part["correlation"]["mse"])]
    return table(head, [*rows, ranks])


def _noise(part: Mapping[str, Any], mus: Sequence[float]) -> list[str]:
    columns: dict[str, Callable[[int], str]] = {}
    for name, row in part["scores"].items():
        if name in part["lost"]:
            columns[f"{name}: believed"] = lambda k, name=name: f"{part['sigma'][name][k]:.2f}"
        columns[f"{name}, MSE"] = lambda k, row=row: _pair(row["mse"][k])
        if name in part["lost"]:
            columns[f"{name}: more"] = lambda k, name=name: _estimate(part["lost"][name][k], 4)
    return _by_mu(mus, columns)


def _rounds(part: Mapping[str, Any], mus: Sequence[float]) -> list[str]:
    columns: dict[str, Callable[[int], str]] = {}
    for count in part["averaged"]:
        columns[f"mean of {count}, MSE"] = lambda k, n=count: _pair(part["averaged"][n]["mse"][k])
        columns[f"one of mu sqrt({count}), MSE"] = lambda k, n=count: _pair(part["single"][n]["mse"][k])
        columns[f"difference, {count}"] = lambda k, n=count: _estimate(part["difference"][n][k], 4)
    return _by_mu(mus, columns)


def _seen(part: Mapping[str, Any], mus: Sequence[float]) -> list[str]:
    columns: dict[str, Callable[[int], str]] = {}
    for name, row in part["priors"].items():
        columns[f"{name}: seen, MSE"] = lambda k, row=row: _pair(row["seen"]["mse"][k])
        columns[f"{name}: others, MSE"] = lambda k, row=row: _pair(row["unseen"]["mse"][k])
        columns[f"{name}: difference"] = lambda k, row=row: (
            _estimate(row["difference"][k], 4) + (" memory" if row["remembered"][k] else "")
        )
    return _by_mu(mus, columns)


def _sizes(part: Mapping[str, Any], mus: Sequence[float]) -> list[str]:
    columns: dict[str, Callable[[int], str]] = {}
    for side, row in part["sides"].items():
        columns[f"{side}: noise"] = lambda k, row=row: f"{row['sigma'][k]:.3g}"
        columns[f"{side}: MSE"] = lambda k, row=row: _pair(row["scores"]["mse"][k])
        columns[f"{side}: relative error"] = lambda k, row=row: _estimate(row["relative"][k])
    places = {side: row["transition"] for side, row in part["sides"].items()}
    return [*_by_mu(mus, columns), "", "Half way from unrelated images, at mu =", "", *_transitions(places)]


_DRAWN: dict[str, Callable[[Mapping[str, Any], Sequence[float]], list[str]]] = {
    "priors": _priors,
    "noise": _noise,
    "rounds": _rounds,
    "seen": _seen,
    "sizes": _sizes,
}


def _by_mu(mus: Sequence[float], columns: Mapping[str, Callable[[int], str]]) -> list[str]:
    return table(["mu", *columns], [[f"{mu:g}", *(cell(k) for cell in columns.values())] for k, mu in enumerate(mus)])


def _pair(value: Sequence[float], places: int | None = None) -> str:
    mean, se = value
    return f"{mean:.3g} ± {se:.1g}" if places is None else f"{mean:.{places}f} ± {se:.{places}f}"


def _estimate(value: Sequence[float], places: int = 2) -> str:
    return f"{value[0]:.{places}f} [{value[1]:.{places}f}, {value[2]:.{places}f}]"


def _place(found: Mapping[str, Any]) -> str:
    if found["mu"] is None:
        return f"none: {found['reason']}"
    value, low, high = found["mu"]
    ends = f"{low:.3g}" if low else "below", "above" if high is None else f"{high:.3g}"
    return f"{value:.3g} [{', '.join(ends)}]"
