"""The report of reconstructions, from sweeps that were made up: what it concludes, keeps, shows and refuses."""

import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from diffaudit_jax.metrics import Estimate, Retrieval, Transition
from diffaudit_jax.reconstruction.promises import Bounds, Near, Picked, Training
from diffaudit_jax.reconstruction.scoring import WithoutPrior
from diffaudit_jax.reconstruction.sweep import Shown, Sweep
from diffaudit_jax.report.reconstruction import (
    NUM_RESAMPLES,
    ReconstructionReport,
    mean_of,
    reconstruction_report,
    scores_npz,
)
from diffaudit_jax.report.reconstruction_figures import MOST_TICKS, against_mu
from diffaudit_jax.report.reconstruction_page import METHODS, render_reconstruction
from diffaudit_jax.report.reconstruction_verdict import LABELS, bounded, short
from diffaudit_jax.types import InputError

from .audits import HOSTILE
from .test_page import Page

MUS = (1.0, 5.0, 20.0, 100.0)
N, SHAPE = 8, (6, 6, 1)
ATTACKER = {"clip": "known", "noise": "known", "typical_norm": None, "steps": 50, "samples": 4}
UNINFORMED = ("mse", "psnr", "ncc")
WITHOUT_PUBLIC = ("diffusion", "posterior mean", "release")


def found(value, low, high):
    return Retrieval(Estimate(value, low, high), N, 1 / N)


def made_up(*, public=True, lpips=False, relative=None, top1=None, mus=MUS, near=None, training=None, believed=1.0):
    """A sweep in which errors fall as 1/mu; `relative` and `top1` are those of DDIM, one interval a mu."""
    rng, k = np.random.default_rng(5), len(mus)
    methods = tuple(METHODS) if public else WITHOUT_PUBLIC
    grid = np.asarray(mus, float)
    mse = {name: rng.uniform(0.5, 1, (k, N)) * (1 + i) / grid[:, None] for i, name in enumerate(methods)}
    kinds = ("mse", "psnr", "ssim", "ncc", *(("lpips",) if lpips else ()))
    scores = {name: {kind: error if kind == "mse" else 1 - error / 8 for kind in kinds} for name, error in mse.items()}
    relative = relative or [(1 / mu, 0.9 / mu, 1.2 / mu) for mu in mus]
    top1 = top1 or [(0.1, 0.0, 0.5), *[(0.9, 0.6, 1.0)] * (k - 1)]
    place = Transition(Estimate(8.0, 0.0, np.inf), 0.4, np.linspace(0, 1, k), "")
    nowhere = Transition(None, 0.4, np.zeros(k), f"the metric is not half way at mu = {mus[-1]:g} yet.")
    pictures = rng.uniform(-1, 1, (k, 2, *SHAPE)).astype(np.float32)
    whole = Estimate(0.7, 0.6, 0.8)
    return Sweep(
        mus=grid,
        epsilons=grid**2 / 2,
        sigma=6 / grid[:, None] * np.ones(N),
        believed=believed * np.ones((k, N)),
        scores=scores,
        unrelated={kind: rng.uniform(0.4, 0.6, N) for kind in kinds},
        retrieval={name: tuple(found(*row) for row in top1) for name in methods},
        relative={name: tuple(Estimate(*row) for row in relative) for name in methods},
        agreement_error=mse["posterior mean"] * 1.5,
        agreement_ratio=mse["posterior mean"],
        agreement_rank=(Estimate(0.5, 0.1, 0.8),) * k,
        bounds=Bounds(
            rero={1e-2: np.linspace(0.1, 1, k), 1e-6: np.linspace(0, 1, k)},
            uninformed=WithoutPrior(
                *({kind: f / grid[:, None] * np.ones(N) for kind in UNINFORMED} for f in (1, 0.9, 1.2))
            ),
            prior_curve=(1 / grid, 0.1 / grid) if public else None,
            picked=Picked(
                (found(0.5, 0.3, 0.7),) * k, np.linspace(0.6, 0.9999, k), training, training and (whole,) * k
            ),
            near=near,
        ),
        transition={name: {kind: nowhere if kind == "psnr" else place for kind in kinds} for name in methods},
        shown=shown(pictures),
    )


def shown(pictures):
    spread = np.linspace(0, 1, np.prod(pictures.shape[:-1])).reshape(pictures.shape[:-1])
    return Shown(pictures[0], pictures, -pictures, pictures / 2, np.stack([pictures] * 3, axis=2), spread)


def reported(sweep=None, **settings):
    return reconstruction_report(made_up() if sweep is None else sweep, **{"attacker": ATTACKER, **settings})


def decoded(text):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))


