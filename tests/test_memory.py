"""Kept memory: once the heap has grown to what a program needs, calling it faults no pages in."""

import platform
import subprocess
import sys

import pytest

from diffaudit_jax.memory import keep_freed_memory

# Prints the page faults of each of twenty calls of a program whose scratch memory is two blocks of 36 MB, 9,216 pages
# each, after twenty that let the heap grow. What a loop carries is in memory, whatever a compiler folds away.
SCRIPT = """
import resource, sys, jax, jax.numpy as jnp
from diffaudit_jax.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
f = jax.jit(lambda x: jax.lax.fori_loop(0, 2, lambda i, y: y.T, jnp.outer(x, x)).sum())
x = jnp.arange(3072.0)
for i in range(40):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    f(x).block_until_ready()
    if i >= 20:
        print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(mode: str) -> int:
    """Page faults of the median of twenty late calls, in a process of their own."""
    done = subprocess.run([sys.executable, "-c", SCRIPT, mode], capture_output=True, text=True, check=True)
    return sorted(map(int, done.stdout.split()))[10]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only the GNU C library is told")
def test_scratch_memory_is_not_asked_for_again():
    # The median, because a small block that comes to lie between the large ones makes the heap grow once more, and
    # rarely. In pages of 2 MB, where the kernel gives such by itself, a call faults 36 of them. Several processes,
    # because in one of a hundred a thread keeps the heap that a library gave it on import, before anything was told.
    assert any(faults("keep") < 36 for _ in range(3))
    assert faults("leave") > 36


def test_where_there_is_nothing_to_tell_nothing_is_done(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert keep_freed_memory() is False
