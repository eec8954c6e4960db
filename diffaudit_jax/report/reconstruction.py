"""From a sweep of reconstructions to a report: statistics over targets in, one JSON document out."""

import io
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.special import ndtri

from diffaudit_jax.metrics.intervals import Estimate, tail
from diffaudit_jax.metrics.resampling import limits as resampled_limits
from diffaudit_jax.metrics.resampling import weights
from diffaudit_jax.metrics.transition import Transition
from diffaudit_jax.reconstruction.promises import Near, Picked
from diffaudit_jax.reconstruction.scoring import WithoutPrior
from diffaudit_jax.reconstruction.sweep import Shown, Sweep
from diffaudit_jax.report.membership import LEVEL, versions
from diffaudit_jax.report.reconstruction_limits import limits
from diffaudit_jax.report.reconstruction_page import render_reconstruction
from diffaudit_jax.report.reconstruction_pictures import pictures
from diffaudit_jax.report.reconstruction_schema import FILE, SCHEMA, SCHEMA_VERSION, read_reconstruction
from diffaudit_jax.report.reconstruction_verdict import verdict
from diffaudit_jax.report.saved import Kind, SavedReport

NUM_RESAMPLES = 2000
METRICS = ("mse", "ssim", "ncc", "psnr", "lpips")  # in the order of the page


class ReconstructionReport(SavedReport):
    """A report of reconstructions; schema ``diffaudit.reconstruction``, version 1."""

    kind = Kind(FILE, SCHEMA, read_reconstruction, render_reconstruction)


def reconstruction_report(
    sweep: Sweep,
    *,
    attacker: Mapping[str, Any],
    delta: float = 1e-5,
    num_releases: int = 1,
    known: int | None = None,
    num_public: int = 0,
    public_shown: Shown | None = None,
    show_targets: bool = False,
    upsampled: Sequence[int] | None = None,
    provenance: Mapping[str, Any] | None = None,
    title: str | None = None,
    seed: int = 0,
) -> ReconstructionReport:
    """Concludes from a sweep at which mu a release shows what it was made of.

    Args:
      sweep: Scores of every target at every mu, and the bounds beside them.
      attacker: What the attacker knows and does: `clip`, `noise`, `typical_norm` (or None), `steps`, `samples`, and
        what else is to be told of it.
      delta: Of the sweep's epsilons.
      num_releases: Releases of each target.
      known: How many targets the prior was trained on; None if nobody can tell.
      num_public: Public images that the sweep had.
      public_shown: Public images that were attacked in the same way, to be shown; None for no pictures of them.
      show_targets: Show the sweep's own pictures instead, which are of targets.
      upsampled: Height and width to which images were enlarged for LPIPS; None if they were not.
      provenance: Where the numbers come from, as JSON.
      title: Title of the page.
      seed: Seed of the resamples behind the intervals.

    Returns:
      The report.
    """
    resamples = weights(np.random.default_rng(seed), sweep.sigma.shape[1], NUM_RESAMPLES)
    shown = pictures(sweep.shown, "targets") if show_targets else public_shown and pictures(public_shown, "public")
    picked, near = sweep.bounds.picked, sweep.bounds.near
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "title": title or "What a privatised gradient shows of an image",
        "level": LEVEL,
        "delta": float(delta),
        "releases": num_releases,
        "counts": {"targets": sweep.sigma.shape[1], "known": known, "public": num_public},
        "attacker": dict(attacker),
        "rows": [_row(sweep, k, resamples) for k in range(len(sweep.mus))],
        "unrelated": {
            metric: mean_of(sweep.unrelated[metric], resamples) for metric in METRICS if metric in sweep.unrelated
        },
        "among": next(iter(sweep.retrieval.values()))[0].among,
        "training": None if picked is None or picked.training is None else picked.training._asdict(),
        "near": None if near is None else {"eta": float(near.eta), "kappa": near.kappa._asdict()},
        "transition": {
            method: {metric: _transition(found) for metric, found in metrics.items()}
            for method, metrics in sweep.transition.items()
        },
        "pictures": shown,
        "upsampled": None if upsampled is None else list(upsampled),
        "provenance": {**(provenance or {}), "report_seed": seed, "versions": versions()},
    }
    return ReconstructionReport(document | {"verdict": verdict(document), "limits": limits(document)})


