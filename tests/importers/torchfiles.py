"""Writes PyTorch's two formats opcode by opcode, so that a test can write what PyTorch would not."""

import io
import pickle
import struct
import zipfile

MAGIC = 0x1950A86A20F9469CFC6C
TENSOR = "torch._utils _rebuild_tensor_v2"
F32 = "torch FloatStorage"


def text(value: str) -> bytes:
    return pickle.BINUNICODE + struct.pack("<I", len(value.encode())) + value.encode()


def integer(value: int) -> bytes:
    if abs(value) < 2**31:
        return pickle.BININT + struct.pack("<i", value)
    return pickle.LONG1 + b"\x20" + value.to_bytes(32, "little", signed=True)


def row(*items: bytes) -> bytes:
    """Returns a tuple."""
    return pickle.MARK + b"".join(items) + pickle.TUPLE


def sequence(*items: bytes) -> bytes:
    """Returns a list."""
    return pickle.EMPTY_LIST + pickle.MARK + b"".join(items) + pickle.APPENDS


def mapping(items: dict[str, bytes]) -> bytes:
    pairs = b"".join(text(key) + value for key, value in items.items())
    return pickle.EMPTY_DICT + pickle.MARK + pairs + pickle.SETITEMS


def name(of: str) -> bytes:
    """Returns the name `of`, "module name", by opcode GLOBAL."""
    return pickle.GLOBAL + "\n".join(of.split(" ")).encode() + b"\n"


def stack_name(of: str) -> bytes:
    """Returns the name `of`, "module name", by opcode STACK_GLOBAL."""
    module, attribute = of.split(" ")
    return text(module) + text(attribute) + pickle.STACK_GLOBAL


def call(function: str, *args: bytes) -> bytes:
    return name(function) + row(*args) + pickle.REDUCE


def storage(key: str = "0", length: int = 6, kind: str = F32) -> bytes:
    return row(text("storage"), name(kind), text(key), text("cpu"), integer(length)) + pickle.BINPERSID


def tensor(of: bytes, shape: tuple[int, ...] = (2, 3), strides: tuple[int, ...] = (3, 1), offset: int = 0) -> bytes:
    sizes = (row(*map(integer, shape)), row(*map(integer, strides)))
    return call(TENSOR, of, integer(offset), *sizes, pickle.NEWFALSE, call("collections OrderedDict"))


def whole(value: bytes) -> bytes:
    """Returns a pickle of protocol 2."""
    return b"\x80\x02" + value + pickle.STOP


def zip_file(value: bytes, storages: dict[str, bytes], compression: int = zipfile.ZIP_STORED, **more: bytes) -> bytes:
    """Returns the format since 1.6; `more` are further entries, beside data.pkl."""
    entries = {"data.pkl": whole(value)} | {f"data/{key}": data for key, data in storages.items()} | more
    with zipfile.ZipFile(file := io.BytesIO(), "w", compression) as archive:
        for entry, data in entries.items():
            archive.writestr(f"archive/{entry}", data)
    return file.getvalue()


def legacy_file(value: bytes, storages: dict[str, bytes], itemsize: int = 4, little_endian: bool = True) -> bytes:
    """Returns the format before 1.6."""
    machine = {
        "protocol_version": 1001,
        "little_endian": little_endian,
        "type_sizes": {"short": 2, "int": 4, "long": 4},
    }
    head, tail = ([MAGIC, 1001, machine], [list(storages)])
    return b"".join(
        [
            *(pickle.dumps(part, 2) for part in head),
            whole(value),
            *(pickle.dumps(part, 2) for part in tail),
            *(struct.pack("<q", len(data) // itemsize) + data for data in storages.values()),
        ]
    )
