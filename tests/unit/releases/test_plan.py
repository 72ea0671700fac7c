"""The plan of a rollback: which target, in which manner, and every reason not to."""

from __future__ import annotations

import pytest
from ansible.module_utils.andon import rollback
from ansible.module_utils.andon.catalogue import catalogue
from ansible.module_utils.andon.ledger import Ledger


@pytest.fixture
def two_releases(fleet):
    """v1 and v2 recorded, both good; v2 runs."""
    fleet.deploy("v1")
    fleet.record("v1")
    fleet.deploy("v2", flag="on")
    fleet.record("v2")
    return fleet


def refusals(states, **more):
    plan = rollback.plan(states, more.pop("missing", {}), **more)
    assert plan["go"] is (not plan["refusals"])
    return " / ".join(plan["refusals"])


def test_without_a_name_it_is_the_last_good_one_before_what_runs_and_never_a_failed_one(two_releases):
    fleet = two_releases
    fleet.deploy("v3")
    fleet.record("v3", healthy=False)
    plan = rollback.plan(fleet.states(), {}, confirm="v2")
    assert (plan["target"], plan["mode"], plan["go"]) == ("v2", rollback.ROLL, True)
    ledger = Ledger(str(fleet.hosts[1].state))
    ledger.prove(ledger.get("v2"), False, "a rollback to it failed")
    assert rollback.plan(fleet.states(), {})["target"] == "v1"
    for host in fleet.hosts:
        ledger = Ledger(str(host.state))
        ledger.prove(ledger.get("v1"), False, "no")
    assert "no older release was good on all hosts" in refusals(fleet.states())
    assert "is not good (h1: no)" in refusals(fleet.states(), to="v1", confirm="v1")
    assert refusals(fleet.states(), to="v1", confirm="v1", not_good=True) == ""


def test_the_gate_is_the_targets_own_name(two_releases):
    states = two_releases.states()
    assert "confirm must be the release's id, v1" in refusals(states)
    assert "not 'v2'" in refusals(states, confirm="v2")
    assert refusals(states, check=True) == refusals(states, confirm="v1") == ""


@pytest.mark.parametrize(
    ("to", "words"),
    [
        ("v9", "there is no release 'v9'. Did you mean: v"),
        ("{{ 7*7 }}\x1b[31m", "there is no release '{{ 7*7 }}'"),
        ("part", "release part is not whole: h3: not recorded"),
    ],
)
def test_a_target_that_is_not_there_is_refused(two_releases, to, words):
    two_releases.record("part", hosts=two_releases.hosts[:2]) if to == "part" else None
    assert words in refusals(two_releases.states(), to=to, confirm=to)


def test_every_reason_is_named_at_once(two_releases):
    fleet = two_releases
    engine = fleet.hosts[1].engine
    gone = fleet.states()["h2"]["releases"][1]["shown"]["trading"]["algo"]["image_id"]
    del engine.state["images"][gone]
    engine.state["broken"] = ["compose version"]
    engine.deploy("strays", fleet.hosts[1].folder)
    for one in engine.state["containers"].values():
        if one["Name"].startswith("/strays-algo"):
            del one["Config"]["Labels"]["com.docker.compose.project"]
    engine.state["containers"] = {i: c for i, c in engine.state["containers"].items() if c["Name"] != "/strays-feed-1"}
    engine.save()
    states = fleet.states()
    del states["h3"]
    words = refusals(
        states, confirm="v1", missing={"h3": "unreachable: timed out"}, lock={"refusals": {"h1": "the fleet's lock is held by bob"}}, disk_reserve=10**18
    )
    assert "image %s of v1 is gone, and no registry has it" % gone[7:19] in words
    for expected in (
        "h3 is UNKNOWN: unreachable",
        "held by bob",
        "not in a Compose project",
        "strays-algo-1",
        "Compose does not answer",
        "are free on its disk",
    ):
        assert expected in words, expected


def test_a_release_of_another_project_is_refused(two_releases):
    states = two_releases.states()
    for state in states.values():
        state["projects"] = {"other": state["projects"]["trading"]}
    assert "release v1 is of another project (trading); what runs is other" in refusals(states, confirm="v1")


def test_hosts_that_differ_or_are_halted_go_back_as_one_halted_set(two_releases):
    fleet = two_releases
    fleet.deploy("v1", hosts=fleet.hosts[2:])
    plan = rollback.plan(fleet.states(), {}, confirm="v2")
    assert (plan["target"], plan["mode"], plan["stop"]) == ("v2", rollback.SET, True), "the newest good one, on which two of three are"
    assert [d["id"] for d in plan["skew"]] == ["trading/algo:environment:POWER_PEG", "trading/algo:image"]
    states = fleet.states()
    for state in states.values():
        state["halted"] = True
    assert rollback.plan(states, {}, confirm="v2")["stop"] is False
    assert "ALL TRADING IS STOPPED FIRST" in rollback.manner_words(plan)


def test_a_second_run_stays_and_an_interrupted_one_is_finished(two_releases):
    fleet = two_releases
    for number, host in enumerate(fleet.hosts):
        if number:
            host.deploy("v1")
        Ledger(str(host.state)).mark(run="run-1", operator="ann", to="v1", state="begun" if number == 0 else "done")
    states = fleet.states()
    plan = rollback.plan(states, {}, confirm="v1")
    assert plan["target"] == "v1" and "interrupted on h1" in plan["why"] and any("did not end there" in note for note in plan["notes"])
    fleet.hosts[0].deploy("v1")
    Ledger(str(fleet.hosts[0].state)).mark(run="run-1", operator="ann", to="v1", state="done")
    plan = rollback.plan(fleet.states(), {})
    assert (plan["target"], plan["mode"], plan["refusals"]) == ("v1", rollback.NONE, [])
    assert catalogue(fleet.states())[1]["current"]


def test_an_empty_ledger_says_what_to_do(fleet):
    fleet.deploy("v1")
    assert "no release is recorded on any host. Next:" in refusals(fleet.states(), confirm="v1")
    assert refusals({}, missing={"h1": "unreachable"}).startswith("h1 is UNKNOWN")
