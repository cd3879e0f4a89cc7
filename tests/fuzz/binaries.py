"""Spoilt binary files: bytes anywhere, or headers that claim what is not there."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from functools import cache
from random import Random
from typing import Any

from tests.fuzz.documents import spoilt

__all__ = ["spoil_bytes", "spoil_npy", "spoil_npz", "spoil_onnx", "spoil_png", "spoil_safetensors", "spoil_torch"]

#: Of numbers in headers.
SIZES = (0, 1, 2, 7, 255, 65535, 1 << 16, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 40, (1 << 63) - 1, 1 << 63,
         (1 << 64) - 1)  # fmt: skip


def spoil_bytes(dice: Random, data: bytes) -> bytes:
    """Bits, bytes, words and pieces anywhere."""
    made = bytearray(data)
    for _ in range(dice.choice([1, 1, 2, 4, 16])):
        at = dice.randrange(len(made) + 1)
        if dice.randrange(2):
            at = min(at, dice.choice([8, 64, 512]))  # headers
        action = dice.randrange(9)
        if action == 0 and at < len(made):
            made[at] ^= 1 << dice.randrange(8)
        elif action == 1 and at < len(made):
            made[at] = dice.choice([0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)])
        elif action == 2:
            word = dice.choice(SIZES).to_bytes(8, dice.choice(["little", "big"]))
            made[at : at + dice.choice([2, 4, 8])] = word[: dice.choice([2, 4, 8])]
        elif action == 3:
            del made[at:]
        elif action == 4:
            del made[at : at + dice.choice([1, 4, 100])]
        elif action == 5:
            made[at:at] = bytes(dice.randrange(256) for _ in range(dice.choice([1, 4, 16])))
        elif action == 6:
            made[at:at] = made[at : at + dice.choice([4, 64, 1000])] * dice.choice([1, 1, 50])
        elif action == 7:
            made += made[at:]
        else:
            made[at:at] = bytes(dice.choice([1, 8, 1000]))
    return bytes(made)


def spoil_safetensors(dice: Random, data: bytes) -> bytes:
    length = int.from_bytes(data[:8], "little")
    header, rest = data[8 : 8 + length], data[8 + length :]
    action = dice.randrange(5)
    if action == 0:
        return dice.choice(SIZES).to_bytes(8, "little") + header + rest
    if action == 1:
        return data[:8] + spoil_bytes(dice, header) + rest
    if action == 2:
        return spoil_bytes(dice, data)
    entries = json.loads(header)
    if action == 3:
        made = spoilt(dice, entries)
    else:
        made, name = entries, dice.choice(list(entries))
        entry = dict(made[name])
        entry["dtype"] = dice.choice(
            ["F64", "F16", "BF16", "I64", "U8", "BOOL", "F8_E4M3", "U64", "U16", "C64", "X", ""]
        )
        entry["shape"] = dice.choice(
            [[0, 1 << 62], [1 << 40], [1 << 32, 1 << 32], [-1], [], [1.5], entry["shape"][::-1]]
        )
        entry["data_offsets"] = dice.choice([
            entry["data_offsets"], [0, 0], [0, 1 << 40], [1 << 63, 1 << 63], entry["data_offsets"][::-1], [0], "x",
        ])  # fmt: skip
        made = made | {dice.choice([name, name + "\0", "", "__metadata__", "x" * 5000]): entry}
    text = json.dumps(made).encode("utf-8", "surrogatepass")
    text += b" " * dice.choice([0, 0, 1, 1000])
    return len(text).to_bytes(8, "little") + text + rest


def _npy(shape: str, dtype: str = "'<f4'", order: str = "False", data: bytes = b"", version: bytes = b"\1\0") -> bytes:
    header = f"{{'descr': {dtype}, 'fortran_order': {order}, 'shape': {shape}, }}".encode("latin-1", "replace") + b"\n"
    width = 2 if version == b"\1\0" else 4
    return b"\x93NUMPY" + version + len(header).to_bytes(8, "little")[:width] + header + data


SHAPES = ("()", "(3,)", "(0,)", "(1099511627776,)", "(4294967296, 4294967296)", "(0, 1099511627776)", "(-1,)",
          "(-1, -3)",
          "(1.5,)", "('a',)", "(True, 3)", "3", "(1,) * 1000", "(" * 500 + ")" * 500, "(1, " + "1, " * 60 + ")",
          "(999999999999999999999999,)", "(0x" + "f" * 5000 + ",)", "(9" + "9" * 5000 + ",)", "[1]", "None", "{}",
          "((1,),)", "(3,)+")  # fmt: skip
DTYPES = ("'<f4'", "'<f8'", "'|O'", "'|u1'", "'<U4000000'", "'|S0'", "'|V8'", "[('a', '<f4')]", "[('a', '|O')]",
          "('<f4', (1000000, 1000000))", "'<M8[s]'", "'>f4'", "'<f2'", "'<c8'", "'|b1'", "'<i8'", "3", "None",
          "'x'", "''",
          "[]", "[('a', '<f4', (65536, 65536, 65536))]",
    "{'names': ['a'], 'formats': ['<f4'], 'offsets': [2147483600]}",
          "'<f4,<f4'", "'<f16'", "['<f4']", "'<f4' * 3")  # fmt: skip


def _some_npy(dice: Random, data: bytes) -> bytes:
    """A header of its own, with or without the values of `data`."""
    values = data[dice.choice([80, 128]) :]
    return _npy(dice.choice(SHAPES), dice.choice(DTYPES[:3] if dice.randrange(2) else DTYPES),
                dice.choice(["False", "True", "0", "'x'"]), dice.choice([b"", values, values[:64], bytes(12)]),
                dice.choice([b"\1\0", b"\1\0", b"\2\0", b"\3\0", b"\0\0", b"\xff\xff"]))  # fmt: skip


def spoil_npy(dice: Random, data: bytes) -> bytes:
    return spoil_bytes(dice, data) if dice.randrange(2) else _some_npy(dice, data)


def _members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {one.filename: archive.read(one) for one in archive.infolist()}


def _zipped(dice: Random, members: dict[str, bytes], methods: tuple[int, ...]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, dice.choice(methods))
    return file.getvalue()


METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)


def _claiming(dice: Random, data: bytes) -> bytes:
    """A zip whose directory claims other sizes, offsets, methods than there are."""
    made = bytearray(data)
    places = [at for at in range(len(made) - 46) if made[at : at + 4] == b"PK\1\2"]
    if places:
        at = dice.choice(places)
        field, size = dice.choice([(8, 2), (10, 2), (16, 4), (20, 4), (24, 4), (28, 2), (30, 2), (42, 4)])
        made[at + field : at + field + size] = (dice.choice(SIZES) & ((1 << 8 * size) - 1)).to_bytes(size, "little")
    return bytes(made)


def _huge(dice: Random, name: str) -> bytes:
    """An archive of a few hundred bytes, one array of which claims to be 4 GB, in its header and in the directory."""
    size = dice.choice([1 << 31, (1 << 32) - 1024])
    head = _npy(f"({(size - 128) // 4},)").ljust(128, b" ") if dice.randrange(2) else b""
    head = head or _npy(f"({size - 128},)", "'|u1'")
    total = len(head) + eval(head.split(b"'shape': (")[1].split(b",")[0]) * (4 if b"<f4" in head else 1)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", dice.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])) as archive:
        archive.writestr(name, head + bytes(100))
    made = bytearray(file.getvalue())
    at = made.index(b"PK\1\2")
    made[at + 24 : at + 28] = total.to_bytes(8, "little")[:4]
    if dice.randrange(2):
        made[at + 20 : at + 24] = total.to_bytes(8, "little")[:4]
    return bytes(made)


def spoil_npz(dice: Random, data: bytes) -> bytes:
    action = dice.randrange(6)
    if action == 0:
        return spoil_bytes(dice, data)
    if action == 1:
        return _claiming(dice, data)
    members = _members(data)
    name = dice.choice(list(members))
    if action == 2:
        return _huge(dice, name)
    if action == 3:
        members[name] = _some_npy(dice, members[name])
    elif action == 4:
        members[name] = spoil_bytes(dice, members[name])
    else:
        other = dice.choice(
            ["../x.npy", "/etc/x.npy", "x", "\0.npy", "é.npy", "images.npy", "labels.npy", ".npy", "a" * 999]
        )
        members[other] = members.pop(name)
    return _zipped(dice, members, METHODS)


def spoil_torch(dice: Random, data: bytes) -> bytes:
    """Of a checkpoint of PyTorch's, a zip with a pickle, or the older pickles one after another."""
    if data[:2] != b"PK":
        return _spoil_pickle(dice, data)
    if dice.randrange(3) == 0:
        return spoil_bytes(dice, data)
    if dice.randrange(4) == 0:
        return _claiming(dice, data)
    members = _members(data)
    pickle = next(name for name in members if name.endswith("data.pkl"))
    name = pickle if dice.randrange(4) else dice.choice(list(members))
    members[name] = _spoil_pickle(dice, members[name])
    return _zipped(dice, members, METHODS[: dice.choice([2, 5])])


