"""Adapters' files: every wrong word is an error in words, with the nearest right one, before anything could be sent."""

from __future__ import annotations

import copy
import json

import pytest
import yaml

from andon import adapter_run, adapter_steps, adapters
from tests.support.fleet import ROOT

KINDS = ("freqtrade", "hummingbot", "nautilus", "custom")
HALT = {"do": [{"http": {"method": "POST", "path": "/pause"}, "unless_state": ["stopped"]}], "verify": [{"venue": {"open_orders": 0}}]}


def entry(**adapter):
    return {"name": "ft", "adapter": {"kind": "freqtrade", "endpoint": {"base_url": "http://127.0.0.1:1/api/v1"}, **adapter}}


@pytest.mark.parametrize("kind", KINDS)
def test_the_files_are_valid_and_every_change_has_a_verify(kind):
    definition = adapters.load(kind)
    assert definition["about"]
    for act in adapters.CHANGES:
        assert act not in definition or definition[act]["verify"]
    if kind != "custom":
        assert {"halt", "cancel_orders", "flatten", "liveness", "resume"} <= set(definition)


def test_the_lists_of_steps_agree():
    assert set(adapters.SPECS) == set(adapter_steps.STEPS)


def wrong(change):
    definition = {"halt": copy.deepcopy(HALT)}
    change(definition)
    return definition


@pytest.mark.parametrize(
    "change,words",
    [
        (lambda d: d.update(hlat={}), "unknown action 'hlat'. Did you mean: halt"),
        (lambda d: d["halt"]["do"][0].update(htpt=d["halt"]["do"][0].pop("http")), "step 1: unknown step 'htpt'. Did you mean: http"),
        (lambda d: d["halt"]["do"][0].update(unles_state=["stopped"]), "unknown key 'unles_state'. Did you mean: unless_state"),
        (lambda d: d["halt"]["do"][0].update(unless_state=["stoped"]), "unknown state 'stoped'. Did you mean: stopped"),
        (lambda d: d["halt"]["do"][0].update(unless_state="stopped"), "must be a list of running, paused, stopped"),
        (lambda d: d["halt"]["do"][0]["http"].update(metod="POST"), "unknown key 'metod'. Did you mean: method"),
        (lambda d: d["halt"]["do"][0]["http"].update(method="post"), "unknown value 'post'"),
        (lambda d: d["halt"]["do"][0]["http"].update(path="http://other/pause"), "must begin with /"),
        (lambda d: d["halt"]["do"][0].update(ok={"status": "200"}), "ok: status: must be a list of numbers"),
        (lambda d: d["halt"]["do"][0].update(already={"body_regex": "("}), "is no regular expression"),
        (lambda d: d["halt"]["do"][0].update(timeout_s=0), "must be seconds, more than 0"),
        (lambda d: d["halt"]["do"][0].update(command={"argv": ["x"]}), "must have exactly one of"),
        (lambda d: d["halt"].pop("verify"), "verify is missing: an answer is no proof"),
        (lambda d: d["halt"]["verify"][0].update(venu=d["halt"]["verify"][0].pop("venue")), "unknown step 'venu'. Did you mean: venue"),
        (lambda d: d["halt"].update(foreach={"from": "orders", "key": "ref"}), "unknown source 'orders'"),
        (lambda d: d.update(positions={"do": [{"http": {"method": "POST", "path": "/x"}}]}), "a reading step must be a GET"),
        (lambda d: d.update(positions={"do": [{"http": {"path": "/x"}}], "data": {"each": "", "wher": {}}}), "unknown key 'wher'. Did you mean: where"),
        (lambda d: d["halt"].update(do=[{"file": {"path": "/x", "touch": True, "remove": True}}]), "exactly one of: touch, write, json, remove, read"),
        (lambda d: d["halt"].update(do=[{"redis": {"op": "set", "key": "x"}}]), "value is missing for op set"),
        (lambda d: d["halt"].update(do=[{"container": {"op": "restart"}}]), "unknown value 'restart'"),
        (lambda d: d["halt"].update(do=[{"signal": {"name": "TERM; rm"}}]), "must be a signal's name"),
        (lambda d: d["halt"].update(do=[{"command": {"argv": "hbot stop"}}]), "must be a list: the program and its arguments"),
    ],
)  # fmt: skip
def test_a_wrong_word_says_where_and_what_is_right(change, words):
    with pytest.raises(adapters.AdapterError) as caught:
        adapters.check(wrong(change), "adapters/x.yml")
    assert words in str(caught.value) and str(caught.value).startswith("adapters/x.yml")


