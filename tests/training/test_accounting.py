"""Epsilons against closed forms, a slow accountant of two-sided bounds, and what others published."""

import itertools
import math
import re
from dataclasses import asdict, replace

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import norm

from diffaudit_jax.training.accounting import epsilon, guarantee, noise_multiplier
from diffaudit_jax.training.ledger import Ledger
from diffaudit_jax.types import InputError

RUN = Ledger(noise_multiplier=1.0, l2_clip_norm=1.0, batch_size=10, num_examples=1000, num_steps=100, delta=1e-5)
FULL = replace(RUN, batch_size=1000)


def longest(sigma):
    """The longest interval on which losses are rounded, for noise sigma (half the noise where one takes a place)."""
    return 5e-4 * max(1, 1 / sigma + sigma**-2)


def gaussian_delta(eps, mu):
    """Delta of mu-GDP, as methods of Gaussian DP print it."""
    return norm.cdf(-eps / mu + mu / 2) - math.exp(eps) * norm.cdf(-eps / mu - mu / 2)


def subsampled_delta(eps, sigma, q):
    """Delta of one Poisson-subsampled Gaussian: the hockey-stick integral up to where the losses cross eps."""
    crossing = lambda loss: sigma**2 * math.log((math.exp(loss) - 1 + q) / q) + 0.5  # noqa: E731
    mixed = lambda cdf, x: (1 - q) * cdf(x, 0, sigma) + q * cdf(x, 1, sigma)  # noqa: E731
    x = crossing(eps)
    removed = mixed(norm.sf, x) - math.exp(eps) * norm.sf(x, 0, sigma)
    if math.exp(-eps) <= 1 - q:  # adding one never makes an outcome less likely than by 1 - q
        return removed
    x = crossing(-eps)
    return max(removed, norm.cdf(x, 0, sigma) - math.exp(eps) * mixed(norm.cdf, x))


def mixture(centres, sigma):
    """The cumulative distribution of N(c, sigma^2) for c of probability centres[c]."""
    return lambda x: sum(prob * norm.cdf(x, c, sigma) for c, prob in centres.items())


def composed_delta(eps, upper, lower, sigma, num_steps, *, pessimistic=False):
    """Delta of `num_steps` equal steps in one direction, from below (or above).

    From below: outcomes are told apart by cells only, which is post-processing, and losses are rounded down. From
    above: where losses rise (or fall) throughout, a cell has the larger loss of its two ends, rounded up.
    """
    x, grid = np.linspace(-12 * sigma - 2, 12 * sigma + 2, 6001), 5e-3 * max(1, sigma**-2)
    p, q = np.diff(mixture(upper, sigma)(x)), np.diff(mixture(lower, sigma)(x))
    if pessimistic:
        density = lambda centres: sum(prob * norm.pdf(x, c, sigma) for c, prob in centres.items())  # noqa: E731
        loss = np.log(density(upper)) - np.log(density(lower))
        index = np.ceil(np.maximum(loss[1:], loss[:-1]) / grid).astype(int)
    else:
        kept = (p > 1e-30) & (q > 1e-30)
        p, index = p[kept], np.floor(np.log(p[kept] / q[kept]) / grid).astype(int)
    pmf = np.zeros(np.ptp(index) + 1)
    np.add.at(pmf, index - index.min(), p)
    total = pmf
    for _ in range(num_steps - 1):
        total = np.convolve(total, pmf)
    losses = (np.arange(len(total)) + num_steps * index.min()) * grid
    lost = num_steps * (1 - pmf.sum()) if pessimistic else 0.0  # outcomes beyond the cells count in full
    return (total * np.maximum(0, -np.expm1(np.minimum(0, eps - losses)))).sum() + lost


@pytest.mark.parametrize(
    ("mu", "published"), [(0.5, "1.99"), (1, "4.38"), (2, "10"), (5, "33.1"), (10, "91.8"), (20, "284")]
)
@pytest.mark.parametrize("num_steps", [1, 9])
def test_full_participation_is_gaussian_dp(mu, published, num_steps):
    ledger = replace(FULL, noise_multiplier=math.sqrt(num_steps) / mu, num_steps=num_steps)
    told = guarantee(ledger)
    assert f"{told.epsilon:.3g}" == published
    assert told.mu == pytest.approx(mu, rel=1e-15)
    assert told.accountant.startswith("Gaussian DP, dp-accounting ")
    np.testing.assert_allclose(gaussian_delta(told.epsilon, mu), ledger.delta, rtol=1e-9)


