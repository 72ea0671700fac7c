"""The adapter was restarted on every host, and nothing else was."""


def test_only_the_adapter_has_started_anew(before, after):
    assert {name for name in before if after[name]["started_at"] != before[name]["started_at"]} == {"adapter-sim"}


def test_it_is_the_same_container_and_healthy(before, after):
    # A restart is no recreate: id, policy and limits are what they were, and the engine did not have to start it again itself.
    same = ("id", "policy", "memory", "memory_swap", "status", "restarts", "health")
    assert {key: after["adapter-sim"][key] for key in same} == {key: before["adapter-sim"][key] for key in same}
    assert (after["adapter-sim"]["status"], after["adapter-sim"]["health"]) == ("running", "healthy")


def test_everything_else_is_as_it_was(before, after):
    assert {name: one for name, one in after.items() if name != "adapter-sim"} == {name: one for name, one in before.items() if name != "adapter-sim"}
