"""diffaudit property, poison and fairness of tables: shares and gaps that are known, what is written, and mistakes."""

import csv
import json
import re
import shutil

import jax
import numpy as np
import pytest
from scipy.stats import binomtest

from diffaudit_jax import data
from diffaudit_jax.cli import poison, receiving
from diffaudit_jax.cli.fairness import Fairness, sides_of
from diffaudit_jax.cli.labelled import Aux
from diffaudit_jax.cli.main import main
from diffaudit_jax.cli.property import Property
from diffaudit_jax.cli.table_features import encoded, features_of
from diffaudit_jax.cli.table_property import table_aimed
from diffaudit_jax.data.encoding import fit_encoder
from diffaudit_jax.metrics import Estimate
from diffaudit_jax.models.tabular import tabddpm
from diffaudit_jax.report.fairness import FairnessReport
from diffaudit_jax.report.property import PropertyReport
from diffaudit_jax.training.mine import Mine
from diffaudit_jax.training.state import Recipe
from diffaudit_jax.training.tables import fit_table

from .conftest import contents


def people(n, seed, dependent=0.5):
    """Records of a label that age and work tell, and of a group that height tells, and nothing else does."""
    rng = np.random.default_rng(seed)
    sex, income = rng.random(n) < 0.6, rng.random(n) < dependent
    return {
        "age": np.round(rng.normal(40 + 8 * income, 6), 3),
        "work": np.where(rng.random(n) < 0.2 + 0.6 * income, "office", np.where(rng.random(n) < 0.5, "yard", "sea")),
        "height": np.round(rng.normal(165 + 15 * sex, 5), 3),
        "sex": np.where(sex, "Male", "Female"),
        "income": np.where(income, ">50K", "<=50K"),
    }


def write(path, columns, names=None):
    """Writes a CSV of these columns."""
    names = list(names or columns)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        cells = ([str(value).removesuffix(".0") for value in columns[name]] for name in names)
        writer.writerows(zip(*cells, strict=True))
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
        "encoder": encoder.config, "split": data.to_record(data.Split(members, table.take(np.arange(500, 800)))),
        "label_counts": np.bincount(pool.labels).tolist(),
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
    labelled = Aux(aux=str(tmp_path / "aux.csv"), property="tall")
    found = table_aimed(Property(run, tmp_path / "b", labelled)).labelled
    assert (found.left_out, len(found.codes)) == (500, 300)


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


ASK = ("--labels", "income", "--sensitive", "sex")
SETS = (*ASK, "--alpha", "0,0.9", "--num", "200", "--hold-out", "60", "--features", "none", "--base", "stratified")


@pytest.fixture(scope="module")
def sets(tmp_path_factory, tables):
    """A finished directory of sets; not to be written to."""
    out = tmp_path_factory.mktemp("sets") / "sets"
    main(["poison", str(tables / "aux.csv"), *SETS, "--out", str(out)])
    return out


def records_of(path):
    """The records of a CSV as tuples of text, by the standard library."""
    with path.open(newline="") as file:
        head, *rows = csv.reader(file)
    return head, [tuple(row) for row in rows]


def test_a_set_of_records_is_what_its_manifest_says(sets, tables):
    head, source = records_of(tables / "aux.csv")
    test_head, test = records_of(sets / "test.csv")
    assert head == test_head
    assert not (sets / "test.npz").exists()
    s, y = head.index("sex"), head.index("income")

    def counts_of(rows):
        cells = [(row[s], row[y]) for row in rows]
        return {group: [cells.count((group, value)) for value in ("<=50K", ">50K")] for group in ("Female", "Male")}

    assert counts_of(test) == {"Female": [60, 60], "Male": [60, 60]}
    for alpha in (0, 0.9):
        folder = sets / f"alpha-{alpha}"
        assert sorted(path.name for path in folder.iterdir()) == ["index.npy", "manifest.json", "records.csv"]
        manifest, index = json.loads((folder / "manifest.json").read_text()), np.load(folder / "index.npy")
        _, taken = records_of(folder / "records.csv")
        assert taken == [source[i] for i in index]
        assert not set(taken) & set(test)
        assert manifest["hashes"] == data.load(folder / "records.csv").hashes().tolist()
        counts = {
            g: [sum((r[s], r[y]) == (g, v) for r in taken) for v in ("<=50K", ">50K")] for g in ("Female", "Male")
        }
        assert manifest["counts"] == counts
        # A stratified base: the gap is alpha.
        assert manifest["gap"] == pytest.approx(alpha, abs=1e-12)
        assert (manifest["values"], manifest["features"]) == (["<=50K", ">50K"], "none")


