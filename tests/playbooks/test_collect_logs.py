"""The log bundle on fake hosts: whole, partial, refused, jumped over, interrupted."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from andon import bundle
from tests.unit.logs.fakes import CANARY, PEM_BODY, STAMP, FakeHost

ROOT = Path(__file__).resolve().parents[2]


class Fleet:
    """Fake hosts h1 and h2 with one inventory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.hosts = {name: FakeHost(root / name) for name in ("h1", "h2")}
        self.more: dict[str, dict] = {}

    def argv(self, *args: str, **extra) -> tuple[list[str], dict[str, str]]:
        hosts = {
            name: {
                "ansible_connection": "local",
                "ansible_python_interpreter": sys.executable,
                "container_cli": str(host.bin / "docker"),
                "collect_logs_files": [str(host.files / "*")],
                "collect_logs_work_folders": [str(host.work)],
                "collect_logs_reserve_bytes": 0,
            }
            for name, host in self.hosts.items()
        }
        inventory = self.root / "hosts.json"
        inventory.write_text(json.dumps({"trading": {"hosts": hosts | self.more}}))
        tool = Path(sys.executable).with_name("ansible-playbook")
        argv = [str(tool) if tool.exists() else str(shutil.which("ansible-playbook")), str(ROOT / "collect_logs.yml"), "-i", str(inventory), *args]
        argv += ["-e", json.dumps({"collect_logs_name": "inc", "since": "2026-11-22T03:00Z", "until": "2026-11-22T04:00Z"} | extra)]
        env = os.environ | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1", "ANDON_JSON": "1"}
        # The system's own commands are answered at once, on every machine alike.
        env["PATH"] = f"{self.hosts['h1'].bin}:{env['PATH']}"
        return argv, env

    def run(self, *args: str, **extra) -> tuple[int, dict]:
        argv, env = self.argv(*args, **extra)
        done = subprocess.run(argv, env=env, cwd=self.root, capture_output=True, text=True, timeout=120, check=False)
        try:
            return done.returncode, json.loads(done.stdout)
        except ValueError:
            raise AssertionError(done.stdout + done.stderr) from None


@pytest.fixture
def fleet(tmp_path):
    return Fleet(tmp_path / "fleet")


def contents(folder: Path) -> bytes:
    """Every byte of a bundle, unpacked, and every file's name."""
    found = b""
    for path in sorted(folder.rglob("*")):
        found += str(path.relative_to(folder)).encode()
        if path.is_file():
            raw = path.read_bytes()
            found += gzip.decompress(raw) if path.name.endswith(".gz") else raw
    return found


def test_whole_then_partial_with_a_dead_and_a_failing_host(fleet):
    for host in fleet.hosts.values():
        host.plant()
    code, report = fleet.run()
    assert code == 0 and report["ok"] and report["headline"] == "2/2 hosts collected whole", report
    first = Path(report["data"]["bundle"]["folder"])
    everything = contents(first)
    for secret in (CANARY.encode(), PEM_BODY[:24].encode(), b"CANARY"):
        assert secret not in everything
    assert b"[REDACTED:" in everything and (first / "hosts/h2/host.json").exists()
    tokens = [(first / f"hosts/{h}/containers/momentum.stderr.log").read_bytes().split(b"[REDACTED:")[1][:12] for h in ("h1", "h2")]
    assert tokens[0] == tokens[1], "the same secret must be the same token on every host of a run"
    for path in (report["data"]["bundle"]["archive"], first):
        assert bundle.verify(path)["problems"] == []
    assert [list(host.work.iterdir()) for host in fleet.hosts.values()] == [[], []], "a copy stayed on a host"

    fleet.more["dead"] = {"ansible_host": "127.0.0.1", "ansible_port": 1}
    (fleet.hosts["h2"].engine / "down").touch()
    code, report = fleet.run()
    assert code == 2 and not report["ok"]
    assert report["headline"] == "1/3 hosts collected whole, 1 PARTIAL (h2), 1 UNKNOWN (dead)"
    assert report["data"]["bundle"]["name"] == "inc-2" and first.exists(), "the first bundle was overwritten"
    assert bundle.verify(report["data"]["bundle"]["folder"])["manifest"]["hosts"]["dead"]["status"] == "failed"
    assert any("dump-" in item["name"] for item in report["data"]["hosts"]["h2"]["items"]), "log files must come without an engine"
    assert "--limit dead,h2" in report["next"][-1]


def test_check_touches_nothing(fleet):
    fleet.hosts["h1"].plant()
    fleet.hosts["h2"].add("x", STAMP % 1 + "x\n")
    code, report = fleet.run("--check")
    assert code == 0 and report["data"]["hosts"]["h1"]["containers"] == ["exited", "looping", "momentum", "paused"], report
    assert not bundle.state_dir().exists() and [list(host.work.iterdir()) for host in fleet.hosts.values()] == [[], []]


def test_jumping_over_the_first_step_is_no_success(fleet):
    fleet.hosts["h1"].add("x")
    code, _report = fleet.run("--start-at-task", "Collect from this host")
    assert code != 0 and not bundle.state_dir().exists() and list(fleet.hosts["h1"].work.iterdir()) == []


def wait(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen")


def test_a_bastion_that_dies_leaves_nothing_on_the_hosts_and_the_next_run_begins_cleanly(fleet):
    fleet.hosts["h1"].add("slow", STAMP % 1 + "begun\n")
    fleet.hosts["h2"].add("x", STAMP % 1 + "x\n")
    argv, env = fleet.argv("--limit", "h1", collect_logs_lease=1)
    process = subprocess.Popen(argv, env=env, cwd=fleet.root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    work = fleet.hosts["h1"].work
    try:
        wait(lambda: any("--since" in call for call in fleet.hosts["h1"].calls()) if (fleet.hosts["h1"].engine / "calls").exists() else False)
        assert list(work.iterdir()) and list(bundle.shelf().glob(".inc.*.part"))
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    wait(lambda: not list(work.iterdir()))
    code, report = fleet.run("--limit", "h2")
    assert code == 0 and report["data"]["bundle"]["name"] == "inc", report
    assert sorted(p.suffix for p in bundle.shelf().iterdir() if p.name.startswith(".")) == [], "the interrupted collection was not swept"
