"""The benchmark of denoising for utility: who sees which images, what counts as error, and the page that it writes."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import utility as benchmark
from benchmarks import utility_arms as arms
from benchmarks import utility_parts as parts
from benchmarks import utility_priors as priors
from benchmarks import utility_table as tables
from benchmarks.utility_arms import ARMS, LAYER, Errors, Plan, cases
from benchmarks.utility_bench import Bench
from benchmarks.utility_priors import Effort, rows
from diffaudit_jax import process, training
from diffaudit_jax.models.precondition import DATA_STD
from diffaudit_jax.training.state import Data
from diffaudit_jax.types import InputError, Network
from tests.oracles import EPS32, gaussian, images

TINY = replace(
    benchmark.TIERS["cpu"],
    public=12,
    test=10,
    private=30,
    parts=3,
    hidden=3,
    epsilons=(8.0,),
    delta=1e-3,
    seeds=2,
    rehearsals=1,
    plans=(Plan(1, 1e-2), Plan(1, 1e-3)),
    public_plans=(Plan(1, 1e-2),),
    prior=Effort(8, training.Recipe(1, 4), 2, 3, 4, Plan(2, 1e-2)),
    hindsight=(8.0,),
    hindsight_seeds=2,
)
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("sets") / "grey.npz"
    np.savez(path, x=images(60, shape=(8, 8, 1)), labels=np.arange(60) % 3)
    return str(path)


@pytest.fixture(scope="module")
def bench(source):
    return Bench(TINY, source, 0, 0)


def test_public_private_and_test_images_are_others_at_every_seed(bench):
    public = {row.tobytes() for row in np.asarray(bench.public.x)}
    both = [bench.sides(seed) for seed in (0, 1)]
    for side in both:
        private, test = ({row.tobytes() for row in np.asarray(part.x)} for part in side)
        assert (len(public), len(private), len(test)) == (12, 30, 10)
        assert not public & private
        assert not public & test
        assert not private & test
    assert not np.array_equal(both[0].test.x, both[1].test.x)
    np.testing.assert_allclose(bench.public.x.mean(0), 0, atol=12 * EPS32)


def test_rehearsals_play_with_public_images_alone_each_in_one_part(bench):
    public = [row.tobytes() for row in np.asarray(bench.public.x)]
    tests = []
    for k in range(3):
        thirds = [[row.tobytes() for row in np.asarray(part.x)] for part in parts._parts(bench, k)]
        assert sorted(row for third in thirds for row in third) == sorted(public)
        tests += thirds[2]
    assert sorted(tests) == sorted(public)
    few = Data(jnp.arange(4), None)
    assert np.bincount(parts._repeated(few, 30).x).tolist() == [8, 8, 7, 7]


def test_errors_are_those_of_the_gradients_and_of_their_sum():
    """Of a denoiser that answers 0 they are 1, and of one that does nothing those of the noise, p s^2 a step."""
    case = cases(6, 3, 2)[0]
    data = Data(jax.random.normal(KEY, (30, 6)), jnp.arange(30) % 3)
    train = arms.private_training(case.loss, 0.5, 1e-3, 10, Plan(3, 1e-2))
    start = case.init(KEY)
    none, zero = (
        train(KEY, start, data, lambda params, grads, stddev, c=c: jax.tree.map(lambda leaf: c * leaf, grads))
        for c in (1.0, 0.0)
    )
    # Noise is drawn again and taken away: a rounding of each number, beside noise of its own size.
    np.testing.assert_allclose(none[1].denoised, none[1].noisy, rtol=64 * EPS32)
    np.testing.assert_allclose(none[1].denoised_sum, none[1].noisy_sum, rtol=64 * EPS32)
    np.testing.assert_allclose([zero[1].denoised, zero[1].denoised_sum], 1, rtol=64 * EPS32)
    for leaf, other in zip(jax.tree.leaves(zero[0]), jax.tree.leaves(start), strict=True):
        np.testing.assert_array_equal(leaf, other)
    assert none[1].noisy != none[1].noisy_sum


@pytest.mark.parametrize("centred", [False, True])
def test_rows_of_a_prior_are_as_large_as_halves_and_batches_make_them(centred):
    """Labels that have nothing to do with the images: the mean gradient is 0, and each number has one variance V.

    Halves of m differ by 2 V/m in their means, a batch from its half by V (1 - 1/m)/B, and the other half's mean from 0
    by V/m; the frame's square is V (1/B + 1/m), and V/m more where it is not centred.
    """
    m, batch_size, cuts = 100, 10, 12
    public = Data(jax.random.normal(KEY, (2 * m, 64)), jax.random.randint(KEY, 2 * m, 0, 3))
    effort = TINY.prior._replace(trajectories=cuts, visits=1, batches=4)
    x = rows(KEY, cases(64, 3, 2)[0], public, batch_size, 1000, effort, centred=centred)
    assert x.shape == (cuts * 4 * 3, 64)
    size = (1 - 1 / m) / batch_size + (2 if centred else 1) / m
    want = DATA_STD**2 * size / (1 / batch_size + (1 if centred else 2) / m)
    by_cut = np.asarray((x.reshape(cuts, -1) ** 2).mean(1))
    # What is left out is of the order of 1/m: a variance is divided by one that is estimated.
    assert abs(by_cut.mean() - want) < 4 * by_cut.std(ddof=1) / cuts**0.5 + 2 * want / m


def test_networks_have_first_layers_of_rows_and_losses_of_one_image():
    x, label = jnp.linspace(-1, 1, 6), jnp.int32(2)
    for case, units in zip(cases(6, 3, 4), (3, 4), strict=True):
        params = case.init(KEY)
        assert params[LAYER].shape == (units, 6)
        assert case.logits(params, x).shape == (3,)
        logits = np.float64(case.logits(params, x))
        want = np.log(np.exp(logits).sum()) - logits[2]
        np.testing.assert_allclose(case.loss(params, KEY, x, label), want, rtol=8 * EPS32)
        assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(jax.grad(case.loss)(params, KEY, x, label)))


def run(tmp_path, source, **changed):
    options = {"data": (source,), "out": tmp_path / "out", "work": tmp_path / "work", **changed}
    benchmark.main(benchmark.Options(**options))


def test_every_part_is_measured_once_and_said(tmp_path, source, monkeypatch, capsys):
    monkeypatch.setitem(benchmark.TIERS, "cpu", TINY)
    monkeypatch.setattr(benchmark, "keep_programs", lambda work: None)  # of all tests
    exact = replace(gaussian(process.edm(), 0.0, 0.25, (8, 8, 1)), config={"clip": False})
    monkeypatch.setattr(benchmark, "NUM_CASES", 1)
    monkeypatch.setattr(parts, "trained_prior", lambda key, **settings: exact)
    run(tmp_path, source)
    path = tmp_path / "out" / "utility-cpu.json"
    found = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert list(found["parts"]) == ["grey, softmax regression"]
    for part in found["parts"].values():
        (row,) = part["epsilons"].values()
        assert list(row["arms"]) == list(ARMS)
        assert all(len(arm["accuracy"]) == len(arm["errors"]["noisy"]) == 2 for arm in row["arms"].values())
        assert len(part["alone"]) == 2
        every = part["hindsight"]["8"]["arms"]
        assert list(every) == list(ARMS)
        for arm, scores in every.items():
            assert np.shape(scores) == (2, 2)
            chosen = [plan._asdict() for plan in TINY.plans].index(row["arms"][arm]["plan"])
            assert scores[chosen] == row["arms"][arm]["accuracy"]
    text = (tmp_path / "out" / "utility-cpu.md").read_text()
    assert text.count("\n## ") == 1
    blocks = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert len(blocks) == 7
    for block in blocks:
        assert len({line.count("|") for line in block}) == 1
    assert "Not measured" in (tmp_path / "out" / "utility-gpu.md").read_text()
    monkeypatch.setattr(benchmark, "prepared", None)  # nothing is left to be measured
    capsys.readouterr()
    run(tmp_path, source)
    assert "hold every part" in capsys.readouterr().out
    with pytest.raises(InputError, match="was measured otherwise"):
        run(tmp_path, source, seed=1)


def part_of(scores):
    """One part in which every arm has these accuracies, but for what is told apart."""
    errors = {kind: [2.0, 4.0] for kind in Errors._fields}
    arm = {"plan": {"steps": 3, "rate": 0.01}, "accuracy": scores["others"], "errors": errors}
    rows = {name: {**arm, "accuracy": scores.get(name, scores["others"])} for name in ARMS}
    hardware = {"device": "cpu", "cpu": "abacus", "cores": 2, "jax": "0", "commit": "none"}
    sizes = dict.fromkeys(("private", "test", "public", "weights", "batch"), 7)
    epsilons = {"2": {"arms": rows, "seconds": 1.0, "hardware": hardware}}
    return {**sizes, "public_plan": arm["plan"], "alone": scores["others"], "epsilons": epsilons, "hindsight": {}}


def test_gains_are_paired_by_seed():
    part = part_of({"others": [0.5, 0.7], "Wiener": [0.52, 0.73], "James-Stein": [0.4, 0.6]})
    setting = {"tier": json.loads(json.dumps(benchmark.asdict(TINY)))}
    text = tables.document("cpu", {"setting": setting, "parts": {"one": part}})
    # Gains of 2 and 3 points: 2.5 +- 12.706 sd/sqrt(2), sd = 0.707.
    assert "| Wiener | +2.5 [-3.9, +8.9] |" in text
    assert "| James-Stein | -10.0 [-10.0, -10.0] |" in text
    assert "Of 6 intervals of denoised arms, 0 lie above 0 and 1 below" in text
    assert "| Wiener | 3 -> 3 |" in text


def test_in_hindsight_every_arm_is_taken_at_its_best():
    part = part_of({"others": [0.5, 0.7]})
    scores = {arm: [[0.5, 0.7], [0.4, 0.6]] for arm in ARMS} | {"Wiener": [[0.1, 0.1], [0.52, 0.73]]}
    hardware = part["epsilons"]["2"]["hardware"]
    part["hindsight"] = {"2": {"arms": scores, "hardware": hardware}}
    setting = {"tier": json.loads(json.dumps(benchmark.asdict(TINY)))}
    text = tables.document("cpu", {"setting": setting, "parts": {"one": part}})
    assert "| Wiener | 0.625 (1 at 0.001), +2.5 [-3.9, +8.9] |" in text
    assert "| DP-SGD | 0.600 (1 at 0.01), +0.0 [+0.0, +0.0] |" in text


def test_a_set_without_labels_or_too_small_is_refused(tmp_path):
    path = tmp_path / "plain.npz"
    np.savez(path, x=images(60, shape=(8, 8, 1)))
    with pytest.raises(InputError, match="give a larger set, with labels"):
        Bench(TINY, str(path), 0, 0).pool  # noqa: B018
    with pytest.raises(InputError, match="fashion-mnist-2k has 2000 images"):
        Bench(replace(TINY, public=600), "fashion-mnist-2k", 0, 0).pool  # noqa: B018


def test_a_trained_prior_is_of_rows_and_does_not_clip(bench, monkeypatch):
    shape, seen = (8, 8, 1), []
    exact = gaussian(process.from_config(priors.SCHEDULE), 0.0, DATA_STD**2, shape)
    network = Network(lambda key: exact.params, exact.network.apply)

    def step(state, data):
        seen.append(data.x.shape)
        return state, None

    monkeypatch.setattr(priors, "_learner", lambda *_: (network, step))
    known = (bench.batch_size, bench.num_examples)
    prior = priors.trained_prior(KEY, bench.network, bench.public, shape, *known, TINY.prior, centred=True)
    assert seen == [(2 * 3 * 4 * 3, *shape)]
    denoise = arms.denoisers(bench.network, bench.public, {arms.CENTRED: prior}, *known)[arms.CENTRED]
    start = bench.network.init(KEY)
    assert np.isfinite(denoise(start, start, jnp.float32(0.1))[LAYER]).all()
