"""Verdicts on people: naive versions, the false-discovery rate in simulation, and what is refused."""

import re

import numpy as np
import pytest

from diffaudit_jax.metrics import benjamini_hochberg, people_verdicts
from diffaudit_jax.types import InputError

REPEATS = 150


def naive_bh(p_values):
    """The least q at which the procedure, as it was written, rejects each."""
    k, order = len(p_values), sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted = [1.0] * k
    for i, which in enumerate(order):
        adjusted[which] = min(1.0, *(p_values[order[j]] * k / (j + 1) for j in range(i, k)))
    return adjusted


def test_benjamini_hochberg_by_hand_and_naively():
    np.testing.assert_allclose(benjamini_hochberg([0.01, 0.04, 0.03, 0.5]), [0.04, 0.16 / 3, 0.16 / 3, 0.5])
    for seed in range(20):
        p = np.round(np.random.default_rng(seed).random(seed + 1) ** 3, 2)  # rounded: ties too
        np.testing.assert_allclose(benjamini_hochberg(p), naive_bh(p.tolist()), rtol=1e-14)
    with pytest.raises(InputError, match=r"p-value 1 is 1\.5"):
        benjamini_hochberg([0.5, 1.5])


def asked(rng, people, records, shift):
    """What a model did with people's records: a person's have a part in common; of those it knows errors are lower."""
    x = np.repeat(rng.normal(size=(people, 6)), records, axis=0) + rng.normal(size=(people * records, 6))
    return x - np.repeat(shift, records)[:, None], np.repeat(np.arange(people), records)


@pytest.mark.parametrize("agree", [False, True])
@pytest.mark.parametrize("trained", [0, 10])
def test_the_share_of_false_verdicts_is_held(trained, agree):
    """Of 24 suspects some trained the model. Mean share of false flags: .2 at most, within four standard errors."""
    shares, found, p_values = [], [], []
    for seed in range(REPEATS):
        rng = np.random.default_rng(seed)
        known = np.arange(24) < trained
        x, whose = asked(rng, 24, 2, 3.0 * known)
        y, others = asked(rng, 60, 2, np.zeros(60))
        attacks = -np.concatenate([x, y])[:, 0] if agree else None
        verdicts = people_verdicts(x, y, whose, others + 100, attacks=attacks, fdr=0.2, seed=seed)
        false = verdicts.flagged & ~known
        shares.append(false.sum() / max(1, verdicts.flagged.sum()))
        found.append(verdicts.flagged[known].mean() if trained else 0.0)
        p_values.append(verdicts.p_values[-1])
    bound = 0.2 * (24 - trained) / 24
    assert 0 < np.mean(shares) <= bound + 4 * np.std(shares) / np.sqrt(REPEATS)
    assert np.mean(found) >= (0.7 if trained else 0.0)
    for alpha in (0.1, 0.5):
        assert np.mean(np.array(p_values) <= alpha) <= alpha + 4 * np.sqrt(alpha * (1 - alpha) / REPEATS)


def test_whom_attacks_say_the_model_knows_less_is_not_flagged():
    rng = np.random.default_rng(0)
    shift = np.where(np.arange(40) < 20, 3.0, -3.0)
    x, whose = asked(rng, 40, 2, shift)
    y, others = asked(rng, 80, 2, np.zeros(80))
    attacks = -np.concatenate([x, y]).sum(axis=1)
    spread = np.concatenate([x, y]) ** 2  # a classifier of squares sees both ways
    alone, agreed = (
        people_verdicts(spread[:80], spread[80:], whose, others + 100, attacks=given) for given in (None, attacks)
    )
    assert alone.flagged[shift < 0].mean() > 0.5
    assert not agreed.flagged[shift < 0].any()
    assert (agreed.p_values[shift < 0] == 1).all()
    assert agreed.flagged[shift > 0].mean() > 0.5
    # Who is ruled out among those ranked among lets others be flagged more easily, never less.
    assert (agreed.p_values[shift > 0] <= alone.p_values[shift > 0]).all()


def test_ranks_are_counted_and_people_are_named_in_their_order():
    rng = np.random.default_rng(0)
    x, whose = asked(rng, 8, 3, np.where(np.arange(8) < 4, 6.0, 0.0))
    y, others = asked(rng, 41, 1, np.zeros(41))
    names = np.array([f"p{9 - i}" for i in range(8)])
    order = rng.permutation(24)
    verdicts = people_verdicts(x[order], y, names[whose[order]], np.array([f"o{i}" for i in others]), fdr=0.2)
    assert verdicts.names.tolist() == list(dict.fromkeys(names[whose[order]].tolist()))
    assert verdicts.records.tolist() == [3] * 8
    assert verdicts.ranked == 41 - 41 // 2
    grid = verdicts.p_values * (1 + verdicts.ranked)
    np.testing.assert_allclose(grid, np.rint(grid), atol=1e-12)
    best = np.argsort(-verdicts.scores, kind="stable")
    assert (np.diff(verdicts.p_values[best]) >= 0).all()
    assert set(verdicts.names[verdicts.flagged]) == {"p9", "p8", "p7", "p6"}
    np.testing.assert_array_equal(verdicts.adjusted, naive_bh(verdicts.p_values.tolist()))


def test_mistakes_are_told():
    x, y = np.zeros((10, 2)), np.zeros((30, 2))
    for arguments, settings, says in (
        ((x, y, np.arange(10), np.arange(30)), {}, "group 0 has members and non-members"),
        ((x, y, np.arange(10), 50 + np.arange(30) // 2), {}, "unpublished has 15 people, too few to rank"),
        ((x, y, np.arange(10), 50 + np.arange(30)), {"fdr": 1.0}, "the false-discovery rate is 1.0: it lies between"),
        ((x, y, np.arange(10), 50 + np.arange(30)), {"attacks": np.zeros(39)}, "attacks has shape (39,): give one"),
        ((x, y[:, :1], np.arange(10), 50 + np.arange(30)), {}, "suspect has 2 features and unpublished 1"),
    ):
        with pytest.raises(InputError, match=re.escape(says)):
            people_verdicts(*arguments, **settings)
