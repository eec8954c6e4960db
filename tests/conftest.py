"""Eight CPU devices and strict ranks for every test, and programs that are compiled quickly, and once."""

import gc
import os

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
# Each program runs a few times here: to compile it well takes longer than it saves.
jax.config.update("jax_disable_most_optimizations", True)
# Programs stay alive: to look for garbage among them again and again takes a tenth of the time.
gc.set_threshold(100_000, 50, 100)


@pytest.fixture(scope="session", autouse=True)
def compiled(tmp_path_factory) -> dict[str, str]:
    """Programs on disk, shared by all tests and workers; returns the environment that shares them with a subprocess."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if base.name.startswith("popen-") else base) / "compiled"
    settings = {"jax_compilation_cache_dir": str(folder), "jax_persistent_cache_min_compile_time_secs": 0.1}
    for name, value in settings.items():
        jax.config.update(name, value)
    shared = {name.upper(): str(value) for name, value in settings.items()}
    return {**shared, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
