"""The benchmark of what privacy buys: noise for every tier, and tables from what is there."""

import json
import math
from dataclasses import asdict

import pytest

from benchmarks import dp
from benchmarks.dp_table import write_tables
from diffaudit_jax import training
from diffaudit_jax.training.run import ledger_of

HARDWARE = {"device": "abacus", "cpu": "beads", "cores": 2, "jax": "0", "commit": "none"}


def row(noise, auc):
    judged = {"auc": [auc, auc - 0.1, auc + 0.1], "tpr": None}
    return {"noise_multiplier": noise, "frechet": 12.3, "attacks": {"sima": judged}, "hardware": HARDWARE}


@pytest.mark.parametrize("name", dp.TIERS)
def test_every_tier_keeps_what_it_promises(name):
    """Which includes that its delta is below one in its number of members."""
    tier = dp.TIERS[name]
    privacy = dp.private(tier, 50.0)
    ledger = ledger_of(privacy, tier.recipe, tier.members, tier.recipe.num_steps, key_given=False)
    assert 49 < training.epsilon(ledger) <= 50


def test_tables_are_written_from_what_is_there(tmp_path):
    models = {"8": row(2.5, 0.5), str(math.inf): row(None, 0.9), "1": row(20.0, 0.4)}
    setting = {"data": "fashion-mnist-2k", "tier": asdict(dp.TIERS["cpu"]), "seed": 0}
    (tmp_path / "dp-cpu.json").write_text(json.dumps({"setting": setting, "models": models, "floor": 0.1}))
    write_tables(tmp_path)
    text = (tmp_path / "dp-cpu.md").read_text()
    cells = [line.split(" | ")[:4] for line in text.splitlines() if line.startswith("| ")][2:]
    assert [(epsilon, noise, auc) for epsilon, noise, _, auc in cells] == [
        ("| 1", "20.00", "0.40 [0.30, 0.50], ?"),
        ("| 8", "2.50", "0.50 [0.40, 0.60], ?"),
        ("| inf", "none", "0.90 [0.80, 1.00], ?"),
    ]
    assert "abacus" in text
    assert (tmp_path / "dp-cpu.png").stat().st_size > 1000
    assert "Not measured." in (tmp_path / "dp-gpu.md").read_text()
