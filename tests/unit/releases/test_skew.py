"""Skew: Knight Capital's host on other code, and what must not be called skew."""

from __future__ import annotations

import json

from ansible.module_utils.andon import skew
from ansible.module_utils.andon.releases import differences, fingerprint, is_secret, shown
from hypothesis import given, settings
from hypothesis import strategies as st

import plugins.modules.release_state as release_state


def test_one_host_that_missed_the_deploy_and_one_reused_flag_are_named(fleet):
    fleet.deploy("v2", hosts=fleet.hosts[:2], flag="on")
    fleet.deploy("v1", hosts=fleet.hosts[2:], flag="on")
    (only,) = fleet.skew()
    assert (only["id"], only["odd"]) == ("trading/algo:image", ["h3"])
    fleet.deploy("v2", hosts=fleet.hosts[2:], flag="off")
    (only,) = fleet.skew()
    assert (only["id"], only["odd"]) == ("trading/algo:environment:POWER_PEG", ["h3"])
    assert any("on" in line and "h1, h2" in line for line in skew.lines([only]))


def test_secrets_never_leave_a_host_but_their_difference_shows(fleet):
    fleet.deploy("v1")
    states = fleet.states()
    assert fleet.skew() == [] and "t0psecret" not in json.dumps(states)
    masked = states["h1"]["services"]["trading"]["algo"]["environment"]["API_TOKEN"]
    assert masked == "secret:" + fingerprint("t0psecret-value", "k") and masked != "secret:" + fingerprint("t0psecret-value", "other")
    engine = fleet.hosts[1].engine
    for one in engine.state["containers"].values():
        one["Config"]["Env"] = [e.replace("t0psecret-value", "rotated") for e in one["Config"]["Env"]]
    engine.save()
    assert [d["id"] for d in fleet.skew()] == ["trading/algo:environment:API_TOKEN"]
    assert is_secret("DB", "postgres://u:hunter2@db/x") and is_secret("api_key", "") and not is_secret("LOG_LEVEL", "debug")


def test_same_image_by_digest_or_content_and_a_value_named_after_its_host_are_no_skew():
    def services(image, digests, content, command):
        one = {"image_id": image, "digests": digests, "content": content, "environment": {}, "labels": {}, "files": {}}
        return {"p": {"s": dict(one, command=command, policy="no", count=1)}}

    states = {
        "a": shown(services("sha256:1", ["r/x@sha256:9"], "", ["run", "--account", "host-a"]), "k", {}, "host-a"),
        "b": shown(services("sha256:2", ["mirror/x@sha256:9"], "c", ["run", "--account", "host-b"]), "k", {}, "host-b"),
        "c": shown(services("sha256:3", [], "c", ["run", "--account", "host-c"]), "k", {}, "host-c"),
    }
    assert skew.compare(states) == []
    states["c"] = shown(services("sha256:4", [], "d", ["run", "--account", "host-a"]), "k", {}, "host-c")
    assert {d["kind"]: d["odd"] for d in skew.compare(states)} == {"image": ["c"], "command": ["c"]}


def test_a_difference_is_allowed_only_by_its_name_and_a_tie_has_no_majority(fleet):
    fleet.deploy("v1", hosts=fleet.hosts[:1])
    fleet.deploy("v2", hosts=fleet.hosts[1:2])
    states = {host.name: release_state.look(host.params())["services"] for host in fleet.hosts[:2]}
    (only,) = skew.compare(states)
    assert only["odd"] == ["h1", "h2"] and not only["allowed"]
    assert skew.compare(states, allowed=["trading/feed:image"])[0]["allowed"] is False
    assert skew.compare(states, allowed=["trading/*:image"])[0]["allowed"] is True
    del states["h2"]["trading"]["feed"]
    assert [d["id"] for d in skew.compare(states)] == ["trading/algo:image", "trading/feed:service"]


TEXT = st.text(max_size=6)
SERVICE = st.fixed_dictionaries(
    {
        "image_id": st.sampled_from(["sha256:1", "sha256:2"]),
        "digests": st.just([]),
        "environment": st.dictionaries(TEXT, TEXT, max_size=3),
        "labels": st.dictionaries(TEXT, TEXT, max_size=2),
        "files": st.dictionaries(TEXT, TEXT, max_size=2),
        "command": st.lists(TEXT, max_size=2),
        "policy": st.sampled_from(["no", "always"]),
        "count": st.integers(1, 2),
    }
)
SERVICES = st.dictionaries(st.sampled_from("pq"), st.dictionaries(st.sampled_from("st"), SERVICE, min_size=1), max_size=2)


@settings(max_examples=60, deadline=None)
@given(SERVICES, SERVICES)
def test_no_difference_if_and_only_if_the_sets_are_the_same_and_it_is_symmetric(left, right):
    there, back = differences(left, right), differences(right, left)
    assert (there == []) == (left == right)
    assert [(d["service"], d["kind"], d["name"], d["old"]) for d in there if d["kind"] != "service"] == [
        (d["service"], d["kind"], d["name"], d["new"]) for d in back if d["kind"] != "service"
    ]
    assert bool(skew.compare({"a": left, "b": right}, ignored=())) == (left != right)
    for line in skew.lines(skew.compare({"a": left, "b": right})) + skew.matrix({"a": left, "b": right}, []):
        assert len(line) <= 80