@pytest.mark.parametrize(("sigma", "q"), [(0.4, 0.5), (0.7, 0.01), (1.0, 0.01), (1.0, 0.9), (4.0, 0.2)])
@pytest.mark.parametrize("delta", [1e-4, 1e-7])
def test_one_step_has_the_delta_of_its_integral(sigma, q, delta):
    ledger = replace(RUN, noise_multiplier=sigma, batch_size=1000 * q, num_steps=1, delta=delta)
    got = epsilon(ledger)
    # Rounding every loss up to the grid adds at most one interval.
    interval = longest(sigma)
    assert subsampled_delta(got, sigma, q) <= delta <= subsampled_delta(max(0, got - interval), sigma, q)


@pytest.mark.parametrize(("sigma", "q", "num_steps"), [(1.0, 0.01, 16), (0.6, 0.1, 4), (2.0, 0.5, 4), (0.3, 0.05, 2)])
def test_composed_steps_lie_between_two_bounds(sigma, q, num_steps):
    ledger = replace(RUN, noise_multiplier=sigma, batch_size=1000 * q, num_steps=num_steps)
    got, pair = epsilon(ledger), ({0: 1 - q, 1: q}, {0: 1})
    for pessimistic, holds in ((False, np.less_equal), (True, np.greater_equal)):
        both = [composed_delta(got, *p, sigma, num_steps, pessimistic=pessimistic) for p in (pair, pair[::-1])]
        assert holds(max(both), ledger.delta)


@pytest.mark.parametrize("num_steps", [1, 50])
def test_pld_meets_the_closed_form_near_full_participation(num_steps):
    missing = 1e-9
    ledger = replace(FULL, batch_size=1000 * (1 - missing), noise_multiplier=2.0, num_steps=num_steps)
    got, exact = epsilon(ledger), epsilon(replace(ledger, batch_size=1000))
    assert guarantee(ledger).mu is None
    # Between the two lie the steps without the example, and an interval per step.
    slack = (1 + math.exp(got)) * num_steps * missing
    assert gaussian_delta(got, math.sqrt(num_steps) / 2) <= ledger.delta + slack
    assert got <= exact + num_steps * longest(2.0)


# noise multiplier, q, steps, delta, epsilon as printed; by whom
PUBLISHED = [
    (3.0, 0.1, 512, 1e-6, "3.77"),  # documentation of jax-privacy's dpsgd_event
    (9.66, 0.1, 512, 1e-6, "1.00"),  # there, as the noise of epsilon 1
]


@pytest.mark.parametrize(("sigma", "q", "num_steps", "delta", "printed"), PUBLISHED)
def test_epsilons_are_those_published(sigma, q, num_steps, delta, printed):
    ledger = replace(RUN, noise_multiplier=sigma, batch_size=1000 * q, num_steps=num_steps, delta=delta)
    assert f"{epsilon(ledger):.2f}" == printed


def test_the_moments_accountant_of_the_first_paper_is_not_undercut_by_much_nor_exceeded():
    """Abadi et al. 2016: q = 0.01, noise 4, 10,000 steps, delta 1e-5 give 1.26."""
    told = guarantee(replace(RUN, noise_multiplier=4.0, num_steps=10_000))
    assert told.epsilon is not None
    assert told.epsilon_rdp is not None
    assert told.epsilon < told.epsilon_rdp < 1.26


