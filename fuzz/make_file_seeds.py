"""Writes the seeds of the targets gguf and safetensors (SPDX-License-Identifier: Apache-2.0).

They are made from the formats' layouts (doc/format), not with a library, so that odd but valid files can be among them.
Run: python3 fuzz/make_file_seeds.py
"""
import json
import pathlib
import struct

HERE = pathlib.Path(__file__).parent / "corpus"
SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<B", 10: "<Q", 11: "<q", 12: "<d"}


def string(text):
    raw = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<Q", len(raw)) + raw


def value(kind, v):
    if kind == 8:
        return string(v)
    if kind == 9:
        element, items = v
        return struct.pack("<IQ", element, len(items)) + b"".join(value(element, x) for x in items)
    return struct.pack(SCALARS[kind], v)


def gguf(values, tensors, version=3, alignment=32):
    """values: (key, type, value); tensors: (name, dims, type id, bytes)."""
    out = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(values))
    for key, kind, v in values:
        out += string(key) + struct.pack("<I", kind) + value(kind, v)
    offset, data = 0, b""
    for name, dims, kind, raw in tensors:
        out += string(name) + struct.pack("<I", len(dims)) + b"".join(struct.pack("<Q", d) for d in dims)
        out += struct.pack("<IQ", kind, len(data))
        data += raw + b"\0" * (-len(raw) % alignment)
    return out + b"\0" * (-len(out) % alignment) + data


def safetensors(entries, metadata=None, pad=0):
    """entries: (name, dtype, shape, bytes)."""
    header, data = {}, b""
    if metadata:
        header["__metadata__"] = metadata
    for name, dtype, shape, raw in entries:
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header, separators=(",", ":")).encode() + b" " * pad
    return struct.pack("<Q", len(text)) + text + data


def write(target, name, raw):
    folder = HERE / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(raw)


every = [("u8", 0, 1), ("i8", 1, -1), ("u16", 2, 65535), ("i16", 3, -2), ("u32", 4, 7), ("i32", 5, -7), ("f32", 6, 0.5), ("bool", 7, 1),
         ("string", 8, "text"), ("u64", 10, 2**63), ("i64", 11, -2**62), ("f64", 12, 0.25)]
arrays = [(f"a.{key}", 9, (kind, [v, v])) for key, kind, v in every] + [("a.none", 9, (8, [])), ("a.a", 9, (9, [(4, [1]), (8, ["x"])]))]
blocks = {0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 36), 10: (256, 84), 11: (256, 110),
          12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292), 20: (32, 18), 23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4),
          27: (1, 8), 28: (1, 8), 30: (1, 2), 35: (256, 66), 39: (32, 17)}
tensors = [(f"t{kind}", [elements, 2], kind, bytes(2 * size)) for kind, (elements, size) in blocks.items()]
write("gguf", "empty", gguf([], []))
write("gguf", "values", gguf(every, []))
write("gguf", "arrays", gguf(arrays, []))
write("gguf", "tensors", gguf([("general.alignment", 4, 32)], tensors))
write("gguf", "aligned64_v2", gguf([("general.alignment", 4, 64)], [("a", [3, 2, 1, 2], 0, bytes(48)), ("b", [], 1, b"ab")], 2, 64))
write("gguf", "llama", gguf([("general.architecture", 8, "llama"), ("llama.block_count", 4, 1), ("tokenizer.ggml.tokens", 9, (8, ["<s>", "a"])),
                             ("tokenizer.ggml.scores", 9, (6, [0.0, -1.0]))],
                            [("token_embd.weight", [32, 2], 3, bytes(40)), ("blk.0.attn_norm.weight", [32], 0, bytes(128))]))
write("gguf", "version1", b"GGUF" + struct.pack("<IQQ", 1, 0, 0))
write("gguf", "big_endian", b"GGUF" + struct.pack(">IQQ", 3, 0, 0))

every_type = [("F32", 4), ("F16", 2), ("BF16", 2), ("F64", 8), ("I8", 1), ("U8", 1), ("I16", 2), ("U16", 2), ("I32", 4), ("U32", 4), ("I64", 8),
              ("U64", 8), ("BOOL", 1), ("F8_E4M3", 1), ("F8_E5M2", 1)]
whole = {
    "empty": safetensors([]),
    "types": safetensors([(f"t.{name}", name, [2, 1], bytes(2 * size)) for name, size in every_type], {"format": "pt"}, 5),
    "scalars": safetensors([("a", "F32", [], bytes(4)), ("none", "F32", [0, 7], b""), ("b", "I64", [1], bytes(8)), ("c", "I32", [1], bytes(4))]),
}
for name, raw in whole.items():
    write("safetensors", name, b"\x01" + raw)
    (n,) = struct.unpack("<Q", raw[:8])
    if (len(raw) - 8 - n) % 8 == 0 and (len(raw) - 8 - n) // 8 < 128:
        write("safetensors", name + "_header", bytes([(len(raw) - 8 - n) // 8 * 2]) + raw[8:8 + n])
