"""record_release, check_skew, rollback and the lock as playbooks, on fake hosts with Compose: the Knight case from end to end."""

from __future__ import annotations

import json

import pytest
from ansible.module_utils.andon.lock import Lock

from tests.support.releases import Host, inventory, play, record


@pytest.fixture
def hosts(tmp_path):
    made = [Host(tmp_path, name) for name in ("h1", "h2")]
    inventory(tmp_path, made)
    return made


def algo(hosts):
    return [h.engine.running().get("trading-algo-1") for h in hosts]


def test_knight_is_seen_refused_then_halted_and_rolled_back_as_one_set(hosts, tmp_path):
    v1 = [h.deploy("v1", config="limit: 1") for h in hosts][0]
    code, report = play(tmp_path, "record_release", release_name="v1")
    assert (code, report["headline"]) == (0, "RECORDED v1: OK, 2/2 hosts, good"), report
    for host in hosts[:1]:
        host.deploy("v2", flag="on", config="limit: 9")

    # --start-at-task, --skip-tags and --tags do not get around the gate: the module compares the name itself.
    running = algo(hosts)
    code, report = play(tmp_path, "rollback", "--skip-tags", "always", "--tags", "x", to="v1")
    assert code == 2 and "confirm must be the release's id, v1" in " ".join(report["summary"]), report
    assert algo(hosts) == running and not any((h.state / "lock.json").exists() for h in hosts)

    code, report = play(tmp_path, "rollback", confirm="v1")
    assert (code, report["headline"]) == (0, "ROLLED BACK to v1: OK, 2/2 hosts, HALTED"), report
    assert algo(hosts) == [None] * 2, "halted until somebody resumes"
    for host in hosts:
        containers = host.engine.state["containers"].values()
        assert {c["Image"] for c in containers if c["Name"] == "/trading-algo-1"} == {v1}
        assert (host.folder / "app.yml").read_text() == "limit: 1" and not (host.state / "lock.json").exists()
        latch = json.loads((host.state / "halts/all.json").read_text())
        assert {e["id"] for e in latch["containers"]} == {c["Id"] for c in containers}
    assert any("andon resume" in line for line in report["next"])


def test_a_canary_that_fails_is_put_back_and_ends_the_roll(hosts, tmp_path):
    for host in hosts:
        host.deploy("v1")
        record(host, "v1", ["h1", "h2"])
    v2 = [h.deploy("v2", flag="on") for h in hosts][0]
    engine = hosts[0].engine
    engine.image("v1", behaviour="unhealthy")
    Lock(str(hosts[1].state)).take("run-9", "bob", "restart", "lunch", 900)
    code, report = play(tmp_path, "rollback", confirm="v1")
    text = " ".join(report["summary"])
    assert code == 2 and report["headline"] == "ROLLBACK REFUSED, nothing was changed" and "held by bob" in text and "lunch" in text, report
    assert algo(hosts) == [v2] * 2 and not (hosts[0].state / "lock.json").exists(), "all or nothing"
    Lock(str(hosts[1].state)).release("run-9")

    calls = len(hosts[1].engine.state["calls"])
    code, report = play(tmp_path, "rollback", confirm="v1")
    assert (code, report["headline"]) == (2, "ROLLBACK FAILED: 0/2 hosts are on v1"), report
    assert algo(hosts) == [v2] * 2
    text = " ".join(report["summary"])
    assert "did not become healthy" in text and "put back on what it had before" in " ".join(text.split()) and text.count("not reached") == 1
    assert not any(call[:1] == ["stop"] or "up" in call[1:] for call in hosts[1].engine.state["calls"][calls:]), "not touched"
    assert not any((h.state / "lock.json").exists() for h in hosts)
