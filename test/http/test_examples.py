"""What README and examples/ tell people to type does what they say. SPDX-License-Identifier: Apache-2.0"""
import json
import re
import subprocess
import sys

import pytest

from conftest import TOP

EXAMPLES = TOP / "examples"


def run(plinth, command, stdin=None):
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=300, env=plinth.environment(), cwd=plinth.home.name)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def test_the_shell_examples(plinth):
    assert run(plinth, [EXAMPLES / "chat.sh"]).rstrip().endswith("data: [DONE]")
    assert len(json.loads(run(plinth, [EXAMPLES / "embed.sh"]))["data"]) == 2


def test_the_python_examples(plinth):
    assert len(run(plinth, [sys.executable, EXAMPLES / "chat.py"])) > 10
    assert "Danube" in run(plinth, [sys.executable, EXAMPLES / "search.py"]).splitlines()[0]
    assert "smollm2-135m-instruct llm/v1/chat READY" in run(plinth, [sys.executable, EXAMPLES / "deployments.py"])


def blocks(kind):
    return re.findall(rf"^```{kind}\n(.*?)^```", (TOP / "README.md").read_text(), re.M | re.S)


def here(plinth, text):
    """The address and the token of this server in place of the default ones."""
    return re.sub(r"^export PLINTH_TOKEN=.*\n", "", text, flags=re.M).replace("http://127.0.0.1:8080", plinth.url)


@pytest.mark.parametrize("number", range(len([b for b in blocks("sh") if "curl" in b])))
def test_the_curl_lines_of_the_readme(plinth, number):
    text = here(plinth, [b for b in blocks("sh") if "curl" in b][number])
    out = run(plinth, ["sh", "-eu"], text.replace("curl ", "curl -sS --fail-with-body "))
    assert '"choices"' in out or '"data"' in out


def test_the_python_of_the_readme(plinth):
    """The blocks in their order, as one program: later ones use what earlier ones made."""
    code = "import os\nPLINTH_TOKEN = os.environ['PLINTH_TOKEN']\n" + "\n".join(b for b in blocks("python") if "mlflow" not in b)
    run(plinth, [sys.executable, "-"], here(plinth, code))
    for block in (b for b in blocks("python") if "mlflow" in b):
        run(plinth, [sys.executable, "-"], here(plinth, "import os\nPLINTH_TOKEN = os.environ['PLINTH_TOKEN']\n" + block))