@pytest.mark.parametrize(
    "adapter,words",
    [
        ({"kind": "freqtrad"}, "unknown kind 'freqtrad'. Did you mean: freqtrade"),
        ({"kind": "../../etc/passwd"}, "unknown kind"),
        ({"endpoit": {}}, "unknown key 'endpoit'. Did you mean: endpoint"),
        ({"endpoint": {}}, "base_url is missing"),
        ({"endpoint": {"base_url": "http://user:pw@host/"}}, "without a user in it"),
        ({"endpoint": {"base_url": "file:///etc/passwd"}}, "must be http(s)://"),
        ({"endpoint": {"base_url": "http://h:1", "auth": {"basic": {"user": "o"}}}}, "password or password_env is missing"),
        ({"endpoint": {"base_url": "http://h:1", "auth": {"basic": {"password_env": "NOT_SET"}}}}, "environment variable NOT_SET is not set"),
        ({"override": {"halt": {"do": []}}}, "override of adapters/freqtrade.yml: halt: do must be a list of steps"),
        ({"venue": {"name": "a b"}}, "must be the name of an entry of andon_venues"),
        ({"vars": {"base_stake": {"a": 1}}}, "must be text, a number, true or false"),
    ],
)  # fmt: skip
def test_a_wrong_inventory_says_which_component_and_what(adapter, words):
    with pytest.raises(adapters.AdapterError) as caught:
        adapters.plan(entry(**adapter), "halt", environ={})
    assert words in str(caught.value) and "ft" in str(caught.value)


def test_a_resume_needs_its_values_and_never_ignores_the_size():
    with pytest.raises(adapters.AdapterError, match="set adapter: vars: base_stake"):
        adapters.plan(entry(), "resume", {"size": 0.5})
    adapters.plan(entry(), "resume")  # at its full size there is nothing to compute
    with pytest.raises(adapters.AdapterError, match="size must be more than 0 and at most 1, not 25"):
        adapters.plan(entry(vars={"base_stake": 100}), "resume", {"size": 25})
    with pytest.raises(adapters.AdapterError, match="base_stake: must be a number above 0"):
        adapters.plan(entry(vars={"base_stake": -5}), "resume", {"size": 0.5})
    with pytest.raises(adapters.AdapterError, match="nautilus has no step for a smaller size"):
        adapters.plan(entry(kind="nautilus"), "resume", {"size": 0.5})


def test_a_plan_has_what_the_action_needs_and_no_secret():
    auth = {"basic": {"user": "ops", "password_env": "FT"}}
    plan, secrets = adapters.plan(entry(endpoint={"base_url": "http://h:1/a", "auth": auth}), "flatten", environ={"FT": "s3cret"})
    assert secrets == {"ft/0": "s3cret"} and "s3cret" not in json.dumps(plan)
    assert set(plan["definition"]) == {"flatten", "state", "reads", "positions"} and plan["definition"]["reads"] == {}


def test_values_are_never_templates_again():
    place = adapter_steps.Place("c", None, {}, {}, {"a": "{{ b }}", "b": "secret"})
    assert adapter_steps.fill({"x": "{{ a }}", "y": ["<{{ a }}>"]}, place.given) == {"x": "{{ b }}", "y": ["<{{ b }}>"]}
    assert adapter_steps.fill("/locks/{{ a }}", {"a": "1/../../x?y"}, in_url=True) == "/locks/1%2F..%2F..%2Fx%3Fy"


def test_examples_in_the_documentation_are_valid():
    text = (ROOT / "docs" / "adapters.md").read_text()
    blocks = [yaml.safe_load(block.split("```")[0]) for block in text.split("```yaml\n")[1:]]
    checked = 0
    for block in blocks:
        for one in (block or {}).get("andon_components", []):
            for act in adapters.ACTIONS:
                given = {"size": 0.5} if act in ("prepare", "resume") and one["adapter"]["kind"] == "freqtrade" else {}
                adapters.plan(one, act, given, environ={"ANDON_FT_PASSWORD": "x", "ANDON_REDIS_PASSWORD": "x"})
            checked += 1
    assert checked >= 3


def test_unsupported_is_an_outcome_and_not_an_error():
    plan, secrets = adapters.plan({"name": "x", "adapter": {"kind": "custom"}}, "halt")
    (row,) = adapter_run.run_all([plan], "halt", None, secrets, 1)
    assert row["outcome"] == "unsupported" and row["steps"] == []
