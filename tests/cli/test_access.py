"""diffaudit audit --access: attacks by what the attacker has, and services that defend themselves."""

import json

import numpy as np
import pytest
from PIL import Image

from diffaudit_jax.cli.attacks import table
from diffaudit_jax.cli.catalogue import ENTRIES

from .conftest import ASK, at, scores

GRAY = ("--access", "gray", "--attack", "secmi,pia", "pian", "--block", "36")


def specs(directory):
    document = json.loads((directory / "report.json").read_text())
    return {attack["name"]: attack["spec"] for attack in document["attacks"]}


def test_attacks_that_ask_about_the_query_itself_are_one_pass(diffaudit, trained, tmp_path):
    assert diffaudit("audit", trained, "--out", tmp_path, *GRAY).code == 0
    assert [path.name for path in (tmp_path / "observations").iterdir()] == ["clean"]
    assert list(scores(tmp_path)) == ["member", "secmi", "pia", "pian"]
    assert {name: spec["access"] for name, spec in specs(tmp_path).items()} == dict.fromkeys(
        ("secmi", "pia", "pian"), "gray"
    )
    assert specs(tmp_path)["pia"]["calls"] == 2


def test_an_attack_added_later_finds_the_other_answers_there(diffaudit, trained, tmp_path):
    words = (
        "audit",
        trained,
        "--out",
        tmp_path,
        "--access",
        "gray",
        "--times",
        "4",
        "--truncate",
        "1",
        "--block",
        "36",
    )
    assert diffaudit(*words, "--attack", "x0-api").code == 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "observations" / "x0-api").iterdir()}
    assert diffaudit(*words, "--attack", "x0-api,sima").code == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "observations" / "x0-api").iterdir()} == before
    assert list(scores(tmp_path)) == ["member", "x0-api", "sima"]
    assert list(json.loads((tmp_path / "report.json").read_text())["trajectory"]["losses"]) == ["x0"]


def test_a_defence_is_part_of_what_an_audit_is(diffaudit, refused, trained, tmp_path):
    words = ("audit", trained, "--out", tmp_path, "--access", "gray", "--attack", "pia", "--block", "36")
    defence = ("--api-levels", "256", "--api-noise", "0.1", "--api-shared-noise", "0.2")
    assert diffaudit(*words, *defence).code == 0
    kinds = [protection["protection"] for protection in specs(tmp_path)["pia"]["config"]["protections"]]
    assert kinds == ["noised", "shared_noise", "rounded"]
    assert "holds another audit (its attack differ" in refused(*words)


def test_black_box_attacks_ask_for_images_alone(diffaudit, trained, tmp_path):
    few = ("--bank", "12", "--bank-steps", "2", "--surrogate-steps", "2", "--times", "3", "--truncate", "1")
    words = ("--attack", "all-black", "--access", "black", *few, "--block", "36")
    assert diffaudit("audit", trained, "--out", tmp_path, *words).code == 0
    assert {path.name for path in (tmp_path / "observations").iterdir()} == {"nearest", "nearest-5", "surrogate"}
    assert (tmp_path / "surrogate" / "run.json").exists()
    found = specs(tmp_path)
    assert found["nearest"]["config"]["samples"] == 12
    assert [spec["calls"] for spec in found.values()] == [0, 0, 0]


def test_a_folder_of_images_is_audited_black_box(diffaudit, refused, bad, tmp_path):
    folder = tmp_path / "generated"
    folder.mkdir()
    draws = np.random.default_rng(1)
    for i in range(6):
        Image.fromarray(draws.integers(0, 256, (28, 28), dtype=np.uint8)).save(folder / f"{i}.png")
    sides = ("--members", "BAD/good.npz", "--nonmembers", "BAD/rest.npz")
    words = ("audit", folder, "--out", tmp_path / "audit", *at(bad, sides))
    assert refused(*words) == "there are generated images only, and no model to ask: give --access black."
    assert diffaudit(*words, "--access", "black", "--attack", "nearest,nearest-5").code == 0
    assert specs(tmp_path / "audit")["nearest"]["config"]["samples"] == 6
    few = tmp_path / "few"
    few.mkdir()
    for path in list(folder.iterdir())[:3]:
        path.rename(few / path.name)
    words = ("audit", few, "--out", tmp_path / "other", *at(bad, sides), "--access", "black")
    assert refused(*words).startswith("the 5 nearest of 3 samples were asked for")


