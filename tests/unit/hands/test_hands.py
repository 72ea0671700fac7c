"""The three modules against a host in a folder: what they do, what they refuse, and that nothing is touched when they refuse."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

# The modules' own names for these: a second copy under another name would have other exceptions.
from ansible.module_utils.andon import components_module as shared
from ansible.module_utils.andon import hands as hands_file
from ansible.module_utils.andon import targets
from ansible.module_utils.andon.engine import Engine

from tests.support import fake_hands
from tests.support.fake_hands import Host, container

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "plugins" / "modules"))

import andon_find_component  # noqa: E402
import andon_limit_memory  # noqa: E402
import andon_restart  # noqa: E402

MIB = 1 << 20
ADAPTER = {"andon.component": "adapter"}


class InProcess(Engine):
    """The engine's client, without a process for each command."""

    def run(self, *args, **kw):
        return fake_hands.answer(Path(self.cli).parent, list(args))


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(shared, "Engine", InProcess)


class Ended(Exception):
    """A module's answer."""


class Module:
    """What the modules use of AnsibleModule."""

    def __init__(self, params, check):
        self.params, self.check_mode = params, check

    def exit_json(self, **answer):
        raise Ended(answer)

    def fail_json(self, **answer):
        raise Ended(dict(answer, failed=True))


def ask(host, work, *specs, check=False, **params):
    """One run of a module; returns its answer."""
    base = {name: spec.get("default") for one in specs for name, spec in one.items()}
    base |= {"container_cli": str(host.cli), "host_state": str(host.state), "host_root": str(host.root), "grace": 1, "wait": 1, "settle": 0.0}
    try:
        shared.run(Module(base | params, check), work)
    except Ended as end:
        return end.args[0]
    raise AssertionError("the module gave no answer")


def find(host, target, limit=False, lines=0, **params):
    return ask(host, andon_find_component.find, shared.SPEC_FIND, shared.SPEC_LIMIT, target=target, limit=limit, evidence_lines=lines, **params)


def restart(host, target, **params):
    specs = (shared.SPEC_FIND, shared.SPEC_ACT)
    return ask(host, andon_restart.restart, *specs, **({"target": target, "confirm": target} | params))


def limit(host, target, memory="", **params):
    specs = (shared.SPEC_FIND, shared.SPEC_LIMIT, shared.SPEC_ACT)
    return ask(host, andon_limit_memory.limit, *specs, **({"target": target, "confirm": target, "memory": memory} | params))


def one_host(tmp_path, *containers, **more):
    return Host(tmp_path / "h1", list(containers) or [container("feed", ADAPTER)], **more)


def untouched(host, answer, reason):
    assert answer.get("failed") and reason in answer["msg"], answer
    assert host.changes() == []
    assert not (host.state / "limits.json").exists()


# Finding


def test_a_name_a_service_and_a_label_value_find_components_only(tmp_path):
    compose = {"com.docker.compose.service": "feed"}
    host = one_host(
        tmp_path,
        container("feed", ADAPTER | {"andon.strategy": "mm"}),
        container("shop-feed-1", ADAPTER | compose),
        container("feed-db", compose),
        container("quoter", {"andon.component": "strategy", "andon.venue": "kraken"}),
    )
    by = {one["name"]: one["by"] for one in find(host, "feed")["matches"]}
    assert by == {"feed": "name", "shop-feed-1": "service"}
    assert [one["by"] for one in find(host, "mm")["matches"]] == ["label andon.strategy"]
    assert [one["by"] for one in find(host, "kraken")["matches"]] == ["label andon.venue"]
    nothing = find(host, "feed-db")
    assert (nothing["matches"], nothing["elsewhere"]) == ([], True)
    assert {"feed", "mm", "kraken", "adapter"} <= set(nothing["known"]) and "feed-db" not in nothing["known"]
    named = find(host, "feed-db", components=[{"name": "feed-db", "component": "data"}])
    assert [one["verdict"] for one in named["matches"]] == ["act"]


@pytest.mark.parametrize("target", ["; rm -rf /", "", "-x", "$(id)", "a b", "{{ 1 }}", "x" * 200, "feed\n"])
def test_what_cannot_be_a_name_reaches_no_engine(tmp_path, target):
    host = one_host(tmp_path)
    for answer in (find(host, target), restart(host, target), limit(host, target, "64m")):
        untouched(host, answer, "cannot be the name of a component")
    assert host.calls() == []