@pytest.mark.parametrize(("sigma", "q", "num_steps"), [(4.0, 0.01, 10_000), (2.5, 0.1, 100), (2.5, 1.0, 3)])
def test_rdp_is_the_least_over_whole_orders(sigma, q, num_steps):
    """Mironov et al. 2019 for the moments, Canonne et al. 2020 from them to epsilon."""
    least = math.inf
    for a in range(2, 64):
        terms = (
            math.comb(a, k) * (1 - q) ** (a - k) * q**k * math.exp(k * (k - 1) / (2 * sigma**2)) for k in range(a + 1)
        )
        rdp = num_steps * math.log(math.fsum(terms)) / (a - 1)
        least = min(least, rdp + math.log1p(-1 / a) - math.log(RUN.delta * a) / (a - 1))
    told = guarantee(replace(RUN, noise_multiplier=sigma, batch_size=1000 * q, num_steps=num_steps))
    # The logarithm of a sum near 1 keeps an absolute rounding, which every step repeats.
    np.testing.assert_allclose(told.epsilon_rdp, least, rtol=1e-13, atol=num_steps * 8 * np.finfo(float).eps)


@pytest.mark.parametrize("sigma", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("batch_size", [5, 50, 1000])
@pytest.mark.parametrize("num_steps", [1, 300])
def test_rdp_is_looser(sigma, batch_size, num_steps):
    told = guarantee(replace(RUN, noise_multiplier=sigma, batch_size=batch_size, num_steps=num_steps))
    assert 0 < told.epsilon <= told.epsilon_rdp


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("noise_multiplier", [4.0, 2.0, 1.0, 0.9, 0.5, 0.3]),
        ("batch_size", [5, 50, 999, 1000]),
        ("num_steps", [1, 10, 100, 1000]),
        ("delta", [1e-4, 1e-7, 1e-9]),
        ("max_batch_size", [None, 20, 10]),
    ],
)
def test_less_noise_and_more_of_the_rest_cost_more(name, values):
    spent = [epsilon(replace(RUN, **{name: value})) for value in values]
    assert spent == sorted(spent)
    assert len(set(spent)) >= len(spent) - (name == "max_batch_size")


@pytest.mark.parametrize("change", [{"num_noises": 8}, {"l2_clip_norm": 0.1}, {"clipping": "per_layer"}], ids=str)
def test_multiplicity_and_clipping_cost_nothing(change):
    assert epsilon(replace(RUN, **change)) == epsilon(RUN)


def drawn(gradients, q, most):
    """Probabilities of the sum of a truncated Poisson batch: every subset, and every way to cut it."""
    sums = {}
    for chosen in itertools.product([False, True], repeat=len(gradients)):
        batch = [g for g, is_in in zip(gradients, chosen, strict=True) if is_in]
        prob = q ** len(batch) * (1 - q) ** (len(gradients) - len(batch))
        cuts = list(itertools.combinations(batch, min(most, len(batch))))
        for cut in cuts:
            sums[sum(cut)] = sums.get(sum(cut), 0) + prob / len(cuts)
    return sums


def worst_delta(eps, n, q, most, sigma, num_steps):
    """The largest delta, from below, over all gradients of 1 and -1 with and without one example."""
    worst = 0.0
    for others in itertools.product([-1, 1], repeat=n - 1):
        pair = drawn([*others, 1], q, most), drawn(others, q, most)
        worst = max(worst, *(composed_delta(eps, *p, sigma, num_steps) for p in (pair, pair[::-1])))
    return worst


@pytest.mark.parametrize(("n", "q", "most"), [(3, 0.3, 1), (4, 0.5, 2), (4, 0.4, 3)])
@pytest.mark.parametrize("num_steps", [1, 4])
def test_cut_batches_stay_within_epsilon(n, q, most, num_steps):
    sigma = 0.8
    ledger = replace(RUN, noise_multiplier=sigma, batch_size=n * q, num_examples=n, num_steps=num_steps)
    told, uncut = guarantee(replace(ledger, max_batch_size=most)), epsilon(ledger)
    # Without the cost, the same but for rounding: another grid, as losses reach further.
    np.testing.assert_allclose(told.epsilon - told.truncation_epsilon, uncut, atol=num_steps * longest(sigma / 2))
    assert worst_delta(told.epsilon, n, q, most, sigma, num_steps) <= ledger.delta
    if most == 1:  # whoever leaves the cutting out claims too much
        assert worst_delta(uncut, n, q, most, sigma, num_steps) > ledger.delta


