#!/usr/bin/env python3
"""Renders template files with jinja2 and with plinth on all conversations and prints where they differ.

  python test/vector/jinja/compare_files.py build/plinth FILE.jinja|FOLDER...

Collections of published templates are not in this tree: the source packages of llama-cpp-python have about 70 of them in
vendor/llama.cpp/models/templates. SPDX-License-Identifier: Apache-2.0
"""
import glob
import json
import os
import subprocess
import sys
import time

import conversations
import reference


def ours(program, path, context):
    done = subprocess.run([program, "render", "--template", path], input=json.dumps(context).encode(), capture_output=True, check=False)
    return (done.stdout.decode() if done.returncode == 0 else None), done.stderr.decode()


def main():
    program, paths = sys.argv[1], []
    reference.NOW_S = time.time()
    for path in sys.argv[2:]:
        paths += sorted(glob.glob(os.path.join(path, "*.jinja"))) if os.path.isdir(path) else [path]
    n = texts = different = 0
    for path in paths:
        with open(path, encoding="utf-8") as f:
            template = f.read()
        for name, context in conversations.contexts():
            wanted = reference.render(template, conversations.whole(context))
            got, message = ours(program, path, conversations.whole(context))
            n += 1
            texts += wanted is not None
            if got != wanted:
                different += 1
                print(f"{os.path.basename(path)}, {name}:\njinja2: {wanted!r}\nplinth: {got!r} {message}")
    print(f"{len(paths)} templates, {n} renderings, {texts} of them texts, {different} differ")
    return different != 0


if __name__ == "__main__":
    sys.exit(main())
