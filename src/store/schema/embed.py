#!/usr/bin/env python3
"""Writes the schema steps as one C file: embed.py OUT STEP.sql... (in order; step i brings a store to version i).

SPDX-License-Identifier: Apache-2.0
"""
import json
import pathlib
import sys


def main() -> None:
    out, steps = sys.argv[1], sys.argv[2:]
    lines = ['#include "store/schema/schema.h"', "const char *const schema_steps[] = {"]
    for number, step in enumerate(steps, start=1):
        name = pathlib.Path(step).name
        if not name.startswith(f"{number:04d}-"):
            raise SystemExit(f"{name} must begin with {number:04d}-: steps are numbered without gaps")
        lines += [json.dumps(line + "\n") for line in pathlib.Path(step).read_text(encoding="ascii").splitlines()]
        lines.append(",")
    lines += ["};", f"const int schema_n_steps = {len(steps)};"]
    pathlib.Path(out).write_text("\n".join(lines) + "\n", encoding="ascii")


main()
