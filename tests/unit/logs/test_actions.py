"""The bastion's side of a collection: refusals, hostile answers, lost connections, transfer without sftp."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible.errors import AnsibleConnectionFailure, AnsibleError

from andon import bundle

ROOT = Path(__file__).resolve().parents[3]
FOLDER = "/run/andon-evidence-" + "a" * 32


def load(name):
    spec = importlib.util.spec_from_file_location("action_" + name, ROOT / "plugins" / "action" / (name + ".py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


collect, opening, packing = load("collect_evidence"), load("open_bundle"), load("pack_bundle")


def opened(check=False, **args):
    task = SimpleNamespace(args=args, check_mode=check, async_val=0, action="open_bundle", collections=[], diff=False)
    action = opening.ActionModule(task, SimpleNamespace(_shell=SimpleNamespace(tmpdir="")), SimpleNamespace(), None, None, None)
    return action.run(None, {})


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"since": "2126-01-01T00:00Z"}, "is in the future"),
        ({"since": "1h", "until": "2h"}, "is not after"),
        ({"since": "2026-11-22T03:00 Mars/Base"}, "no time zone"),
        ({"name": "../../etc/x"}, "is no name for a bundle"),
        ({"name": ".hidden"}, "is no name for a bundle"),
        ({"name": "x" * 65}, "is no name for a bundle"),
        ({"name": "a b\x1b[31m"}, "is no name for a bundle"),
    ],
)
def test_nonsense_is_refused_before_anything_is_made(args, words):
    result = opened(**args)
    assert result["failed"] and words in result["msg"] and "\x1b" not in result["msg"]
    assert result["andon_report"]["headline"] == "REFUSED: nothing was collected, no host was asked"
    assert not bundle.state_dir().exists()


def test_the_redaction_key_is_in_a_private_file_and_in_no_result():
    result = opened(name="inc", since="1h")
    part = Path(result["plan"]["part"])
    key = bundle.load_json((part / "run.json").read_bytes(), "run.json")["key"]
    assert re.fullmatch("[0-9a-f]{64}", key) and key not in str(result)
    assert (part / "run.json").stat().st_mode & 0o077 == 0 and part.stat().st_mode & 0o077 == 0
    assert opened(check=True, name="inc")["plan"]["part"] == ""


class Host:
    """A host as the action sees it: answers to shell commands, and a file transfer."""

    def __init__(self, content=b"x" * 10_000_000, sftp=True):
        self.content, self.sftp, self.asked, self.answers = content, sftp, [], []

    def set_option(self, name, value):
        assert (name, value) == ("ssh_transfer_method", "sftp")

    def fetch_file(self, source, target):
        if not self.sftp:
            raise AnsibleConnectionFailure("Failed to connect to the host via sftp: Connection closed")
        Path(target).write_bytes(self.content)

    def shell(self, command, sudoable=True):
        self.asked.append((command, sudoable))
        found = re.match(r"dd if=\S+ bs=(\d+) skip=(\d+) count=1", command)
        if found:
            size, skip = int(found[1]), int(found[2])
            return {"rc": 0, "stdout": base64.encodebytes(self.content[size * skip : size * (skip + 1)]).decode(), "stderr": ""}
        answer = self.answers.pop(0) if self.answers else ""
        if isinstance(answer, Exception):
            raise answer
        return {"rc": 0, "stdout": answer, "stderr": ""}

    def state(self):
        return {"state": "done", "size": len(self.content), "sha256": hashlib.sha256(self.content).hexdigest()}


@pytest.fixture
def action(tmp_path):
    def make(host):
        one = collect.ActionModule.__new__(collect.ActionModule)
        one._connection, one._low_level_execute_command, one._watch = host, host.shell, tmp_path
        return one

    return make


@pytest.mark.parametrize("sftp", [True, False])
def test_the_archive_comes_without_privilege_with_and_without_sftp(action, tmp_path, sftp):
    host = Host(sftp=sftp)
    action(host)._fetch(FOLDER, tmp_path / "h.tar", host.state(), 60)
    assert (tmp_path / "h.tar").read_bytes() == host.content and (tmp_path / "h.tar").stat().st_mode & 0o777 == 0o600
    slices = [(command, sudoable) for command, sudoable in host.asked if command.startswith("dd ")]
    assert len(slices) == (0 if sftp else 3) and not any(sudoable for _command, sudoable in slices)


def test_a_damaged_transfer_and_a_full_bastion_are_noticed(action, tmp_path, monkeypatch):
    host = Host()
    state = host.state()
    host.content = host.content[:-1] + b"y"
    with pytest.raises(collect.Broken, match="damaged on its way"):
        action(host)._fetch(FOLDER, tmp_path / "h.tar", state, 60)
    monkeypatch.setattr(collect.shutil, "disk_usage", lambda path: SimpleNamespace(free=100 << 20))
    with pytest.raises(collect.Broken, match="the bastion has"):
        action(Host())._fetch(FOLDER, tmp_path / "g.tar", state, 60)
    assert not (tmp_path / "g.tar").exists()


@pytest.mark.parametrize("folder", ["/etc", "/run/andon-evidence-" + "a" * 32 + "; reboot", "/run/../etc/andon-evidence-" + "a" * 32, None, 5, FOLDER + "\n"])
def test_a_folder_that_no_collector_makes_never_reaches_a_shell(folder):
    with pytest.raises(collect.Broken):
        collect.ActionModule._folder({"folder": folder, "pid": 7})
    with pytest.raises(collect.Broken):
        collect.ActionModule._folder({"folder": FOLDER, "pid": "7; reboot"})


def test_a_dropped_connection_is_tried_again_and_a_lost_one_is_given_up(action, monkeypatch):
    monkeypatch.setattr(collect.time, "sleep", lambda seconds: None)
    lost = AnsibleConnectionFailure("gone")
    host = Host()
    host.answers = [lost, lost, '{"state": "collecting", "bytes": "many"}\n1795316400.5\nalive', lost, '{"state": "done", "size": 1, "bytes": 5}\nalive']
    state = action(host)._wait(FOLDER, {"pid": 7, "expected": 9}, "h1", 0.0, 1e9, 1)
    assert state["state"] == "done" and state["clock_offset"] is not None
    host.answers = [lost, lost, lost]
    with pytest.raises(AnsibleConnectionFailure):
        action(host)._wait(FOLDER, {"pid": 7}, "h1", 0.0, 1e9, 1)
    host.answers = ['{"state": "collecting"}']
    with pytest.raises(collect.Broken, match="the collector is gone"):
        action(host)._wait(FOLDER, {"pid": 7}, "h1", 0.0, 1e9, 1)
    host.answers = ['{"state": "failed", "error": "x\\u001b[31m"}\nalive']
    with pytest.raises(collect.Broken, match="failed: x$"):
        action(host)._wait(FOLDER, {"pid": 7}, "h1", 0.0, 1e9, 1)


def test_the_copy_on_the_host_is_taken_away_whatever_happens(action, tmp_path):
    host = Host()
    (tmp_path / "h1.tar").write_bytes(b"half")
    action(host)._finish(FOLDER, "h1", 1)
    assert host.asked == [(f"rm -rf -- {FOLDER} && test ! -e {FOLDER}", True)] and not (tmp_path / "h1.tar").exists()
    host.answers = [AnsibleError("no")]
    action(host)._finish(FOLDER, "h1", 1)


def test_the_board_says_hosts_bytes_and_time_left():
    states = [
        {"done": True, "bytes": 5 << 20, "expected": 5 << 20, "seconds": 9},
        {"done": False, "bytes": 10 << 20, "expected": 40 << 20, "seconds": 10},
    ]
    assert collect.board_words(states, 3) == "collecting: 1 of 3 hosts done, 15.0 MiB read, about 30 s left"
    assert collect.board_words([], 3) == "collecting: 0 of 3 hosts done, 0 B read"


def test_the_worst_host_comes_first_and_skew_is_said():
    whole = {"evidence": {"folder": "a", "items": [], "gaps": [], "partial": [], "bytes": 5, "secrets": 1, "clock_offset_seconds": -90.2}}
    short = {"evidence": whole["evidence"] | {"partial": ["x: timeout (no end)"]}}
    hosts = packing.judge({"a": whole, "b": short, "c": None}, lambda host: "unreachable")
    assert {host: one["status"] for host, one in hosts.items()} == {"a": "full", "b": "partial", "c": "failed"}
    lines = packing.summary_lines(hosts)
    assert [line.split()[1] for line in lines] == ["UNKNOWN", "PARTIAL", "OK"] and "; clock -90.2 s; 1 secret" in lines[2] and "1 NOT WHOLE" in lines[1]
    # With everything to say, the clock is still within the 80 characters that are shown.
    short["evidence"] |= {
        "clock_offset_seconds": -90.04,
        "partial": ["x"] * 99,
        "gaps": [{}] * 9,
        "items": [{"file": "x"}] * 99,
        "bytes": 1 << 29,
        "window_moved_seconds": -90.2,
    }
    hosts = packing.judge({"a-long-host-name": short}, lambda host: "")
    assert packing.summary_lines(hosts)[0][:80].endswith("; clock -90 s corrected")
    assert any("CLOCK -90.2 s against the bastion" in line for line in packing.detail_lines(hosts))


def test_a_host_whose_turn_comes_late_has_what_is_left_of_the_whole_time():
    assert opened()["plan"]["begun"] == pytest.approx(collect.time.time(), abs=30)
    assert collect.share(1000.0, 1800.0, 900.0, 1010.0) == 900.0
    assert collect.share(1000.0, 1800.0, 900.0, 2500.0) == 300.0
    with pytest.raises(collect.Broken, match="whole collection's deadline of 30 min 00 s was over before this host's turn"):
        collect.share(1000.0, 1800.0, 900.0, 2799.5)


def test_the_window_is_on_the_hosts_clock(action):
    assert collect.on_the_hosts_clock(100.0, 200.0, 0.4, 0.1) == (100.0, 200.0, 0)
    assert collect.on_the_hosts_clock(100.0, 200.0, None, 0.1) == (100.0, 200.0, 0)
    assert collect.on_the_hosts_clock(100.0, 200.0, 90.0, 0.5) == (189.5, 290.5, 90.0)
    host = Host()
    host.answers = [f"1000\n{collect.time.time() + 90:.9f}\n"]
    uid, offset, error = action(host)._greet()
    assert uid == 1000 and abs(offset - 90) <= error + 0.01 and host.asked[0][1] is False
    host.answers = ["0\n"]
    assert action(host)._greet()[:2] == (0, None)
    host.answers = ["what?\n"]
    with pytest.raises(collect.Broken, match="does not say who"):
        action(host)._greet()
