#!/usr/bin/env python3
"""bench/http_load.py: how many requests the HTTP layer answers, and what an idle connection costs. SPDX-License-Identifier: Apache-2.0

Starts PROGRAM (default: build/test/unit/net/http_echo, the HTTP layer without models), or asks a server that runs (--port). Closed loop: every
connection sends its next request when it has the reply to the last. The client is one process of epoll and raw sockets and uses a core of
its own, so the figure is a floor. Prints one JSON line a measurement.
"""
import argparse
import json
import os
import resource
import select
import socket
import subprocess
import sys
import time
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent


def connect(host, port):
    s = socket.create_connection((host, port))
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


def load(host, port, path, connections, seconds):
    """Requests answered a second, and their latencies."""
    request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    sockets = {s.fileno(): s for s in (connect(host, port) for _ in range(connections))}
    probe = next(iter(sockets.values()))
    probe.sendall(request)
    reply_bytes = len(probe.recv(65536))  # a small reply comes in one piece, and each is as long
    waiting, sent, latencies = select.epoll(), {}, []
    begin = time.perf_counter()
    for fd, s in sockets.items():
        waiting.register(fd, select.EPOLLIN)
        sent[fd] = time.perf_counter()
        s.sendall(request)
    while (now := time.perf_counter()) < begin + seconds:
        for fd, _ in waiting.poll(1):
            s = sockets[fd]
            got = len(s.recv(65536))
            if got != reply_bytes:
                sys.exit(f"a reply of {got} bytes among replies of {reply_bytes}")
            latencies.append(now - sent[fd])
            sent[fd] = now
            s.sendall(request)
    for s in sockets.values():
        s.close()
    latencies.sort()
    return {"connections": connections, "requests_per_s": round(len(latencies) / seconds),
            "p50_ms": round(1000 * latencies[len(latencies) // 2], 3), "p99_ms": round(1000 * latencies[len(latencies) * 99 // 100], 3)}


def pss_kib(pid):
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0


def idle(host, port, path, pid, connections):
    """Memory of the server for each connection that waits after one reply."""
    before = pss_kib(pid)
    request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    held = []
    for _ in range(connections):
        s = connect(host, port)
        s.sendall(request)
        s.recv(65536)
        held.append(s)
    after = pss_kib(pid)
    for s in held:
        s.close()
    return {"idle_connections": connections, "bytes_each": round((after - before) * 1024 / connections)}


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--program", default=TOP / "build/test/unit/net/http_echo", type=Path)
    options.add_argument("--host", default="127.0.0.1")
    options.add_argument("--port", type=int, help="of a server that runs already")
    options.add_argument("--path", default="/hello")
    options.add_argument("--seconds", type=float, default=3)
    options.add_argument("--connections", type=int, nargs="*", default=[1, 32, 500])
    options.add_argument("--idle", type=int, default=1000)
    args = options.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
    process = None
    if not args.port:
        process = subprocess.Popen([args.program.resolve(), "--connections-max", str(args.idle + 100)], stdout=subprocess.PIPE, text=True)
        args.port = int(process.stdout.readline().split()[1])
    try:
        print(json.dumps({"cores": len(os.sched_getaffinity(0)), "path": args.path}))
        if process:  # first, while its heap is small
            print(json.dumps(idle(args.host, args.port, args.path, process.pid, args.idle)), flush=True)
        for n in args.connections:
            print(json.dumps(load(args.host, args.port, args.path, n, args.seconds)), flush=True)
    finally:
        if process:
            process.terminate()
            process.wait()


if __name__ == "__main__":
    main()
