"""The fleet is halted, on the recorded release on every host, and only the host that was odd had its code changed."""

from __future__ import annotations

import looks


def test_every_covered_container_stands_on_the_recorded_image_and_none_runs(host, before, after):
    assert set(after) == looks.ALL
    for name in looks.COVERED:
        assert after[name]["image"] == before[name]["image"]
        assert after[name]["status"] in ("exited", "created") and after[name]["policy"]["Name"] == "no"
    assert looks.programs(host.check_output) == {"ledger"}


def test_the_reused_flag_is_gone_and_the_database_was_never_touched(host, before, after):
    environment = host.check_output("docker inspect -f '{{json .Config.Env}}' %s", "momentum")
    assert "POWER_PEG" not in environment
    for key in ("id", "started_at", "policy"):
        assert after["ledger"][key] == before["ledger"][key]


def test_the_latch_names_what_ran_and_the_lock_was_given_back(host, latch):
    assert {one["name"].lstrip("/") for one in latch("all")["containers"]} >= looks.COVERED
    assert not host.file("/var/lib/andon/lock.json").exists
