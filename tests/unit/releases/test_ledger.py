"""The ledger: what is recorded, what is refused, and that nobody changes it unnoticed."""

from __future__ import annotations

import json
import os
import stat

import pytest
from ansible.module_utils.andon.catalogue import catalogue
from ansible.module_utils.andon.ledger import Ledger
from ansible.module_utils.andon.releases import ReleaseError


def test_a_release_is_root_only_pinned_by_id_and_holds_copies_of_the_configuration(fleet):
    ident = fleet.deploy("v1", flag="on", config="limit: 7")
    fleet.record("r1")
    host = fleet.hosts[0]
    release = Ledger(str(host.state)).get("r1")
    assert stat.S_IMODE(os.stat(host.state).st_mode) == stat.S_IMODE(os.stat(release.path).st_mode) == 0o700
    for folder, _, names in os.walk(release.path):
        assert all(stat.S_IMODE(os.stat(os.path.join(folder, name)).st_mode) == 0o600 for name in names)
    model = json.loads((host.state / "releases/r1/models/trading.json").read_text())
    assert model["services"]["algo"]["image"] == ident and model["services"]["algo"]["environment"]["POWER_PEG"] == "on"
    assert release.content(str(host.folder / "app.yml")) == b"limit: 7"
    assert release.content(str(host.folder / "app.env")) == b"API_TOKEN=t0psecret-value\n"
    assert release.document["files"][str(host.folder / ".env")] == {"missing": True}
    assert any(tag.startswith("andon-release/kept:r1-") for tag in host.engine.state["images"][ident]["tags"])


@pytest.mark.parametrize("file", ["release.json", "models/trading.json", "files/0002", "manifest.json", "health.jsonl", "extra"])
def test_one_changed_file_makes_it_damaged_and_no_target(fleet, file):
    fleet.deploy("v1")
    fleet.record("r1")
    path = fleet.hosts[1].state / "releases/r1" / file
    content = path.read_text() if path.exists() else ""
    path.write_text(content.replace("healthy", "heaIthy", 1) + " " if file != "health.jsonl" else content.replace("true", "false"))
    (only,) = catalogue(fleet.states())
    assert not only["good"] and not only["whole"] and only["hosts"]["h2"].startswith("damaged") and not only["hosts"]["h1"]
    with pytest.raises(ReleaseError, match="damaged"):
        Ledger(str(fleet.hosts[1].state)).get("r1")


def test_files_that_are_not_what_runs_are_refused_and_nothing_is_written(fleet):
    fleet.deploy("v1")
    compose = fleet.hosts[0].folder / "compose.yaml"
    compose.write_text(compose.read_text().replace('"POWER_PEG": "off"', '"POWER_PEG": "on"'))
    with pytest.raises(ReleaseError, match="files of project trading are not what runs: service algo: variable POWER_PEG"):
        fleet.record("r1", hosts=fleet.hosts[:1])
    assert Ledger(str(fleet.hosts[0].state)).all() == []


def test_without_compose_recording_is_refused_in_words(fleet):
    fleet.deploy("v1")
    engine = fleet.hosts[0].engine
    engine.state["broken"] = ["compose version"]
    engine.save()
    with pytest.raises(ReleaseError, match="Docker Compose does not answer.*apt-get install docker-compose"):
        fleet.record("r1", hosts=fleet.hosts[:1])


def test_good_needs_health_on_all_hosts_and_the_same_recording(fleet):
    fleet.deploy("v1")
    fleet.record("r1", healthy=False)
    fleet.deploy("v2")
    fleet.record("r2", hosts=fleet.hosts[:2])
    newest, oldest = catalogue(fleet.states())
    assert (newest["id"], newest["good"], newest["why"]) == ("r2", False, "h3: not recorded")
    assert (oldest["id"], oldest["whole"], oldest["good"]) == ("r1", True, False)
    release = Ledger(str(fleet.hosts[0].state)).get("r1")
    for host in fleet.hosts:
        Ledger(str(host.state)).prove(Ledger(str(host.state)).get("r1"), True, "later")
    assert catalogue(fleet.states())[1]["good"] and [p["healthy"] for p in Ledger(str(fleet.hosts[0].state)).get("r1").proofs] == [False, True]
    assert [p["healthy"] for p in release.proofs] == [False], "read before the second proof"


def test_retention_keeps_the_current_and_the_last_good_one_with_their_images(fleet):
    from ansible.module_utils.andon.catalogue import state_print

    import plugins.modules.release_record as release_record
    import plugins.modules.release_state as release_state

    host = fleet.hosts[0]
    ids = {}
    for number in range(5):
        name = "r%d" % number
        ids[name] = host.deploy("v%d" % number)
        expected = state_print(release_state.look(host.params())["services"])
        words = {"at": "2026-11-26T10:00:%02d.000Z" % number, "run": "x", "hosts": ["h1"], "allowed": []}
        more = {"words": words, "healthy": True, "why": "", "keep": 2, "never": ["r0"], "disk_reserve": 1}
        release_record.run(host.params(release=name, expected=expected, **more), False)
    assert [r.id for r in Ledger(str(host.state)).all()] == ["r4", "r3", "r0"]
    tags = {name: host.engine.state["images"][ident]["tags"] for name, ident in ids.items()}
    assert tags["r0"] and tags["r3"] and not tags["r1"] and not tags["r2"]


def test_the_decision_refuses_skew_part_of_the_fleet_and_a_taken_name(fleet):
    import plugins.action.release_decide as release_decide

    def decide(states, missing=None, left_out=(), name="", allowed=()):
        return release_decide.decide(states, missing or {}, list(left_out), name, list(allowed), ["HOSTNAME"], "", 1.8e9, "run-1")

    fleet.deploy("v1")
    fleet.record("r1")
    assert decide(fleet.states())["decision"]["known"], "what runs is r1 already"
    fleet.deploy("v2", hosts=fleet.hosts[:2])
    skewed = decide(fleet.states(), name="r2")
    assert (
        skewed["failed"] and "the hosts differ in 1 point" in skewed["msg"] and any("trading/algo:image" in line for line in skewed["andon_report"]["summary"])
    )
    decision = decide(fleet.states(), name="r2", allowed=["trading/algo:image"])["decision"]
    assert decision["words"]["allowed"] == ["trading/algo:image"] and decision["never"] == ["r2", "r1"]
    fleet.deploy("v2")
    assert "is another release already" in decide(fleet.states(), name="r1")["msg"]
    assert "cannot be a release's id" in decide(fleet.states(), name="../x")["msg"]
    assert decide(fleet.states(), left_out=["h4"])["failed"] and decide(fleet.states(), missing={"h4": "unreachable"})["failed"]
