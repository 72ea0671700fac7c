from __future__ import annotations

import json

import pytest

from andon.engine import Container
from andon.latch import LatchError, read, refusal
from andon.resume import refusals, tier_of, to_start


def container(strategy="momentum", number="aa"):
    return Container({"Id": number * 32, "Name": "/x", "Config": {"Labels": {"andon.component": "strategy", "andon.strategy": strategy}}})


def write(folder, scope, **more):
    (folder / "halts").mkdir(exist_ok=True)
    (folder / "halts" / f"{scope}.json").write_text(json.dumps({"schema": 1, "operator": "o", "at": "t", "reason": "r", "containers": [], **more}))


def test_everything_or_one_strategy(tmp_path):
    assert refusal(container(), str(tmp_path)) is None
    write(tmp_path, "strategy-momentum")
    assert "andon resume --strategy momentum" in refusal(container(), str(tmp_path))
    assert refusal(container("meanrev"), str(tmp_path)) is None
    write(tmp_path, "all")
    assert "everything is halted" in refusal(container("meanrev"), str(tmp_path))
    assert [one.scope for one in read(str(tmp_path))] == ["all", "strategy-momentum"]


@pytest.mark.parametrize("content", ["", "{", "[]", "\x00"])
def test_an_unreadable_latch_counts_as_latched(tmp_path, content):
    (tmp_path / "halts").mkdir()
    (tmp_path / "halts" / "all.json").write_text(content)
    with pytest.raises(LatchError):
        read(str(tmp_path))
    assert "counts as halted" in refusal(container(), str(tmp_path))


def test_the_order_of_the_start():
    kinds = ["data", "gateway", "adapter", "risk", "strategy", "something-else"]
    assert [tier_of(k) for k in kinds] == [0, 1, 1, 2, 3, 3]
    old = [{"id": k, "name": "/" + k, "component": k, "was_running": True, "restart_policy": {"Name": "on-failure", "MaximumRetryCount": 3}} for k in kinds]
    now = [{"id": k, "name": k, "component": k, "running": False} for k in kinds if k != "risk"]
    tiers, gone = to_start({"containers": old}, now)
    assert [[one["name"] for one in tier] for tier in tiers] == [["data"], ["adapter", "gateway"], ["something-else", "strategy"]]
    assert gone == ["risk"] and tiers[0][0]["policy"] == "on-failure:3"


def state(*scopes, incident="i"):
    return {"containers": [], "latches": [{"scope": s, "incident": incident, "words": s, "containers": []} for s in scopes]}


@pytest.mark.parametrize(
    "states,strategy,incident,confirm,words",
    [
        ({"a": state("all")}, "", "", "yes", "not confirmed"),
        ({"a": state("all"), "b": None}, "", "", "all", "b is UNKNOWN"),
        ({"a": state("all"), "b": state("all", incident="j")}, "", "", "all", "different incidents"),
        ({"a": state("all")}, "", "j", "all", "another incident"),
        ({"a": state()}, "", "", "all", "nothing is halted"),
        ({"a": state("all", "strategy-m")}, "m", "", "m", "Lift that first"),
    ],
)
def test_refusals(states, strategy, incident, confirm, words):
    assert any(words in one for one in refusals(states, strategy, incident, list(states), confirm))
    assert refusals({"a": state("all")}, "", "i", ["a"], "all") == []
