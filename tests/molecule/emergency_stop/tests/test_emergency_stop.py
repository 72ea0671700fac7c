"""After two presses (converge, idempotence) every host is halted and would stay so."""

from looks import COVERED, programs


def test_nothing_runs_but_what_is_protected(host, before, after):
    assert {name for name, one in after.items() if one["status"] != "exited"} == {"ledger"}
    assert programs(host.check_output) == {"ledger"}, "a process has outlived its container"
    assert after["ledger"] == before["ledger"]
    assert {name: one["id"] for name, one in after.items()} == {name: one["id"] for name, one in before.items()}, "nothing was removed or made anew"


def test_no_policy_would_start_it_again(after):
    assert {after[name]["policy"]["Name"] for name in COVERED} == {"no"}


def test_the_latch_still_knows_what_was_there_before_the_first_press(before, latch):
    found = latch("all")
    assert found["operator"] == "molecule"
    kept = {one["id"]: (one["restart_policy"], one["was_running"]) for one in found["containers"]}
    assert kept == {before[name]["id"]: (before[name]["policy"], True) for name in COVERED}
