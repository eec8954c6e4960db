"""A run really killed, by SIGKILL, ends with the very bits of one that was not."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from tests.training.runs import train

# Each stops itself at a known place, says so, and waits to be killed.
CHILDREN = {
    # 10 steps after the checkpoint of step 30.
    "between checkpoints": """
def progress(step, num_steps, info):
    if step == 40:
        wait()
train(out, progress=progress)
""",
    # Orbax finishes a checkpoint by renaming its folder: the one of step 30 is written but not yet there.
    "while saving": """
rename = os.rename
def stop(source, target, *arguments, **options):
    if str(target).endswith("/30"):
        wait()
    rename(source, target, *arguments, **options)
os.rename = stop
train(out)
""",
}
CHILD = """
import os, sys, time
from pathlib import Path
from tests.training.runs import train
out = Path(sys.argv[1])
def wait():
    print("ready", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("moment", CHILDREN)
def test_a_killed_run_resumes_to_the_same_bits(moment, tmp_path, compiled, unbroken):
    environment = {**os.environ, **compiled, "PYTHONPATH": str(Path(__file__).parents[2])}
    run = tmp_path / "run"
    with subprocess.Popen(
        [sys.executable, "-c", CHILD + CHILDREN[moment], str(run)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        said = child.stdout.readline()
        child.kill()
        complaint = child.stderr.read()
    assert said == "ready\n", complaint
    assert child.returncode == -signal.SIGKILL
    finished = sorted(path.name for path in (run / "checkpoints").iterdir())
    assert finished[0] == "15"
    assert finished[1].startswith({"between checkpoints": "30", "while saving": "30.orbax-checkpoint-tmp"}[moment])

    steps = []
    resumed = train(run, progress=lambda step, num_steps, info: steps.append(step))
    assert steps[0] == {"between checkpoints": 40, "while saving": 20}[moment]
    for got, want in zip(resumed.state[:4], unbroken.state[:4], strict=True):
        jax.tree.map(np.testing.assert_array_equal, got, want)
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["30", "45"]
