#!/usr/bin/env python3
"""Blocks of every type with the fp32 values that the `gguf` package (and, for 8-bit floats, torch) computes from them.

    make.py      writes blocks.jsonl beside this script: {"type", "blocks": hex, "values": hex of little-endian fp32}

Needs gguf, numpy, torch. Each type has random blocks with sane scales, one with a random scale, one whose scale is infinite and one whose scale is NaN
(d = bytes of the first fp16 of the block's scale; a NaN of the result stands for every NaN). Types that the package does not convert (Q8_1, Q8_K, Q8_F32) are written out
here from the published formulas.
"""
import json, pathlib
import numpy as np
import torch
from gguf import GGMLQuantizationType as T, quants

rng = np.random.default_rng(20)
# name: block bytes, elements, places of fp16 scales
TYPES = {"Q4_0": (18, 32, [0]), "Q4_1": (20, 32, [0, 2]), "Q5_0": (22, 32, [0]), "Q5_1": (24, 32, [0, 2]), "Q8_0": (34, 32, [0]), "Q8_1": (36, 32, [0, 2]),
         "Q2_K": (84, 256, [80, 82]), "Q3_K": (110, 256, [108]), "Q4_K": (144, 256, [0, 2]), "Q5_K": (176, 256, [0, 2]), "Q6_K": (210, 256, [208]),
         "Q8_K": (292, 256, []), "IQ4_NL": (18, 32, [0]), "IQ4_XS": (136, 256, [0]), "MXFP4": (17, 32, []), "TQ2_0": (66, 256, [64]), "BF16": (2, 1, []), "F16": (2, 1, []),
         "Q8_F32": (36, 32, []), "F8_E4M3": (1, 1, []), "F8_E5M2": (1, 1, [])}


def half(x):
    return np.frombuffer(np.float16(x).tobytes(), np.uint8)


def blocks_of(name):
    size, elements, scales = TYPES[name]
    if name.startswith("F8"):
        return np.arange(256, dtype=np.uint8).reshape(-1, 1)
    if elements == 1:
        return rng.integers(0, 256, (512, size), dtype=np.uint8)
    b = rng.integers(0, 256, (4 if elements == 256 else 8, size), dtype=np.uint8)
    if name == "MXFP4":
        b[:, 0] = [0, 1, 2, 100, 127, 200, 254, 255]
    if name in ("Q8_K", "Q8_F32"):
        for i, d in enumerate([0.0123, -3.5e-30, np.inf, np.nan]):
            b[i, :4] = np.frombuffer(np.float32(d).tobytes(), np.uint8)
    for at in scales:
        for i in range(len(b) - 3):
            b[i, at:at + 2] = half(rng.normal() * 0.01)
        b[-2, at:at + 2], b[-1, at:at + 2] = half(np.inf), half(np.nan)
    return b


def values_of(name, b):
    if name == "F8_E4M3":
        return torch.from_numpy(b.copy()).view(torch.float8_e4m3fn).float().numpy()
    if name == "F8_E5M2":
        return torch.from_numpy(b.copy()).view(torch.float8_e5m2).float().numpy()
    if name == "Q8_1":
        return b[:, :2].copy().view(np.float16).astype(np.float32) * b[:, 4:].copy().view(np.int8).astype(np.float32)
    if name == "Q8_F32":
        return b[:, :4].copy().view(np.float32) * b[:, 4:].copy().view(np.int8).astype(np.float32)
    if name == "Q8_K":
        return b[:, :4].copy().view(np.float32) * b[:, 4:260].copy().view(np.int8).astype(np.float32)
    return quants.dequantize(b, T[name])


with np.errstate(all="ignore"), (pathlib.Path(__file__).parent / "blocks.jsonl").open("w") as out:
    for name in TYPES:
        b = blocks_of(name)
        y = np.ascontiguousarray(values_of(name, b), dtype=np.float32).reshape(-1)
        y[np.isnan(y)] = np.float32(np.nan)
        out.write(json.dumps({"type": name, "blocks": b.tobytes().hex(), "values": y.tobytes().hex()}) + "\n")
