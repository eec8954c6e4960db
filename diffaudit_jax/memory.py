"""Keeps memory that XLA's CPU programs return, so that the next call need not have it zeroed again.

A program takes its scratch memory as one block: 1 GB for the training step of a 1 M parameter U-Net at batch 64. The C
library gets blocks of more than 32 MB from the kernel and hands them back when they are freed, and the kernel zeroes
every page that it gives: a quarter of a million page faults a step, a sixth of its time or more.
"""

import ctypes
import sys

# malloc.h: what is kept at the top of the heap, what is taken from the heap at all, and how many heaps there are. Heaps
# of further threads hold 64 MB at most, and what is larger goes to the kernel whatever the threshold.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_ALL = 2**31 - 1


def keep_freed_memory() -> bool:
    """Tells the C library to keep what is freed for the next call, from now on and for the whole process.

    The process then stays as large as it once was. The command line does this; a library that is imported does not:
    call it yourself where an audit or a training has the process to itself, before JAX looks for its devices, whose
    threads get heaps of their own otherwise.

    Returns:
      Whether it was done: on Linux with the GNU C library.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return all([mallopt(_MMAP_THRESHOLD, _ALL), mallopt(_TRIM_THRESHOLD, _ALL), mallopt(_ARENA_MAX, 1)])
