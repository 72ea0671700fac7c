"""One host put on a release: what starts is what was recorded, and a failure leaves it as it was."""

from __future__ import annotations

import json

import pytest
from ansible.module_utils.andon.apply import NotApplied, fetch_images
from ansible.module_utils.andon.compose import start_order
from ansible.module_utils.andon.ledger import Ledger
from ansible.module_utils.andon.lock import Lock, LockHeld
from ansible.module_utils.andon.releases import ReleaseError

from tests.support.releases import FakeEngine


@pytest.fixture
def host(fleet):
    """h1: v1 recorded; v2 runs, with another flag, another configuration, a moved tag and one more service."""
    one = fleet.hosts[0]
    one.v1 = one.deploy("v1", flag="off", config="limit: 1")
    fleet.record("v1", hosts=[one])
    one.v2 = one.deploy("v2", flag="on", config="limit: 9", extra={"extra": {"image": "feed:1", "labels": {"andon.component": "risk"}}})
    return one


def environment(host):
    algo = next(c for c in host.engine.state["containers"].values() if c["Name"] == "/trading-algo-1")
    return dict(line.split("=", 1) for line in algo["Config"]["Env"])


def test_image_environment_and_files_go_back_although_the_tag_moved(fleet, host):
    feed = next(i for i, c in host.engine.state["containers"].items() if c["Name"] == "/trading-feed-1")
    (host.folder / "app.env").write_text("API_TOKEN=edited\n")
    changed, words, _ = fleet.apply(host, "v1")
    assert changed and words == "HEALTHY  on v1"
    assert host.engine._resolve("algo:latest") == host.v2 and host.engine.running()["trading-algo-1"] == host.v1
    assert set(host.engine.running()) == {"trading-feed-1", "trading-algo-1"}, "a service that is not in the release is gone"
    assert environment(host)["POWER_PEG"] == "off" and (host.folder / "app.yml").read_text() == "limit: 1"
    assert (host.folder / "app.env").read_text() == "API_TOKEN=t0psecret-value\n"
    evidence = sorted(p.name for p in (host.state / "evidence/run-1").iterdir())
    assert "trading-extra-1.log" in evidence and "trading-algo-1.json" in evidence
    before = len(host.engine.state["calls"])
    assert fleet.apply(host, "v1")[:2] == (False, "OK  already on v1")
    acts = {call[0] for call in host.engine.state["calls"][before:]} & {"start", "stop", "rm", "update", "tag", "pull"}
    assert not acts, "the second run changes nothing"
    assert next(i for i, c in host.engine.state["containers"].items() if c["Name"] == "/trading-feed-1") == feed, "what does not differ is not touched"
    lines = [json.loads(line) for line in (host.state / "releases/audit.jsonl").read_text().splitlines()]
    assert [(one["verb"], one["outcome"]) for one in lines] == [("record_release", "recorded"), ("rollback", "done")]
    assert lines[1]["before"]["trading/algo"] == host.v2 and lines[1]["after"]["trading/algo"] == host.v1


@pytest.mark.parametrize("behaviour", ["unhealthy", "crash"])
def test_an_unhealthy_target_is_put_back_and_is_never_chosen_again(fleet, host, behaviour):
    engine = host.engine
    engine.image("v1", behaviour=behaviour)
    (host.folder / "app.yml").write_text("limit: 10")
    with pytest.raises(NotApplied, match="trading-algo-1 did not become healthy") as failure:
        fleet.apply(host, "v1")
    assert failure.value.state == "put back on what it had before" and failure.value.words
    assert host.engine.running()["trading-algo-1"] == host.v2 and "trading-extra-1" in host.engine.running()
    assert environment(host)["POWER_PEG"] == "on" and (host.folder / "app.yml").read_text() == "limit: 10"
    release = Ledger(str(host.state)).get("v1")
    assert not release.healthy and "last words" not in release.why, "a container's own lines are shown, and kept nowhere"
    assert json.loads((host.state / "releases/audit.jsonl").read_text().splitlines()[-1])["outcome"] == "failed"
    assert Ledger(str(host.state)).marker()["state"] == "failed"


