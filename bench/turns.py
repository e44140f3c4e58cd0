"""Plinth and llama.cpp on one file, in rounds that alternate, so that a busy neighbour meets both. SPDX-License-Identifier: Apache-2.0"""
import json, pathlib, statistics

from llama_cpp import call, say

PLINTH = pathlib.Path(__file__).resolve().parent.parent / "build/plinth"
WORKS = ("prefill", "decode")


def plinth(*arguments, before=(), **how):
    return json.loads(call(*before, PLINTH, *arguments, "--json", **how).stdout)


def bench(model, *arguments, **how):
    return plinth("bench", model, "--repeats", "1", *arguments, **how)


def llama_bench(bin_dir, gguf, threads, decode_tokens, before=(), **how):
    """Tokens per second of each work; of several numbers of threads ("1,2") the best."""
    runs = json.loads(call(*before, bin_dir / "llama-bench", "-m", gguf, "-t", threads, "-p", 512, "-n", decode_tokens, "-r", 1, "-o", "json", **how).stdout)
    return {what: max(r["avg_ts"] for r in runs if bool(r["n_prompt"]) == (what == "prefill")) for what in WORKS}


def side_by_side(model, gguf, bin_dir, rounds, threads, decode_tokens=128):
    """Medians of `fast`, of `precise` and of llama.cpp, and what the machine was measured to have in the same rounds."""
    fast, precise, theirs = [], [], []
    for i in range(rounds):
        say(f"{pathlib.Path(model).name}, round {i + 1} of {rounds}")
        common = (model, "--threads", threads, "--decode-tokens", decode_tokens)
        fast.append(bench(*common))
        precise.append(bench(*common, "--compute", "precise"))
        theirs.append(llama_bench(bin_dir, gguf, threads, decode_tokens))
    result = {}
    for what in WORKS:
        of = {"plinth_tokens_s": fast, "plinth_precise_tokens_s": precise}
        of = {key: statistics.median(r[what + "_tokens_s"] for r in runs) for key, runs in of.items()}
        b = statistics.median(t[what] for t in theirs)
        result[what] = {**of, "llama_cpp_tokens_s": b, "ratio": of["plinth_tokens_s"] / b, "precise_ratio": of["plinth_precise_tokens_s"] / b}
    for what, key in (("prefill", "gop_s"), ("prefill", "percent_of_peak"), ("decode", "gb_s"), ("decode", "percent_of_bandwidth")):
        result[what][key] = statistics.median(r[f"{what}_{key}"] for r in fast)
    result["machine"] = {k: statistics.median(r[k] for r in fast) if k.endswith("_s") else fast[0][k] for k in ("isa", "threads", "read_bandwidth_gb_s", "kernel_peak_gop_s")}
    return result


def show(r):
    m, p, d = r["machine"], r["prefill"], r["decode"]
    print(f"{m['threads']} threads, {m['isa']}; read bandwidth {m['read_bandwidth_gb_s']:.1f} GB/s, kernel peak {m['kernel_peak_gop_s']:.0f} GOP/s\n")
    print(f"{'':10}{'Plinth':>12}{'llama.cpp':>12}{'ratio':>8}   bound")
    print(f"{'prefill':10}{p['plinth_tokens_s']:12.1f}{p['llama_cpp_tokens_s']:12.1f}{p['ratio']:8.2f}   {p['gop_s']:.0f} GOP/s, {p['percent_of_peak']:.0f} % of the peak")
    print(f"{'decode':10}{d['plinth_tokens_s']:12.1f}{d['llama_cpp_tokens_s']:12.1f}{d['ratio']:8.2f}   {d['gb_s']:.1f} GB/s, {d['percent_of_bandwidth']:.0f} % of the bandwidth")
    print(f"precise: prefill {p['plinth_precise_tokens_s']:.1f} tokens/s, {p['precise_ratio']:.2f} times llama.cpp; decode {d['plinth_precise_tokens_s']:.1f}, {d['precise_ratio']:.2f} times")
