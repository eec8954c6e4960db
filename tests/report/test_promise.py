"""The promise of private training beside what attacks found: a bound that every test keeps, and sentences."""

import re
from dataclasses import asdict, replace

import numpy as np
import pytest
from scipy.stats import norm

from diffaudit_jax.report import membership_report
from diffaudit_jax.report.numbers import at_most
from diffaudit_jax.report.page import render
from diffaudit_jax.report.promise import most_found, promise
from diffaudit_jax.training import Ledger, guarantee

LEDGER = Ledger(noise_multiplier=2.0, l2_clip_norm=1.0, batch_size=100, num_examples=100, num_steps=4, delta=1e-3)
MEMBER = np.arange(400) < 200


def document(ledger=LEDGER, gap=0.0, coin=None):
    scores = np.random.default_rng(0).normal(size=400) + gap * MEMBER
    return membership_report(scores, MEMBER, coin=coin, provenance={"guarantee": asdict(guarantee(ledger))}).document


def most_at_one_percent(told):
    assert told is not None
    shown = next(s for s in told.sentences if s.startswith("Where 1\N{NO-BREAK SPACE}%"))
    return float(re.search(r"more than ([\d.]+)", shown)[1]) / 100, shown


@pytest.mark.parametrize("mu", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("epsilon", [0.1, 1.0, 5.0])
def test_the_best_test_of_a_gaussian_mechanism_keeps_the_bound_and_meets_it(mu, epsilon):
    """Of N(0, 1) against N(mu, 1) power and delta are known, and one rate is on the bound."""
    delta = norm.cdf(mu / 2 - epsilon / mu) - np.exp(epsilon) * norm.cdf(-mu / 2 - epsilon / mu)
    fprs = np.linspace(1e-6, 1 - 1e-6, 20_001)
    power = norm.cdf(norm.ppf(fprs) + mu)
    slack = np.array([most_found(epsilon, delta, fpr) for fpr in fprs]) - power
    assert slack.min() > -1e-9
    assert slack.min() < 1e-4


def test_one_in_place_of_another_finds_more_than_one_more():
    """Of two records with opposite gradients, which is the member? At noise 2 a shift of 1; of one more, 0.5."""
    once, twice = (norm.cdf(norm.ppf(0.01) + shift) for shift in (0.5, 1.0))
    epsilon, delta = 1.0, norm.cdf(0.25 - 2) - np.e * norm.cdf(-0.25 - 2)
    allowed = most_found(epsilon, delta, 0.01)
    assert once < allowed < twice < most_found(epsilon, delta, allowed)
    ledger = Ledger(**{**asdict(LEDGER), "num_steps": 1, "delta": float(delta)})
    most, said = most_at_one_percent(promise(document(ledger)))
    assert most >= twice
    assert said.endswith("of members, on average over trainings with as many of them.")


def test_with_coins_one_record_more_is_all_that_changes():
    """Who is out left its place to nobody, so that a power of G(f) is allowed, not of G(G(f))."""
    ledger = replace(LEDGER, num_steps=1, noise_multiplier=4.0)
    epsilon = guarantee(ledger).epsilon
    assert epsilon is not None
    most, said = most_at_one_percent(promise(document(ledger, coin=0.5)))
    once = most_found(epsilon, LEDGER.delta, 0.01)
    assert once <= most <= once + 1.001e-4  # rounded up to the fourth digit
    assert most < most_at_one_percent(promise(document(ledger)))[0]
    assert said.endswith("of members, on average over coins and trainings.")


def test_bounds_are_rounded_up():
    assert [at_most(value) for value in (8.0449, 8.0, 54.934, 18.459, 0.0123401, 1234.5)] == [
        "8.05",
        "8",
        "55",
        "18.5",
        "0.0124",
        "1240",
    ]


def test_a_promise_of_nothing_allows_everything():
    assert most_found(1e6, 1e-5, 0.01) == 1
    assert most_found(0.0, 0.0, 0.01) == 0.01


def test_the_page_says_what_is_promised_and_on_what_it_rests():
    told = promise(document())
    assert told is not None
    epsilon = guarantee(LEDGER).epsilon
    assert epsilon is not None
    assert told.sentences[0].startswith(
        f"The model was trained with differential privacy: epsilon = {at_most(epsilon)} at "
    )
    assert (
        "4 steps of 100 out of 100 records on average, noise multiplier 2, gradients clipped to 1" in told.sentences[0]
    )
    assert not any("found more than that" in sentence for sentence in told.sentences)
    page = render(document())
    assert page.count("What its training promises") == 1
    assert "with it the noise can be subtracted" in page


def test_an_attack_beyond_the_promise_is_told():
    told = promise(document(replace(LEDGER, noise_multiplier=8.0), gap=6.0))
    assert told is not None
    assert any("found more than that, beyond its interval" in sentence for sentence in told.sentences)


def test_a_broken_promise_has_no_epsilon():
    broken = Ledger(**{**asdict(LEDGER), "noise_reused": True})
    told = promise(document(broken))
    assert told is not None
    assert "no epsilon holds for it" in told.sentences[0]
    assert "two batches got the same noise" in told.sentences[1]
    assert told.assumptions == []


def test_without_a_promise_there_is_no_word_of_one():
    plain = membership_report(np.random.default_rng(0).normal(size=400), MEMBER).document
    assert promise(plain) is None
    assert "What its training promises" not in render(plain)
