"""diffaudit property, poison and fairness of tables: shares and gaps that are known, what is written, and mistakes."""

import csv
import re

import jax
import numpy as np
import pytest
from scipy.stats import binomtest

from diffaudit_jax import data
from diffaudit_jax.data.encoding import fit_encoder
from diffaudit_jax.models.tabular import tabddpm
from diffaudit_jax.report.property import PropertyReport
from diffaudit_jax.training.state import Recipe
from diffaudit_jax.training.tables import fit_table

from .conftest import at, contents


def people(n, seed, dependent=0.5):
    """Records of a label that age and work tell, and of a group that height tells, and nothing else does."""
    rng = np.random.default_rng(seed)
    sex, income = rng.random(n) < 0.6, rng.random(n) < dependent
    return {
        "age": np.round(rng.normal(40 + 8 * income, 6), 1),
        "work": np.where(rng.random(n) < 0.2 + 0.6 * income, "office", np.where(rng.random(n) < 0.5, "yard", "sea")),
        "height": np.round(rng.normal(165 + 15 * sex, 5), 1),
        "sex": np.where(sex, "Male", "Female"),
        "income": np.where(income, ">50K", "<=50K"),
    }


def write(path, columns, names=None):
    """Writes a CSV of these columns."""
    names = list(names or columns)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        writer.writerows(zip(*(columns[name] for name in names), strict=True))
    return path


