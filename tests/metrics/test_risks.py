"""Rates and risks against published values, attacks against loops, and tables that show all or nothing."""

import csv
import io
import itertools
import math
import re

import numpy as np
import pytest
from scipy.integrate import quad

from diffaudit_jax.metrics import singling
from diffaudit_jax.metrics.risks import Risk, inference, linkability, risk_of, risk_rows
from diffaudit_jax.metrics.singling import singling_out
from diffaudit_jax.types import InputError

from .tabled import drawn, table
from .test_copies import ranges_of, records, slow_distance

# Successes of main, baseline and control attack out of 500 -> risk and its limits, as anonymeter 1.1.0 prints them.
PUBLISHED = {
    (500, 27, 35): (0.9958863907953441, 0.9917715673131337, 1.0),
    (202, 1, 8): (0.3927755780398228, 0.3484794643039466, 0.43707169177569904),
    (102, 29, 123): (0.0, 0.0, 0.01522297656178509),
    (406, 132, 387): (0.16533135577443805, 0.0, 0.36632613675514414),
}


@pytest.mark.parametrize("counts", PUBLISHED)
def test_risks_are_the_published_ones(counts):
    found = risk_of("inference", "sex", 500, *counts)
    np.testing.assert_allclose(found.risk, PUBLISHED[counts], rtol=1e-12)
    z, (k, n) = 1.959963984540054, (counts[0], 500)
    assert found.main_rate.value == pytest.approx((k + z * z / 2) / (n + z * z), rel=1e-12)
    alone = risk_of("inference", "sex", 500, counts[0], counts[1], None)
    assert (alone.risk, alone.control_rate) == (alone.main_rate, None)


