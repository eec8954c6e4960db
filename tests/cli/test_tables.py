"""Tables from the command line: trained on, sampled to the columns they had, and audited by their own split."""

import contextlib
import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest

from diffaudit_jax import data, training
from diffaudit_jax.cli import main
from diffaudit_jax.cli.table_split import paired

FLAGS = ("--model", "tabddpm", "--label", "income", "--sensitive", "sex", "--members", "300", "--nonmembers", "300")
FEW = ("--steps", "30", "--widths", "32", "--diffusion-steps", "10", "--unseen", "drop")


@pytest.fixture(scope="module")
def adult(tmp_path_factory):
    """The embedded table as a file, fewer columns of many categories."""
    table = data.load("adult-3k")
    path = tmp_path_factory.mktemp("adult") / "adult.csv"
    data.write_csv(table, path)
    return path


@pytest.fixture(scope="module")
def run(adult, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "run"
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        main(["train", "--data", str(adult), *FLAGS, *FEW, "--out", str(out)])
    assert "workclass       categorical" in printed.getvalue()
    assert "column 'workclass' has missing values ('?'): they are a category" in printed.getvalue()
    return out


def test_the_embedded_table_written_and_read_is_the_table(adult):
    again, table = data.load(adult), data.load("adult-3k")
    np.testing.assert_array_equal(again.hashes(), table.hashes())


def test_a_run_holds_all_that_its_records_need(run, adult):
    config = json.loads((run / "run.json").read_text())
    assert config["family"] == "tabddpm"
    assert config["label"] == "income"
    assert config["sensitive"] == "sex"
    encoder, table = data.Encoder.from_config(config["encoder"]), data.load(adult)
    members = table.take(np.array(config["split"]["members"]["rows"]))
    assert encoder.config == data.fit_encoder(members, label="income").config
    pool = encoder.encode(members)
    assert config["label_counts"] == np.bincount(pool.labels).tolist()
    assert training.load_run(run).target.shape == (encoder.layout.dim,)


def test_samples_have_the_tables_columns_types_and_proportions(diffaudit, run, adult, tmp_path):
    assert diffaudit("sample", str(run), "--n", "200", "--out", str(tmp_path / "synth.csv")).code == 0
    with (tmp_path / "synth.csv").open() as file:
        rows = list(csv.reader(file))
    made, table = data.load(tmp_path / "synth.csv"), data.load(adult)
    assert rows[0] == list(table.columns)
    assert len(rows) == 201
    for name, column in made.columns.items():
        assert set(column.tolist()) <= set(table.columns[name].tolist()) or column.dtype.kind == "f"
        assert column.dtype.kind == table.columns[name].dtype.kind
    counts = json.loads((run / "run.json").read_text())["label_counts"]
    assert abs((made.columns["income"] == "<=50K").mean() - counts[0] / sum(counts)) < 0.01
    whole = made.columns["age"]
    np.testing.assert_array_equal(whole, np.rint(whole))


def test_samples_of_one_class_are_asked_for_by_its_name(diffaudit, run, tmp_path):
    assert diffaudit("sample", run, "--n", "20", "--label", ">50K", "--out", tmp_path / "rich.csv").code == 0
    assert set(data.load(tmp_path / "rich.csv").columns["income"]) == {">50K"}
    assert not (tmp_path / "rich.csv.blocks").exists()


def test_an_audit_asks_about_the_runs_own_records(diffaudit, run, tmp_path):
    attacks = ("--attack", "eps-loss", "categorical-loss", "nearest", "--times", "4", "--bank", "50")
    ended = diffaudit("audit", str(run), *attacks, "--queries", "120", "--out", str(tmp_path))
    report = json.loads((tmp_path / "report.json").read_text())
    assert {attack["name"] for attack in report["attacks"]} == {"eps-loss", "categorical-loss", "nearest"}
    assert report["blind"] is not None
    assert ended.code == 0
    assert "nearest" in ended.out


def test_a_synthetic_table_is_audited_without_a_model(diffaudit, run, adult, tmp_path):
    """The members themselves, as if generated: every one of them is found."""
    table = data.load(adult)
    config = json.loads((run / "run.json").read_text())
    sides = {side: table.take(np.array(config["split"][side]["rows"])) for side in ("members", "nonmembers")}
    for name, side in sides.items():
        data.write_csv(side, tmp_path / f"{name}.csv")
    files = [str(tmp_path / f"{name}.csv") for name in ("members", "nonmembers")]
    said = ("--members", files[0], "--nonmembers", files[1], "--duplicates", "drop", "--access", "black")
    assert diffaudit("audit", files[0], *said, "--attack", "nearest", "--out", str(tmp_path / "found")).code == 0
    report = json.loads((tmp_path / "found" / "report.json").read_text())
    assert report["attacks"][0]["auc"]["value"] > 0.99


def test_private_training_tells_that_the_encoder_looked(diffaudit, adult, tmp_path):
    noise = ("--dp", "--noise-multiplier", "2", "--delta", "1e-3", "--batch", "20")
    assert (
        diffaudit(
            "train", "--data", str(adult), *FLAGS, *FEW, *noise, "--steps", "3", "--out", str(tmp_path / "run")
        ).code
        == 0
    )
    assert training.load_run(tmp_path / "run").ledger.preprocessing == "declared"


BAD = {
    "unknown label": (("--label", "incom"), "unknown column 'incom': did you mean 'income'?"),
    "unknown sensitive": (("--sensitive", "sexx"), "unknown column 'sexx': did you mean 'sex'?"),
    "label of many numbers": (("--label", "fnlwgt"), "fnlwgt"),
    "type unknown": (("--types", "age=number"), "unknown kind of column 'number': did you mean 'numeric'?"),
    "type unsaid": (("--types", "age"), "--types takes NAME=numeric or NAME=categorical, got 'age'"),
    "dropped label": (("--drop", "income"), "--label income is to be dropped"),
    "unseen": (("--unseen", "refuse", "--seed", "3"), "which no member has"),
    "public preprocessing": (
        ("--dp", "--noise-multiplier", "1", "--preprocessing", "public"),
        "--preprocessing public cannot be: what encodes a table is fitted on its own records",
    ),
    "clipping twice": (
        ("--dp", "--noise-multiplier", "1", "--clip-norm", "3"),
        "--dp that of each record: give --clip",
    ),
    "images' flags": (("--channels", "8"), "--channels says nothing to --model tabddpm"),
    "images": (("--data", "pixel-faces-2k"), "pixel-faces-2k is no table: give a CSV or Parquet file"),
}


@pytest.mark.parametrize(("flags", "says"), BAD.values(), ids=BAD)
def test_mistakes_are_one_sentence(refused, adult, tmp_path, flags, says):
    assert says in refused("train", "--data", str(adult), *FLAGS, *FEW, *flags, "--out", str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


ASKED = {
    "gray": (("--attack", "pia"), "pia follows Gaussian noise, and a table's categories are noised otherwise"),
    "a VAE's": (("--attack", "elbo"), "elbo asks the encoder of a VAE"),
    "pictures": (("--show-images", "3"), "--show-images shows images"),
    "a family": (("--attack", "surrogate", "--surrogate-model", "ddpm"), "There are tabddpm"),
}


@pytest.mark.parametrize(("flags", "says"), ASKED.values(), ids=ASKED)
def test_audits_that_a_table_cannot_answer_say_why(refused, run, tmp_path, flags, says):
    assert says in refused("audit", str(run), *flags, "--out", str(tmp_path / "audit"))


SAMPLED = {
    "a folder": (("--out", "OUT/folder"), "give one that ends in .csv"),
    "a sampler": (("--sampler", "ddim", "--out", "OUT/a.csv"), "leave --sampler, --steps and --guidance out"),
    "a label": (("--label", "2", "--out", "OUT/a.csv"), "--label must be from 0 to 1, or be one of <=50K, >50K, got 2"),
}


@pytest.mark.parametrize(("flags", "says"), SAMPLED.values(), ids=SAMPLED)
def test_samples_that_cannot_be_written_say_why(refused, run, tmp_path, flags, says):
    words = [word.replace("OUT", str(tmp_path)) for word in flags]
    assert says in refused("sample", str(run), *words)


@pytest.mark.parametrize("given", [(), ("--members", "M")], ids=["neither", "one"])
def test_a_synthetic_table_needs_both_sides(refused, adult, tmp_path, given):
    words = [str(adult) if word == "M" else word for word in given]
    said = refused("audit", str(adult), *words, "--access", "black", "--out", str(tmp_path / "audit"))
    assert "give --members and --nonmembers" in said


def test_a_model_of_images_takes_no_columns(refused, tmp_path):
    said = refused("train", "--data", "fashion-mnist-2k", "--label", "income", "--out", str(tmp_path / "run"))
    assert "--label is about columns of a table, and --model ddpm takes images" in said


def test_a_page_on_what_a_run_draws(diffaudit, run, tmp_path):
    words = ("--secrets", "sex", "--guesses", "40", "--num", "150")
    ended = diffaudit("table", run, *words, "--out", tmp_path / "page")
    assert ended.code == 0
    assert "risk of inference" in ended.out
    document = json.loads((tmp_path / "page" / "tables.json").read_text())
    assert document["counts"]["members"] == 300
    assert document["counts"]["synthetic"] == 150
    assert document["label"] == "income"
    with (tmp_path / "page" / "risks.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["attack"] for row in rows] == [risk["attack"] for risk in document["risks"]]
    assert float(rows[-1]["risk"]) == document["risks"][-1]["risk"]["value"]
    assert int(rows[-1]["main"]) == document["risks"][-1]["main"]
    (tmp_path / "page" / "report.html").unlink()
    assert diffaudit("report", tmp_path / "page").code == 0
    assert (tmp_path / "page" / "report.html").exists()


def test_a_page_on_records_that_were_copied_says_so(diffaudit, adult, tmp_path):
    table = data.load(adult)
    for name, rows in {"members": slice(0, 200), "holdout": slice(200, 400)}.items():
        data.write_csv(table.take(np.arange(400)[rows]), tmp_path / f"{name}.csv")
    sides = ("--members", tmp_path / "members.csv", "--holdout", tmp_path / "holdout.csv", "--label", "income")
    ended = diffaudit(
        "table", tmp_path / "members.csv", *sides, "--secrets", "sex", "--guesses", "40", "--out", tmp_path / "a"
    )
    assert ended.code == 0
    document = json.loads((tmp_path / "a" / "tables.json").read_text())
    assert document["copies"]["synthetic"]["exact"] == 200
    assert "Members show through" in ended.out


PAGES = {
    "nothing said": ((), "give --members, --holdout and --label"),
    "unknown label": (("--label", "incom"), "unknown column 'incom': did you mean 'income'?"),
    "unknown secret": (("--label", "income", "--secrets", "sexx"), "unknown column 'sexx': did you mean 'sex'?"),
    "drawn": (("--label", "income", "--num", "3"), "leave --num out"),
    "no guess": (("--label", "income", "--guesses", "0"), "--guesses and --num are 1 or more"),
}


@pytest.mark.parametrize(("flags", "says"), PAGES.values(), ids=PAGES)
def test_pages_that_cannot_be_made_say_why(refused, adult, tmp_path, flags, says):
    table = data.load(adult)
    for name, rows in {"members": slice(0, 40), "holdout": slice(40, 80)}.items():
        data.write_csv(table.take(np.arange(80)[rows]), tmp_path / f"{name}.csv")
    sides = ("--members", tmp_path / "members.csv", "--holdout", tmp_path / "holdout.csv") if flags else ()
    assert says in refused("table", adult, *sides, *flags, "--out", tmp_path / "page")


def test_groups_of_a_column_are_compared(diffaudit, run, tmp_path):
    asked = ("--attack", "eps-loss", "--times", "3", "--strata", "sex")
    assert diffaudit("audit", run, *asked, "--out", tmp_path).code == 0
    (found,) = json.loads((tmp_path / "report.json").read_text())["exposure"]
    assert (found["name"], [group["name"] for group in found["groups"]]) == ("sex", ["Female", "Male"])


def test_records_that_people_share_are_on_neither_side(diffaudit, tmp_path):
    """A fresh sample of few columns copies nobody, though most of its records are equal to somebody's."""
    table = data.load("adult-3k")
    few = {name: table.columns[name] for name in ("sex", "race", "workclass", "marital_status", "income")}
    table = replace(table, columns=few)
    for name, rows in {"members": slice(0, 1000), "others": slice(1000, 2000), "fresh": slice(2000, 3000)}.items():
        data.write_csv(table.take(np.arange(3000)[rows]), tmp_path / f"{name}.csv")
    fresh, members, others = (tmp_path / f"{name}.csv" for name in ("fresh", "members", "others"))
    words = ("--label", "income", "--secrets", "sex", "--guesses", "20", "--out", tmp_path / "page")
    assert diffaudit("table", fresh, "--members", members, "--holdout", others, *words).code == 0
    share = json.loads((tmp_path / "page" / "tables.json").read_text())["copies"]["share"]
    assert share["low"] < 0.5 < share["high"]
    split = paired(data.load(members), data.load(others), duplicates="drop")
    assert not set(split.members.hashes()) & set(split.nonmembers.hashes())
    both = set(data.load(members).hashes()) & set(data.load(others).hashes())
    assert not both & {*split.members.hashes(), *split.nonmembers.hashes()}


def test_whoever_a_record_is_of_is_no_feature(diffaudit, tmp_path):
    table = data.load("adult-3k").take(np.arange(600))
    people = np.array([f"p{row // 3}" for row in range(600)])
    data.write_csv(replace(table, columns={**table.columns, "person": people}), tmp_path / "a.csv")
    words = (*FLAGS, *FEW, "--groups", "person", "--members", "200", "--nonmembers", "200", "--steps", "1")
    ended = diffaudit("train", "--data", tmp_path / "a.csv", *words, "--out", tmp_path / "run")
    assert ended.code == 0
    assert "column 'person' says who is who, and is left out" in ended.out
    config = json.loads((tmp_path / "run" / "run.json").read_text())
    sides = [{row // 3 for row in config["split"][side]["rows"]} for side in ("members", "nonmembers")]
    assert not sides[0] & sides[1]
    assert "person" not in [column["name"] for column in config["encoder"]["columns"]]
