#!/usr/bin/env python3
"""Renders random templates with jinja2 and with plinth and prints where they differ.

  python test/vector/jinja/compare.py build/plinth [how many] [seed]
SPDX-License-Identifier: Apache-2.0
"""
import json
import os
import subprocess
import sys
import tempfile

import random_templates
from make import depends_on_run
from reference import render


def ours(program, template, context):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "t.jinja")
        with open(path, "w", encoding="utf-8", newline="") as f:
            f.write(template)
        done = subprocess.run([program, "render", "--template", path], input=json.dumps(context).encode(), capture_output=True, check=False)
    return done.stdout.decode() if done.returncode == 0 else None, done


def main():
    program, n, seed = sys.argv[1], int((sys.argv[2:] or [1000])[0]), int((sys.argv[3:] or [1])[0])
    expressions, statements = random_templates.Expressions(seed), random_templates.Statements(seed)
    different = 0
    for i in range(n):
        generator, context = ((expressions, random_templates.CONTEXT), (statements, random_templates.STATEMENT_CONTEXT))[i % 2]
        template = generator.template()
        wanted = render(template, context)
        got, done = ours(program, template, context)
        known = depends_on_run(wanted) or b"64 bits" in done.stderr or b"complex number" in done.stderr
        if got != wanted and not known:
            different += 1
            print("template:", repr(template), "\njinja2:  ", repr(wanted), "\nplinth:  ", repr(got), done.stderr.decode())
    print(f"{n} templates, {different} differ")
    return different != 0


if __name__ == "__main__":
    sys.exit(main())