def test_evidence_has_the_log_and_the_memory_but_no_value_of_the_environment(tmp_path):
    host = one_host(tmp_path)
    found = find(host, "feed", lines=200)
    assert host.calls("logs") == ["logs --tail 200 " + host["feed"]["id"]]
    (item,) = targets.unpack(found["evidence"])
    assert (item["name"], item["logs"][-1], item["memory"]["anon"]) == ("feed", "feed says why", 20 * MIB)
    assert item["container"]["Config"]["Env"] == ["API_TOKEN=(hidden)", "MODE=(hidden)"]
    assert "planted-secret" not in json.dumps(item)
    assert find(host, "feed")["evidence"] == ""


# The gates


def test_without_the_target_as_confirmation_nothing_happens_in_any_module(tmp_path):
    host = one_host(tmp_path)
    for confirm in ("", "yes", "FEED", "other"):
        untouched(host, restart(host, "feed", confirm=confirm), "needs a confirmation that names the target: -e confirm=feed")
        untouched(host, limit(host, "feed", "64m", confirm=confirm), "needs a confirmation")
    assert restart(host, "feed", confirm="", check=True)["changed"] is True
    assert host.changes() == []


@pytest.mark.parametrize("scope", ["all", "strategy-mm"])
def test_under_a_latch_nothing_is_restarted(tmp_path, scope):
    host = one_host(tmp_path, container("feed", ADAPTER | {"andon.strategy": "mm"}))
    host.latch(scope)
    untouched(host, restart(host, "feed"), "Lift it first: andon resume")
    untouched(host, limit(host, "feed", "64m"), "Lift it first: andon resume")
    (host.state / "halts" / f"{scope}.json").write_text("{half")
    untouched(host, restart(host, "feed"), "It counts as halted")


def test_a_protected_container_needs_its_exact_name_twice(tmp_path):
    host = one_host(tmp_path, container("feed", ADAPTER), container("gate", ADAPTER | {"andon.protect": "true"}))
    untouched(host, restart(host, "gate"), "it is protected. If you mean it: --force gate")
    untouched(host, restart(host, "gate", force="yes"), "it is protected")
    untouched(host, restart(host, "feed", protected=["feed"]), "it is protected")
    assert [one["name"] for one in restart(host, "adapter", force="adapter")["containers"]] == ["feed"]
    assert [one["name"] for one in restart(host, "gate", force="gate")["containers"]] == ["gate"]


def test_what_is_down_or_paused_stays_so_unless_asked_for(tmp_path):
    host = one_host(tmp_path, container("standby", ADAPTER, status="exited"), container("ice", ADAPTER, status="paused"))
    answer = restart(host, "adapter")
    assert (answer["changed"], host.changes()) == (False, [])
    assert "standby: it is exited (exit code 0); --also-stopped starts it" in answer["andon_progress"]
    assert all(one["ok"] for one in restart(host, "adapter", also_stopped=True)["containers"])
    # A thawed SIGTERM handler would act on a state of the world that is gone: a paused one is killed, never stopped.
    assert sorted(call.split()[0] for call in host.changes()) == ["kill", "start", "start"]


def test_what_a_stop_would_delete_and_what_a_manager_would_replace_is_refused(tmp_path):
    host = one_host(tmp_path, container("once", ADAPTER, rm=True), container("task", ADAPTER | {"com.docker.swarm.service.name": "quotes"}))
    untouched(host, limit(host, "once", "64m"), "the stop before the change would delete it")
    untouched(host, limit(host, "task", "64m", force="task"), "docker service update --force quotes")
    untouched(host, restart(host, "task"), "docker service update --force quotes")
    assert restart(host, "once")["containers"][0]["ok"]


# Restart


def test_restart_in_four_steps_is_never_idempotent_and_check_mode_touches_nothing(tmp_path):
    host = one_host(tmp_path, container("a", ADAPTER, health="healthy"), container("b", ADAPTER))
    plan = restart(host, "adapter", check=True)
    assert (plan["changed"], plan["containers"], host.changes()) == (True, [], [])
    for starts in (2, 3):
        answer = restart(host, "adapter")
        assert answer["changed"] and not answer.get("failed")
        assert [(one["name"], one["ok"], one["status"]) for one in answer["containers"]] == [("a", True, "running"), ("b", True, "running")]
        assert (host["a"]["starts"], host["b"]["starts"]) == (starts, starts)
    assert restart(host, "adapter", check=True)["changed"] is True
    assert len(host.changes()) == 4


