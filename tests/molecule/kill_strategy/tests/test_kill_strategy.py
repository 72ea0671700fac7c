"""One strategy is halted on every host; nothing else was touched."""

from looks import ALL, programs


def test_the_strategy_is_down_and_stays_down(host, before, after):
    one = after["momentum"]
    assert (one["id"], one["status"], one["policy"]["Name"]) == (before["momentum"]["id"], "exited", "no")
    assert programs(host.check_output) == ALL - {"momentum"}


def test_everything_else_is_as_it_was(before, after):
    assert {name: one for name, one in after.items() if name != "momentum"} == {name: one for name, one in before.items() if name != "momentum"}


def test_the_latch_covers_the_strategy_only(before, latch):
    kept = [(one["id"], one["restart_policy"], one["was_running"]) for one in latch("strategy-momentum")["containers"]]
    assert kept == [(before["momentum"]["id"], before["momentum"]["policy"], True)]
    assert latch("all") is None
