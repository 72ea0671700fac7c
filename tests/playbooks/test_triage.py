"""The verb as an operator types it, on hosts that are this machine with engines made of files."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import yaml

from andon import incidents
from tests.support.eyes import FakeEngine

ROOT = Path(__file__).resolve().parents[2]


def run(tmp_path, hosts, *args, shared=None, **env):
    inventory = tmp_path / "inventory.yml"
    base = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "andon_log_files": [str(tmp_path / "logs" / "*.log")]}
    inventory.write_text(yaml.safe_dump({"trading": {"hosts": hosts, "vars": base | (shared or {})}}))
    environment = {**os.environ, "NO_COLOR": "1", **env}
    argv = [sys.executable, str(ROOT / "cli.py"), "-i", str(inventory), "triage", *args]
    return subprocess.run(argv, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)


def test_what_broke_first_is_named_kept_with_the_incident_and_nothing_hostile_runs(tmp_path):
    now = time.time()
    evil = b"ERROR {{ lookup('pipe', 'touch " + str(tmp_path / "pwned").encode() + b"') }} \x1b[2J **b** \x00 caf\xe9 order %d"
    first, second = FakeEngine(tmp_path / "e1"), FakeEngine(tmp_path / "e2")
    first.add("mm", [(now - 3000, b"INFO up")] + [(now - 900 + n, evil % n) for n in range(900)])
    second.add("gw", [(now - 3000, b"INFO up")] + [(now - 600 + n, b"ERROR gw lost") for n in range(600)])
    deploy = tmp_path / "deploy"
    deploy.mkdir()
    (deploy / "limits.yml").write_text("x")
    os.utime(deploy / "limits.yml", (now - 1000, now - 1000))
    first.world["containers"][0]["Config"]["Labels"]["com.docker.compose.project.working_dir"] = str(deploy)
    first.save()
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "trading.log").write_text("nothing here\n")
    state = Path(os.environ["ANDON_STATE"])
    incident = incidents.open_incident("feed lost", 1)
    closed = socket.create_server(("127.0.0.1", 0))
    port = closed.getsockname()[1]
    closed.close()
    hosts = {"a": {"container_cli": str(first.cli)}, "b": {"container_cli": str(second.cli)}}
    shared = {"andon_endpoints": [{"name": "venue", "url": f"https://127.0.0.1:{port}/"}]}
    done = run(tmp_path, hosts, "--since", "30m", "--json", shared=shared)
    report = json.loads(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert report["headline"].startswith("BROKE FIRST") and " a mm: 0 -> " in report["headline"]
    assert [one["where"] for one in report["data"]["causes"]][0].endswith("limits.yml")
    assert {(one["host"], one["name"].rpartition("/")[2]) for one in report["data"]["sources"]} == {
        ("a", "mm"),
        ("b", "gw"),
        ("a", "trading.log"),
        ("b", "trading.log"),
    }
    assert [one["layer"] for one in report["data"]["endpoints"]["b"]] == ["TCP"] and report["data"]["symptom"] == "external"
    assert not (tmp_path / "pwned").exists() and "\\u001b" not in done.stdout and "{{ lookup" in done.stdout
    kept = list((state / "incidents" / incident).glob("triage-*.json"))
    assert len(kept) == 1 and json.loads(kept[0].read_text())["data"]["broke_first"]["name"] == "mm"


def test_unknown_is_not_nothing_found_and_the_page_is_readable(tmp_path):
    calm = FakeEngine(tmp_path / "e")
    calm.add("mm", [(time.time() - 5, b"INFO fine")])
    hosts = {
        "gone": {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1},
        "hung": {"container_cli": str(FakeEngine(tmp_path / "h", down=True).cli)},
        "ok": {"container_cli": str(calm.cli)},
    }
    done = run(tmp_path, hosts, shared={"andon_prometheus_url": "http://127.0.0.1:1"})
    assert done.returncode == 2, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert any(line.startswith("UNKNOWN: no rise seen on 2/3 hosts") for line in lines)
    for words in ("UNKNOWN  gone: unreachable", "UNKNOWN  hung: containers' logs:", "UNKNOWN  metric targets down: Prometheus does not answer"):
        assert any(line.startswith(words) for line in lines), done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert [line for line in lines if line.startswith("Next: ")][-1].startswith("Next: andon stop")


def test_a_bad_since_is_refused_by_the_playbook_itself_before_a_host_is_read(tmp_path):
    engine = FakeEngine(tmp_path / "e")
    engine.add("mm")
    inventory = tmp_path / "inventory.yml"
    host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "container_cli": str(engine.cli)}
    inventory.write_text(yaml.safe_dump({"trading": {"hosts": {"a": host}}}))
    argv = [str(Path(sys.executable).with_name("ansible-playbook")), str(ROOT / "triage.yml"), "-i", str(inventory), "-e", "eyes_since=2099-01-01T00:00Z"]
    done = subprocess.run(argv, env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2 and "in the future" in done.stdout and not engine.calls()
    typed = run(tmp_path, {"a": host}, "--since", "soon")
    assert typed.returncode == 2 and "not understood" in typed.stderr and "Next: andon triage --since 30m" in typed.stderr