def cut_delta(eps, sigma, q, n, most):
    """Delta of one step as the mixture that the module describes, of an example that joins and one that takes a place.

    The second is bounded by the pair of an example replaced: (1 - p) N(0, s^2) + p N(+-1, s^2) at half the noise, s,
    where an example is drawn and kept with probability p if the others fill the batch.
    """
    full = [math.comb(n - 1, a) * q**a * (1 - q) ** (n - 1 - a) for a in range(most, n)]
    p = q * sum(prob * most / (a + 1) for a, prob in enumerate(full, most)) / sum(full)
    s = sigma / 2
    log_ratio = lambda x: math.log(1 - p + p * math.exp((2 * x - 1) / (2 * s**2)))  # noqa: E731
    x = brentq(lambda x: log_ratio(x) - log_ratio(-x) - eps, 0, 20 * s**2 + 20)
    above = lambda centre: (1 - p) * norm.sf(x, 0, s) + p * norm.sf(x, centre, s)  # noqa: E731
    replaced = above(1) - math.exp(eps) * above(-1)
    return sum(full) * replaced + (1 - sum(full)) * subsampled_delta(eps, sigma, q)


@pytest.mark.parametrize(
    ("sigma", "n", "batch_size", "most"), [(1.0, 50, 10, 14), (1.0, 50, 10, 20), (2.0, 9, 2, 4), (0.7, 30, 3, 9)]
)
def test_a_cut_step_has_the_delta_of_its_mixture(sigma, n, batch_size, most):
    settings = {"batch_size": batch_size, "num_examples": n, "max_batch_size": most, "num_steps": 1}
    got = epsilon(replace(RUN, noise_multiplier=sigma, **settings))
    delta = lambda eps: cut_delta(eps, sigma, batch_size / n, n, most)  # noqa: E731
    assert delta(got) <= RUN.delta <= delta(got - longest(sigma / 2))


def test_a_batch_that_can_hold_all_is_never_cut():
    told = guarantee(replace(RUN, max_batch_size=1000))
    assert told.truncation_epsilon == 0
    assert told.epsilon == epsilon(RUN)
    assert not [sentence for sentence in told.assumptions if "cut" in sentence]


def test_the_rate_of_cutting_is_told():
    ledger = replace(RUN, batch_size=3, num_examples=6, max_batch_size=4, num_steps=1)
    assert f"probability {7 / 64:.2g} a step" in guarantee(ledger).assumptions[-1]  # 5 or 6 of 6 fair coins


@pytest.mark.parametrize(
    ("target", "change"),
    [
        (20.0, {"num_steps": 10, "batch_size": 100}),
        (0.5, {"num_steps": 400, "batch_size": 20}),
        (20.0, {"batch_size": 300, "max_batch_size": 330, "num_steps": 20}),
        (1.0, {"batch_size": 1000, "num_steps": 5000}),
    ],
    ids=str,
)
def test_the_noise_solved_for_is_the_least_that_reaches_the_target(target, change):
    fields = {**asdict(RUN), **change}
    del fields["noise_multiplier"]
    sigma = noise_multiplier(target, **fields)
    at = lambda sigma: epsilon(Ledger(noise_multiplier=sigma, **fields))  # noqa: E731
    digit = 10.0 ** (math.floor(math.log10(sigma)) - 3)
    assert sigma == float(f"{sigma:.4g}")
    assert at(sigma) <= target < at(sigma - digit)


@pytest.mark.parametrize(("target", "says"), [(1e-3, "ask for (.*) or more"), (1e9, "ask for at most (.*)[.]")])
def test_targets_out_of_reach_say_which_are_not(target, says):
    fields = {"batch_size": 1000, "num_examples": 1000, "num_steps": 10**6, "l2_clip_norm": 1.0}
    with pytest.raises(InputError, match=f"target_epsilon {target}") as error:
        noise_multiplier(target, 1e-5, **fields)
    reached = float(re.search(says, str(error.value))[1])
    sigma = noise_multiplier(reached, 1e-5, **fields)
    assert epsilon(replace(FULL, noise_multiplier=sigma, num_steps=10**6)) <= reached


@pytest.mark.parametrize("target", [0.0, -1.0, math.nan, math.inf])
def test_a_target_is_a_positive_number(target):
    with pytest.raises(InputError, match=f"target_epsilon must be positive and finite, got {target}"):
        noise_multiplier(target, 1e-5, batch_size=10, num_examples=1000, num_steps=1, l2_clip_norm=1.0)