def test_away_from_a_crash_loop(fleet, host):
    host.deploy("v3", behaviour="crash")
    assert fleet.apply(host, "v1")[1] == "HEALTHY  on v1"


@pytest.mark.parametrize(("broken", "policies"), [(["up"], {"no"}), (["up", "update"], {"always"})])
def test_when_even_putting_back_fails_nothing_of_it_runs(fleet, host, broken, policies):
    engine = host.engine
    engine.state["broken"] = broken
    engine.save()
    with pytest.raises(NotApplied, match="fake engine was told to fail") as failure:
        fleet.apply(host, "v1")
    assert failure.value.state.startswith("NOT PUT BACK, stopped") and host.engine.running() == {}
    assert ("policies NOT set to no" in failure.value.state) is ("update" in broken)
    assert {c["HostConfig"]["RestartPolicy"]["Name"] for c in host.engine.state["containers"].values()} == policies


def test_under_a_latch_it_is_made_and_not_started_and_the_latch_names_the_new_container(fleet, host):
    old = {c["Name"]: i for i, c in host.engine.state["containers"].items()}
    entries = [{"id": i, "name": n, "restart_policy": {"Name": "always", "MaximumRetryCount": 0}, "was_running": True} for n, i in sorted(old.items())]
    lines = ",\n".join(json.dumps(e, separators=(",", ":")) for e in entries)
    (host.state / "halts").mkdir()
    latch = host.state / "halts/all.json"
    latch.write_text('{"schema":1,"incident":"i","operator":"ann","reason":"r","at":"t","containers":[\n%s\n]}\n' % lines)
    engine = host.engine
    engine("stop", *old.values())
    engine("update", "--restart=no", *old.values())
    engine.save()
    changed, words, _ = fleet.apply(host, "v1", need_halt=True)
    assert changed and words.startswith("HALTED  on v1") and host.engine.running() == {}
    now = {c["Name"]: c for c in host.engine.state["containers"].values()}
    assert {c["HostConfig"]["RestartPolicy"]["Name"] for c in now.values()} == {"no"}
    text = latch.read_text()
    assert text.splitlines()[0].endswith('"containers":[') and text.splitlines()[-1] == "]}" and '\n{"id":"%s",' % now["/trading-algo-1"]["Id"] in text
    data = json.loads(text)
    assert (data["incident"], data["reason"]) == ("i", "r")
    by_name = {e["name"]: e for e in data["containers"]}
    assert by_name["/trading-algo-1"]["id"] == now["/trading-algo-1"]["Id"] and by_name["/trading-algo-1"]["restart_policy"]["Name"] == "always"
    assert by_name["/trading-feed-1"]["id"] == old["/trading-feed-1"]
    assert fleet.apply(host, "v1", need_halt=True)[0] is False


def test_it_acts_only_with_the_name_the_lock_and_where_hosts_differ_the_halt(fleet, host):
    with pytest.raises(ReleaseError, match="not confirmed"):
        fleet.apply(host, "v1", confirm="v2")
    with pytest.raises(ReleaseError, match="not halted"):
        fleet.apply(host, "v1", need_halt=True)
    Lock(str(host.state)).release("run-1")
    Lock(str(host.state)).take("run-2", "bob", "rollback", "", 900)
    import plugins.modules.release_apply as release_apply

    with pytest.raises(LockHeld, match="held by bob"):
        release_apply.run(dict(host.params(release="v1", confirm="v1", run="run-1", operator="ann", need_halt=False, ttl=900, wait=0, settle=0)), False)
    assert host.engine.running()["trading-algo-1"] == host.v2


