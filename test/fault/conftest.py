"""Servers that end with their test. SPDX-License-Identifier: Apache-2.0"""
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from server import Server  # noqa: E402


@pytest.fixture
def start(tmp_path):
    """start(*args, **more) starts a server; its data folder is new unless data_dir= names one."""
    servers = []

    def start_one(*args, data_dir=None, **more):
        servers.append(Server(data_dir or tmp_path / f"data-{len(servers)}", *args, **more))
        return servers[-1]

    yield start_one
    for server in servers:
        server.stop()


def pytest_configure(config):
    config.addinivalue_line("markers", "smoke: also run on the sanitizer builds")
