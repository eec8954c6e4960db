"""The benchmarks still run: they stand in layers by name, which nothing else would notice to have changed."""

import json
import math

from benchmarks import throughput, timing


def test_throughput_measures_saves_and_names_the_hardware(tmp_path, monkeypatch):
    monkeypatch.setattr(timing, "RESULTS", tmp_path)
    options = throughput.Options(batch=8, images=8, times=1, repeats=1, trajectory_repeats=1, width=8)
    throughput.main(options)
    (saved,) = tmp_path.iterdir()
    result = json.loads(saved.read_text())
    assert result["hardware"]["cores"] and result["hardware"]["jax"]
    numbers = [value for name, value in result.items() if name.endswith(("_per_s", "_after", "_of_matmul", "_gflops"))]
    assert len(numbers) == 10 and all(math.isfinite(number) and number >= 0 for number in numbers)
    assert all(row["ours_ms"] > 0 for row in result["layers"].values())
