"""The cord on fake hosts: the verdict, the gates under every flag, bad input, an empty inventory."""

from __future__ import annotations

import json

import pytest

ALL = {"feed", "adapter-sim", "momentum", "meanrev", "ledger"}


def test_stops_latches_proves_and_a_second_press_changes_nothing(fleet):
    first = fleet.run("emergency_stop", andon_reason="test {{ 1 + 1 }} \x1b[31m")
    assert first.code == 0, first
    report = first.report
    assert report["ok"] and report["headline"] == "2/2 HALTED"
    assert any("ORDERS NOT CANCELLED" in line for line in report["summary"])
    for host in fleet.hosts.values():
        assert host.running() == {"ledger"}
        latch = host.latch()
        assert {c["name"].lstrip("/") for c in latch["containers"]} == ALL - {"ledger"}
        assert {c["name"].lstrip("/"): c["restart_policy"]["Name"] for c in latch["containers"]}["meanrev"] == "on-failure"
        assert latch["operator"] == "tester" and latch["incident"].endswith("-emergency-stop")
        # Extra vars are trusted templates: the CLI passes a person's words as untrusted data, bare Ansible evaluates them.
        assert "\x1b" not in latch["reason"]
    again = fleet.run("emergency_stop")
    assert again.code == 0, again
    assert {row["how"] for h in again.report["data"]["hosts"].values() for row in h["containers"]} == {"already stopped"}
    assert fleet.hosts["h1"].latch()["containers"][0]["was_running"] is True, "the second press lost what the first recorded"


@pytest.mark.parametrize(
    "flags",
    [("--tags", "nothing"), ("--skip-tags", "always"), ("--skip-tags", "tagged"), ("--start-at-task", "Judge all hosts"), ("--limit", "h1")],
    ids=lambda flags: " ".join(flags),
)
def test_no_flag_gets_a_success_without_a_stop(fleet, flags):
    result = fleet.run("emergency_stop", *flags)
    stopped = [name for name, host in fleet.hosts.items() if host.running() == {"ledger"}]
    if "--start-at-task" in flags:
        # The stop was jumped over: nothing is proven, so nothing may look like a success.
        assert result.code != 0 and not stopped, result
        assert "UNKNOWN" in result.report["headline"]
    elif "--limit" in flags:
        assert result.code == 0 and stopped == ["h1"], result
        assert any("LIMITED: 1 host not asked: h2" in line for line in result.report["summary"])
    else:
        assert result.code == 0 and stopped == ["h1", "h2"], result


def test_a_dead_host_is_unknown_and_saves_nobody(fleet):
    fleet.dead()
    fleet.extra_hosts["broken"] = {"ansible_host": "{{ nowhere_defined }}"}
    fleet.save()
    result = fleet.run("emergency_stop")
    assert result.code == 2, result
    assert "2/4 HALTED" in result.report["headline"] and "2 UNKNOWN" in result.report["headline"]
    assert all(host.running() == {"ledger"} for host in fleet.hosts.values())
    screen = fleet.run("emergency_stop", text=True).out.splitlines()
    summary = screen[screen.index("") + 1 :]
    assert summary[0].startswith("2/4 HALTED") and len(max(summary[:6], key=len)) <= 80


def test_check_mode_shows_and_changes_nothing(fleet):
    before = fleet.hosts["h1"].read()
    result = fleet.run("emergency_stop", "--check")
    assert result.code == 0, result
    assert result.report["headline"] == "2/2 WOULD HALT"
    assert fleet.hosts["h1"].read() == before and fleet.hosts["h1"].latch() is None


def test_a_failing_update_and_a_stubborn_container_still_end_stopped_but_not_proven(fleet):
    host = fleet.hosts["h1"]
    engine = host.read()
    engine["fail"] = {"update": "crun says no"}
    engine["containers"][2]["stubborn"] = True
    host.write(engine)
    result = fleet.run("emergency_stop")
    assert result.code == 2, result
    one = result.report["data"]["hosts"]["h1"]
    assert host.running() == {"ledger"}, "a failed step must not skip the next one"
    assert one["verdict"] == "STOPPED, POLICY PENDING"
    assert {row["name"]: row["how"] for row in one["containers"]}["momentum"] == "killed"
    assert any(step["name"] == "policy" and step["rc"] and "crun says no" in step["words"] for step in one["steps"])
    assert result.report["data"]["hosts"]["h2"]["verdict"] == "HALTED"


def test_what_starts_again_is_named_and_never_a_success(fleet):
    host = fleet.hosts["h2"]
    engine = host.read()
    engine["containers"][2]["respawn"] = True
    host.write(engine)
    result = fleet.run("emergency_stop", andon_stop_mode="now")
    assert result.code == 2, result
    assert result.report["data"]["hosts"]["h2"]["verdict"] == "NOT HALTED"
    assert "momentum" in result.report["data"]["hosts"]["h2"]["why"]


def test_no_hosts_no_containers_bad_input(fleet):
    fleet.hosts["h1"].write({"containers": []})
    result = fleet.run("emergency_stop", "--limit", "h1")
    assert result.code == 2 and "NOTHING MATCHES" in result.report["headline"], result
    result = fleet.run("emergency_stop", andon_stop_mode="gently", text=True)
    assert result.code == 2 and "must be graceful or now" in result.out, result
    assert fleet.hosts["h2"].running() == ALL and fleet.hosts["h2"].latch() is None
    fleet.inventory.write_text(json.dumps({"trading": {"hosts": {}}}))
    result = fleet.run("emergency_stop", text=True)
    assert result.code == 2 and "no host of the inventory is in the group 'trading'" in result.out, result