def test_one_that_is_not_healthy_after_it_fails_with_its_own_last_words(tmp_path):
    host = one_host(tmp_path, container("feed", ADAPTER, broken=True), container("sick", ADAPTER, health="healthy", sick=True), container("fine", ADAPTER))
    answer = restart(host, "adapter", wait=0)
    by = {one["name"]: one for one in answer["containers"]}
    assert answer["failed"] and answer["changed"]
    assert "exited (exit code 3)" in by["feed"]["words"] and by["feed"]["lines"][-1] == "feed says why"
    assert "health check: unhealthy" in by["sick"]["words"]
    assert by["fine"]["ok"] and "fine" not in answer["msg"]


def test_one_that_dies_in_the_moment_of_the_restart_is_started(tmp_path):
    host = one_host(tmp_path, container("feed", ADAPTER, race=1))
    answer = restart(host, "feed")
    assert answer["containers"][0]["ok"], answer
    assert [call.split()[0] for call in host.changes()] == ["restart", "start"]


def test_the_engines_own_refusal_is_what_the_operator_reads(tmp_path):
    host = one_host(tmp_path, refuse={"restart": "driver failed programming external connectivity: port is already allocated"})
    assert "port is already allocated" in restart(host, "feed")["msg"]
    assert len(host.changes()) == 1


def test_a_cord_that_is_pulled_during_the_restart_wins(tmp_path):
    host = one_host(tmp_path)
    with host.change() as engine:
        engine["latch_on_start"] = str(host.state / "halts" / "all.json")
    answer = restart(host, "feed")
    assert answer["failed"] and "the cord was pulled meanwhile" in answer["msg"]
    assert host["feed"]["status"] == "exited"


# Limits


@pytest.mark.parametrize("cgroup", [1, 2])
def test_limit_in_four_steps(tmp_path, cgroup):
    host = one_host(tmp_path, cgroup=cgroup)
    first = limit(host, "feed", "64m", check=True)
    assert first["changed"] and host.changes() == [] and not (host.state / "limits.json").exists()
    assert (first["diff"]["before"], first["diff"]["after"]) == ("feed: unlimited\n", "feed: 64.0 MiB, no swap\n")
    second = limit(host, "feed", "64m")
    assert second["changed"] and not second.get("failed"), second
    ident = host["feed"]["id"]
    # In force before the process starts, and memory never without swap.
    assert host.changes() == [f"stop -t 1 {ident}", f"update --memory {64 * MIB} --memory-swap {64 * MIB} {ident}", f"start {ident}"]
    record = (host.state / "limits.json").read_text()
    for check in (False, True):
        again = limit(host, "feed", "64m", check=check)
        assert again["changed"] is False and "already 64.0 MiB, no swap" in again["andon_progress"] and "diff" not in again
    assert len(host.changes()) == 3 and (host.state / "limits.json").read_text() == record


@pytest.mark.parametrize(("memory", "swap", "wanted"), [(0, 0, "64m"), (256 * MIB, 512 * MIB, "64m"), (32 * MIB, 32 * MIB, "64m"), (32 * MIB, -1, "300m")])
def test_a_limit_from_unlimited_higher_lower_and_unlimited_swap_and_back(tmp_path, memory, swap, wanted):
    host = one_host(tmp_path, container("feed", ADAPTER, memory=memory, swap=swap))
    assert not limit(host, "feed", wanted).get("failed")
    assert not limit(host, "feed", "77m").get("failed")
    calls = len(host.changes())
    undone = limit(host, "feed", undo=True)
    if memory:
        assert not undone.get("failed"), undone
        assert (host["feed"]["memory"], host["feed"]["swap"], host["feed"]["status"]) == (memory, swap, "running")
        assert limit(host, "feed", undo=True)["changed"] is False
    else:
        assert undone["failed"] and "only a recreate can" in undone["msg"] and len(host.changes()) == calls


@pytest.mark.parametrize("cgroup", [1, 2])
def test_a_limit_below_use_and_margin_needs_the_name_again(tmp_path, cgroup):
    host = one_host(tmp_path, container("feed", ADAPTER, anon=50 * MIB), cgroup=cgroup)
    untouched(host, limit(host, "feed", "59m"), "59.0 MiB is too little: it uses 50.0 MiB (anon 50.0 MiB), with 20 % margin that is 60.0 MiB")
    untouched(host, limit(host, "feed", "59m", force="yes"), "is too little")
    untouched(host, limit(host, "feed", "60m", margin=50), "is too little")
    assert not limit(host, "feed", "60m").get("failed")
    assert not limit(host, "feed", "30m", force="feed").get("failed")


