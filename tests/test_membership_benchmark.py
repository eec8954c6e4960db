"""What the benchmark of attacks puts together around models and audits, which are tested where they live."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from benchmarks import membership as benchmark
from benchmarks.cases import ASKED, BLACK, PHOTOS, Bench, Case, dealt, photo_crops, pool_of, setting_of
from benchmarks.membership_table import document, write_tables
from benchmarks.studies import API, ARCHITECTURES, CALIBRATED, LEARNED, judged
from diffaudit_jax import models, process
from diffaudit_jax.cli.catalogue import ENTRIES
from diffaudit_jax.cli.passes import passes
from diffaudit_jax.sampler.catalogue import check_sampler
from diffaudit_jax.types import InputError
from tests.oracles import gaussian

HARDWARE = {"device": "cpu", "cpu": "abacus", "cores": 2, "jax": "0.10.2", "commit": "abc"}
DATA = benchmark.Options().data


@pytest.fixture
def bench(tmp_path):
    return Bench(benchmark.TIERS["cpu"], 0, tmp_path)


def all_cases(bench):
    """Every case that is measured, with what kind of part, read off the functions that measure them."""
    bound = [(kind, getattr(measure, "__defaults__", None)) for kind, _, measure in benchmark.parts(bench, *DATA)]
    return [(kind, defaults[0]) for kind, defaults in bound if defaults]


def test_photographs_are_cut_into_tiles_that_put_together_are_the_photographs():
    pool = photo_crops()
    assert pool.x.shape == (2 * 13 * 20, 32, 32, 3)
    rows = [np.concatenate(pool.x[20 * row : 20 * row + 20], axis=1) for row in range(13)]
    from sklearn.datasets import load_sample_image

    np.testing.assert_array_equal(np.concatenate(rows), load_sample_image("china.jpg")[: 13 * 32])


def test_every_case_has_images_enough_and_no_image_on_two_sides(bench):
    for case in {case._replace(steps=1, family="ddpm", sampler="ddim") for _, case in all_cases(bench)}:
        split = dealt(bench, case)
        assert split.reference is not None
        sides = [set(side.hashes()) for side in (split.members, split.nonmembers, split.reference)]
        assert len(set.union(*sides)) == sum(map(len, sides))
        assert len(split.members) == case.members
        assert len(split.reference) == case.members + bench.tier.shadow_nonmembers


def test_every_case_is_sampled_by_what_goes_with_its_process(bench):
    for _, case in all_cases(bench):
        schedule = process.from_config(models.FAMILIES[case.family].schedule)
        check_sampler(case.sampler, schedule, bench.tier.bank_steps[case.sampler])
    assert set(ARCHITECTURES) <= set(models.FAMILIES)


def test_names_are_of_one_case_each(bench):
    names = [(kind, name) for kind, name, _ in benchmark.parts(bench, *DATA)]
    assert len(set(names)) == len(names)


def test_every_attack_of_the_catalogue_is_asked(bench):
    assert {*ASKED, *BLACK} == {name for name, entry in ENTRIES.items() if entry.of not in ("vae", "table")}
    assert set(CALIBRATED) < set(ENTRIES)
    setting = setting_of(bench, gaussian(process.ddpm_linear()))
    observed = {place for each in passes(ASKED, setting).values() for place, _ in each.scored.values()}
    assert {place for place, _ in LEARNED.values()} < observed


def test_protections_are_flags_of_the_command_line(bench):
    target = gaussian(process.ddpm_linear())
    for flags in API.values():
        made = passes(("sima",), setting_of(bench, target, **flags))["clean"]
        assert len(made.attack.spec.config.get("protections", [])) == len(flags)


def test_a_table_is_not_a_set_of_images():
    with pytest.raises(InputError, match="adult-3k is a table"):
        pool_of("adult-3k")
    assert pool_of(PHOTOS).name == PHOTOS


def measured(case):
    rng = np.random.default_rng(0)
    member = np.arange(40) < 20
    row = {"calls": 10, **judged(rng.normal(size=40) + member, member)}
    passes = {"gsa1": {"attacks": ["gsa1"], "seconds": 12.5}}
    return {"case": case._asdict(), "attacks": {"gsa1": row}, "passes": passes, "hardware": HARDWARE}


def result(bench):
    cases = [case for kind, case in all_cases(bench) if kind == "cases"]
    setting = {"data": list(DATA), "tier": asdict(bench.tier), "seed": 0}
    return {"setting": setting, "cases": {case.name: measured(case) for case in cases}, "studies": {}}


def test_a_document_has_every_case_that_was_measured_and_what_it_means(bench):
    text = document("cpu", result(bench), "What it means.")
    assert text.count("What it means.") == 1
    rows = [line for line in text.splitlines() if line.startswith("| gsa1")]
    assert [row.count("|") - 1 for row in rows] == [4 + 6, 4 + 6, 2 + 3, 2 + 6]
    assert rows[0].split("|")[3:5] == [" 10 ", " 12.5 "]
    assert "Not measured" in document("gpu", None)


def test_documents_are_written_from_what_is_there(tmp_path, bench):
    (tmp_path / "membership-cpu.json").write_text(json.dumps(result(bench)))
    (tmp_path / "membership-cpu-notes.md").write_text("Gradients win.")
    write_tables(tmp_path)
    written = (tmp_path / "membership-cpu.md").read_text()
    assert "abacus" in written
    assert "Gradients win." in written
    assert "abacus" not in (tmp_path / "membership-gpu.md").read_text()


def test_an_accelerator_is_asked_for_by_name(tmp_path):
    with pytest.raises(InputError, match="there is no accelerator here: use --tier cpu"):
        benchmark.main(benchmark.Options(tier="gpu", out=tmp_path, work=tmp_path))


def test_cases_say_what_they_are():
    assert Case("some/where.npz", 64, 600).name == "where.npz-64-600-ddpm-ddim"