#: Opcodes with what they may claim.
OPCODES = (
    b"\x8e" + struct.pack("<Q", 1 << 40), b"\x8d" + struct.pack("<Q", 1 << 62), b"B" + struct.pack("<I", 1 << 31),
    b"r" + struct.pack("<I", (1 << 32) - 1), b"j" + struct.pack("<I", 1 << 31), b"\x95" + struct.pack("<Q", 1 << 62),
    b"\x8b" + struct.pack("<I", 1 << 30), b"\x8a\xff" + b"\x7f" * 255, b"I" + b"9" * 5000 + b"\n", b"(" * 1000,
    b"]" * 1000 + b"a" * 999, b"2" * 1000, b"0" * 10, b"1", b".", b"R", b"b", b"Q", b"s", b"u", b"e", b"a",
    b"\x81", b"\x92",
    b"cos\nsystem\n", b"cbuiltins\neval\n", b"ctorch\nzeros\n", b"c_codecs\nencode\n", b"\x93", b"}" * 5, b"K\xff",
    b"N",
    b"J" + struct.pack("<i", 1 << 30), b"\x8a\x08" + struct.pack("<q", 1 << 40), b"M\xff\xff",
    b"G" + b"\x7f\xf8" + bytes(6),
)  # fmt: skip


def _spoil_pickle(dice: Random, data: bytes) -> bytes:
    made = bytearray(data)
    for _ in range(dice.choice([1, 1, 2, 5])):
        at = dice.randrange(len(made) + 1)
        if dice.randrange(2):
            made[at:at] = dice.choice(OPCODES)
            continue
        # A number of one or two bytes becomes one of eight: of a shape, a stride, a storage.
        places = [place for place in range(len(made) - 2) if made[place] in b"KM"]
        if not places:
            continue
        place = dice.choice(places)
        size = 2 if made[place] == ord("K") else 3
        made[place : place + size] = b"\x8a\x08" + struct.pack("<q", dice.choice(SIZES[:-2]) * dice.choice([1, 1, -1]))
    return bytes(made) if dice.randrange(3) else spoil_bytes(dice, bytes(made))


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


