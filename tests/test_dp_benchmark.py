"""The benchmark of what privacy buys: noise for every tier, and tables from what is there."""

import dataclasses
import json
import math
from dataclasses import asdict

import numpy as np
import pytest

from benchmarks import dp
from benchmarks.cases import Bench
from benchmarks.dp_table import write_tables
from benchmarks.membership import TIERS as ASKING
from diffaudit_jax import training
from diffaudit_jax.training.run import ledger_of

HARDWARE = {"device": "abacus", "cpu": "beads", "cores": 2, "jax": "0", "commit": "none"}


def row(noise, auc, found=(0.0, 0.0)):
    judged = {"auc": [auc, auc - 0.1, auc + 0.1], "tpr": None}
    kinds = dict(zip(("one_run", "fdp"), found, strict=True))
    attacks = [{"name": "sima", **{kind: {"epsilon": epsilon} for kind, epsilon in kinds.items()}}]
    bound = {"canaries": 512, "level": 0.95, "best": dict.fromkeys(kinds, "sima"), "attacks": attacks}
    return {
        "noise_multiplier": noise,
        "frechet": 12.3,
        "attacks": {"sima": judged},
        "lower_bound": bound,
        "hardware": HARDWARE,
    }


@pytest.mark.parametrize("name", dp.TIERS)
def test_every_tier_keeps_what_it_promises(name):
    """Which includes that its delta is below one in its number of members."""
    tier = dp.TIERS[name]
    num_examples = tier.always + tier.canaries // 2
    privacy = dp.private(tier, 50.0, num_examples)
    ledger = ledger_of(privacy, tier.recipe, num_examples, tier.recipe.num_steps, key_given=False)
    assert 49 < training.epsilon(ledger) <= 50


def test_every_image_asked_about_had_a_coin(tmp_path):
    tier = dataclasses.replace(dp.TIERS["cpu"], canaries=40, always=30)
    split = dp.dealt(Bench(ASKING["cpu"], 0, tmp_path), dp.Options(), tier)
    assert split.coin == 0.5
    assert len(split.queries.row) == 40
    sides = [split.training.rows, split.nonmembers.rows, split.reference.rows]
    assert len(np.unique(np.concatenate(sides))) == sum(map(len, sides)) == 2000
    assert len(split.training) == 30 + len(split.members)


def test_tables_are_written_from_what_is_there(tmp_path):
    models = {"8": row(2.5, 0.5, (0.25, 3.0)), str(math.inf): row(None, 0.9, (4.0, 7.5)), "1": row(20.0, 0.4)}
    setting = {"data": "fashion-mnist-2k", "tier": asdict(dp.TIERS["cpu"]), "seed": 0}
    sizes = {"trained": 276, "held_out": 236}
    result = {"setting": setting, "sizes": sizes, "models": models, "floor": 0.1}
    (tmp_path / "dp-cpu.json").write_text(json.dumps(result))
    write_tables(tmp_path)
    text = (tmp_path / "dp-cpu.md").read_text()
    cells = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")][2:]
    assert [(epsilon, noise, auc, *bounds) for epsilon, noise, _, auc, *bounds in cells] == [
        ("1", "20.00", "0.40 [0.30, 0.50], ?", "0", "0"),
        ("8", "2.50", "0.50 [0.40, 0.60], ?", "0.25 (sima)", "3.00 (sima)"),
        ("inf", "none", "0.90 [0.80, 1.00], ?", "4.00 (sima)", "7.50 (sima)"),
    ]
    assert "276 images trained on" in text
    assert "against 236 held-out images" in text
    assert "abacus" in text
    assert (tmp_path / "dp-cpu.png").stat().st_size > 1000
    assert "Not measured." in (tmp_path / "dp-gpu.md").read_text()