def scores_npz(sweep: Sweep, hashes: Sequence[str]) -> bytes:
    """Returns what was measured of every target at every mu, as an npz.

    Args:
      sweep: What was measured.
      hashes: Content hash of every target.

    Returns:
      Arrays ``method/metric`` and ``uninformed/metric`` [k, n], ``unrelated/metric`` [n], ``agreement/error`` and
      ``agreement/ratio`` [k, n], ``sigma`` [k, n], ``mu`` and ``epsilon`` [k], ``hashes`` [n].
    """
    uninformed = sweep.bounds.uninformed
    arrays: dict[str, Any] = {
        "mu": sweep.mus,
        "epsilon": sweep.epsilons,
        "sigma": sweep.sigma,
        "hashes": np.asarray(hashes),
        "agreement/error": sweep.agreement_error,
        "agreement/ratio": sweep.agreement_ratio,
        **{f"{method}/{metric}": values for method, by in sweep.scores.items() for metric, values in by.items()},
        **{f"uninformed/{metric}": values for metric, values in (uninformed.mean if uninformed else {}).items()},
        **{f"unrelated/{metric}": values for metric, values in sweep.unrelated.items()},
    }
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def mean_of(values: Float[np.ndarray, " n"], resamples: Float[np.ndarray, "m n"]) -> dict[str, float] | None:
    """Returns the mean over targets with its interval, None if a value is not finite."""
    values = np.asarray(values, np.float64)
    if not np.isfinite(values).all():
        return None
    low, high = resampled_limits(resamples @ values / len(values), len(values), LEVEL)
    value = float(values.mean())
    return {"value": value, "low": min(low, value), "high": max(high, value)}


def _row(sweep: Sweep, k: int, resamples: Float[np.ndarray, "m n"]) -> dict[str, Any]:
    bounds = sweep.bounds
    return {
        "mu": float(sweep.mus[k]),
        "epsilon": float(sweep.epsilons[k]),
        "sigma": float(sweep.sigma[k].mean()),
        "believed": None if sweep.believed is None else float(sweep.believed[k].mean()),
        "scores": {
            method: {metric: mean_of(values[k], resamples) for metric, values in metrics.items()}
            for method, metrics in sweep.scores.items()
        },
        "relative": {method: opened(found[k]) for method, found in sweep.relative.items()},
        "retrieval": {method: found[k].top1._asdict() for method, found in sweep.retrieval.items()},
        "uninformed": {} if bounds.uninformed is None else _uninformed(bounds.uninformed, k),
        "prior_curve": None if bounds.prior_curve is None else _normal(*(part[k] for part in bounds.prior_curve)),
        "rero": {f"{kappa:g}": float(bound[k]) for kappa, bound in bounds.rero.items()},
        "picked": None if bounds.picked is None else _picked(bounds.picked, k),
        "near": None if bounds.near is None else _near(bounds.near, k),
        "agreement": {
            "error": mean_of(sweep.agreement_error[k], resamples),
            "ratio": mean_of(sweep.agreement_ratio[k], resamples),
            "rank": sweep.agreement_rank[k]._asdict(),
            # Half the error that draws tell of themselves is that of the posterior mean.
            "told": [float(f"{error / 2:.4g}") for error in sweep.agreement_error[k]],
            "true": [float(f"{error:.4g}") for error in sweep.scores["posterior mean"]["mse"][k]],
        },
    }


def _uninformed(found: WithoutPrior, k: int) -> dict[str, dict[str, float]]:
    """Returns, of each metric, what is expected and where 95 % of releases lie; means over targets."""
    ends = {"value": found.mean, "low": found.low, "high": found.high}
    return {metric: {name: float(end[metric][k].mean()) for name, end in ends.items()} for metric in found.mean}


def _picked(found: Picked, k: int) -> dict[str, Any]:
    training = found.training_bound and found.training_bound[k]._asdict()
    return {"candidates": found.found[k].top1._asdict(), "bound": float(found.bound[k]), "training": training}


def _near(found: Near, k: int) -> dict[str, Any]:
    return {"bound": float(found.bound[k]), "within": {name: row[k]._asdict() for name, row in found.within.items()}}


def _normal(value: float, se: float) -> dict[str, float]:
    half = -float(ndtri(tail(LEVEL))) * float(se)
    return {"value": float(value), "low": max(0.0, float(value) - half), "high": float(value) + half}


def opened(found: Estimate | None) -> dict[str, float | None] | None:
    """Returns an estimate as JSON, null where an end is infinite; None if the value is, or there is none."""
    if found is None:
        return None
    ends = {name: float(end) if math.isfinite(end) else None for name, end in found._asdict().items()}
    return None if ends["value"] is None else ends


def _transition(found: Transition) -> dict[str, Any]:
    return {
        "mu": None if found.mu is None else opened(found.mu),
        "half": float(found.half),
        "progress": [float(share) for share in found.progress],
        "reason": found.reason,
    }
