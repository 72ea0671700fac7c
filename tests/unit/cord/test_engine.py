from __future__ import annotations

import pytest

from andon.engine import Engine, EngineDown, EngineError, EngineHung
from tests.support.fleet import FakeHost, container, standard


@pytest.fixture
def host(tmp_path):
    return FakeHost(tmp_path / "h", standard())


def names(containers):
    return {c.name for c in containers}


def test_covered_follows_labels_and_the_inventory_wins(host):
    engine = Engine(host.cli)
    assert names(engine.covered(["label=andon.component"])) == {"feed", "adapter-sim", "momentum", "meanrev"}
    assert names(engine.covered(["label=andon.component"], protected=["feed"])) == {"adapter-sim", "momentum", "meanrev"}
    changed = engine.covered(["label=andon.strategy"], [{"name": "ledger", "protect": False, "component": "risk"}, {"name": "momentum", "strategy": "other"}])
    assert names(changed) == {"ledger", "momentum", "meanrev"}
    assert {c.name: c.strategy for c in changed}["momentum"] == "other"


def test_errors_are_told_apart(host, tmp_path):
    host.change(hang=["inspect"])
    with pytest.raises(EngineHung, match="no answer within 0.3 s"):
        Engine(host.cli).run("inspect", "x", deadline=0.3)
    host.change(hang=[], fail={"update": "no such thing"})
    with pytest.raises(EngineError, match="no such thing"):
        Engine(host.cli).must("update", "--restart=no", "feed")
    host.change(down=True)
    with pytest.raises(EngineDown):
        Engine(host.cli).ids(["label=x"])
    with pytest.raises(EngineDown, match="cannot be run"):
        Engine(str(tmp_path / "nothing")).ids(["label=x"])


def test_settle(host):
    engine = Engine(host.cli)
    assert engine.settle("feed", 1, poll=0.01)[0]
    host.write({"containers": [container("a", unhealthy=True), container("b", running=False, policy="no")]})
    one = host.read()
    one["containers"][0]["State"]["Health"]["Status"] = "unhealthy"
    del one["containers"][1]["State"]["Health"]
    host.write(one)
    assert engine.settle("a", 0.1, poll=0.01)[0] is False
    assert engine.settle("b", 5, poll=0.01)[1].status == "exited"
    assert engine.settle("gone", 5, poll=0.01) == (False, None)