def test_an_image_that_is_gone_is_pulled_by_digest_and_must_be_the_recorded_one(fleet):
    one = fleet.hosts[0]
    reference = "reg/algo@sha256:" + "d" * 64
    ident = one.deploy("v1", digest=reference)
    fleet.record("v1", hosts=[one])
    one.deploy("v2")
    release, engine = Ledger(str(one.state)).get("v1"), one.engine
    del engine.state["images"][ident]
    engine.save()
    client = FakeEngine(str(one.cli))
    with pytest.raises(Exception, match="manifest unknown"):
        fetch_images(client, release)
    engine = one.engine
    engine.state["registry"][reference] = "sha256:" + "e" * 64
    engine.save()
    with pytest.raises(ReleaseError, match="is not the image that was recorded"):
        fetch_images(client, release)
    engine = one.engine
    engine.state["registry"][reference] = ident
    engine.save()
    assert fetch_images(client, release, check=True) == [reference] and ident not in one.engine.state["images"]
    assert fetch_images(client, release) == [reference] and ident in one.engine.state["images"]


def test_starts_in_order_of_dependencies_then_kind():
    model = {"services": {"s": {"depends_on": {"g": {}}}, "g": {}, "d": {}, "r": {}, "t": {}}}
    kinds = {"s": "strategy", "g": "gateway", "d": "data", "r": "risk", "t": "strategy"}
    assert start_order(model, "sgdrt", kinds) == [["d"], ["g"], ["r"], ["s", "t"]]
    with pytest.raises(ReleaseError, match="circle"):
        start_order({"services": {"a": {"depends_on": {"b": {}}}, "b": {"depends_on": {"a": {}}}}}, "ab", {})


def test_a_file_without_a_copy_is_refused_before_anything_changes_and_a_full_disk_afterwards_is_told(fleet, host, monkeypatch):
    from ansible.module_utils.andon import apply, ledger, releases

    monkeypatch.setattr(ledger, "FILE_LIMIT", 3)
    fleet.deploy("v3", hosts=[host], config="limit: 3")
    with pytest.raises(ReleaseError, match="service extra runs and is not in the Compose files"):
        fleet.record("v3", hosts=[host])
    engine = host.engine
    engine("rm", "trading-extra-1")
    engine.save()
    fleet.record("v3", hosts=[host])
    release = Ledger(str(host.state)).get("v3")
    apply.need_copies(release)
    (host.folder / "app.yml").write_text("limit: 4")
    with pytest.raises(ReleaseError, match=r"app.yml is not what it was in release v3, and no copy of it was kept"):
        apply.need_copies(release)
    (host.folder / "many").mkdir()
    for name in "abc":
        (host.folder / "many" / name).write_text(name)
    monkeypatch.setattr(releases, "FILES_LIMIT", 2)
    mounts = [{"Type": "bind", "Source": str(host.folder / "many"), "RW": writable} for writable in (True, False)]
    assert releases.config_files(mounts[:1]) == {}, "a writable folder is data"
    assert releases.config_files(mounts[1:]) == {str(host.folder / "many"): "not recorded: more than 2 files"}

    def full(self, **words):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Ledger, "audit", full)
    changed, words, notes = fleet.apply(host, "v1")
    assert changed and words == "HEALTHY  on v1" and "No space left" in notes[-1]


def test_whatever_goes_wrong_in_the_middle_the_host_goes_back(fleet, host, monkeypatch):
    from ansible.module_utils.andon import apply

    calls = []

    def broken(*args):
        calls.append(args)
        if len(calls) == 1:
            raise KeyError("a bug")
        return []

    monkeypatch.setattr(apply, "start_order", broken)
    with pytest.raises(NotApplied, match="a bug"):
        fleet.apply(host, "v1")
    images = {c["Name"]: c["Image"] for c in host.engine.state["containers"].values()}
    assert images["/trading-algo-1"] == host.v2 and (host.folder / "app.yml").read_text() == "limit: 9"
