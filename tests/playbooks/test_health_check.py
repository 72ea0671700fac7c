"""The verb as an operator types it, on hosts that are this machine with engines made of files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import yaml

from tests.support.eyes import FakeEngine

ROOT = Path(__file__).resolve().parents[2]
# A disk or a load of the machine that runs the tests must not decide them.
CALM = {"disk": 101, "memory": 101, "load": 10000, "clock": 20}


def run(tmp_path, hosts, *args, limits=CALM, **env):
    inventory = tmp_path / "inventory.yml"
    shared = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "andon_host_state": str(tmp_path / "hoststate"),
        "eyes_limits": limits,
    }
    inventory.write_text(yaml.safe_dump({"trading": {"hosts": hosts, "vars": shared}}))
    argv = [str(Path(sys.executable).with_name("ansible-playbook")), str(ROOT / "health_check.yml"), "-i", str(inventory), *args]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANDON_JSON": "1", **env}
    return subprocess.run(argv, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)


def test_a_healthy_fleet_exits_0_in_check_mode_too(tmp_path):
    engine = FakeEngine(tmp_path / "e")
    engine.add("mm", health="healthy")
    done = run(tmp_path, {"a": {"container_cli": str(engine.cli)}, "b": {"container_cli": str(engine.cli)}}, "--check")
    report = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert report["ok"] and report["headline"] == "2/2 HEALTHY" and report["schema"] == "andon.report/1"


def test_the_sick_are_judged_whatever_flag_is_given_and_nothing_hostile_gets_through(tmp_path):
    now = time.time()
    evil = b"ERROR \x1b[2J{{ lookup('pipe', 'touch " + str(tmp_path / "pwned").encode() + b"') }} | **b** \x00 caf\xe9"
    good, bad, hung = FakeEngine(tmp_path / "good"), FakeEngine(tmp_path / "bad"), FakeEngine(tmp_path / "hung", hangs="info")
    for engine, digest in ((good, "1"), (bad, "2")):
        engine.add("mm", health="healthy", digest="sha256:" + digest * 64, image="trading/mm:prod")
    good.add("mm2", digest="sha256:" + "1" * 64, image="trading/mm:prod")
    bad.add("noisy", [(now - n / 10, evil) for n in range(900, 0, -1)], labels={"andon.strategy": "{{ 7*7 }}\x1b[2J"})
    # A host whose clock is 90 s ahead: its own interpreter says so.
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text("import time\n_true = time.time\ntime.time = lambda: _true() + 90\n")
    skewed = tmp_path / "python-of-the-future"
    skewed.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path}/site exec {sys.executable} "$@"\n')
    skewed.chmod(0o755)
    hosts = {
        "gone": {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1},
        "good": {"container_cli": str(good.cli)},
        "bad": {"container_cli": str(bad.cli)},
        "hung": {"container_cli": str(hung.cli), "eyes_engine_deadline": 1.5},
        "ahead": {"container_cli": str(good.cli), "ansible_python_interpreter": str(skewed)},
        "nopython": {"container_cli": str(good.cli), "ansible_python_interpreter": "/nonexistent/python"},
    }
    done = run(tmp_path, hosts, "--skip-tags", "always,health")
    report = json.loads(done.stdout)
    assert done.returncode == 2 and not report["ok"], done.stdout + done.stderr
    assert report["data"]["words"] == {"gone": "UNKNOWN", "good": "HEALTHY", "bad": "SKEW", "hung": "UNKNOWN", "ahead": "WARNING", "nopython": "UNKNOWN"}
    found = {(one["word"], one["host"], one["component"]) for one in report["data"]["findings"]}
    assert {("SKEW", "bad", "mm"), ("ERRORS", "bad", "noisy")} <= found
    clock = report["data"]["hosts"]["ahead"]["clock"]
    assert clock["low"] <= 90 <= clock["high"]
    assert [one["word"] for one in report["data"]["findings"]][:3] == ["UNKNOWN"] * 3
    assert not (tmp_path / "pwned").exists()
    assert "\x1b" not in done.stdout and "\\u001b" not in done.stdout and "\\u0000" not in done.stdout
    assert "{{ lookup" in json.dumps(report["data"]["hosts"]["bad"]), "shown as it is, not run"


def test_the_screen_names_the_worst_first_and_a_limit_is_said(tmp_path):
    engine = FakeEngine(tmp_path / "e")
    engine.add("mm", status="exited", exit_code=137)
    done = run(tmp_path, {"a": {"container_cli": str(engine.cli)}, "b": {}}, "--limit", "a", ANDON_JSON="", NO_COLOR="1", ANSIBLE_NOCOLOR="1")
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    assert done.returncode == 2
    assert lines[0].startswith("a ") and "DEAD" in lines[0]
    assert lines[1] == "0/1 HEALTHY, 1 DEAD (a)"
    assert "--limit a" in lines[2] and lines[3].startswith("DEAD    a mm: exited")
    assert lines[-1].startswith("Next: andon stop")
    assert all(len(line) <= 80 for line in lines[1:-2])