REFUSED = {
    "too little access": (("--access", "black", "--attack", "pia"), "pia needs gray access, and with --access black"),
    "nothing": (("--attack", ","), "no attack is named: give --attack some of those that `diffaudit attacks` lists."),
    "no such kind": (("--attack", "all-grey"), "unknown attack 'all-grey': did you mean 'all-gray'?"),
    "a budget": (
        (*GRAY, "--query-budget", "100"),
        "calls x 36 queries are ",
    ),
    "no bank": (("--bank", "0"), "--bank must be at least 1, got 0."),
    "a small bank": (
        ("--access", "black", "--attack", "nearest-5", "--bank", "4", "--bank-steps", "1"),
        "--bank must be at least 5, got 4.",
    ),
    "one level": ((*GRAY, "--api-levels", "1"), "an answer is rounded to 2 levels or more, got levels=1."),
    "no levels": ((*GRAY, "--api-levels", "0"), "an answer is rounded to 2 levels or more, got levels=0."),
    "a defence of nothing": (
        ("--attack", "gsa1,nearest", "--api-levels", "8"),
        "protections (--api-...) stand before gray-box and image-to-image attacks, and none is asked for.",
    ),
    "negative noise": ((*GRAY, "--api-noise", "-1"), "noise has a standard deviation of 0 or more"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_asked_is_refused_before_anything_is(refused, trained, tmp_path, case):
    words, message = REFUSED[case]
    assert message in refused("audit", trained, "--out", tmp_path / "audit", *ASK, *words)
    assert not list(tmp_path.glob("audit/observations/*/block-*"))


BEFORE_A_BANK = {
    "a budget": (
        ("sima,nearest", "--query-budget", "43"),
        "1 calls x 36 queries are 36 and the bank's 8, over the budget",
    ),
    "the bank's own": (("nearest", "--query-budget", "7"), "the bank alone takes 8 calls, over the budget of 7"),
    "a truncation": (("surrogate", "--truncate", "0.001"), "truncate=0.001 by time keeps none"),
    "no noises": (("surrogate", "--noises", "0"), "at least 1 noise draw per time is needed, got num_noises=0."),
    "no training": (("surrogate", "--surrogate-steps", "0"), "--surrogate-steps must be at least 1, got 0."),
    "no family": (("surrogate", "--surrogate-model", "ncsnv3"), "unknown model 'ncsnv3': did you mean 'ncsnv2'?"),
}


@pytest.mark.parametrize("case", BEFORE_A_BANK)
def test_what_cannot_be_done_is_said_before_a_bank_is_drawn(refused, trained, tmp_path, case):
    words, message = BEFORE_A_BANK[case]
    few = ("--bank", "4", "--bank-steps", "2")
    assert refused("audit", trained, "--out", tmp_path / "audit", *ASK, *few, "--attack", *words).startswith(message)
    assert not (tmp_path / "audit" / "bank").exists()


def test_images_of_another_shape_are_refused_before_a_bank_is_drawn(diffaudit, bad, trained, tmp_path):
    images = at(bad, ("--members", "BAD/narrow.npz", "--nonmembers", "BAD/narrow too.npz"))
    words = (*ASK, "--access", "black", "--attack", "nearest", "--bank", "4", "--bank-steps", "2", *images)
    code, _, (note, mistake) = diffaudit("audit", trained, "--out", tmp_path / "audit", *words)
    assert (code, mistake) == (
        2,
        "diffaudit: queries of shape (28, 24, 1) do not fit a target of shape (28, 28, 1).",
    )
    assert "none that this run was trained on" in note
    assert not (tmp_path / "audit" / "bank").exists()


def test_a_budget_counts_what_a_service_is_asked_and_no_weights(diffaudit, trained, tmp_path):
    words = ("--attack", "sima,eps-loss,nearest", "--query-budget", "44", "--bank", "4", "--bank-steps", "2")
    assert diffaudit("audit", trained, "--out", tmp_path, *ASK, *words).code == 0
    document = json.loads((tmp_path / "report.json").read_text())
    assert document["provenance"]["calls"] == {"clean": 1, "trajectory": 6, "nearest": 0}
    assert document["provenance"]["bank"] == {"images": 4, "sampler": "ddim", "steps": 2}


def test_a_bank_is_drawn_on_the_devices_and_in_the_blocks_that_were_asked_for(diffaudit, trained, tmp_path):
    words = ("--access", "black", "--attack", "nearest", "--bank", "3", "--bank-steps", "1", "--devices", "1")
    assert diffaudit("audit", trained, "--out", tmp_path, *words, "--block", "1").code == 0
    assert len(list((tmp_path / "bank").glob("block-*-1.npz"))) == 3


def test_attacks_are_listed(diffaudit):
    ended = diffaudit("attacks")
    assert ended.code == 0
    lines = ended.out.splitlines()
    assert lines[0].split() == ["attack", "access", "calls", "paper", "measures"]
    assert [line.split()[0] for line in lines[1:]] == list(ENTRIES)
    calls = {row[0]: row[2] for row in table()[1:]}
    assert [calls[name] for name in ("eps-loss", "secmi", "pia", "sima", "pfami", "gsa1")] == [
        "50",
        "11",
        "2",
        "1",
        "20",
        "10",
    ]