BROKEN = [
    ({"noise_multiplier": 0.0}, "noise_multiplier of 0.0 is next to no noise: train with 0.03125 or more"),
    ({"sampling": "shuffled"}, "batches were shuffled, .* are Poisson"),
    ({"sampling": "fixed"}, "batches were fixed, .* are Poisson"),
    ({"noise_reused": True}, "two batches got the same noise"),
    ({"preprocessing": "private"}, "preprocessing was fitted on members"),
]


@pytest.mark.parametrize(("change", "says"), BROKEN)
def test_a_run_that_broke_an_assumption_has_no_epsilon(change, says):
    told = guarantee(replace(RUN, **change))
    assert (told.epsilon, told.truncation_epsilon, told.epsilon_rdp, told.mu) == (None,) * 4
    assert len(told.refusals) == 1
    assert re.search(says, told.refusals[0])
    with pytest.raises(InputError, match=says):
        epsilon(replace(RUN, **change))


def test_all_that_was_broken_is_told():
    changes = {name: value for change, _ in BROKEN for name, value in change.items()}
    assert len(guarantee(replace(RUN, **changes)).refusals) == 4  # two of the five are about sampling


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"tuned_on_members": True}, "Hyper-parameters were chosen by looking at members"),
        ({"preprocessing": "declared"}, "Preprocessing was fitted on members"),
        ({"preprocessing": "tossed"}, "Preprocessing was fitted on all who had a coin, in or out alike"),
        ({"num_noises": 4}, "The mean gradient of 4 draws is clipped as one"),
    ],
)
def test_what_epsilon_leaves_out_is_noted_not_refused(change, says):
    told, plain = guarantee(replace(RUN, **change)), guarantee(RUN)
    assert plain.notes == ()
    assert [says in note for note in told.notes] == [True]
    assert told.epsilon == plain.epsilon


def test_a_batch_of_all_needs_no_sampling():
    told = guarantee(replace(FULL, sampling="shuffled"))
    assert told.refusals == ()
    assert told.epsilon == epsilon(FULL)


def test_a_guarantee_says_between_whom_by_whom_and_on_what_it_rests():
    told = guarantee(replace(RUN, clipping="per_layer"))
    assert told.neighbouring == "add or remove one example"
    assert re.fullmatch(r"PLD, dp-accounting \d+\.\d+.*", told.accountant)
    for words in ("probability 0.01", "layer by layer", "l2 norm of 1.0", "one row", "Only weights", "key", "floating"):
        assert sum(words in sentence for sentence in told.assumptions) == 1


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("delta", 1e-3, r"below 1/1000 \(examples\), got 0.001"),
        ("delta", 0.0, "at least 1e-09 .* got 0.0"),
        ("delta", math.nan, "got nan"),
        ("l2_clip_norm", 0.0, "l2_clip_norm must be positive and finite, got 0.0"),
        ("l2_clip_norm", -1.0, "got -1.0"),
        ("l2_clip_norm", math.inf, "got inf"),
        ("noise_multiplier", -0.1, "noise_multiplier must be 0 or more and finite, got -0.1"),
        ("noise_multiplier", math.nan, "got nan"),
        ("num_steps", 0, "num_steps must be at least 1, got 0"),
        ("num_noises", 0, "num_noises must be at least 1, got 0"),
        ("num_examples", 0, "num_examples must be at least 1, got 0"),
        ("batch_size", 1001, r"no larger than the data \(1000 examples\), got 1001"),
        ("batch_size", 0, "batch_size must be positive .* got 0"),
        ("batch_size", math.nan, "got nan"),
        ("max_batch_size", 9, r"max_batch_size must be at least batch_size \(10\), got 9"),
        ("sampling", "poison", "unknown sampling 'poison': did you mean 'poisson'"),
        ("clipping", "none", "unknown clipping 'none'"),
        ("preprocessing", "secret", "unknown preprocessing 'secret'"),
    ],
)
def test_bad_input_names_the_value_and_the_mend(name, value, says):
    with pytest.raises(InputError, match=says):
        replace(RUN, **{name: value})