def test_rows_can_be_written_and_read():
    risks = [risk_of("linkability", "a, b | c", 9, 5, 1, 2.5), risk_of("inference", "a", 9, 5, 1, None)]
    rows, file = risk_rows(risks), io.StringIO()
    writer = csv.DictWriter(file, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    first, second = csv.DictReader(io.StringIO(file.getvalue()))
    assert (first["of"], float(first["control"]), float(first["risk_high"])) == ("a, b | c", 2.5, risks[0].risk.high)
    assert (second["control"], second["control_rate_low"]) == ("", "")
    assert set(first) >= set(Risk._fields)


def nearest_of(target, made, ranges, names, k=1):
    """The k nearest records by Gower's distance on some columns; positions."""
    parts = [{name: each[name] for name in names} for each in made]
    far = [slow_distance({name: target[name] for name in names}, each, ranges, 1) for each in parts]
    return set(np.argsort(far, kind="stable")[:k].tolist())


@pytest.mark.parametrize("k", [1, 3])
def test_linking_is_that_of_loops(k):
    members, synthetic, holdout = drawn(30, 0), drawn(25, 1), drawn(30, 2)
    halves = (("x", "colour"), ("y", "group"))
    found = linkability(members, synthetic, halves, holdout, k=k, guesses=99)
    made = records(synthetic)
    for targets, expected in ((members, found.main), (holdout, found.control)):
        ranges = ranges_of(targets, synthetic)
        sets = [[nearest_of(each, made, ranges, half, k) for half in halves] for each in records(targets)]
        assert expected == sum(bool(a & b) for a, b in sets)
    assert found.guesses == 30


def test_random_links_are_as_many_as_chance_has():
    made = drawn(40, 0)
    found = linkability(drawn(2000, 1), made, (["x"], ["y"]), k=3, guesses=2000)
    chance = 1 - math.comb(37, 3) / math.comb(40, 3)
    assert abs(found.baseline / 2000 - chance) < 4 * math.sqrt(chance * (1 - chance) / 2000)


@pytest.mark.parametrize("secret", ["group", "y"])
def test_inference_is_that_of_loops(secret):
    members, synthetic, holdout = drawn(30, 0, 0.3), drawn(25, 1, 0.3), drawn(35, 2, 0.3)
    found = inference(members.take(np.arange(30)), synthetic, secret, holdout.take(np.arange(30)), guesses=30)
    by, made = [name for name in members.columns if name != secret], records(synthetic)
    for targets, expected in ((members, found.main), (holdout.take(np.arange(30)), found.control)):
        right, ranges = 0, ranges_of(targets, synthetic)
        for target in records(targets):
            (at,) = nearest_of(target, made, ranges, by)
            guess, truth = made[at][secret], target[secret]
            if isinstance(guess, str):
                right += guess == truth
            else:
                right += (math.isnan(guess) and math.isnan(truth)) or abs(guess - truth) <= 0.05 * abs(guess)
        assert expected == right
    assert inference(members, synthetic, secret, by=["x"]).control is None


def test_a_table_of_the_members_is_all_risk_and_a_fresh_one_none():
    members, fresh, holdout = (drawn(400, seed, missing=0) for seed in range(3))
    for synthetic, shows in ((members, True), (fresh, False)):
        risks = [
            singling_out(members, synthetic, holdout, predicates="univariate"),
            singling_out(members, synthetic, holdout, guesses=100),
            inference(members, synthetic, "y", holdout),
            linkability(members, synthetic, (["x"], ["y"]), holdout),
        ]
        assert [risk.risk.low > 0.9 for risk in risks] == [shows] * 4
        assert [risk.risk.low > 0 for risk in risks] == [shows] * 4
        assert [risk.main == risk.guesses for risk in risks] == [shows] * 4


def test_the_risk_of_fresh_records_is_seldom_above_nothing():
    num, above = 200, 0
    for seed in range(num):
        tables = [drawn(60, 3 * seed + i, missing=0) for i in range(3)]
        above += inference(tables[0], tables[1], "group", tables[2], guesses=60, seed=seed).risk.low > 0
    assert above / num <= 0.025 + 4 * math.sqrt(0.025 * 0.975 / num)


def test_guesses_single_out_a_synthetic_record_and_are_counted_by_loops():
    members, synthetic = drawn(50, 0, 0.3), drawn(45, 1, 0.3)
    real, made = singling._records([members, synthetic])
    for source in (singling._univariate, lambda *given: singling._multivariate(*given, 2)):
        guesses = singling._single(source(np.random.default_rng(0), made), made, 20)
        assert len(set(guesses)) == len(guesses) == 20
        assert (made.counts(guesses) == 1).all()
        assert {len(guess) for guess in guesses} <= {1, 2}
        slow = [sum(all(holds(row[t.column], t) for t in guess) for row in real.values.tolist()) for guess in guesses]
        assert real.counts(guesses).tolist() == slow


def holds(value, term):
    if term.operator == "missing":
        return math.isnan(value)
    return {"==": value == term.value, "<=": value <= term.value, ">=": value >= term.value}[term.operator]


def test_random_guesses_are_of_every_kind():
    (made,) = singling._records([drawn(45, 1, 0.3)])
    guesses = singling._random(np.random.default_rng(0), made, 1, 2000)
    assert {guess[0].operator for guess in guesses} == set(singling.OPERATORS)
    counts = made.counts(guesses)
    for (term,), count in zip(guesses, counts.tolist(), strict=True):
        column = made.values[:, term.column]
        there = np.count_nonzero(~np.isnan(column))
        slow = {
            "!=": there - np.count_nonzero(column == term.value),
            "<": there - np.count_nonzero(column >= term.value),
            ">": there - np.count_nonzero(column <= term.value),
            "there": there,
        }
        assert count == slow.get(term.operator, count)


def test_equal_records_count_once():
    doubled = table(a=[1.0, 1.0, np.nan, np.nan, 2.0], b=["u", "u", "v", "v", "w"])
    (found,) = singling._records([doubled])
    np.testing.assert_array_equal(found.values, [[1, 0], [np.nan, 1], [2, 2]])


def test_fewer_members_are_in_proportion_by_enumeration():
    counts, n, members = np.array([0, 1, 2, 4, 7]), 7, 3
    subsets = list(itertools.combinations(range(n), members))
    expected = sum(np.mean([sum(i < c for i in subset) == 1 for subset in subsets]) for c in counts)
    assert singling._proportional(counts, n, members) == pytest.approx(expected, rel=1e-12)
    assert singling._proportional(counts, n, n) == 1


def test_more_members_are_in_proportion_by_the_curve():
    value = quad(lambda u: 50 * u * (1 - u) ** 49, 0, 0.03)[0]
    assert singling._successes(50, 0.03, 2.0) == pytest.approx(2 * value, rel=1e-9)
    # Guesses whose chances u are spread over (0, w), at 100 held-out records and at 400 members.
    rng, w = np.random.default_rng(0), 0.02
    counts = rng.binomial(100, rng.uniform(0, w, 20_000))
    expected = 20_000 / w * quad(lambda u: 400 * u * (1 - u) ** 399, 0, w)[0]
    assert singling._proportional(counts, 100, 400) == pytest.approx(expected, rel=0.1)
    assert singling._proportional(np.zeros(9), 100, 400) == 0
    assert singling._proportional(np.array([], int), 100, 400) == 0


MADE = drawn(9, 0)
REFUSED = {
    "no guess": (lambda: singling_out(MADE, MADE, guesses=0), "guesses is 0 and num_columns 3: give 1 or more"),
    "no target": (lambda: inference(MADE, MADE, "x", guesses=0), "guesses is 0: give 1 or more."),
    "predicates": (lambda: singling_out(MADE, MADE, predicates="bi"), "unknown predicates 'bi'"),
    "secret": (lambda: inference(MADE, MADE, "grop"), "unknown column 'grop': did you mean 'group'?"),
    "alone": (lambda: inference(MADE, MADE, "x", by=["x"]), "'x' is to be guessed from no other column"),
    "half": (lambda: linkability(MADE, MADE, (["x"], [])), "columns is (['x'], []): give two sets"),
    "both": (lambda: linkability(MADE, MADE, (["x"], ["x"])), "columns is (['x'], ['x']): give two sets"),
    "neighbours": (lambda: linkability(MADE, MADE, (["x"], ["y"]), k=10), "k is 10 of 9 synthetic records"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_mistakes_are_told(case):
    call, says = REFUSED[case]
    with pytest.raises(InputError, match=re.escape(says)):
        call()