@cache
def _bomb(size: int) -> bytes:
    return zlib.compress(bytes(size))


def spoil_png(dice: Random, data: bytes) -> bytes:
    """With right checksums: a header of another picture, a text that is a bomb, chunks in any order."""
    if dice.randrange(3) == 0:
        return spoil_bytes(dice, data)
    chunks, at = [], 8
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    action = dice.randrange(4)
    if action < 2:
        sides = [0, 1, 8, 100, 9000, 13000, 40000, 65535, (1 << 31) - 1, 1 << 31]
        header = struct.pack(">IIBBBBB", dice.choice(sides), dice.choice(sides), dice.choice([1, 2, 8, 16, 3]),
                             dice.choice([0, 2, 3, 4, 6, 1]), 0, 0, dice.choice([0, 1, 2]))  # fmt: skip
        chunks[0] = (b"IHDR", header)
    elif action == 2:
        bomb = _bomb(dice.choice([1000, 80_000_000]))
        chunks.insert(dice.randrange(1, len(chunks) + 1), dice.choice([
            (b"zTXt", b"a\0\0" + bomb), (b"iTXt", b"a\0\1\0\0\0" + bomb), (b"iCCP", b"a\0\0" + bomb), (b"IDAT", bomb),
            (b"eXIf", b"Exif\0\0II*\0" + bytes(20)), (b"PLTE", bytes(768)), (b"tRNS", bytes(3)), (b"acTL", b"\xff" * 8),
        ]))  # fmt: skip
    else:
        dice.shuffle(chunks)
    return data[:8] + b"".join(_chunk(*one) for one in chunks)