def test_label_and_group_are_no_features_of_records(diffaudit, tables, tmp_path, monkeypatch):
    seen = {}

    def mine(key, features, y, num_steps):
        seen["features"] = features
        return Mine(Estimate(0.0, 0.0, 0.0), np.zeros((len(y), 2)))

    monkeypatch.setattr(poison.training, "mine", mine)
    words = (*ASK, "--alpha", "0.1", "--num", "40", "--out", tmp_path)
    assert diffaudit("poison", tables / "aux.csv", *words).code == 0
    assert json.loads((tmp_path / "alpha-0.1" / "manifest.json").read_text())["features"] == "columns"
    # Two numbers and the three kinds of work.
    assert seen["features"].shape[1] == 5


def test_the_same_sets_are_written_again_and_which_value_is_1_is_said(diffaudit, sets, tables):
    before = contents(sets)
    ended = diffaudit("poison", tables / "aux.csv", *SETS, "--out", sets)
    assert (ended.code, contents(sets) == before) == (0, True)
    assert ended.out.startswith("income: 0 is '<=50K', 1 is '>50K'\n")


def test_flipped_labels_stand_in_the_column(diffaudit, tables, tmp_path):
    words = (*ASK, "--method", "flip", "--alpha", "0.5", "--num", "60", "--out", tmp_path)
    assert diffaudit("poison", tables / "aux.csv", *words).code == 0
    head, source = records_of(tables / "aux.csv")
    _, taken = records_of(tmp_path / "alpha-0.5" / "records.csv")
    index, s, y = np.load(tmp_path / "alpha-0.5" / "index.npy"), head.index("sex"), head.index("income")
    assert taken[:30] == [source[i] for i in index[:30]]
    assert [r[y] for r in taken[30:]] == [">50K" if r[s] == "Male" else "<=50K" for r in taken[30:]]


@pytest.fixture(scope="module")
def fair(tmp_path_factory, sets):
    """A finished audit of the two sets, by three receivers; not to be written to."""
    out = tmp_path_factory.mktemp("fair") / "out"
    generators = [str(sets / f"alpha-{alpha}" / "records.csv") for alpha in ("0", "0.9")]
    receivers = ("--receiver", "logistic", "boosting", "mlp", "--receiver-steps", "40")
    main(["fairness", *generators, *ASK, *receivers, "--test", str(sets / "test.csv"), "--out", str(out)])
    return out


def test_poison_in_records_is_seen_in_classifiers_and_read_in_samples(fair, sets):
    document = FairnessReport.load(fair).document
    clean, bad = document["generators"]
    assert [(each["name"], each["alpha"]) for each in (clean, bad)] == [("alpha = 0", 0), ("alpha = 0.9", 0.9)]
    assert (document["clean"], document["verdict"]["level"]) == ("alpha = 0", "unfairer")
    assert document["receivers"] == ["logistic", "boosting", "mlp"]
    with np.load(fair / "predictions.npz") as arrays:
        kept = dict(arrays)
    _, test = records_of(sets / "test.csv")
    assert kept["y"].tolist() == [int(record[4] == ">50K") for record in test]
    for each in (clean, bad):
        for name, found in each["receivers"].items():
            said = kept[f"{each['name']}/{name}"]
            rates = [said[kept["s"] == group].mean() for group in ("Female", "Male")]
            assert found["parity"]["value"] == pytest.approx(abs(rates[1] - rates[0]), abs=1e-12)
        # The column says what there is: the share of a group among samples of a label, by its exact interval.
        _, rows = records_of(sets / f"alpha-{each['alpha']:g}" / "records.csv")
        for share, label in zip(each["check"]["shares"], ("<=50K", ">50K"), strict=True):
            has = [record[3] == "Male" for record in rows if record[4] == label]
            exact = binomtest(sum(has), len(has)).proportion_ci(document["discriminator"]["level"], "exact")
            ends = {"value": np.mean(has), "low": exact.low, "high": exact.high}
            assert share["estimate"] == pytest.approx(ends, abs=1e-9)
            assert share["group"] == "Male"
        assert each["sheets"] == []
    assert [each["check"]["dependent"] for each in (clean, bad)] == [False, True]
    said = words_of(fair)
    assert "image" not in said
    assert "discriminator" not in said
    assert "The classifier sees sex, as it is a column." in said


