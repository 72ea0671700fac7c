"""The lab's venue as a program. What it does as an exchange is tested with ccxt (tests/unit/venues) and with the traders."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from lab.lab import ask_venue

PROGRAM = Path(__file__).resolve().parents[3] / "lab" / "bybit_sim.py"


@pytest.fixture
def keys(tmp_path):
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({"second": {"key": "K", "secret": "S"}}))
    return path


def test_the_admin_channel_shows_changes_and_resets(keys):
    command = [sys.executable, PROGRAM, "--port", "0", "--keys", keys, "--account", "second"]
    program = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        url = program.stdout.readline().split()[-1]
        ask_venue(url, "orders", {"symbol": "BTCUSDT", "price": "100", "orderLinkId": "a"})
        ask_venue(url, "faults", {"mode": "down", "value": 1})
        assert [order["orderLinkId"] for order in ask_venue(url, "orders")["orders"]] == ["a"], "a fault hides nothing here"
        assert ask_venue(url, "faults") == {"faults": {"down": 1.0}, "held": 0}
        ask_venue(url, "reset", {})
        assert ask_venue(url, "orders")["orders"] == [] and ask_venue(url, "faults")["faults"] == {}
    finally:
        program.kill()
        program.wait()
        program.stdout.close()


def test_no_keys_and_a_port_that_is_taken_are_said_in_one_line(keys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for more, code, words in ((["--account", "second"], 1, "choose another --port"), ([], 2, "has no key and secret for main")):
            done = subprocess.run([sys.executable, PROGRAM, "--port", port, "--keys", keys, *more], capture_output=True, text=True, timeout=20)
            assert done.returncode == code and words in done.stderr and len(done.stderr.splitlines()) == 1, done
