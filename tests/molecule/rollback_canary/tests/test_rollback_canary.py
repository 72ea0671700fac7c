"""The canary is back on what it had and runs; the other hosts' containers are the very same ones."""

from __future__ import annotations

import looks


def test_every_host_runs_the_code_that_it_ran_before_the_attempt(before, after):
    assert {name for name, one in after.items() if one["status"] == "running"} == looks.ALL
    for name in looks.ALL:
        assert after[name]["image"] == before[name]["image"]
        assert after[name]["policy"] == before[name]["policy"]


def test_hosts_behind_the_canary_were_not_touched(host, before, after):
    if host.backend.get_hostname() == "host-a":
        assert after["feed"]["id"] != before["feed"]["id"], "the canary was tried"
    else:
        assert {name: (one["id"], one["started_at"]) for name, one in after.items()} == {name: (one["id"], one["started_at"]) for name, one in before.items()}


def test_no_latch_and_no_lock_is_left(host, latch):
    assert latch("all") is None
    assert not host.file("/var/lib/andon/lock.json").exists
