"""`andon watch` as an operator runs it, on a fake engine: a line of JSON for each look, what is told, and Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

ROOT = Path(__file__).resolve().parents[2]
DOCKER = r"""#!/bin/sh
case $1 in
ps) echo aaaaaaaa ;;
inspect) printf '[{"Id": "aaaaaaaa", "Name": "/feed", "State": {"Status": "exited", "Running": false, "ExitCode": 137},
  "Config": {"Labels": {"andon.component": "data"}}}]' ;;
esac
"""


def test_watch_looks_tells_and_ends_with_ctrl_c(tmp_path):
    cli = tmp_path / "docker"
    cli.write_text(DOCKER)
    cli.chmod(0o755)
    host = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "container_cli": str(cli),
        "andon_host_state": str(tmp_path / "host"),
    }
    inventory = tmp_path / "hosts.json"
    inventory.write_text(json.dumps({"all": {"children": {"trading": {"hosts": {"h1": host}}}}}))
    command = [sys.executable, str(ROOT / "cli.py"), "-i", str(inventory), "watch", "--every", "1h", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        line = process.stdout.readline()
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            process.kill()
    look = json.loads(line)
    assert (look["ok"], look["exit"], look["verb"]) == (False, 2, "watch")
    assert look["headline"] == "1/1 hosts seen, 1 container, 1 alarm"
    told = [json.loads(one) for one in (Path(os.environ["ANDON_STATE"]) / "alerts.jsonl").read_text().splitlines()]
    assert [(one["host"], one["container"], one["kind"]) for one in told] == [("h1", "feed", "down")]
    assert (process.returncode, err.strip()) == (0, "The watch is ended.")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["watch", "--every", "1s"], "Looks would pile up"),
        (["watch", "--every", "; rm -rf /"], "is no span of time"),
        (["leaks", "--for", "soon"], "is no span of time"),
        (["leaks", "--interval", "{{ 1 }}"], "is no span of time"),
    ],
)
def test_spans_that_make_no_sense_are_refused_before_anything_runs(arguments, words):
    import cli

    done = CliRunner().invoke(cli.main, arguments)
    assert done.exit_code == 2 and words in done.output, done.output
