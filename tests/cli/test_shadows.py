"""Shadows from the command line: trained as their run was, asked once for all audits, and refused where they differ."""

import contextlib
import io
import json
import shutil
import warnings

import jax
import numpy as np
import pytest

from diffaudit_jax import data, training
from diffaudit_jax.auditing import Observations
from diffaudit_jax.cli import main
from diffaudit_jax.cli.asked import Asked, queries_of, split_of
from diffaudit_jax.cli.shadowed import Shadowed, compared
from diffaudit_jax.cli.shadows import tossed
from diffaudit_jax.cli.shadows_scored import without
from diffaudit_jax.cli.subject import Weights, load_subject
from diffaudit_jax.stream import Stream
from diffaudit_jax.training import steps

from .conftest import contents, scores

ASK = ("--attack", "eps-loss", "--times", "2", "--truncate", "1")
HOW = ("lira", "lira-offline", "rmia", "calibrated")


@pytest.fixture(scope="module")
def run(records):
    return records


@pytest.fixture(scope="module")
def shadows(run, tmp_path_factory):
    """Eight shadows of `run`; only what they answer may be added."""
    out = tmp_path_factory.mktemp("shadows") / "shadows"
    with contextlib.redirect_stdout(io.StringIO()):
        main(["shadows", str(run), "--num", "8", "--out", str(out)])
    return out


@pytest.fixture(scope="module")
def audited(run, shadows, tmp_path_factory):
    out = tmp_path_factory.mktemp("audited") / "audit"
    with contextlib.redirect_stdout(io.StringIO()):
        main(["audit", str(run), "--out", str(out), "--shadows", str(shadows), *ASK])
    return out


def document(directory):
    return json.loads((directory / "report.json").read_text())


def test_shadows_are_trained_as_the_run_on_halves_of_its_records(run, shadows):
    config, many = training.load_run(run).config, training.load_many(shadows)
    split = config["split"]
    asked = {row for side in ("members", "nonmembers") for row in split[side]["rows"]}
    rows, asked = many.inclusion.rows, np.array(sorted(asked))
    encoder, table = data.Encoder.from_config(config["encoder"]), data.load("adult-3k")
    # Those with a category that no member has cannot be asked about.
    np.testing.assert_array_equal(np.sort(rows), encoder.encode(data.at_rows(table, asked), unseen="drop").rows)
    pool = encoder.encode(data.at_rows(table, rows))
    for k in (0, 7):
        own = many[k]
        assert own.config["members"] == pool.take(many.inclusion.inside[k]).fingerprint()
        assert [own.config[part] for part in ("model", "recipe", "encoder")] == [
            config[part] for part in ("model", "recipe", "encoder")
        ]
    record = json.loads((shadows / "shadows.json").read_text())
    assert (record["of"], record["num_models"], record["data"]) == (str(run.resolve()), 8, config["data"])


def test_an_audit_compares_each_attack_with_the_shadows(shadows, audited, run):
    report, found = document(audited), scores(audited)
    assert [attack["name"] for attack in report["attacks"]] == ["eps-loss", *(f"eps-loss+{how}" for how in HOW)]
    assert all(attack["spec"]["access"] == "white" for attack in report["attacks"])
    assert report["attacks"][1]["spec"]["config"]["shadows"] == 8
    assert report["provenance"]["shadows"]["of"] == str(run.resolve())
    assert report["provenance"]["shadows"]["num"] == 8
    assert all(np.isfinite(values).all() for values in found.values())


def test_what_was_asked_is_not_asked_again(diffaudit, monkeypatch, run, shadows, audited, tmp_path):
    """Of another run of the same records, whose members are others, that run alone is asked."""
    asked = []
    call = Stream.__call__

    def counted(self, shared, key, queries):
        asked.append(len(queries.row))
        return call(self, shared, key, queries)

    monkeypatch.setattr(Stream, "__call__", counted)
    before = contents(shadows)
    words = ("--shadows", shadows, *ASK)
    shutil.copytree(run, tmp_path / "other")
    config = json.loads((run / "run.json").read_text())
    sides = config["split"]
    sides["members"], sides["nonmembers"] = sides["nonmembers"], sides["members"]
    (tmp_path / "other" / "run.json").write_text(json.dumps(config))
    assert diffaudit("audit", tmp_path / "other", "--out", tmp_path / "audit", *words).code == 0
    first, second = scores(audited), scores(tmp_path / "audit")
    assert asked == [len(first["member"])]
    assert contents(shadows) == before
    # The same weights and the same answers: the same scores, in another order.
    for name in first.keys() - {"member"}:
        np.testing.assert_array_equal(np.sort(first[name]), np.sort(second[name]))


