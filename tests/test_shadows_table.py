"""The page of the benchmark on shadows: what its bounds of epsilon rest on, and what they could have been at most."""

import pytest

from benchmarks.shadows_table import document

HARDWARE = {"device": "abacus", "cpu": "beads", "cores": 2, "jax": "0", "commit": "none"}
RECIPE = {"num_steps": 10, "batch_size": 8}
SIDE = {"recipe": RECIPE, "pool": 300, "targets": 2, "times": 6, "noises": 4}


def page(**parts):
    parts = {name: {"seconds": 1.0, "hardware": HARDWARE, **part} for name, part in parts.items()}
    return document("cpu", {"setting": {"data": ["some"], "tier": {"tables": SIDE}}, "parts": parts})


@pytest.mark.parametrize(("shadows", "most"), [(16, "0.00"), (32, "0.53"), (64, "1.35")])
def test_what_so_many_trainings_could_have_shown_is_said(shadows, most):
    bound = {"epsilon": 0.0, "level": 0.95, "delta": 1e-5, "canaries": shadows}
    rows = [{"shadows": shadows, "method": "lira", "auc": [0.6], "tpr": None}]
    told = page(tables={"rows": rows, "population": 5, "many_runs": bound})
    assert f"An attack that is never wrong would have shown {most} by so many." in told


def test_a_bound_of_nothing_rests_on_no_guesses():
    guessed = {"epsilon": 0.0, "guesses": 37, "correct": 21}
    row = {"canaries": 50, "auc": [0.5, 0.4, 0.6], "one_run": guessed, "one_run_fdp": guessed}
    part = {"trained": 25, "steps": 10, "delta": 1e-5, "rows": [row, {**row, "one_run": {**guessed, "epsilon": 0.5}}]}
    nothing, something = page(canaries=part).splitlines()[-4:-2]
    assert [cell.strip() for cell in nothing.split("|")][3:5] == ["none", "0.00"]
    assert [cell.strip() for cell in something.split("|")][3:5] == ["21 of 37", "0.50"]