GOOD, BARELY, BAD = (0.5, 0.4, 0.6), (0.9, 0.8, 1.01), (1.0, 0.9, 1.1)
PICKED, CHANCE = (0.9, 0.7, 1.0), (0.2, 0.05, 0.4)
VERDICTS = {
    "from the middle on": ([BAD, BAD, GOOD, GOOD], [CHANCE, CHANCE, PICKED, PICKED], 20.0, 5.0, "seen"),
    "everywhere": ([GOOD] * 4, [PICKED] * 4, 1.0, None, "seen"),
    "nowhere": ([BAD] * 4, [CHANCE] * 4, None, 100.0, "unseen"),
    "near, not picked": ([GOOD] * 4, [CHANCE, CHANCE, CHANCE, PICKED], 100.0, 20.0, "seen"),
    "picked, not near": ([BAD] * 4, [PICKED] * 4, None, 100.0, "unseen"),
    "the interval counts": ([GOOD, GOOD, BARELY, GOOD], [PICKED] * 4, 100.0, 20.0, "seen"),
    "no interval above": ([(0.5, 0.4, np.inf)] * 4, [PICKED] * 4, None, 100.0, "unseen"),
}


@pytest.mark.parametrize("case", VERDICTS)
def test_the_verdict_goes_down_to_the_first_mu_that_fails(case):
    relative, top1, from_mu, unseen_mu, level = VERDICTS[case]
    concluded = reported(made_up(relative=relative, top1=top1)).document["verdict"]
    assert (concluded["from_mu"], concluded["unseen_mu"], concluded["level"]) == (from_mu, unseen_mu, level)
    assert concluded["label"] == LABELS[level]
    headline = concluded["headline"]
    if from_mu is None:
        assert headline.startswith("Up to a release of mu = 100 (epsilon = 5,000 at delta = 1e-5), ")
        return
    assert headline.startswith(
        f"From a release of mu = {from_mu:g} (epsilon = {short(from_mu**2 / 2)} at delta = 1e-5)"
    )
    assert headline.endswith("tried." if unseen_mu is None else f"; at mu = {unseen_mu:g} that is not seen.")


def test_sentences_tell_the_numbers_with_intervals():
    text = " ".join(reported().document["verdict"]["sentences"])
    assert (
        "At mu = 5 their squared error is 0.2 [0.18, 0.24] of that between unrelated images, and 90\N{NO-BREAK SPACE}"
        in text
    )
    assert "% [60, 100] of them are nearer to their own target than to any of the 7 others (by chance 12.5" in text
    assert "(SSIM) is half way from unrelated images to the target at mu = 8 [below the grid, above the grid]." in text
    assert "the release as it is has" in " ".join(reported(made_up(public=False)).document["verdict"]["sentences"])


def test_targets_that_trained_the_prior_are_told_loudly():
    report = reported(known=3)
    concluded, text = report.document["verdict"], Page(render_reconstruction(report.document)).text
    assert (concluded["level"], concluded["label"]) == ("memory", LABELS["memory"])
    assert concluded["sentences"][0].startswith("3 of the 8 targets are images that the prior was trained on.")
    assert text.index(LABELS["memory"]) < text.index(concluded["sentences"][0]) < text.index("What each privacy level")
    assert '<p class="alarm">' in render_reconstruction(report.document)
    for known, says in ((0, "none of them is; near copies"), (None, "nobody could check that here")):
        document = reported(known=known).document
        assert any(says in limit for limit in document["limits"])
        assert '<p class="alarm">' not in render_reconstruction(document)


def test_the_interval_of_a_mean_is_students():
    x = np.random.default_rng(2).normal(size=200)
    resamples = np.random.default_rng(0).multinomial(200, np.full(200, 1 / 200), NUM_RESAMPLES).astype(float)
    estimate = mean_of(x, resamples)
    se = x.std(ddof=1) / np.sqrt(len(x))
    assert estimate["value"] == pytest.approx(x.mean(), rel=1e-12)
    # Standard error of a quantile p of m normal draws: sqrt(p (1 - p)/m)/density.
    error = np.sqrt(0.025 * 0.975 / NUM_RESAMPLES) / stats.norm.pdf(stats.norm.ppf(0.025)) * se
    half = stats.t.ppf(0.975, 199) * se
    assert abs(estimate["low"] - (x.mean() - half)) < 4 * error
    assert abs(estimate["high"] - (x.mean() + half)) < 4 * error
    assert mean_of(np.array([1.0, np.inf]), np.ones((100, 2))) is None


