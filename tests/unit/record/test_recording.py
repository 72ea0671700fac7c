"""The recording callback, driven with results as Ansible gives them. A real run is in tests/playbooks/test_recording_run.py."""

from __future__ import annotations

import importlib.util
import json
import os
import time
import types
from pathlib import Path

import pytest

from andon import incidents, journal, outbox, state

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def module():
    spec = importlib.util.spec_from_file_location("andon_journal_callback", ROOT / "plugins" / "callback" / "andon_journal.py")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


class Stats:
    def __init__(self, failures=(), changed=()):
        self.failures, self.changed = failures, changed

    def summarize(self, host):
        return {"failures": int(host in self.failures), "changed": int(host in self.changed)}


def result(host, **data):
    return types.SimpleNamespace(_host=types.SimpleNamespace(get_name=lambda: host), _result=data)


class Driver:
    """One run of a playbook through the callback, and what it said on the terminal."""

    def __init__(self, module, monkeypatch, **arguments):
        self.module = module
        self.said = []
        self.callback = module.CallbackModule()
        # The display is a singleton of Ansible's: this callback gets one of its own.
        self.callback._display = types.SimpleNamespace(display=lambda line, **_: self.said.append(line))
        base = {"inventory": ("inventory/lab",), "subset": None, "check": False, "diff": False, "tags": ["all"], "skip_tags": []}
        monkeypatch.setattr(module.context, "CLIARGS", {**base, **arguments})

    def start(self, name="playbooks/emergency_stop.yml", **extra):
        self.callback.v2_playbook_on_start(types.SimpleNamespace(_file_name=str(ROOT / name)))
        manager = types.SimpleNamespace(extra_vars=extra)
        self.callback.v2_playbook_on_play_start(types.SimpleNamespace(get_variable_manager=lambda: manager))
        return self

    def end(self, **stats):
        self.callback.v2_playbook_on_stats(Stats(**stats))
        return self


@pytest.fixture
def drive(module, monkeypatch):
    return lambda **arguments: Driver(module, monkeypatch, **arguments)


@pytest.fixture
def opened():
    return incidents.open_incident("Exchange down", 1)


def lines(name, kind=None):
    return [line for line in journal.read(incidents.folder(name)) if kind in (None, line["kind"])]


def report(ok, head, **hosts):
    data = {"incident": "2026-11-22-emergency-stop", "hosts": {h.replace("_", "-"): v for h, v in hosts.items()}, "private": "not kept"}
    return {"andon_report": {"verb": "x", "ok": ok, "headline": head, "summary": ["ORDERS NOT CANCELLED"], "data": data, "next": []}}


def test_a_run_is_two_lines_with_who_what_where_and_how_long(drive, opened):
    run = drive(subset="host-a,host-b", diff=True).start("restart.yml", service="adapter-x", memory="512m", api_key="hunter2", confirm="adapter-x")
    assert [line["kind"] for line in lines(opened)] == ["incident.opened", "verb.began"]
    run.callback.v2_runner_on_ok(result("host-a", changed=True))
    run.callback.v2_runner_on_ok(result("host-b"))
    run.callback.v2_runner_on_ok(result("host-a"))
    run.end(changed=("host-a",))
    began, ended = lines(opened)[1:]
    assert (ended["kind"], ended["verb"], ended["actor"]["name"]) == ("verb.ended", "restart", "tester")
    data = ended["data"]
    assert data["hosts"] == {"host-a": "changed", "host-b": "ok"} and data["ok"] is True and data["limit"] == "host-a,host-b"
    assert data["run"] == began["data"]["run"] and 0 <= data["seconds"] < 60
    assert data["variables"] == {"service": "adapter-x", "memory": "512m", "confirm": "adapter-x"}
    assert data["command"][:7] == ["ansible-playbook", "restart.yml", "-i", "inventory/lab", "--limit", "host-a,host-b", "--diff"]
    assert json.loads(data["command"][-1]) == {"api_key": "***", "confirm": "adapter-x", "memory": "512m", "service": "adapter-x"}
    assert "hunter2" not in (incidents.folder(opened) / journal.NAME).read_text()
    assert run.said == [] and journal.verify(incidents.folder(opened)).ok


