"""The checks of the house find what they look for, and the counting of tests counts. SPDX-License-Identifier: Apache-2.0"""
import importlib.machinery
import importlib.util
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]


def load(name):
    loader = importlib.machinery.SourceFileLoader(name.replace("-", "_"), str(TOP / "tools" / name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


@pytest.mark.parametrize("room, line, complaint", [
    ("engine", '#include "net/net.h"', "engine reaches into net"),
    ("base", '#include "tensor/tensor.h"', "base reaches into tensor"),
    ("net", "#include <event2/http.h>", "forbidden"),
    ("api", "#include <event2/event.h>", "only net may include"),
    ("text", '#include "bpe.h"', "does not begin with a room"),
    ("api", '#include "serving/serving.h"', None),
    ("net", "#include <event2/bufferevent.h>", None),
    ("app", '#  include "engine/engine.h"', None),
])
def test_arrows(tmp_path, room, line, complaint):
    source = tmp_path / "x.c"
    source.write_text(f"/* x */\n{line}\n")
    found = list(load("check-arrows").complaints(source, room))
    assert (len(found) == 1 and complaint in found[0]) if complaint else not found


def test_cases_are_counted_from_tap():
    count = load("run-tests").count_tap
    assert count("1..3\nok 1 - a\nnot ok 2 - b\n# not ok - tests\nok 3 - c\nokay\n") == (2, 1)
    assert count("") == (0, 0)