def test_rows_hold_means_bounds_and_the_prior_by_itself():
    sweep = made_up()
    for k, row in enumerate(reported(sweep).document["rows"]):
        assert (row["mu"], row["epsilon"], row["sigma"]) == (MUS[k], MUS[k] ** 2 / 2, pytest.approx(6 / MUS[k]))
        for method, metrics in sweep.scores.items():
            for metric, values in metrics.items():
                got = row["scores"][method][metric]
                assert got["value"] == pytest.approx(values[k].mean())
                assert got["low"] < got["value"] < got["high"]
        half = stats.norm.isf(0.025) * 0.1 / MUS[k]
        assert row["prior_curve"]["high"] - row["prior_curve"]["value"] == pytest.approx(half)
        assert row["rero"] == {"0.01": sweep.bounds.rero[1e-2][k], "1e-06": sweep.bounds.rero[1e-6][k]}
        np.testing.assert_allclose(row["agreement"]["told"], sweep.agreement_error[k] / 2, rtol=1e-3)
        np.testing.assert_allclose(row["agreement"]["true"], sweep.scores["posterior mean"]["mse"][k], rtol=1e-3)


def test_nothing_infinite_gets_into_json(tmp_path):
    sweep = made_up(relative=[(np.inf, np.inf, np.inf), *[(0.5, 0.4, np.inf)] * 3])
    sweep.scores["diffusion"]["psnr"][0, 2] = np.inf
    report = reported(sweep)
    report.save(tmp_path)
    text = (tmp_path / "reconstruction.json").read_text()
    assert not re.search(r"\b(NaN|-?Infinity)\b", text)
    document = json.loads(text)
    assert document["rows"][0]["relative"]["diffusion"] is None
    assert document["rows"][1]["relative"]["diffusion"] == {"value": 0.5, "low": 0.4, "high": None}
    assert document["rows"][0]["scores"]["diffusion"]["psnr"] is None
    assert document["transition"]["wiener"]["mse"]["mu"] == {"value": 8.0, "low": 0.0, "high": None}
    assert document["transition"]["wiener"]["psnr"]["reason"].startswith("the metric is not half way")
    assert ReconstructionReport.load(tmp_path).document == report.document == document


@pytest.mark.parametrize(
    "settings",
    [{}, {"sweep": made_up(public=False)}, {"sweep": made_up(lpips=True), "upsampled": (64, 64), "show_targets": True}],
)
def test_the_page_holds_everything_and_loads_nothing(settings):
    document = reported(**settings, title=HOSTILE, provenance={"targets": {"source": HOSTILE}}).document
    html = render_reconstruction(document)
    page = Page(html)
    assert not set(page.tags) & {"script", "link", "iframe", "object", "embed", "base", "form", "image"}
    assert all(value.startswith("data:image/png;base64,") for value in page.values("src"))
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in page.values("content")
    assert len(page.values("id")) == len(set(page.values("id")))
    assert page.text.count(HOSTILE) >= 3
    places = [page.text.index(part) for part in (document["verdict"]["headline"], *document["verdict"]["sentences"])]
    assert places == sorted(places)
    assert places[-1] < page.text.index("What each privacy level shows")
    assert all(limit in page.text for limit in document["limits"])
    figures = [*document["unrelated"], "retrieval", "bounds", "agreement"]
    assert html.count("<title id=") == len(figures)
    assert ("enlarged to 64 x 64 pixels" in page.text) == ("upsampled" in settings)
    assert ("the prior by itself, on public images" in page.text) == (document["rows"][0]["prior_curve"] is not None)


def test_targets_are_shown_only_where_asked_and_public_images_in_their_place():
    rng = np.random.default_rng(9)
    sweep, public = made_up(), shown(rng.uniform(-1, 1, (len(MUS), 2, *SHAPE)).astype(np.float32))
    for settings, of, pictures in (
        ({}, None, None),
        ({"public_shown": public}, "public", public),
        ({"show_targets": True}, "targets", sweep.shown),
    ):
        document = reported(sweep, **settings).document
        text = Page(render_reconstruction(document)).text
        if pictures is None:
            assert document["pictures"] is None
            assert "there are no images from elsewhere to show in their place" in text
            continue
        assert document["pictures"]["of"] == of
        assert ("The targets are not shown, because they are personal data." in text) == (of == "public")
        assert ("These are targets. They are personal data." in text) == (of == "targets")
        for i, image in enumerate(document["pictures"]["images"]):
            np.testing.assert_allclose(decoded(image["target"]) / 127.5 - 1, pictures.targets[i, ..., 0], atol=1 / 255)
            for k, cell in enumerate(image["rows"]):
                np.testing.assert_allclose(
                    decoded(cell["diffusion"]) / 127.5 - 1, -pictures.release[k, i, ..., 0], atol=1 / 255
                )
                assert len(cell["samples"]) == 2
                assert decoded(cell["spread"]) == pytest.approx(255 * (1 - pictures.spread[k, i]), abs=0.5)