def test_the_worst_of_a_host_counts_and_a_rescue_makes_good(drive, opened):
    run = drive().start("rollback.yml")
    run.callback.v2_runner_on_failed(result("rescued", msg="x"))
    run.callback.v2_runner_on_failed(result("ignored", msg="x"), ignore_errors=True)
    run.callback.v2_runner_on_failed(result("broken", msg="x"))
    run.callback.v2_runner_on_unreachable(result("gone", msg="x"))
    run.callback.v2_runner_on_ok(result("gone"))
    run.end(failures=("broken",), changed=("rescued",))
    data = lines(opened, "verb.ended")[0]["data"]
    assert data["hosts"] == {"broken": "failed", "gone": "unreachable", "ignored": "ok", "rescued": "changed"} and data["ok"] is False


def test_a_verbs_own_verdict_counts_where_ansible_sees_none(drive, opened):
    run = drive().start()
    assert lines(opened, "verb.began") == []  # nothing before the stop
    run.callback.v2_runner_on_ok(result("host-a", changed=True, verdict="HALTED", proven=True))
    run.callback.v2_runner_on_ok(result("host-d", verdict="UNKNOWN", proven=False))
    hosts = {
        "host_a": {"verdict": "HALTED", "why": "", "containers": [{"name": "mm", "env": "SECRET"}]},
        "host_d": {"verdict": "UNKNOWN", "why": "unreachable"},
    }
    run.callback.v2_runner_on_failed(result("host-a", proof="/p.json", **report(False, "1/2 HALTED, 1 UNKNOWN", **hosts)))
    run.end(failures=("host-a",))
    data = lines(opened, "verb.ended")[0]["data"]
    assert data["hosts"] == {"host-a": "changed", "host-d": "unknown"} and data["ok"] is False
    kept = data["report"]
    assert kept["headline"] == "1/2 HALTED, 1 UNKNOWN" and kept["summary"] == ["ORDERS NOT CANCELLED"]
    assert kept["data"]["hosts"]["host-a"] == {"verdict": "HALTED", "why": "", "containers": ["mm"]} and kept["data"]["proof"] == "/p.json"
    assert "SECRET" not in json.dumps(kept) and "not kept" not in json.dumps(kept)
    found = incidents.load(opened)
    assert [halt.proven for halt in found.halted] == [False] and found.mitigated is None
    assert [e.text for e in found.events][-1].startswith("emergency_stop: 1/2 HALTED, 1 UNKNOWN, took")


def stop(run, tmp_path):
    run.callback.v2_runner_on_ok(result("host-a", changed=True, verdict="HALTED", proven=True))
    proof = tmp_path / "p.json"
    proof.write_text("{}")
    run.callback.v2_runner_on_ok(result("host-a", proof=str(proof), **report(True, "1/1 HALTED", host_a={"verdict": "HALTED"})))


def test_a_stop_without_an_incident_opens_one_under_the_latchs_id_when_it_is_over(drive, tmp_path):
    pressed = round(time.time() - 5, 3)
    run = drive().start(andon_pressed_at=pressed)
    stop(run, tmp_path)
    assert not state.state_dir().exists()
    run.end(changed=("host-a",))
    assert incidents.current() == "2026-11-22-emergency-stop" and run.said == []
    assert [message["event"] for message in outbox.Outbox().messages] == ["opened", "mitigated"]
    assert [line["kind"] for line in lines("2026-11-22-emergency-stop")] == ["incident.opened", "verb.began", "verb.ended"]
    found = incidents.load("2026-11-22-emergency-stop")
    assert (found.title, found.severity, found.state) == ("Emergency stop", 1, "mitigated")
    assert abs(found.detected - pressed) < 0.01 and abs(found.halted[0].since - pressed) < 0.01 and found.halted[0].proven
    assert (incidents.folder(found.id) / "proof.json").read_text() == "{}"
    again = drive().start()
    stop(again, tmp_path)
    again.end()
    assert len(incidents.ids()) == 1 and len(lines(found.id, "verb.ended")) == 2