def test_a_stopped_call_goes_on_and_another_is_refused(diffaudit, refused, run, shadows, tmp_path):
    out = tmp_path / "shadows"
    shutil.copytree(shadows, out, ignore=shutil.ignore_patterns("shadow-7", "observations"))
    before = contents(out)
    ended = diffaudit("shadows", run, "--num", 8, "--out", out)
    assert ended.code == 0
    assert "trained 8 shadows into " in ended.out
    after = contents(out)
    assert before.items() <= after.items()
    ends = [training.load_run(folder / "shadow-7").state.params for folder in (out, shadows)]
    jax.tree.map(np.testing.assert_array_equal, *ends)
    assert "holds other shadows (num_models: 8 -> 9" in refused("shadows", run, "--num", 9, "--out", out)
    assert "holds other shadows (key: " in refused("shadows", run, "--num", 8, "--seed", 1, "--out", out)
    assert contents(out) == after


def changed(shadows, out, **parts):
    """Returns a copy of the shadows with another inclusion, without answers."""
    shutil.copytree(shadows, out, ignore=shutil.ignore_patterns("observations"))
    with np.load(shadows / "inclusion.npz") as stored:
        arrays = dict(stored)
    np.savez(out / "inclusion.npz", **arrays | {name: change(arrays) for name, change in parts.items()})
    return out


BAD = {
    "few": ({"inside": lambda a: a["inside"][:7]}, "LiRA needs at least 8 shadow models, got 7: train more."),
    "rows": ({"rows": lambda a: a["rows"] + 10_000}, "is not in the inclusion matrix"),
    "content": ({"hashes": lambda a: a["hashes"][::-1]}, "is another record than the one that the shadows"),
}


@pytest.mark.parametrize("case", BAD)
def test_shadows_of_other_records_are_refused_before_anything_is_asked(refused, run, shadows, tmp_path, case):
    changes, message = BAD[case]
    other = changed(shadows, tmp_path / "other", **changes)
    assert message in refused("audit", run, "--out", tmp_path / "audit", "--shadows", other, *ASK)
    assert not (tmp_path / "audit" / "observations").exists()


def test_shadows_that_are_not_finished_are_not_compared(refused, run, shadows, tmp_path):
    """Before anything is asked or timed, with a mend that goes on; a dry run says so too."""
    other = tmp_path / "shadows"
    shutil.copytree(shadows, other)
    shutil.rmtree(other / "shadow-5")
    words = ("audit", run, "--out", tmp_path / "audit", "--shadows", other, *ASK)
    for more in ((), ("--dry-run",), ("--budget-minutes", 9)):
        said = refused(*words, *more)
        assert said.startswith(f"shadow 5 of {other} is not there (of 1 such): give its `diffaudit shadows` again")
    assert not (tmp_path / "audit").exists()
    assert not (other / "shadow-5").exists()
    assert "has no shadows.json" in refused(*words[:5], run, *ASK, "--dry-run")


def test_shadows_of_other_weights_are_asked_anew(diffaudit, run, shadows, audited, tmp_path):
    """As if they had been trained further since an earlier audit asked them."""
    other = tmp_path / "shadows"
    shutil.copytree(shadows, other)
    for source, to in ((0, 1), (1, 0)):
        shutil.rmtree(other / f"shadow-{to}")
        shutil.copytree(shadows / f"shadow-{source}", other / f"shadow-{to}")
    assert diffaudit("audit", run, "--out", tmp_path / "audit", "--shadows", other, *ASK).code == 0
    first, second = scores(audited), scores(tmp_path / "audit")
    np.testing.assert_array_equal(first["eps-loss"], second["eps-loss"])
    assert (first["eps-loss+calibrated"] != second["eps-loss+calibrated"]).any()