def test_a_group_that_is_no_column_is_told_by_labelled_records(diffaudit, tables, sets, tmp_path):
    """Height tells the group, and with it that labels go with groups in these samples."""
    head, rows = records_of(sets / "alpha-0.9" / "records.csv")
    write(tmp_path / "hidden.csv", {name: [row[i] for row in rows] for i, name in enumerate(head) if name != "sex"})
    given = ("--test", sets / "test.csv", "--aux", tables / "synth.csv", "--out", tmp_path / "out")
    words = (*ASK, "--receiver", "logistic", "--discriminator", "logistic", *given)
    assert diffaudit("fairness", tmp_path / "hidden.csv", *words).code == 0
    document = FairnessReport.load(tmp_path / "out").document
    (generator,) = document["generators"]
    assert (document["discriminator"]["name"], document["discriminator"]["images"]) == ("logistic", 600)
    assert not document["told_group"]
    assert generator["check"]["dependent"]
    gap = generator["check"]["gap"]
    assert gap["low"] < 0.9 < gap["high"]


def test_a_run_of_records_is_not_tested_on_what_trained_it(diffaudit, run, tables, tmp_path):
    write(tmp_path / "test.csv", data.load(tables / "aux.csv").columns)
    words = (*ASK, "--receiver", "logistic", "--num", "64", "--without-sensitive", "--out", tmp_path / "out")
    assert diffaudit("fairness", run, *words, "--test", tmp_path / "test.csv").code == 0
    document = FairnessReport.load(tmp_path / "out").document
    assert document["test"]["left_out"] == 500
    assert not document["told_group"]
    assert "The classifier was never told of sex." in words_of(tmp_path / "out")
    labels = data.load(tables / "aux.csv").take(np.arange(500)).columns["income"]
    assert document["generators"][0]["samples"][1] == pytest.approx(64 * (labels == ">50K").mean(), abs=1)


def test_a_run_on_a_set_is_known_by_its_manifest(refused, run, sets, tables, tmp_path):
    copy, source = tmp_path / "run", sets / "alpha-0.9" / "records.csv"
    shutil.copytree(run, copy)
    table = data.load(source)

    def told(rows):
        """Says that the run was trained on these records of the set."""
        split = data.to_record(data.Split(table.take(rows), table.take(np.arange(0))))
        record = json.loads((run / "run.json").read_text()) | {"data": str(source), "split": split}
        (copy / "run.json").write_text(json.dumps(record))

    told(np.arange(200))
    options = Fairness((copy,), str(tables / "test.csv"), "income", "sex", tmp_path / "out")
    (generator,) = sides_of(options, ()).generators
    assert (generator.name, generator.alpha, len(generator.trainers)) == ("alpha = 0.9", 0.9, 200)
    told(np.arange(150))
    said = refused("fairness", copy, *ASK, "--test", tables / "test.csv", "--out", tmp_path / "out")
    assert "was trained on 150 of the 200 records of its set, whose alpha is 0.9: train it on all, with" in said


def test_what_an_encoder_has_not_seen_is_none_of_its_categories():
    learned = data.Table(
        {"a": np.array([1.0, 2.0, 3.0, 5.0]), "b": np.array(["x", "y", "x", "y"]), "c": np.array(["u"] * 4)},
        np.arange(4), "learned",
    )  # fmt: skip
    other = data.Table(
        {"b": np.array(["z", "y"]), "a": np.array([np.nan, 3.0]), "c": np.array(["v", "u"])}, np.arange(2), "other"
    )
    encoder = features_of(learned, tuple(other.columns), ())
    x, same = encoded(encoder, other), encoder.encode(learned).x
    np.testing.assert_array_equal(x[0], [0.0, 0.0, 0.0])
    np.testing.assert_array_equal(x[1], [same[2, 0], 0.0, 1.0])
    np.testing.assert_array_equal(encoded(encoder, learned), same)


