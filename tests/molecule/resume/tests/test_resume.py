"""After a stop and a resume every host is what it was, and no latch is left."""

import json

from looks import ALL, COVERED, programs


def test_everything_runs_again_and_is_healthy(host, after):
    assert {name for name, one in after.items() if (one["status"], one["health"]) == ("running", "healthy")} == ALL
    assert programs(host.check_output) == ALL


def test_the_same_containers_with_their_old_policies(before, after):
    # The engine keeps a retry count for on-failure only; all of it must be back.
    assert {name: (one["id"], one["policy"]) for name, one in after.items()} == {name: (one["id"], one["policy"]) for name, one in before.items()}


def test_they_were_really_down_and_the_protected_one_never_was(before, after):
    assert {name for name in ALL if after[name]["started_at"] != before[name]["started_at"]} == COVERED


def test_no_latch_is_left_but_the_copy_that_remembers(host, before, latch):
    assert latch("all") is None
    assert host.check_output("find /var/lib/andon/halts /run/andon -maxdepth 1 -name '*.json' 2>/dev/null || true") == ""
    lifted = json.loads(host.check_output("cat /var/lib/andon/halts/lifted/all-*.json"))  # two files would be no JSON
    assert {one["id"] for one in lifted["containers"]} == {before[name]["id"] for name in COVERED}