def test_what_is_no_shadow_or_has_none_is_refused(refused, run, shadows, tmp_path):
    at = ("--out", tmp_path / "out")
    assert "has no shadows.json" in refused("audit", run, *at, "--shadows", run, *ASK)
    own = ("--members", "adult-3k", "--nonmembers", "adult-3k")
    assert "leave --members and --nonmembers out" in refused("audit", run, *at, "--shadows", shadows, *own, *ASK)
    assert "none is asked for" in refused("audit", run, *at, "--shadows", shadows, "--attack", "nearest")
    assert refused("shadows", run, *at, "--num", 1).startswith("--num 1 shadows cannot each hold a random half")
    assert refused("shadows", run, *at, "--together", 0).startswith("--together must be at least 1")
    assert "is no run directory" in refused("shadows", shadows, *at)


def test_shadows_of_another_recipe_are_noted(run, shadows, tmp_path):
    other = changed(shadows, tmp_path / "shadows")
    record = json.loads((other / "shadows.json").read_text())
    record["recipe"]["learning_rate"] = 1.0
    (other / "shadows.json").write_text(json.dumps(record))
    subject = load_subject(run, Weights())
    queries = queries_of(split_of(Asked(), run, subject), subject.target.num_classes)
    with pytest.warns(UserWarning, match=r"were trained otherwise than the run \(other recipe\): "):
        compared(Shadowed(other), ("eps-loss",), subject, queries, run)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = compared(Shadowed(shadows), ("eps-loss",), subject, queries, run)
    assert found is not None
    np.testing.assert_array_equal(found.queries.row, np.sort(queries.row))


def test_people_and_equal_records_are_inside_as_a_whole():
    x = np.arange(12, dtype=np.uint8).reshape(12, 1, 1, 1)
    x[7] = x[2]
    pool = data.Pool(x, np.arange(12) + 5, "p", groups=np.repeat(np.arange(4), 3).astype(np.int32))
    for by_group, unit in ((True, pool.groups), (False, np.where(np.arange(12) == 7, 2, np.arange(12)))):
        inclusion = tossed(jax.random.key(0), pool, 6, by_group=by_group)
        np.testing.assert_array_equal(inclusion.rows, pool.rows)
        assert (inclusion.inside.sum(axis=0) == 3).all()
        for i in range(12):
            np.testing.assert_array_equal(inclusion.inside[:, i], inclusion.inside[:, list(unit).index(unit[i])])
        # Their coins do not depend on who else is there.
        part = tossed(jax.random.key(0), pool.take(np.arange(3)), 6, by_group=by_group)
        np.testing.assert_array_equal(part.inside, inclusion.inside[:, :3])


def test_difficulty_is_what_shadows_without_the_record_score():
    rng = np.random.default_rng(0)
    rows, num = np.array([7, 3, 9, 4]), 5
    inclusion = data.Inclusion(np.arange(12), np.arange(12) % 2 == np.arange(num)[:, None] % 2)
    own = Observations((), rng.normal(size=4), rows)
    table = rng.normal(size=(num, 12))
    others = [Observations((), table[k, order], order) for k in range(num) for order in [np.array([3, 4, 7, 9])]]
    want = [
        own.scores[i] - np.mean([table[k, row] for k in range(num) if not inclusion.inside[k, row]])
        for i, row in enumerate(rows)
    ]
    # A mean of at most five numbers below 4 and a difference: six roundings of half an ulp of 4.
    np.testing.assert_allclose(without(own, others, inclusion), want, rtol=0, atol=6 * 2.0**-51)


def test_images_are_compared_too(diffaudit, monkeypatch, trained, tmp_path):
    """Shadows are here random around their first weights: that images train them, fit_many's tests see."""
    rng = np.random.default_rng(0)

    def guessed(state, data, advance, recipe, privacy, kept, progress):
        params = jax.tree.map(lambda leaf: leaf + 0.1 * rng.normal(size=leaf.shape).astype(leaf.dtype), state.params)
        state = state._replace(params=params, ema=params, step=state.step + recipe.num_steps)
        kept.save(state)
        return state

    monkeypatch.setattr(steps, "_train", guessed)
    assert diffaudit("shadows", trained, "--num", 8, "--out", tmp_path / "shadows", "--checkpoint-every", 4).code == 0
    words = ("--shadows", tmp_path / "shadows", "--attack", "pia", "--block", 16)
    assert diffaudit("audit", trained, "--out", tmp_path / "audit", *words).code == 0
    attacks = document(tmp_path / "audit")["attacks"]
    assert [attack["name"] for attack in attacks] == ["pia", *(f"pia+{how}" for how in HOW)]
    assert {attack["spec"]["access"] for attack in attacks} == {"gray"}
