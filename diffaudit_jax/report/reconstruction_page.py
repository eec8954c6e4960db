"""The page of a report of reconstructions, from its JSON: like `page`, nothing is loaded and nothing runs."""

from typing import Any

from diffaudit_jax.report import reconstruction_figures as figures
from diffaudit_jax.report.drawing import Drawing
from diffaudit_jax.report.numbers import at_most, estimate, percent, shares
from diffaudit_jax.report.page import flat, inline, own_text, template_environment
from diffaudit_jax.report.reconstruction_verdict import LEAD, bounded, short

CLASSES = {"seen": "detected", "unseen": "not-detected", "memory": "split-leaks"}
HEADINGS = {
    "mse": "Mean squared error",
    "psnr": "Peak signal-to-noise ratio, in dB",
    "ssim": "Structural similarity (SSIM)",
    "ncc": "Normalised cross-correlation",
    "lpips": "Perceptual distance (LPIPS)",
}
METHODS = {
    "diffusion": "diffusion prior, DDIM",
    "posterior mean": "diffusion prior, posterior mean",
    "release": "the release as it is",
    "wiener": "Wiener",
    "total variation": "total variation",
    "non-local means": "non-local means",
}


def _drawings(document: dict[str, Any]) -> list[tuple[str, Drawing]]:
    rows, level = document["rows"], document["level"]
    drawn = [
        (
            HEADINGS.get(metric) or metric,
            figures.metric_figure(rows, metric, document["unrelated"][metric], METHODS, level, f"metric{i}"),
        )
        for i, metric in enumerate(document["unrelated"])
    ]
    drawn.append(("Picking the target out", figures.retrieval_figure(rows, document["among"], METHODS, level)))
    drawn.append(("What bounds promise", figures.bound_figure(rows)))
    drawn.append(("Does the attacker know?", figures.agreement_figure(rows)))
    return drawn


def render_reconstruction(document: dict[str, Any]) -> str:
    """Returns the report as one HTML page for phone, desktop and paper.

    Args:
      document: As `read_reconstruction` or `reconstruction_report` gives it.
    """
    environment = template_environment()
    environment.filters |= {
        "estimate": estimate, "shares": shares, "percent": percent, "flat": flat, "bounded": bounded, "short": short,
        "most": lambda bound: percent(float(at_most(bound))),
        "method": lambda name: METHODS.get(name, name), "metric": lambda name: HEADINGS.get(name, name),
    }  # fmt: skip
    return environment.get_template("reconstruction.html").render(
        document=document,
        css=own_text("page.css") + own_text("reconstruction.css"),
        drawings=[(heading, inline(drawing)) for heading, drawing in _drawings(document)],
        tone=CLASSES.get(document["verdict"]["level"], ""),
        lead=LEAD,
    )
