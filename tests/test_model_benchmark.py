"""What the benchmark of models puts together around training and sampling, which are tested where they live."""

import json

import jax
import numpy as np
import pytest

from benchmarks import models as benchmark
from benchmarks.families import TIERS, rate, trained_per_s
from benchmarks.markdown import ABSENT
from benchmarks.model_table import COLUMNS, document, write_tables
from benchmarks.stopped import opened
from diffaudit_jax import process
from diffaudit_jax.models import FAMILIES, build
from diffaudit_jax.sampler.catalogue import check_sampler
from diffaudit_jax.types import InputError

QUALITY = {
    "frechet": 12.345,
    **dict.fromkeys(("precision", "recall", "density", "coverage"), 0.5),
    "nearer_to_training": {"value": 0.5, "low": 0.4, "high": 0.6},
    "p_value": 0.25,
}
HARDWARE = {"device": "cpu", "cpu": "abacus", "cores": 2, "jax": "0.10.2", "commit": "abc"}
ROW = {
    **QUALITY,
    "parameters": 1234567,
    "train_images_per_s": None,
    "sampler": "heun",
    "sample_steps": 18,
    "sample_images_per_s": 3.5,
    "hardware": HARDWARE,
}


@pytest.fixture(scope="module")
def dealt():
    return {name: benchmark.dealt(benchmark.Options(), tier) for name, tier in TIERS.items()}


def result(split, families):
    setting = benchmark.settings(benchmark.Options(), TIERS["cpu"], split)
    return {"setting": setting, "floor": QUALITY, "classifier": {"accuracy": 0.8}, "families": families}


def test_rates_leave_out_compilation_and_restarts():
    assert rate([(10, 100.0), (20, 101.0), (30, 103.0), (40, 104.0)]) == 10
    assert rate([(10, 1.0), (20, 2.0), (10, 0.5), (20, 1.0)]) == 15
    assert rate([(10, 1.0)]) is None


def test_training_speed_is_the_logs(tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_text("".join(json.dumps({"step": 20 * i, "seconds": 50 + 4 * i}) + "\n" for i in range(1, 4)))
    assert trained_per_s(log, 64) == 20 * 64 / 4


@pytest.mark.parametrize("tier", TIERS)
def test_three_parts_share_no_image_and_suit_every_network(dealt, tier):
    split = dealt[tier]
    hashes = [set(side.hashes()) for side in (split.members, split.nonmembers, split.reference)]
    assert [len(part) for part in hashes] == [500, 500, 1000]
    assert len(set.union(*hashes)) == 2000
    for name in FAMILIES:
        build(name, split.members.shape, size=TIERS[tier].size)


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("name", FAMILIES)
def test_every_sampler_takes_its_steps(tier, name):
    family = FAMILIES[name]
    schedule = process.from_config(family.schedule)
    check_sampler(family.sampler, schedule, TIERS[tier].sample_steps.get(name, schedule.steps))


def test_padding_is_black_and_keeps_the_image(dealt):
    small, padded = dealt["cpu"].members.x, dealt["gpu"].members.x
    assert padded.shape == (500, 32, 32, 1)
    # The split goes by row, so both tiers deal the same images.
    np.testing.assert_array_equal(padded[:, 2:-2, 2:-2], small)
    assert padded.sum() == small.sum()


def test_a_table_has_every_family_and_says_what_is_missing(dealt):
    lines = document("cpu", result(dealt["cpu"], {"edm": ROW})).splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert {row.count("|") for row in rows} == {len(COLUMNS) + 1}
    assert sum(row.split("|")[2].strip() == ABSENT for row in rows) == len(FAMILIES) - 1
    edm = next(row for row in rows if "edm" in row)
    assert "1,234,567" in edm
    assert "12.35" in edm or "12.34" in edm
    assert edm.endswith(f"| heun, 18 | 3.5 | {ABSENT} |")
    assert document("gpu", None).count(ABSENT) == len(FAMILIES)


def test_tables_are_written_from_what_is_there(tmp_path, dealt):
    (tmp_path / "models-cpu.json").write_text(json.dumps(result(dealt["cpu"], {"edm": ROW})))
    write_tables(tmp_path)
    assert "abacus" in (tmp_path / "models-cpu.md").read_text()
    assert "abacus" not in (tmp_path / "models-gpu.md").read_text()


def test_rows_of_other_settings_do_not_mix(tmp_path, dealt):
    path, setting = tmp_path / "models-cpu.json", result(dealt["cpu"], {})["setting"]
    assert opened(path, setting) == {"setting": setting}
    path.write_text(json.dumps(result(dealt["cpu"], {"edm": ROW})))
    assert opened(path, setting)["families"] == {"edm": ROW}
    with pytest.raises(InputError, match=r"measured otherwise \(seed: 0 -> 1\): give another --out"):
        opened(path, {**setting, "seed": 1})
    other = {**setting, "training": {**setting["training"], "num_steps": 7}}
    with pytest.raises(InputError, match=r"training.num_steps: 1200 -> 7"):
        opened(path, other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"families": ("emd",)}, "did you mean 'edm'"),
        ({"samples": 501}, "--samples is 501: draw from 8 to 500"),
        ({"data": "adult-3k"}, "adult-3k is a table: give images"),
        ({"tier": "gpu"}, "there is no accelerator here: use --tier cpu"),
    ],
)
def test_bad_options_are_refused_before_anything_is_trained(tmp_path, options, message):
    assert jax.default_backend() == "cpu"
    with pytest.raises(InputError, match=message):
        benchmark.main(benchmark.Options(**options, out=tmp_path, work=tmp_path / "work"))
    assert not (tmp_path / "work").exists()
