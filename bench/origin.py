"""Where figures come from: machine, day, commit and command, for a results file. SPDX-License-Identifier: Apache-2.0"""
import datetime, os, pathlib, re, subprocess, sys

TOP = pathlib.Path(__file__).resolve().parent.parent


def machine():
    cpu, memory = pathlib.Path("/proc/cpuinfo").read_text(), pathlib.Path("/proc/meminfo").read_text()
    said = {key: (re.search(rf"^{key}\s*:\s*(.*)$", cpu, re.M) or [None, "?"])[1] for key in ("model name", "cpu family", "model")}
    gib = int(re.search(r"MemTotal:\s+(\d+)", memory)[1]) >> 20
    return f"{len(os.sched_getaffinity(0))} cores of {said['model name']} (family {said['cpu family']} model {said['model']}), {gib} GiB, Linux {os.uname().release.split('-')[0]}"


def commit():
    done = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=TOP, capture_output=True, text=True)
    return done.stdout.strip() or "?"


def of_this_run():
    flags = [pathlib.Path(a).name if "/" in a else a for a in sys.argv]
    return {"machine": machine(), "date": datetime.date.today().isoformat(), "commit": commit(), "flags": " ".join(flags)}
