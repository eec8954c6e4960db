"""A reader of pickles that cannot run anything: it knows tensors, arrays, containers and numbers, and refuses the rest.

A pickle is a program for a stack machine; Python's own machine imports and calls whatever the program names. This one
imports nothing. A name (GLOBAL) becomes an inert `Name` if it is `allowed`, and calling it (REDUCE) makes a record of
what it would have made. Opcodes that a checkpoint of tensors does not use are not implemented: none makes an instance
(NEWOBJ, INST, OBJ), none reaches the registry of extensions (EXT1, EXT2, EXT4).

Every opcode reads on, adds at most one object, and does no work that grows with what it merely refers to (a pickle can
name one long list, shape or key a million times). So time and memory are proportional to the pickle, which `MAX_PICKLE`
and `MAX_OPCODES` bound; what is nested is never walked, so depth costs nothing.

References:
  https://docs.python.org/3/library/pickle.html, https://docs.python.org/3/library/pickletools.html
"""

import pickle
import pickletools
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from diffaudit_jax.importers.allowed import Storage, build, called, kept_outside, named, of, set_items
from diffaudit_jax.importers.tensors import shown
from diffaudit_jax.types import InputError

MAX_PICKLE = 4_000_000  # bytes; a thousand tensors take some 200,000
MAX_OPCODES = 500_000  # opcodes, each of which may make a container; a thousand tensors take some 40,000
OPCODES = {opcode.code.encode("latin1"): opcode.name for opcode in pickletools.opcodes}


class Unpickled(NamedTuple):
    """One pickle read: an object, the storages it mentions by their keys, and the pickle's length in bytes."""

    value: Any
    storages: dict[str, Storage]
    length: int


@dataclass
class Machine:
    """The state of one pickle being read, from byte `at` of `data`."""

    data: memoryview
    at: int = 0
    stack: list[Any] = field(default_factory=list)
    below: list[list[Any]] = field(default_factory=list)  # the stack under each mark
    memo: dict[int, Any] = field(default_factory=dict)
    storages: dict[str, Storage] = field(default_factory=dict)
    limit: int = MAX_PICKLE

    def take(self, count: int) -> memoryview:
        """Returns the next `count` bytes."""
        if count > len(self.data) - self.at:
            long = len(self.data) == self.limit
            raise InputError(
                f"has a pickle of over {self.limit} bytes: save its state_dict alone."
                if long
                else "is cut short: copy it again."
            )
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, form: str) -> Any:
        """Returns the next number, packed as `struct` calls `form`."""
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def counted(self, form: str) -> bytes:
        """Returns the next bytes, whose count comes first, packed as `form`."""
        return bytes(self.take(self.number(form)))

    def line(self) -> str:
        """Returns the text up to the next end of line."""
        end = bytes(self.data[self.at : self.at + 1000]).index(b"\n")
        return str(self.take(end + 1), "utf-8")[:-1]

    def marked(self) -> list[Any]:
        """Returns what was pushed since the last mark, and forgets the mark."""
        items, self.stack = self.stack, self.below.pop()
        return items

    def last(self, count: int) -> list[Any]:
        """Removes and returns the last `count` objects, in the order of their pushing."""
        return [self.stack.pop() for _ in range(count)][::-1]


def unpickle(data: memoryview, source: str, limit: int = MAX_PICKLE) -> Unpickled:
    """Reads one pickle without running anything it says.

    Args:
      data: Bytes that begin with the pickle.
      source: Whose pickle it is, for messages.
      limit: Bytes that the pickle may have; more than usual for one that holds its numbers inside.

    Returns:
      The object, made of dicts, lists, tuples, scalars and the records of `allowed`, and what was seen on the way.

    Raises:
      InputError: if the pickle names anything that a checkpoint of tensors does not need, or is damaged, or is longer
        than `limit` or `MAX_OPCODES`.
    """
    machine, steps = Machine(data[:limit], limit=limit), 0
    try:
        while (opcode := bytes(machine.take(1))) != pickle.STOP:
            if opcode not in OPCODES:
                raise InputError(f"has byte {opcode.hex()} where an opcode of its pickle belongs: copy it again.")
            if opcode not in STEPS:
                raise InputError(
                    f"uses pickle opcode {OPCODES[opcode]}, which no tensor needs: refused, "
                    "nothing was run; save its state_dict alone."
                )
            if (steps := steps + 1) > MAX_OPCODES:
                raise InputError(f"has a pickle of over {MAX_OPCODES} opcodes: save its state_dict alone.")
            STEPS[opcode](machine)
        return Unpickled(machine.stack.pop(), machine.storages, machine.at)
    except InputError as error:
        raise InputError(f"{source} {error}") from None
    except (IndexError, KeyError, ValueError, struct.error) as error:
        raise InputError(
            f"{source} is damaged before byte {machine.at} of its pickle ({type(error).__name__}): copy it again."
        ) from error