def test_undo_without_a_record_and_bad_sizes_touch_nothing(tmp_path):
    host = one_host(tmp_path)
    assert "Andon never changed its limit" in limit(host, "feed", undo=True)["andon_progress"]
    for memory, reason in (("lots", "is not a size"), ("1", "less than the least limit"), ("", "Give either a limit")):
        untouched(host, limit(host, "feed", memory), reason)
        assert reason in find(host, "feed", limit=True, memory=memory)["msg"]
    untouched(host, limit(host, "feed", "64m", undo=True), "Give either a limit")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"refuse": {"update": "the update failed"}}, "the update failed"),
        ({"kernel": 1 << 40}, "the kernel does not enforce the limit: memory: asked for 67108864 bytes (64.0 MiB), in force is 1099511627776"),
        ({"oom_below": 100 * MIB}, "it exited at once (exit code 137, out of memory)"),
        ({"sick": True, "health": "healthy"}, "health check: unhealthy"),
    ],
)
def test_a_step_that_fails_puts_the_container_back_and_still_fails(tmp_path, fault, reason):
    mine = {key: fault[key] for key in fault if key in ("oom_below", "sick", "health")}
    engine = {key: fault[key] for key in fault if key not in mine}
    host = one_host(tmp_path, container("feed", ADAPTER, memory=256 * MIB, swap=-1, **mine), **engine)
    answer = limit(host, "feed", "64m", wait=0, force="feed")
    assert answer["failed"] and reason in answer["msg"], answer
    assert "Its old limit (256.0 MiB, swap unlimited) is back" in answer["msg"]
    assert answer["containers"][0]["lines"][-1] == "feed says why"
    assert (host["feed"]["memory"], host["feed"]["swap"], host["feed"]["status"]) == (256 * MIB, -1, "running")


def test_what_was_unlimited_gets_the_whole_host_when_it_is_put_back(tmp_path):
    host = one_host(tmp_path, container("feed", ADAPTER, oom_below=100 * MIB))
    answer = limit(host, "feed", "64m")
    assert "it has the host's whole memory (8.0 GiB) now" in answer["msg"]
    assert (host["feed"]["memory"], host["feed"]["status"]) == (8 << 30, "running")


def test_a_latch_between_stop_and_start_leaves_it_down_and_says_so(tmp_path, monkeypatch):
    host = one_host(tmp_path)
    update = hands_file.Hands._update

    def pulled(self, *args):
        update(self, *args)
        host.latch()

    monkeypatch.setattr(hands_file.Hands, "_update", pulled)
    answer = limit(host, "feed", "64m")
    assert answer["failed"] and "everything is halted" in answer["msg"] and "is down" in answer["msg"]
    assert host["feed"]["status"] == "exited" and host.calls("start") == []


def test_hosts_that_do_not_account_say_so(tmp_path):
    no_swap = Host(tmp_path / "noswap", [container("feed", ADAPTER)], swap=False)
    (found,) = find(no_swap, "feed", limit=True, memory="64m")["matches"]
    assert "swap is not accounted on this host: memory is limited, swap is not" in found["warnings"]
    assert not limit(no_swap, "feed", "64m").get("failed")
    nothing = Host(tmp_path / "nothing", [container("feed", ADAPTER)], accounting=False)
    untouched(nothing, limit(nothing, "feed", "64m"), "cannot be read")
    untouched(nothing, limit(nothing, "feed", "64m", force="feed"), "kernel does not account memory")


def test_compose_would_drop_the_limit_so_the_lines_to_add_are_said(tmp_path):
    host = one_host(tmp_path, container("shop-feed-1", ADAPTER | {"com.docker.compose.service": "feed"}))
    (found,) = find(host, "feed", limit=True, memory="64m")["matches"]
    text = "\n".join(found["warnings"])
    assert "Compose drops this limit" in text
    assert f"services:\n      feed:\n        mem_limit: {64 * MIB}\n        memswap_limit: {64 * MIB}" in text
    evil = one_host(tmp_path / "evil", container("x", ADAPTER | {"com.docker.compose.service": "x:\n  command: [rm]"}))
    assert find(evil, "x", limit=True, memory="64m")["matches"][0]["warnings"] == []
