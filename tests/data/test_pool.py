"""A pool keeps what belongs together together, and its hashes are of content."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffaudit_jax.data import Pool, concatenate, from_arrays, renumbered
from diffaudit_jax.types import InputError

N = 12
X = np.random.default_rng(0).integers(0, 256, (N, 4, 4, 3), dtype=np.uint8)
POOL = from_arrays(
    X, labels=np.arange(N) % 3, groups=np.arange(N) // 2, attributes={"rgb": X[:, 0, 0], "hat": np.arange(N) % 2 == 0}
)
INDICES = st.lists(st.integers(0, N - 1), max_size=20).map(lambda i: np.array(i, np.int64))


@given(i=INDICES, data=st.data())
@settings(max_examples=25, deadline=None)
def test_take_is_indexing_and_composes(i, data):
    part = POOL.take(i)
    np.testing.assert_array_equal(part.x, X[i])
    np.testing.assert_array_equal(part.rows, i)
    np.testing.assert_array_equal(part.labels, i % 3)
    np.testing.assert_array_equal(part.groups, i // 2)
    np.testing.assert_array_equal(part.attributes["rgb"], X[i, 0, 0])
    np.testing.assert_array_equal(part.hashes(), POOL.hashes()[i])
    if len(i):
        j = np.array(data.draw(st.lists(st.integers(0, len(i) - 1))), np.int64)
        np.testing.assert_array_equal(part.take(j).rows, POOL.take(i[j]).rows)


def test_a_mask_takes_too():
    np.testing.assert_array_equal(POOL.take(POOL.labels == 1).rows, [1, 4, 7, 10])


def test_shape_and_classes():
    assert (len(POOL), POOL.shape, POOL.num_classes) == (N, (4, 4, 3), 3)
    assert replace(POOL, labels=None).num_classes is None


@given(i=st.integers(0, N - 1), at=st.integers(0, 47), bit=st.integers(0, 7))
@settings(max_examples=25, deadline=None)
def test_one_bit_changes_one_hash(i, at, bit):
    x = X.copy()
    x[i].reshape(-1)[at] ^= 1 << bit
    changed = replace(POOL, x=x).hashes() != POOL.hashes()
    np.testing.assert_array_equal(changed, np.arange(N) == i)


def test_equal_bytes_of_another_shape_differ():
    flat, tall = (replace(POOL, x=X.reshape(N, *shape)) for shape in ((2, 8, 3), (8, 2, 3)))
    assert flat.hashes()[0] != tall.hashes()[0]


def test_large_images_that_print_alike_differ():
    # NumPy's repr elides the middle of a large array; a hash of it would call these equal.
    x = np.zeros((2, 64, 64, 3), np.uint8)
    x[1, 32, 32] = 1
    assert repr(x[0]) == repr(x[1])
    assert len(set(from_arrays(x).hashes())) == 2


FINGERPRINTED = {
    "order": POOL.take(np.arange(N)[::-1]),
    "length": POOL.take(np.arange(N - 1)),
    "labels": replace(POOL, labels=POOL.labels + 1),
    "no labels": replace(POOL, labels=None),
    "groups": replace(POOL, groups=None),
    "labels as groups": replace(POOL, labels=POOL.groups, groups=POOL.labels),
}


@pytest.mark.parametrize("other", FINGERPRINTED.values(), ids=FINGERPRINTED)
def test_fingerprint_sees(other):
    assert other.fingerprint() != POOL.fingerprint()


def test_fingerprint_passes_over_names_and_rows():
    assert replace(POOL, name="other", rows=POOL.rows + 5).fingerprint() == POOL.fingerprint()


def test_fingerprint_of_noncontiguous_images():
    wide = np.repeat(X, 2, axis=2)
    assert replace(POOL, x=wide[:, :, ::2]).fingerprint() == POOL.fingerprint()


@given(cut=st.integers(1, N - 1))
@settings(max_examples=10, deadline=None)
def test_concatenate_undoes_a_cut(cut):
    whole = concatenate(POOL.take(np.arange(cut)), POOL.take(np.arange(cut, N)))
    assert whole.fingerprint() == POOL.fingerprint()
    np.testing.assert_array_equal(whole.rows, POOL.rows)
    np.testing.assert_array_equal(whole.attributes["hat"], POOL.attributes["hat"])
    np.testing.assert_array_equal(renumbered(concatenate(POOL, POOL)).rows, np.arange(2 * N))


def test_concatenate_keeps_what_all_have():
    bare = replace(POOL, groups=None, attributes={"hat": POOL.attributes["hat"]}, name="bare")
    both = concatenate(POOL, bare)
    assert both.groups is None
    assert set(both.attributes) == {"hat"}
    assert both.name == "arrays+bare"


def test_concatenate_takes_the_longer_list_of_classes():
    more = replace(POOL, label_names=("0", "1", "2", "3"))
    assert concatenate(POOL, more).num_classes == concatenate(more, POOL).num_classes == 4


UNLIKE = {
    "shape": (replace(POOL, x=X[:, :2]), r"arrays has images of \(4, 4, 3\) but b of \(2, 4, 3\): resize"),
    "labels": (replace(POOL, labels=None), "arrays has labels but b has none"),
    "classes": (replace(POOL, label_names=("0", "2", "1")), r"\('0', '1', '2'\) but b has \('0', '2', '1'\)"),
}


@pytest.mark.parametrize(("other", "message"), UNLIKE.values(), ids=UNLIKE)
def test_unlike_pools_are_not_joined(other, message):
    with pytest.raises(InputError, match=message):
        concatenate(POOL, replace(other, name="b"))


@pytest.mark.parametrize("x", [X.astype(np.float32), X[0]])
def test_a_pool_holds_bytes(x):
    with pytest.raises(
        InputError, match=r"a pool holds images, uint8 \[n, H, W, C\], or encoded records, float32 \[n, d\], got"
    ):
        Pool(x=x, rows=np.arange(len(x)), name="x")
