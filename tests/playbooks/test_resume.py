"""resume on fake hosts: plan, order, gates, compensation, and what refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


def starts(host):
    """Names in the order in which this host's containers were started."""
    names = {c["Id"]: c["Name"][1:] for c in host.read()["containers"]}
    return [names[word] for call in host.calls() if call[0] == "start" for word in call[1:]]


def test_starts_in_order_with_the_old_policies_and_lifts_the_latch(fleet):
    for host in fleet.hosts.values():
        engine = host.read()
        engine["containers"][3]["State"].update(Running=False, Status="exited")  # meanrev did not run before
        host.write(engine)
    assert fleet.run("emergency_stop").code == 0
    plan = fleet.run("resume", "--check")
    assert plan.code == 0 and "would start" in plan.report["headline"], plan
    assert fleet.hosts["h1"].running() == {"ledger"} and fleet.hosts["h1"].latch()
    result = fleet.run("resume", confirm="all", andon_plan=plan.report["data"]["digest"])
    assert result.code == 0 and result.report["headline"] == "2/2 RESUMED", result
    for host in fleet.hosts.values():
        assert starts(host) == ["feed", "adapter-sim", "momentum"]
        assert host.running() == {"feed", "adapter-sim", "momentum", "ledger"}
        assert {c["Name"][1:]: c["HostConfig"]["RestartPolicy"]["Name"] for c in host.read()["containers"]}["meanrev"] == "on-failure"
        assert not (Path(host.state) / "lock.json").exists(), "the fleet's lock was not given back"
        assert host.latch() is None and list((Path(host.state) / "halts" / "lifted").iterdir()), "the lifted latch is kept"
    again = fleet.run("resume", confirm="all")
    assert again.code == 2 and "nothing is halted" in " ".join(again.report["summary"]), again


def test_a_failed_gate_on_the_second_host_halts_everything_again(fleet):
    assert fleet.run("emergency_stop").code == 0
    host = fleet.hosts["h2"]
    engine = host.read()
    engine["containers"][1].update(unhealthy=True, log=["ERROR no venue {{ 1 + 1 }}"])
    host.write(engine)
    result = fleet.run("resume", text=True, confirm="all")
    assert result.code == 2 and "adapter-sim is not healthy" in result.out and "ERROR no venue {{ 1 + 1 }}" in result.out, result
    for name in ("h1", "h2"):
        assert fleet.hosts[name].running() == {"ledger"}, "what this run started must be halted again"
        assert fleet.hosts[name].latch()
        assert {c["HostConfig"]["RestartPolicy"]["Name"] for c in fleet.hosts[name].read()["containers"][:4]} == {"no"}
    assert "momentum" not in starts(host), "no tier may start after a failed gate"


def test_canary_failure_never_reaches_the_second_host(fleet):
    assert fleet.run("emergency_stop").code == 0
    engine = fleet.hosts["h1"].read()
    engine["containers"][0]["unhealthy"] = True
    fleet.hosts["h1"].write(engine)
    result = fleet.run("resume", confirm="all")
    assert result.code == 2 and starts(fleet.hosts["h2"]) == [], result


@pytest.mark.parametrize(
    "case", ["unconfirmed", "dead host", "other incident", "changed plan", "unreadable latch", "locked", "jumped over"], ids=lambda c: c.replace(" ", "-")
)
def test_refusals_start_nothing(fleet, case):
    assert fleet.run("emergency_stop").code == 0
    flags, extra, words = [], {"confirm": "all"}, ""
    latch = Path(fleet.hosts["h2"].state) / "halts" / "all.json"
    if case == "unconfirmed":
        extra, words = {"confirm": "yes"}, "not confirmed"
    elif case == "dead host":
        fleet.dead()
        words = "dead is UNKNOWN"
    elif case == "other incident":
        latch.write_text(json.dumps(json.loads(latch.read_text()) | {"incident": "2020-01-01-other"}))
        words = "different incidents"
    elif case == "changed plan":
        extra["andon_plan"], words = "0123456789abcdef", "the plan is another one"
    elif case == "unreadable latch":
        latch.write_text("{")
        words = "h2 is UNKNOWN"
    elif case == "locked":
        lock = {"owner": "other", "run_id": "r1", "verb": "rollback", "at": "2026-11-22T03:00:00.000Z", "expires": "2099-11-22T03:00:00.000Z"}
        (Path(fleet.hosts["h2"].state) / "lock.json").write_text(json.dumps(lock))
        words = "held by other"
    else:
        flags = ["--start-at-task", "Start"]
    result = fleet.run("resume", *flags, **extra)
    assert result.code != 0, result
    assert words in result.out.replace("\n", ""), result
    assert all(starts(host) == [] for host in fleet.hosts.values())