def test_what_opens_no_incident(drive, tmp_path):
    for check, playbook in ((True, "emergency_stop.yml"), (False, "restart.yml"), (False, "playbooks/_internal.yml")):
        run = drive(check=check).start(playbook)
        stop(run, tmp_path)
        run.end()
    drive().start().end()  # no host at all: nothing was stopped
    typo = drive().start("kill_strategy.yml", strategy="nope")
    typo.callback.v2_runner_on_ok(result("host-a", verdict="NOT HERE", proven=True))
    typo.callback.v2_runner_on_failed(result("host-a", **report(False, "NOT FOUND", host_a={"verdict": "NOT HERE"})))
    typo.end(failures=("host-a",))
    other = drive()
    other.callback.v2_playbook_on_start(types.SimpleNamespace(_file_name=str(tmp_path / "emergency_stop.yml")))
    stop(other, tmp_path)
    other.end()
    assert incidents.ids() == []


def test_a_stop_after_the_resolution_opens_the_incident_again(drive, opened, tmp_path):
    incidents.record(opened, "resolved", "resolve")
    run = drive().start()
    stop(run, tmp_path)
    run.end()
    found = incidents.load(opened)
    assert found.resolved is None and found.halted and [line["kind"] for line in lines(opened)][-2:] == ["incident.reopened", "verb.ended"]


def test_ctrl_c_is_recorded_and_a_worker_process_records_nothing(drive, opened):
    run = drive().start()
    run.callback.v2_runner_on_ok(result("host-a", changed=True, verdict="HALTED", proven=True))
    run.callback.pid = -1  # as in a fork
    recording = run.callback.run
    run.callback._interrupted()
    assert lines(opened, "verb.ended") == []
    run.callback.pid, run.callback.run = os.getpid(), recording
    run.callback._interrupted()
    data = lines(opened, "verb.ended")[0]["data"]
    assert data["interrupted"] is True and data["ok"] is False and data["hosts"] == {"host-a": "changed"}
    found = incidents.load(opened)
    assert found.halted and found.mitigated is None and "INTERRUPTED" in found.events[-1].text
    run.callback._interrupted()
    assert len(lines(opened, "verb.ended")) == 1


def test_two_open_incidents_and_the_one_that_is_meant(drive, opened, monkeypatch):
    second = incidents.open_incident("Other", 2)
    drive().start("status.yml").end()
    monkeypatch.setenv("ANDON_INCIDENT", opened)
    drive().start("status.yml").end()
    assert len(lines(second, "verb.ended")) == 1 and len(lines(opened, "verb.ended")) == 1


def test_a_journal_that_cannot_be_written_is_a_loud_warning_at_the_end_and_nothing_else(drive, opened, tmp_path):
    run = drive().start()
    stop(run, tmp_path)
    path = incidents.folder(opened) / journal.NAME
    handle = os.open(path, os.O_RDWR)
    try:
        journal.lock(handle, path, 1)
        run.module.END_WAIT = 0.05
        run.end()
    finally:
        os.close(handle)
    assert run.said[0].startswith("WARNING: NOT RECORDED: ") and "locked by another writer" in run.said[0]
    assert run.said[1].startswith("  It means: ") and run.said[2].startswith("  Next: ")


def test_a_start_that_could_not_be_written_is_written_at_the_end(drive, opened):
    path = incidents.folder(opened) / journal.NAME
    handle = os.open(path, os.O_RDWR)
    run = drive()
    try:
        journal.lock(handle, path, 1)
        run.module.START_WAIT = 0.05
        run.start("restart.yml")
    finally:
        os.close(handle)
    assert [line["kind"] for line in lines(opened)] == ["incident.opened"]
    run.callback.v2_runner_on_ok(result("host-a"))
    run.end()
    assert [line["kind"] for line in lines(opened)][1:] == ["verb.began", "verb.ended"] and run.said == []


def test_any_other_error_is_a_warning_too(drive, tmp_path):
    (tmp_path / "state").write_text("a file where the folder should be")
    run = drive().start()
    stop(run, tmp_path)
    run.end()
    assert "NOT RECORDED" in run.said[0] and "It means" in run.said[1]
    odd = drive()
    odd.callback.v2_playbook_on_start(object())
    odd.end()
    assert "AttributeError" in odd.said[0] and "andon verify" in odd.said[2]


def test_a_report_that_is_too_large_or_odd_is_cut_not_lost(module):
    kept = module.condensed({"headline": "h", "ok": True, "data": {"evidence": "x" * 100000}}, "/proof.json")
    assert kept["headline"] == "h" and "larger than" in kept["data"]["left_out"] and kept["data"]["proof"] == "/proof.json"
    assert module.condensed({"data": [], "summary": None})["summary"] == []
