"""Encoders: scikit-learn's quantile transform, values that come back, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.preprocessing import QuantileTransformer

from diffaudit_jax.data import Table, load
from diffaudit_jax.data.encoding import Encoder, Layout, fit_encoder
from diffaudit_jax.data.table import read_csv
from diffaudit_jax.types import InputError

HERE = Path(__file__).resolve()
SHARED = next((p for parent in HERE.parents if (p := parent / "shared" / "data" / "tabular").is_dir()), HERE)
RNG = np.random.default_rng(0)


def table(**columns):
    held = {key: np.array(column) for key, column in columns.items()}
    return Table(held, np.arange(len(next(iter(held.values())))), "t")


def members(n=60):
    """Every kind of column, the label in the middle; rows and groups that are not 0, 1, ..."""
    i = np.arange(n)
    columns = {
        "age": np.where(i % 7 == 0, np.nan, 20.0 + i),
        "job": np.array(["Clerk", "?", 'Nun "é", 日本'])[i % 3],
        "same": np.full(n, "x"),
        "income": np.array(["low", "high"])[i % 2],
        "price": 0.25 * i**2,
        "seven": np.where(i % 5 == 0, np.nan, 7.0),
        "gone": np.full(n, np.nan),
        "count": i % 4 * 1.0,
    }
    return Table(columns, 10 * i, "t", (i % 3).astype(np.int32))


TABLE = members()
ENCODER = fit_encoder(TABLE, label="income")


def test_a_record_is_numbers_then_blocks_in_the_columns_order():
    pool = ENCODER.encode(TABLE)
    assert ENCODER.layout == Layout(3, (2, 3, 2))  # age, price, count; age missing, job, seven missing
    assert (ENCODER.layout.dim, pool.x.dtype, pool.x.shape) == (10, np.float32, (60, 10))
    missing = np.isnan(TABLE.columns["age"])
    np.testing.assert_array_equal(pool.x[:, 3:5], np.stack([~missing, missing], 1))
    order = ["?", "Clerk", 'Nun "é", 日本']
    np.testing.assert_array_equal(pool.x[:, 5:8], TABLE.columns["job"][:, None] == np.array(order))
    np.testing.assert_array_equal(pool.x[:, 9], np.isnan(TABLE.columns["seven"]))
    # A missing number is the median, whose z is 0 up to the parity of what is present.
    median = fit_encoder(table(a=[1.0, 5.0, np.nan, 9.0])).encode(table(a=[np.nan])).x
    np.testing.assert_array_equal(median, [[0.0, 0.0, 1.0]])


def test_labels_rows_groups_and_the_name_go_along():
    part = TABLE.take(np.array([5, 2]))
    pool = ENCODER.encode(part)
    assert (pool.rows.tolist(), pool.groups.tolist(), pool.name) == ([50, 20], [2, 2], "t")
    assert (ENCODER.label, pool.label_names, pool.labels.dtype) == ("income", ("high", "low"), np.int32)
    assert pool.labels.tolist() == [0, 1]
    assert fit_encoder(TABLE).encode(part).labels is None


def test_what_was_encoded_comes_back():
    pool = ENCODER.encode(TABLE)
    got = ENCODER.decode(pool.x, pool.labels)
    assert list(got.columns) == list(TABLE.columns)
    for name, column in TABLE.columns.items():
        np.testing.assert_array_equal(got.columns[name], column, err_msg=name)


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=4)
NUMBER = st.floats(-1e9, 1e9, allow_subnormal=False) | st.integers(-5, 5).map(float) | st.just(float("nan"))
LABEL = st.sampled_from([0.0, 1.0])


@given(
    records=st.lists(st.tuples(NUMBER, TEXT, LABEL), min_size=3, max_size=25).filter(
        lambda r: len({label for *_, label in r}) == 2 and len({text for _, text, _ in r}) > 1
    )
)
@settings(max_examples=100, deadline=None)
def test_any_table_comes_back(records):
    numbers, words, labels = zip(*records, strict=True)
    got = table(number=numbers, word=words, label=labels)
    encoder = Encoder.from_config(json.loads(json.dumps(fit_encoder(got, label="label").config, allow_nan=False)))
    pool = encoder.encode(got)
    # Fewer than 30 values are exact; -0.0 and NaN are one zero and one missing value to a fingerprint.
    assert encoder.decode(pool.x, pool.labels).fingerprint() == got.fingerprint()
    assert pool.label_names == ("0", "1")
    start = encoder.layout.num_numeric
    for size in encoder.layout.sizes:
        np.testing.assert_array_equal(np.sort(pool.x[:, start : start + size], 1), np.eye(size)[[-1] * len(got)])
        start += size
    assert start == encoder.layout.dim == pool.x.shape[1]


N = 3000
COLUMNS = {
    "normal": RNG.normal(size=N),
    "heavy": np.exp(3 * RNG.normal(size=N)),
    "mostly zero": np.where(RNG.random(N) < 0.9, 0.0, RNG.exponential(1e3, N)),
    "tied within": np.where(RNG.random(N) < 0.4, 5.0, 10 * RNG.random(N)),
    "whole": np.rint(RNG.normal(40, 13, N)),
    "of fewer": RNG.normal(size=N)[:200],
}


@pytest.mark.parametrize("column", COLUMNS.values(), ids=COLUMNS)
def test_numbers_are_those_of_scikit_learn(column):
    reference = QuantileTransformer(n_quantiles=min(1000, len(column)), output_distribution="normal", subsample=None)
    z = reference.fit(column[:, None]).transform(other := np.append(column, [-1e6, 1e6])[:, None])[:, 0]
    got = fit_encoder(table(a=column)).encode(table(a=other[:, 0])).x[:, 0]
    # Rounded to float32; and the place of a quantile, index k of n, is rounded by n machine epsilons of probability.
    bound = np.spacing(np.abs(z).astype(np.float32)) / 2 + (N + 8) * np.finfo(float).eps / norm.pdf(z)
    assert (np.abs(got - z) <= bound).all()
    assert got.min() == -got.max() == pytest.approx(norm.ppf(1e-7), abs=float(np.spacing(np.float32(5.2))) / 2)


def rounding(encoder, name, column):
    """What a number may be off by: half a float32 spacing of z is at most 1.45e-8 of probability, just above z = 1.

    The ends are cut at 1e-7. A gap between quantiles is 1/(k - 1) of probability; next to a quantile it may be either.
    """
    q = np.array(next(entry["quantiles"] for entry in encoder.config["columns"] if entry["name"] == name))
    gaps = np.diff(q)
    at = np.clip(np.searchsorted(q, column, side="right") - 1, 0, len(gaps) - 1)
    gap = np.max([gaps[np.clip(at + step, 0, len(gaps) - 1)] for step in (-1, 0, 1)], axis=0)
    share = np.where((at == 0) | (at == len(gaps) - 1), 1e-7, 1.45e-8)
    return share * len(gaps) * gap + 4 * np.spacing(np.abs(column))


@pytest.mark.parametrize("column", COLUMNS.values(), ids=COLUMNS)
def test_numbers_come_back_up_to_float32(column):
    encoder = fit_encoder(table(a=column))
    got = encoder.decode(encoder.encode(table(a=column)).x).columns["a"]
    assert (np.abs(got - column) <= rounding(encoder, "a", column)).all()
    if np.array_equal(column, np.rint(column)):
        np.testing.assert_array_equal(got, column)


def test_decoded_values_are_ones_that_columns_can_have():
    names = {"few": np.array([0.1, 0.25, 3.0, 1e6])[RNG.integers(0, 4, N)], "cents": RNG.exponential(9, N).round(2)}
    held = table(
        **names, whole=COLUMNS["whole"], any=COLUMNS["heavy"], text=np.array(["a", "b"])[RNG.integers(0, 2, N)]
    )
    encoder = fit_encoder(held)
    got = encoder.decode(RNG.normal(0, 3, (5000, encoder.layout.dim))).columns
    assert set(got["few"]) == {0.1, 0.25, 3.0, 1e6}
    assert set(got["text"]) == {"a", "b"}
    np.testing.assert_array_equal(got["cents"], got["cents"].round(2))
    np.testing.assert_array_equal(got["whole"], np.rint(got["whole"]))
    assert not np.isin(got["any"], held.columns["any"]).all()
    for name in held.numeric:
        assert (got[name].min(), got[name].max()) == (held.columns[name].min(), held.columns[name].max())


def test_the_config_is_json_of_the_same_encoder():
    text = json.dumps(ENCODER.config, allow_nan=False)
    again = Encoder.from_config(json.loads(text))
    assert (json.dumps(again.config), again.columns) == (text, ENCODER.columns)
    assert json.loads(text) == ENCODER.config
    np.testing.assert_array_equal(again.encode(TABLE).x, ENCODER.encode(TABLE).x)


def test_encoders_never_see_nonmembers():
    inside = np.arange(60) % 2 == 0
    wild = {
        name: np.where(inside, column, "never seen" if column.dtype.kind == "U" else -1e12)
        for name, column in TABLE.columns.items()
    }
    poisoned = Table(wild, TABLE.rows, "t")
    configs = [fit_encoder(t.take(inside), label="job").config for t in (TABLE, poisoned)]
    assert configs[0] == configs[1]
    assert fit_encoder(poisoned, label="job").config != configs[0]


def test_columns_that_are_dropped_are_nowhere():
    encoder = fit_encoder(TABLE, label="income", drop=("age", "same"))
    part = Table({k: v for k, v in TABLE.columns.items() if k not in ("age", "same")}, TABLE.rows, "t")
    pool = encoder.encode(part)
    assert list(encoder.decode(pool.x, pool.labels).columns) == list(part.columns)


def test_another_table_is_read_as_the_members_types():
    encoder = fit_encoder(table(code=["5", "x"] * 2, size=[1.0, 2.0, 3.0, np.nan]))
    x = encoder.encode(table(code=[5.0, 5.0], size=["2", "?"], more=["a", "b"])).x
    np.testing.assert_array_equal(x, encoder.encode(table(code=["5", "5"], size=[2.0, np.nan])).x)


def test_policies_are_said_in_a_sentence():
    said = (
        "column 'age' has missing values: they count as its median, 50, and a block of its own says which they are.",
        """column 'job' has missing values ('?'): they are a category.""",
        "column 'same' is x for every member: it is left out of the model and written back.",
        "column 'seven' is 7 wherever it is not missing, which a block says: it is left out of the model and written "
        "back.",
        "column 'gone' is missing for every member: it is left out of the model and written back.",
    )
    assert ENCODER.policy() == said
    assert fit_encoder(table(a=[1.0, 2.0], b=["x", "y"])).policy() == ()


UNSEEN = {
    "job": (["Nun", "Pilot", "Clerk"], "t: column 'job' has 'Nun', 'Pilot', which no member has, in 2 records: pass"),
    "same": (
        ["x", "y", "x"],
        r"column 'same' has 'y', which no member has, in 1 record \(row 10\): pass unseen=\"drop\"",
    ),
    "price": ([1.0, np.nan, 2.25], r"column 'price' has a missing value, which no member has, in 1 record \(row 10\)"),
    "income": (["low", "", "high"], "column 'income' has a missing value, which no member has, in 1 record"),
}


@pytest.mark.parametrize("name", UNSEEN)
def test_what_no_member_has_is_refused_or_dropped(name):
    values, message = UNSEEN[name]
    part = TABLE.take(np.arange(3))
    other = Table({**part.columns, name: np.array(values)}, part.rows, "t", part.groups)
    with pytest.raises(InputError, match=message):
        ENCODER.encode(other)
    kept = np.isin(other.columns[name], TABLE.columns[name])
    pool = ENCODER.encode(other, unseen="drop")
    assert (pool.rows.tolist(), pool.groups.tolist()) == (part.rows[kept].tolist(), part.groups[kept].tolist())
    np.testing.assert_array_equal(pool.x, ENCODER.encode(other.take(kept)).x)
    with pytest.raises(InputError, match="t has no record that holds only what members have"):
        ENCODER.encode(other.take(~kept), unseen="drop")


def test_numbers_beyond_the_members_are_the_nearest_of_theirs():
    encoder = fit_encoder(table(a=COLUMNS["normal"]))
    got = encoder.decode(encoder.encode(table(a=[-99.0, 99.0])).x).columns["a"]
    np.testing.assert_array_equal(got, [COLUMNS["normal"].min(), COLUMNS["normal"].max()])


WORDS = [f"text {i}" for i in range(60)]
FIT = {
    "unknown label": ({}, {"label": "incom"}, "unknown column 'incom': did you mean 'income'"),
    "unknown drop": ({}, {"drop": ("jobs",)}, "unknown column 'jobs': did you mean 'job'"),
    "label dropped": ({}, {"label": "job", "drop": ("job",)}, "label 'job' is among the columns to drop"),
    "one class": ({}, {"label": "same"}, "t: label 'same' is x for every member: give members of at least 2"),
    "many numbers": ({}, {"label": "price"}, "t: label 'price' has 60 different numbers, too many for classes: bin it"),
    "no class": ({}, {"label": "gone"}, "t: label 'gone' is missing for 60 members: leave them out"),
    "free text": (
        {"job": WORDS},
        {},
        r"t: column 'job' has 60 different texts in 60 records, .*: leave it out \(drop\)",
    ),
    "free label": ({"job": WORDS}, {"label": "job"}, "t: label 'job' has 60 different texts in 60 records"),
    "infinity": ({"price": [np.inf] * 60}, {}, "t: column 'price' reaches from inf to inf: rescale it"),
    "too wide": (
        {"price": [-1e301, 1e301] * 30},
        {},
        r"t: column 'price' reaches from -1e\+301 to 1e\+301: rescale it",
    ),
    "one quantile": ({}, {"num_quantiles": 1}, "num_quantiles=1 is too few: give at least 2"),
    "nothing left": (
        {},
        {"label": "income", "drop": ("age", "job", "price", "seven", "count")},
        "t has no column that varies among members, but for the label: give one",
    ),
}


@pytest.mark.parametrize(("columns", "options", "message"), FIT.values(), ids=FIT)
def test_what_cannot_be_fitted_is_refused(columns, options, message):
    held = {**TABLE.columns, **{key: np.array(column) for key, column in columns.items()}}
    with pytest.raises(InputError, match=message):
        fit_encoder(Table(held, TABLE.rows, "t"), **options)


def test_fewer_members_than_a_label_needs_are_refused():
    with pytest.raises(InputError, match="t: label 'a' has as many classes as there are members, 3: bin it"):
        fit_encoder(table(a=["x", "y", "z"], b=[1.0, 2.0, 3.0]), label="a")
    with pytest.raises(InputError, match="t has no record to fit an encoder on: give at least one"):
        fit_encoder(TABLE.take(np.arange(0)))


def test_texts_are_categories_up_to_half_of_the_members():
    assert fit_encoder(table(a=WORDS * 2)).layout.sizes == (60,)
    assert fit_encoder(table(a=WORDS[:50])).layout.sizes == (50,)


X = ENCODER.encode(TABLE).x[:2]
DECODE = {
    "shape": (X[:, 1:], [0, 1], r"x must be \[n, 10\] to be decoded, got \(2, 9\)"),
    "not finite": (X + np.array([[0.0], [np.nan]]), [0, 1], "1 of 2 records to decode are not finite: generate them"),
    "no labels": (X, None, "the encoder has label 'income': give each record's class as labels"),
    "few labels": (X, [0], r"labels must be 2 whole numbers below 2, got int64 \(1,\)"),
    "no class": (X, [0, 2], "labels must be 2 whole numbers below 2"),
    "fractions": (X, [0.0, 1.0], "labels must be 2 whole numbers below 2, got float64"),
}


@pytest.mark.parametrize(("x", "labels", "message"), DECODE.values(), ids=DECODE)
def test_what_cannot_be_decoded_is_refused(x, labels, message):
    with pytest.raises(InputError, match=message):
        ENCODER.decode(x, labels)


def test_other_mistakes_are_refused():
    with pytest.raises(InputError, match="the encoder has label None: leave labels out"):
        fit_encoder(TABLE).decode(np.zeros((1, 10 + 2)), [0])
    with pytest.raises(InputError, match="unknown unseen 'skip'"):
        ENCODER.encode(TABLE, unseen="skip")
    with pytest.raises(InputError, match="t has no column 'age', which the members have: add it"):
        ENCODER.encode(table(a=[1.0]))
    with pytest.raises(InputError, match="t: column 'price' has 'dear' in row 0 but numbers in 0 of 1 values"):
        ENCODER.encode(Table({**TABLE.take(np.arange(1)).columns, "price": np.array(["dear"])}, np.arange(1), "t"))


def test_adult_comes_back():
    adult = load("adult-3k")
    encoder = fit_encoder(adult, label="income")
    pool = encoder.encode(adult)
    assert encoder.layout == Layout(6, (8, 16, 6, 15, 6, 5, 2, 40))
    assert encoder.decode(pool.x, pool.labels).fingerprint() == adult.fingerprint()
    assert len(encoder.policy()) == 3


@pytest.mark.skipif(SHARED == HERE, reason="the larger tables are not beside this checkout")
@pytest.mark.parametrize(
    ("file", "label", "layout", "rounded"),
    [
        ("german.data", "c20", Layout(7, (4, 5, 10, 5, 5, 4, 3, 4, 3, 3, 4, 2, 2)), ()),
        ("hmda_boston.csv", "deny", Layout(6, (2,) * 7), ("pirat", "hirat", "lvrat")),
    ],
)
def test_larger_tables_come_back(file, label, layout, rounded):
    real = read_csv(SHARED / file, file, header=not file.endswith(".data"))
    encoder = fit_encoder(real, label=label)
    pool = encoder.encode(real)
    assert encoder.layout == layout
    got = encoder.decode(pool.x, pool.labels)
    assert [k for k, column in real.columns.items() if not np.array_equal(column, got.columns[k])] == list(rounded)
    for name in rounded:
        column = real.columns[name]
        assert (np.abs(got.columns[name] - column) <= rounding(encoder, name, column)).all()