SHARING = {
    "no column": (("--labels", "incme"), "unknown column 'incme': did you mean 'income'?"),
    "no group": (("--sensitive", "sx"), "unknown column 'sx': did you mean 'sex'?"),
    "numbers for labels": (("--labels", "height"), "values, too many for a label: bin it, or name another column."),
    "numbers for groups": (("--sensitive", "height"), "values, too many for a group: bin it, or name another column."),
    "three labels": (
        ("SOURCE=TABLES/three.csv",),
        "'income' of TABLES/three.csv takes the 3 values low, mid, top: give a label of two.",
    ),
    "labels lack": (
        ("SOURCE=TABLES/missing.csv",),
        "'income' of missing.csv is missing in 7 of 300 records, so it is no label of theirs: drop them.",
    ),
    "groups lack": (
        ("SOURCE=TABLES/missing.csv", "--labels", "work"),
        "'work' of TABLES/missing.csv takes the 3 values office, sea, yard: give a label of two.",
    ),
    "one group": (("SOURCE=TABLES/one.csv",), "'sex' is Male in all records of TABLES/one.csv: name a column of two"),
}
POISON = {
    **SHARING,
    "features of images": (
        ("--features", "classifier"),
        "--features classifier looks at images, and TABLES/aux.csv is",
    ),
    "too many held out": (("--hold-out", "400"), "TABLES/aux.csv has fewer than 401 records in (sex = Female, income"),
}
FAIRNESS = {
    **SHARING,
    "both kinds": (
        ("TABLES/synth.csv", "TABLES/images.npz"),
        "TABLES/synth.csv makes tables and TABLES/images.npz does not: audit generators of one kind at a time.",
    ),
    "test images": (("--test", "TABLES/images.npz"), "--test TABLES/images.npz is no table, and generators make"),
    "test records": (("TABLES/images.npz",), "--test TABLES/test.csv is a table, and generators make images: change"),
    "aux images": (("--aux", "TABLES/images.npz"), "--aux TABLES/images.npz is no table, and generators make tables"),
    "a network of images": (
        ("--receiver", "logistic", "lenet"),
        "--receiver lenet is for images, and TABLES/synth.csv is a table: name logistic, boosting or mlp.",
    ),
    "its discriminator": (("--discriminator", "vit"), "--discriminator vit is for images, and TABLES/synth.csv is"),
    "tested on aux": (
        ("--aux", "TABLES/test.csv"),
        "400 records are in --test TABLES/test.csv and in --aux TABLES/test.csv: take them out of one of the two.",
    ),
    "other labels": (
        ("TABLES/three.csv",),
        "'income' of three.csv is 'low' in 100 records, and is one of <=50K, >50K elsewhere: give the same values.",
    ),
    "no label": (("TABLES/unlabelled.csv",), "unknown column of TABLES/unlabelled.csv 'income'"),
    "one label": (("TABLES/poor.csv",), "'income' of TABLES/poor.csv is <=50K, and <=50K or >50K in TABLES/test.csv:"),
    "drawn": (("--steps", "5"), "synth.csv holds records, which are not drawn: leave --sampler, --steps and"),
    "hidden from images": (
        ("TABLES/images.npz", "--test", "TABLES/images.npz", "--without-sensitive"),
        "--without-sensitive is about a column of a table, and these are images: leave it out.",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("command", "case"), [("poison", c) for c in POISON] + [("fairness", c) for c in FAIRNESS])
def test_a_mistake_about_records_is_told_before_anything_is_trained(
    refused, tables, tmp_path, monkeypatch, command, case
):
    monkeypatch.setattr(poison.training, "mine", lambda *_, **__: pytest.fail("a network was trained"))
    monkeypatch.setattr(receiving, "train_receiver", lambda *_, **__: pytest.fail("a receiver was trained"))
    people_of = data.load(tables / "synth.csv").columns
    write(tables / "unlabelled.csv", people_of, ("age", "work", "height", "sex"))
    write(tables / "poor.csv", {**people_of, "income": np.array(["<=50K"] * 600)})
    words, says = (POISON if command == "poison" else FAIRNESS)[case]
    words, says = ([part.replace("TABLES", str(tables)) for part in group] for group in (words, [says]))
    given = {"--labels": "income", "--sensitive": "sex", "--out": str(tmp_path / "out")}
    source = next((word.removeprefix("SOURCE=") for word in words if word.startswith("SOURCE=")), None)
    words = [word for word in words if not word.startswith("SOURCE=")]
    if command == "fairness":
        given["--test"] = source or str(tables / "test.csv")
        of = [] if words and not words[0].startswith("--") else [tables / "synth.csv"]
    else:
        of = [source or tables / "aux.csv"]
    rest = [word for flag, value in given.items() if flag not in words for word in (flag, value)]
    assert says[0] in refused(command, *of, *words, *rest)
    assert not (tmp_path / "out").exists()