def test_colours_are_kept():
    images = np.random.default_rng(1).uniform(-1, 1, (len(MUS), 2, 6, 6, 3)).astype(np.float32)
    document = reported(public_shown=shown(images)).document
    assert decoded(document["pictures"]["images"][0]["target"]).shape == (6, 6, 3)


def test_epsilon_stands_above_each_mu_that_is_named():
    mus = tuple(np.geomspace(1, 100, 20))
    rows = reported(made_up(mus=mus)).document["rows"]
    _, axes = against_mu(rows, "y")
    bottom, top = axes, axes.figure.axes[1]
    assert bottom.get_xlim() == top.get_xlim()
    np.testing.assert_array_equal(bottom.get_xticks(), top.get_xticks())
    assert len(bottom.get_xticks()) <= MOST_TICKS
    named = {row["mu"]: row["epsilon"] for row in rows}
    for tick, low, high in zip(bottom.get_xticks(), bottom.get_xticklabels(), top.get_xticklabels(), strict=True):
        assert float(low.get_text()) == pytest.approx(tick, rel=0.06)
        assert float(high.get_text().replace("k", "e3")) == pytest.approx(named[tick], rel=0.06)


def test_scores_of_every_target_are_kept():
    sweep, hashes = made_up(), [f"{i:064x}" for i in range(N)]
    with np.load(io.BytesIO(scores_npz(sweep, hashes))) as arrays:
        kept = dict(arrays)
    np.testing.assert_array_equal(kept["total variation/ssim"], sweep.scores["total variation"]["ssim"])
    np.testing.assert_array_equal(kept["unrelated/mse"], sweep.unrelated["mse"])
    np.testing.assert_array_equal(kept["agreement/error"], sweep.agreement_error)
    assert kept["hashes"].tolist() == hashes
    assert len(kept) == 4 + 2 + len(METHODS) * 4 + 3 + 4


CHANGES = {
    "another schema": ({"schema": "diffaudit.membership"}, "has schema 'diffaudit.membership', not 'diffaudit.recon"),
    "newer": ({"schema_version": 2}, "has schema version 2 and this library reads 1 to 1: update diffaudit_jax."),
    "a part is lacking": ({"rows": [{}]}, "lacks rows[0].mu, rows[0].epsilon"),
    "a word for a number": ({"among": "many"}, "has 'many' at among, not a whole number from 1: reconstruct again."),
}


@pytest.mark.parametrize("case", CHANGES)
def test_what_is_no_such_report_is_not_read(tmp_path, case):
    change, says = CHANGES[case]
    reported().save(tmp_path)
    path = tmp_path / "reconstruction.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=re.escape(says)):
        ReconstructionReport.load(tmp_path)


def test_numbers_are_short():
    assert [short(value) for value in (1.0, 33.11, 5426.0, 1e-5, 5e6)] == ["1", "33.1", "5,430", "1e-5", "5e6"]
    assert bounded(None) == "\N{EN DASH}"
    assert bounded({"value": 0.5, "low": 0.1, "high": None}) == "0.5 [0.1, above the grid]"


NEAR = Near(
    0.05,
    Estimate(0.02, 0.0, 0.125),
    np.array([0.2, 0.5, 0.9, 0.99999]),
    {name: (Estimate(0.25, 0.1, 0.5),) * 4 for name in METHODS},
)


def test_what_is_promised_stands_beside_what_was_reached():
    document = reported(made_up(near=NEAR, training=Training(0.01, 1000))).document
    assert document["training"] == {"sampling_prob": 0.01, "num_steps": 1000}
    assert document["near"] == {"eta": 0.05, "kappa": {"value": 0.02, "low": 0.0, "high": 0.125}}
    row = document["rows"][1]
    assert row["picked"]["training"] == {"value": 0.7, "low": 0.6, "high": 0.8}
    assert row["near"]["within"]["posterior mean"] == {"value": 0.25, "low": 0.1, "high": 0.5}
    text = Page(render_reconstruction(document)).text
    assert "Near is a mean squared error of 0.05 or less." in text
    assert "with probability 0.01, 1,000 steps long" in text
    # A bound is rounded up.
    assert "100\N{NO-BREAK SPACE}%" in text
    plain = Page(render_reconstruction(reported().document)).text
    assert "Near is" not in plain
    assert "whole training" not in plain


def test_noise_that_is_believed_wrongly_is_told():
    told = [
        " ".join(
            reported(made_up(believed=ratio), attacker={**ATTACKER, "noise": noise, "clip": clip}).document["limits"]
        )
        for ratio, noise, clip in (
            (1.5, "wavelet", "known"),
            (1.1, "wavelet", "known"),
            (1.5, "known", "known"),
            (1.5, "wavelet", "typical"),
        )
    ]
    assert "at mu = 1 the attacker believes 1.5 times the noise there is" in told[0]
    assert [("structure of the image" in text) for text in told] == [True, False, False, False]