def _push(value: Callable[[Machine], Any]) -> Callable[[Machine], None]:
    def step(machine: Machine) -> None:
        new = value(machine)  # first, for it may exchange the stack
        machine.stack.append(new)

    return step


def _remember(index: Callable[[Machine], int]) -> Callable[[Machine], None]:
    return lambda machine: machine.memo.update({index(machine): machine.stack[-1]})


def _mark(machine: Machine) -> None:
    machine.below.append(machine.stack)
    machine.stack = []


def _append(machine: Machine, items: list[Any]) -> None:
    of(list, machine.stack[-1]).extend(items)


def _update(machine: Machine, flat: list[Any]) -> None:
    set_items(of(dict, machine.stack[-1]), flat)


def _kept_outside(machine: Machine) -> Storage:
    storage = kept_outside(machine.stack.pop())
    if machine.storages.setdefault(storage.key, storage) != storage:
        raise InputError(f"describes storage {shown(storage.key)} in two ways: copy it again.")
    return storage


def _build(machine: Machine) -> None:
    state = machine.stack.pop()
    build(machine.stack[-1], state)


STEPS: dict[bytes, Callable[[Machine], Any]] = {
    pickle.PROTO: lambda m: m.take(1),
    pickle.FRAME: lambda m: m.take(8),
    pickle.NONE: _push(lambda m: None),
    pickle.NEWTRUE: _push(lambda m: True),
    pickle.NEWFALSE: _push(lambda m: False),
    pickle.BININT: _push(lambda m: m.number("<i")),
    pickle.BININT1: _push(lambda m: m.number("<B")),
    pickle.BININT2: _push(lambda m: m.number("<H")),
    pickle.BINFLOAT: _push(lambda m: m.number(">d")),
    pickle.LONG1: _push(lambda m: int.from_bytes(m.counted("<B"), "little", signed=True)),
    pickle.BINUNICODE: _push(lambda m: m.counted("<I").decode()),
    pickle.SHORT_BINUNICODE: _push(lambda m: m.counted("<B").decode()),
    pickle.BINUNICODE8: _push(lambda m: m.counted("<Q").decode()),
    pickle.BINSTRING: _push(lambda m: m.counted("<I").decode()),
    pickle.SHORT_BINSTRING: _push(lambda m: m.counted("<B").decode()),
    pickle.BINBYTES: _push(lambda m: m.counted("<I")),
    pickle.SHORT_BINBYTES: _push(lambda m: m.counted("<B")),
    pickle.BINBYTES8: _push(lambda m: m.counted("<Q")),
    pickle.EMPTY_DICT: _push(lambda m: {}),
    pickle.EMPTY_LIST: _push(lambda m: []),
    pickle.EMPTY_TUPLE: _push(lambda m: ()),
    pickle.TUPLE1: _push(lambda m: tuple(m.last(1))),
    pickle.TUPLE2: _push(lambda m: tuple(m.last(2))),
    pickle.TUPLE3: _push(lambda m: tuple(m.last(3))),
    pickle.TUPLE: _push(lambda m: tuple(m.marked())),
    pickle.MARK: _mark,
    pickle.BINPUT: _remember(lambda m: m.number("<B")),
    pickle.LONG_BINPUT: _remember(lambda m: m.number("<I")),
    pickle.MEMOIZE: _remember(lambda m: len(m.memo)),
    pickle.BINGET: _push(lambda m: m.memo[m.number("<B")]),
    pickle.LONG_BINGET: _push(lambda m: m.memo[m.number("<I")]),
    pickle.APPEND: lambda m: _append(m, m.last(1)),
    pickle.APPENDS: lambda m: _append(m, m.marked()),
    pickle.SETITEM: lambda m: _update(m, m.last(2)),
    pickle.SETITEMS: lambda m: _update(m, m.marked()),
    pickle.GLOBAL: _push(lambda m: named(m.line(), m.line())),
    pickle.STACK_GLOBAL: _push(lambda m: named(*m.last(2))),
    pickle.REDUCE: _push(lambda m: called(*m.last(2))),
    pickle.BINPERSID: _push(_kept_outside),
    pickle.BUILD: _build,
}
