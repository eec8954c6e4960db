"""The planner: never over its time by its own estimates, more with more time, in a documented order."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffaudit_jax.cli.planner import Cost, Plan, estimate, limits, planned, tossed
from diffaudit_jax.types import InputError

TIMES = (10, 20, 50)


def cost(once, per_time, fixed=0.0, needs=(), shadowed=True):
    return Cost(once, {times: fixed + per_time * times for times in TIMES}, dict(needs), shadowed)


seconds = st.floats(0, 100, allow_nan=False)
costs_of = st.lists(st.builds(cost, seconds, st.floats(1e-4, 0.1), st.floats(0, 1)), min_size=1, max_size=5).map(
    lambda found: {f"pass-{i}": one for i, one in enumerate(found)}
)
allowed_of = st.builds(
    limits, st.integers(10, 3000), st.integers(10, 3000), st.just(10), st.just(TIMES), st.integers(0, 40)
)


def by_steps(plan, allowed):
    """What each step got, in the order of the steps."""
    return (
        min(plan.queries, allowed.enough),
        min(plan.shadows, 8),
        len(plan.passes),
        plan.times,
        plan.shadows,
        plan.queries,
    )


@given(costs_of, allowed_of, st.floats(0, 5000), st.floats(1, 3))
def test_a_plan_fits_and_more_time_gives_more(costs, allowed, budget, more):
    try:
        plan = planned(costs, budget, allowed)
    except InputError:
        assert estimate(costs, ["pass-0"], 10, allowed.fewest) > budget
        return
    assert plan.seconds == estimate(costs, plan.passes, plan.times, plan.queries, plan.shadows)
    assert plan.seconds <= budget
    assert planned(costs, budget, allowed) == plan
    assert plan.passes == tuple(costs)[: len(plan.passes)]
    assert allowed.fewest <= plan.queries <= allowed.queries
    assert plan.shadows in {0, *range(8, allowed.shadows + 1)}
    longer = planned(costs, budget * more, allowed)
    assert by_steps(longer, allowed) >= by_steps(plan, allowed)


def test_the_time_is_added_up_as_said():
    """Two passes share a bank, drawn once; shadows are asked what is not black-box, and compile it once more."""
    bank = {"bank": 30.0}
    costs = {
        "a": cost(2.0, 0.01),
        "b": cost(1.0, 0.0, 0.5, bank, shadowed=False),
        "c": cost(1.0, 0, 0, bank, shadowed=False),
    }
    assert estimate(costs, ["a"], 20, 100) == pytest.approx(2 + 100 * 0.2)
    assert estimate(costs, ["a", "b", "c"], 20, 100, 8) == pytest.approx(2 * 2 + 9 * 100 * 0.2 + 1 + 50 + 1 + 30)


STEPS = [  # of a at 10 times and 200 queries one model takes 30 s; at 50 times 110 s
    (21, Plan(("a",), 10, 110, 0, 21)),  # as many queries as fit, below enough
    (30, Plan(("a",), 10, 200, 0, 30)),  # a verdict, and nothing more
    (199, Plan(("a",), 10, 200, 0, 30)),  # eight shadows do not fit, and nothing is put in their place
    (200, Plan(("a",), 10, 200, 8, 200)),
    (424, Plan(("a", "b"), 10, 200, 8, 245)),
    (425, Plan(("a", "b"), 20, 200, 8, 425)),
    (965, Plan(("a", "b"), 50, 200, 8, 965)),
    (1064, Plan(("a", "b"), 50, 200, 8, 965)),
    (1065, Plan(("a", "b"), 50, 200, 9, 1065)),  # c, which takes weeks, keeps nothing after it back
    (1800, Plan(("a", "b"), 50, 311, 10, 1797.7)),  # 2 x 10 + 11 q/2 + 5 + q/5
]


@pytest.mark.parametrize(("budget", "plan"), STEPS)
def test_steps_are_taken_in_their_order(budget, plan):
    """Of pass a, 10 s and 0.01 s a time and query; b asks the target alone, 5 s and 0.2 s a query."""
    costs = {"a": cost(10, 0.01), "b": cost(5, 0, 0.2, shadowed=False), "c": cost(1e6, 0)}
    got = planned(costs, budget, limits(500, 500, 10, TIMES, 10))
    assert got[:4] == plan[:4]
    assert got.seconds == pytest.approx(plan.seconds)


@pytest.mark.parametrize(
    ("sides", "fewest", "enough"), [((500, 500), 20, 200), ((64, 1000), 167, 1064), ((1000, 250), 50, 500)]
)
def test_the_smaller_side_decides_how_many_are_enough(sides, fewest, enough):
    found = limits(*sides, 10, TIMES)
    assert (found.fewest, found.enough, found.queries) == (fewest, enough, sum(sides))
    # As the audit draws them: in proportion, rounded.
    for queries, each in ((fewest, 10), (enough, min(100, *sides))):
        assert min(round(queries / sum(sides) * side) for side in sides) >= each


@pytest.mark.parametrize(("each", "coin"), [(1, 0.5), (10, 0.5), (10, 0.1), (100, 0.5)])
def test_coins_leave_enough_on_either_side_but_for_a_thousandth(each, coin):
    def short(num):
        tails = (sum(math.comb(num, k) * p**k * (1 - p) ** (num - k) for k in range(each)) for p in (coin, 1 - coin))
        return sum(tails)

    num = tossed(each, coin)
    assert short(num) <= 1e-3 < short(num - 1)


@pytest.mark.parametrize(("total", "fewest", "enough"), [(500, 40, 251), (60, 40, 60), (30, 30, 30)])
def test_how_coins_fell_decides_no_number_of_queries(total, fewest, enough):
    found = {limits(side, total - side, 10, TIMES, coin=0.5) for side in (11, total // 2, total - 11)}
    assert found == {(fewest, enough, total, TIMES, 0)}


def test_too_little_time_is_refused_with_what_the_least_audit_takes():
    with pytest.raises(InputError, match=r"the least audit takes about 0\.2 minutes"):
        planned({"a": cost(10, 0.01)}, 11, limits(500, 500, 10, TIMES))
    assert np.isclose(planned({"a": cost(10, 0.01)}, 12, limits(500, 500, 10, TIMES)).seconds, 12)