def spoil_onnx(dice: Random, data: bytes) -> bytes:
    """Of the messages: names, shapes, types, attributes; or of the bytes."""
    if dice.randrange(3) == 0:
        return spoil_bytes(dice, data)
    import onnx

    model = onnx.load_from_string(data)
    graph = model.graph
    for _ in range(dice.choice([1, 1, 2, 4])):
        try:
            _spoil_graph(dice, graph, model, onnx)
        except (ValueError, TypeError, IndexError):
            continue
    return bytes(model.SerializeToString())


def _spoil_graph(dice: Random, graph: Any, model: Any, onnx: Any) -> None:
    node, constant = dice.choice(graph.node), dice.choice(graph.initializer)
    size = dice.choice([-1, 0, 1, 2, 3, 1 << 16, 1 << 31, 1 << 40, (1 << 63) - 1])
    action = dice.randrange(13)
    if action == 0:
        node.op_type = dice.choice(["Identity", "Add", "Loop", "If", "Scan", "Expand", "ConstantOfShape", "Tile",
                                    "Range",
                                    "MatMul", "Gather", "Nope", "", "Transpose", "Reshape", "Constant"])  # fmt: skip
    elif action == 1:
        names = [name for one in graph.node for name in [*one.input, *one.output]]
        if node.input:
            node.input[dice.randrange(len(node.input))] = dice.choice([*names, "", "x" * 3000])
    elif action == 2:
        node.output[0] = dice.choice([name for one in graph.node for name in one.output] + [""])
    elif action == 3:
        constant.dims[dice.randrange(len(constant.dims))] = size
    elif action == 4:
        constant.data_type = dice.choice([0, 1, 2, 7, 8, 9, 10, 11, 14, 16, 17, 21, 99])
    elif action == 5:
        constant.raw_data = dice.choice([b"", constant.raw_data[:-1], b"\xff" * len(constant.raw_data), bytes(8)])
    elif action == 6:
        dims = graph.input[0].type.tensor_type.shape.dim
        dims[dice.randrange(len(dims))].dim_value = dice.choice([size, 33, 64])
    elif action == 7:
        del node.input[dice.randrange(len(node.input)) :]
    elif action == 8:
        for attribute in node.attribute:
            attribute.i = size
            if attribute.ints:
                attribute.ints[dice.randrange(len(attribute.ints))] = size
            if attribute.HasField("t"):
                flat = [size] * (len(attribute.t.raw_data) // 8 or 1)
                attribute.t.raw_data = struct.pack(f"<{len(flat)}q", *flat)[: len(attribute.t.raw_data)]
    elif action == 9:
        constant.data_location = 1
        entry = constant.external_data.add()
        entry.key, entry.value = "location", dice.choice(["../x", "/etc/passwd", "x", "/dev/zero", "", "a\0b"])
        constant.raw_data = b""
    elif action == 10:
        for opset in model.opset_import:
            opset.version = dice.choice([0, 1, 5, 13, 25, 99, -1, size])
    elif action == 11:
        del graph.node[dice.randrange(len(graph.node))]
    else:
        ints = [one for one in graph.initializer if one.data_type == onnx.TensorProto.INT64]
        if ints:
            one = dice.choice(ints)
            count = max(1, len(one.raw_data) // 8)
            one.raw_data = struct.pack(f"<{count}q", *[size] * count)
