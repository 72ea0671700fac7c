"""kill_strategy on fake hosts: only that strategy, proven; the confirmation is consumed by the acting step."""

from __future__ import annotations

import pytest


def test_only_this_strategy_and_the_proof_that_the_rest_was_not_touched(fleet):
    result = fleet.run("kill_strategy", strategy="momentum", confirm="momentum")
    assert result.code == 0, result
    for host in fleet.hosts.values():
        assert host.running() == {"feed", "adapter-sim", "meanrev", "ledger"}
        assert host.of("momentum")["HostConfig"]["RestartPolicy"]["Name"] == "no"
        assert host.latch() is None and host.latch("strategy-momentum")["containers"][0]["restart_policy"]["Name"] == "always"
        touched = {word for call in host.calls() if call[0] in ("update", "stop", "kill", "pause") for word in call}
        assert not touched & {host.of(n)["Id"] for n in ("feed", "adapter-sim", "meanrev", "ledger")}
    assert all(one["changed_others"] == [] for one in result.report["data"]["hosts"].values())
    undone = fleet.run("resume", strategy="momentum", confirm="momentum")
    assert undone.code == 0 and fleet.hosts["h1"].of("momentum")["HostConfig"]["RestartPolicy"]["Name"] == "always", undone


@pytest.mark.parametrize(
    "flags,extra,words",
    [
        ((), {"strategy": "momentum"}, "confirm"),
        (("--skip-tags", "always"), {"strategy": "momentum", "confirm": "meanrev"}, "not confirmed"),
        (("--start-at-task", "Stop this host"), {"strategy": "momentum", "confirm": "yes"}, "not confirmed"),
        ((), {"strategy": "mo mentum; rm -rf /", "confirm": "mo mentum; rm -rf /"}, "cannot be a strategy's id"),
        ((), {"strategy": "momentun", "confirm": "momentun"}, "Known strategies: momentum"),
    ],
    ids=["none", "other", "start-at", "hostile", "typo"],
)
def test_unconfirmed_hostile_or_unknown_touches_nothing(fleet, flags, extra, words):
    before = fleet.hosts["h1"].read()
    result = fleet.run("kill_strategy", *flags, text=True, **extra)
    assert result.code == 2 and words in result.out + result.err, result
    assert fleet.hosts["h1"].read() == before
    assert fleet.hosts["h1"].latch("strategy-" + extra["strategy"].split()[0]) is None