def words_of(directory):
    """What a report's page says, without its styles and drawings."""
    page = re.sub(r"<(style|svg).*?</\1>", "", (directory / "report.html").read_text(), flags=re.DOTALL)
    return re.sub(r"<[^>]+>", " ", page)


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Files of people; tests write TABLES for their folder."""
    folder = tmp_path_factory.mktemp("tables")
    first = people(600, 0)
    write(folder / "synth.csv", first)
    write(folder / "hidden.csv", first, ("age", "work", "height", "income"))
    write(folder / "aux.csv", people(800, 1))
    write(folder / "test.csv", people(400, 2))
    write(folder / "strange.csv", {**people(300, 3), "work": np.array(["moon", "office", "yard"] * 100)})
    gaps = people(300, 4)
    gaps["income"][:7], gaps["sex"][:3] = "", "?"
    write(folder / "missing.csv", gaps)
    write(folder / "three.csv", {**people(300, 5), "income": np.array(["low", "mid", "top"] * 100)})
    write(folder / "one.csv", {**people(300, 6), "sex": np.array(["Male"] * 300)})
    rng = np.random.default_rng(7)
    x = rng.integers(0, 256, (40, 8, 8, 1), dtype=np.uint8)
    np.savez(
        folder / "images.npz", images=x, labels=np.arange(40) % 2, sex=np.arange(40) // 2 % 2, income=x[:, 0, 0, 0] % 2
    )
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory, tables):
    """A run of 30 steps on the first 500 people of aux.csv, told their income; not to be written to."""
    out = tmp_path_factory.mktemp("run") / "run"
    table = data.load(tables / "aux.csv")
    members = table.take(np.arange(500))
    encoder = fit_encoder(members, label="income")
    pool = encoder.encode(members)
    model = tabddpm(*encoder.layout, num_classes=2, widths=(16,), dim=8, num_steps=8)
    record = {
        "family": "tabddpm", "data": str(tables / "aux.csv"), "label": "income", "sensitive": "sex",
        "encoder": encoder.config, "split": {"members": {"rows": members.rows.tolist(), "hashes": []}},
    }  # fmt: skip
    fit_table(jax.random.key(0), model, pool, Recipe(num_steps=30, batch_size=32), out=out, record=record)
    return out


@pytest.mark.parametrize(
    ("more", "labelled"), [((), False), (("--by-label", "--aux-label", "income"), True)], ids=["all", "classes"]
)
def test_a_column_that_is_there_is_counted(diffaudit, tables, tmp_path, more, labelled):
    ask = ("--property", "sex", "--value", "Female", "--out", tmp_path)
    assert diffaudit("property", tables / "synth.csv", *ask, *more).code == 0
    document, columns = PropertyReport.load(tmp_path).document, data.load(tables / "synth.csv").columns
    rows, whole = document["shares"], np.ones(600, bool)
    wheres = [whole, *(columns["income"] == name for name in ("<=50K", ">50K"))][: 1 + 2 * labelled]
    for row, where in zip((*rows, *document["classes"]), wheres, strict=True):
        has, n = int((columns["sex"][where] == "Female").sum()), int(where.sum())
        level = document["level"] if where is whole else document["together"]
        exact = binomtest(has, n).proportion_ci(level, "exact")
        assert (row["samples"], row["called"], row["informative"]) == (n, has, True)
        assert row["estimate"] == pytest.approx({"value": has / n, "low": exact.low, "high": exact.high}, abs=1e-9)
        assert row["budget"] == pytest.approx({"sampling": (exact.high - exact.low) / 2, "discriminator": 0}, abs=1e-9)
    assert document["discriminator"]["judged"] is None
    said = words_of(tmp_path)
    assert "training records" in said
    assert "image" not in said
    assert "called so" not in said


def test_a_column_that_is_not_there_is_told_by_records_that_have_it(diffaudit, tables, tmp_path):
    ask = ("--property", "sex", "--aux", tables / "aux.csv", "--discriminator", "logistic", "--value", "Female")
    more = ("--by-label", "--aux-label", "income", "--declared", "0.9", "--out", tmp_path)
    assert diffaudit("property", tables / "hidden.csv", *ask, *more).code == 0
    document, columns = PropertyReport.load(tmp_path).document, data.load(tables / "synth.csv").columns
    wheres = [np.ones(600, bool), *(columns["income"] == name for name in ("<=50K", ">50K"))]
    for row, where in zip((*document["shares"], *document["classes"]), wheres, strict=True):
        # Height tells the group rightly in 93 of 100 cases: so well as Phi(1.5).
        assert row["estimate"]["low"] <= (columns["sex"][where] == "Female").mean() <= row["estimate"]["high"]
        assert row["budget"]["discriminator"] > 0
    assert document["verdict"]["level"] == "differs"
    assert [row["judged"] is not None for row in document["classes"]] == [True, True]
    assert document["counts"]["taught"] + document["counts"]["judged"] == 800


def test_a_run_is_asked_for_classes_as_often_as_it_was_trained_on_them(diffaudit, run, tables, tmp_path):
    members = data.load(tables / "aux.csv").take(np.arange(500)).columns
    ask = ("--property", "income", "--value", ">50K", "--num", "200", "--block", "100", "--out", tmp_path / "a")
    assert diffaudit("property", run, *ask).code == 0
    document, share = PropertyReport.load(tmp_path / "a").document, (members["income"] == ">50K").mean()
    assert document["shares"][0]["estimate"]["value"] == pytest.approx(share, abs=1 / 200)
    coverage = document["shares"][0]["coverage"]
    assert (coverage["has"], coverage["images"]) == ((members["income"] == ">50K").sum(), 500)
    assert not document["in_turn"]
    # Those that trained it teach nobody what it draws.
    write(tmp_path / "aux.csv", {**data.load(tables / "aux.csv").columns, "tall": np.array(["no", "yes"] * 400)})
    ask = ("--property", "tall", "--aux", tmp_path / "aux.csv", "--num", "50", "--out", tmp_path / "b")
    assert diffaudit("property", run, *ask).code == 0
    counts = PropertyReport.load(tmp_path / "b").document["counts"]
    assert (counts["left_out"], counts["taught"] + counts["judged"]) == (500, 300)


PROPERTY = {
    "unknown": (("--property", "sx"), "synth.csv has no column 'sx': did you mean 'sex'?"),
    "in neither": (("--property", "shoes"), "has no column 'shoes': give --aux, a table that has it"),
    "not in aux": (("--property", "shoes", "--aux", "TABLES/aux.csv"), "unknown column 'shoes'"),
    "no name": ((), "synth.csv is a table: name the column that is the property with --property."),
    "many values": (("--property", "height"), "'height' of synth.csv has "),
    "unknown value": (("--property", "sex", "--value", "Femal"), "unknown value 'Femal': did you mean 'Female'?"),
    "one value": (("TABLES/one.csv", "--property", "sex"), "'sex' is Male for all records of TABLES/one.csv"),
    "a network of images": (
        ("--property", "sex", "--discriminator", "lenet"),
        "--discriminator lenet is for images, and TABLES/synth.csv is a table: name logistic, boosting or mlp.",
    ),
    "texts": (
        ("--property", "sex", "--prompts", "a", "b"),
        "--clip and --prompts are for images, and TABLES/synth.csv",
    ),
    "images teach": (
        ("TABLES/hidden.csv", "--property", "sex", "--aux", "TABLES/images.npz"),
        "TABLES/images.npz holds images, and this is about a table: give a table.",
    ),
    "a table teaches": (("TABLES/images.npz", "--aux", "TABLES/aux.csv"), "aux.csv is a table: a property is told of"),
    "missing": (
        ("TABLES/hidden.csv", "--property", "sex", "--aux", "TABLES/missing.csv"),
        "'sex' of missing.csv is missing in 3 of 300 records, so it is no property of theirs: drop them.",
    ),
    "test and aux": (
        ("TABLES/hidden.csv", "--property", "sex", "--aux", "TABLES/aux.csv", "--aux-test", "TABLES/aux.csv"),
        "800 records of TABLES/aux.csv are in TABLES/aux.csv too: errors are counted on records that taught nothing",
    ),
    "test alone": (("--property", "sex", "--aux-test", "TABLES/aux.csv"), "--aux-test goes with --aux"),
    "no class": (("--property", "sex", "--by-label"), "synth.csv has no classes: name a column of it with --aux-label"),
    "several": (("--property", "work", "--declared", "0.2"), "--declared is about the share of one value"),
    "drawn": (("--property", "sex", "--steps", "5"), "synth.csv holds records, which are not drawn: leave --sampler"),
    "no block": (("--property", "sex", "--block", "0"), "--block must be at least 1, got 0."),
    "nothing there": (("TABLES/snth.csv", "--property", "sex"), "there is no TABLES/snth.csv: did you mean"),
}


@pytest.mark.parametrize("case", PROPERTY)
def test_a_mistake_about_a_property_is_told(refused, tables, tmp_path, case):
    words, says = PROPERTY[case]
    words, says = ([part.replace("TABLES", str(tables)) for part in group] for group in (words, [says]))
    of = [] if words and not words[0].startswith("--") else [tables / "synth.csv"]
    assert says[0] in refused("property", *of, *words, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()
