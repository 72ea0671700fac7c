"""The judgement: what is called healthy, what is worst, who is accused of skew, and how it fits on a screen."""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from andon import health, measure, tail
from tests.support.eyes import FakeEngine

ROOT = Path(__file__).resolve().parents[3]


def component(name="mm-btc", **more):
    one = {"id": "1" * 64, "name": name, "service": "", "project": "", "image": "x:1", "image_id": "sha256:" + "a" * 64, "status": "running"}
    one |= {"health": "healthy", "exit_code": 0, "restarts": 0, "age": 9000.0, "memory": 100 << 20, "limit": 1 << 30, "errors_now": 0.0, "errors_before": 0.0}
    return one | more


def host(*components, **more):
    seen = {"begin": 1.0, "engine": {"ok": True, "version": "20.10"}, "components": list(components) or [component()], "latches": [], "latch_error": ""}
    seen["disks"] = [{"path": "/", "size": 100, "free": 50, "used": 0.5, "inodes_used": 0.1, "read_only": False}]
    seen["memory"] = {"total": 100, "available": 60, "swap_total": 0, "swap_free": 0}
    seen["load"] = {"one": 0.1, "five": 0.1, "fifteen": 0.1, "cpus": 2}
    return seen | {"clock": health.clock(100.0, 100.1, 100.2, 100.3), "selectors": ["label=andon.component"]} | more


def words(*components, **more):
    return [(one["word"], one["component"]) for one in health.judge_host("h", host(*components, **more), health.LIMITS)]


def test_a_healthy_fleet_has_no_finding_and_no_host_is_no_fleet():
    report = health.report({"a": host(), "b": host()}, health.LIMITS)
    assert report["ok"] and report["headline"] == "2/2 HEALTHY" and report["next"] == []
    assert not health.report({}, health.LIMITS)["ok"]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"status": "exited", "exit_code": 137}, "DEAD"),
        ({"status": "created"}, "DEAD"),
        ({"status": "paused"}, "DEAD"),
        ({"status": "restarting", "restarts": 9}, "FAILED"),
        ({"status": "weird"}, "UNKNOWN"),
        ({"health": "unhealthy"}, "FAILED"),
        ({"health": "starting"}, "WARNING"),
        ({"restarts": 3, "age": 599.0}, "FAILED"),
        ({"latched": True}, "FAILED"),
        ({"status": "exited", "halted": "everything is halted", "latched": True}, "HALTED"),
        ({"memory": 930 << 20}, "WARNING"),
        ({"log_error": "the log gave no answer", "errors_now": None}, "UNKNOWN"),
        ({"errors_now": 10.0, "errors_before": None}, "ERRORS"),
        ({"errors_now": 3.0, "errors_before": 1.0}, "ERRORS"),
    ],
)
def test_each_sickness_of_a_component_has_its_word(change, word):
    assert words(component(**change)) == [(word, "mm-btc")]


@pytest.mark.parametrize(
    "change",
    [
        {"health": ""},
        {"restarts": 3, "age": 601.0},
        {"memory": 900 << 20},
        {"memory": 900 << 20, "limit": 0},
        {"memory": None},
        {"errors_now": 0.9, "errors_before": 0.0},
        {"errors_now": 2.9, "errors_before": 1.0},
        {"errors_now": 9.0, "errors_before": 9.0},
        {"errors_now": None, "log_note": "its log driver keeps nothing that can be read"},
    ],
)
def test_what_is_no_sickness_is_not_called_one(change):
    assert words(component(**change)) == []


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"engine": {"ok": False, "hung": True, "error": "docker info gave no answer within 5 s"}}, "UNKNOWN"),
        ({"engine": {"ok": False, "hung": False, "error": "down"}}, "FAILED"),
        ({"components": []}, "FAILED"),
        ({"latch_error": "the latch is there and cannot be read"}, "UNKNOWN"),
        ({"latches": [{"scope": "all", "words": "everything is halted"}]}, "HALTED"),
        ({"disks": []}, "UNKNOWN"),
        ({"disks": [{"path": "/", "size": 9, "free": 1, "used": 0.95, "inodes_used": None, "read_only": False}]}, "WARNING"),
        ({"disks": [{"path": "/", "size": 9, "free": 1, "used": 0.1, "inodes_used": 0.99, "read_only": False}]}, "WARNING"),
        ({"disks": [{"path": "/", "size": 9, "free": 1, "used": 0.1, "inodes_used": 0.1, "read_only": True}]}, "WARNING"),
        ({"memory": {}}, "UNKNOWN"),
        ({"memory": {"total": 100, "available": 5}}, "WARNING"),
        ({"load": {"one": 1, "five": 9.0, "fifteen": 1, "cpus": 2}}, "WARNING"),
        ({"clock": health.clock(100.0, 190.0, 190.1, 100.3)}, "WARNING"),
        ({"clock": health.clock(100.0, 10.0, 10.1, 100.3)}, "WARNING"),
    ],
)
def test_each_sickness_of_a_host_has_its_word(change, word):
    assert words(**change) == [(word, "")]


def test_worst_comes_first_and_the_denominator_names_who():
    report = health.report(
        {"a": host(), "b": host(component(status="exited"), clock=health.clock(100, 190, 190, 100)), "c": "unreachable (no route to host)"}, health.LIMITS
    )
    assert [one["word"] for one in report["data"]["findings"]] == ["UNKNOWN", "DEAD", "WARNING"]
    assert report["headline"] == "1/3 HEALTHY, 1 UNKNOWN (c), 1 DEAD (b)" and not report["ok"]
    assert "unreachable" in health.report({"a": host(), "c": "unreachable (x)"}, health.LIMITS)["headline"]


# The clock


@settings(max_examples=60, deadline=None)
@given(
    offset=st.floats(-300, 300),
    there=st.floats(0, 20),
    work=st.floats(0, 20),
    back=st.floats(0, 20),
)
def test_the_true_offset_is_always_inside_and_a_slow_connection_is_no_wrong_clock(offset, there, work, back):
    before = 1_000_000.0
    one = health.clock(before, before + there + offset, before + there + work + offset, before + there + work + back)
    assert one["low"] - 1e-6 <= offset <= one["high"] + 1e-6
    found = health.judge_host("h", host(clock=one), health.LIMITS)
    if abs(offset) <= health.LIMITS["clock"] - 1e-6:
        assert not found, "accused although its clock is right"
    if abs(offset) > health.LIMITS["clock"] + there + back + 1e-6:
        assert [f["word"] for f in found] == ["WARNING"]


def test_the_offset_is_known_as_well_as_the_four_times_allow():
    assert health.clock(100.0, 100.25, 100.5, 101.0) == {"low": -0.5, "high": 0.25, "offset": -0.125, "uncertainty": 0.375}


# Skew


def accused(**digests):
    hosts = {h: host(*[component(n, image_id="sha256:" + d * 64, image=n + ":prod") for n, d in found.items()]) for h, found in digests.items()}
    return sorted((one["host"], one["component"]) for one in health.skew(hosts))


def test_the_minority_digest_is_accused_and_a_tie_accuses_all():
    assert accused(a={"mm": "1"}, b={"mm": "1"}, c={"mm": "2"}) == [("c", "mm")]
    assert accused(a={"mm": "1"}, b={"mm": "2"}) == [("a", "mm"), ("b", "mm")]
    assert accused(a={"mm": "1"}, b={"mm": "1"}) == []
    assert accused(a={"mm": "1"}, b={"arb": "2"}) == []
    # One image name under two names of containers is compared as well: the tag was moved between two starts.
    hosts = {"a": host(component("x", image="t:prod"), component("y", image="t:prod"), component("z", image="t:prod", image_id="sha256:" + "b" * 64))}
    assert [(one["component"], "1 of 3" in one["words"]) for one in health.skew(hosts)] == [("z", True)]
    # Two projects may each have a service "app".
    hosts = {h: host(component("app", service="app", project=h, image=h, image_id="sha256:" + h * 64)) for h in "ab"}
    assert health.skew(hosts) == []


# Rates


def test_rates_know_what_the_log_does_not_cover():
    now = 10_000.0
    some = {"stamps": [now - 10, now - 20, now - 400], "first": now - 600, "complete": False}
    assert health.rates(some, now, 300, 1800) == {"now": pytest.approx(2 * 60 / 301), "before": pytest.approx(60 / 300)}
    assert health.rates(some | {"first": now - 30}, now, 300, 1800)["before"] is None
    assert health.rates(some | {"stamps": [], "first": None, "complete": True}, now, 300, 1800) == {"now": 0.0, "before": 0.0}
    young = health.rates({"stamps": [now - 5], "first": now - 6, "complete": True, "since": now - 59}, now, 300, 1800)
    assert young == {"now": pytest.approx(60 / 61), "before": None}
    newborn = health.rates({"stamps": [now - 1], "first": now - 1, "complete": True, "since": now - 2}, now, 300, 1800)
    assert newborn["now"] < 1, "one error is no storm"
    storm = health.rates({"stamps": [now - 3 + n / 100 for n in range(300)], "first": now - 3, "complete": False}, now, 300, 1800)
    assert storm["now"] > 1000
    assert health.rates(some | {"error": "hangs"}, now, 300, 1800) == {"now": None, "before": None}


# The screen, under hostile names

HOSTILE = "\x1b[2J\x1b]0;x\x07{{ 7*7 }} | **b** \u202e\x00 é\n" + "A" * 300


def test_the_screen_is_80_by_24_and_inert_however_many_and_however_hostile():
    many = [
        component(f"{n:03d}{HOSTILE}", status="exited" if n % 2 else "running", image=HOSTILE, health=HOSTILE, errors_now=50.0, last_error=HOSTILE)
        for n in range(60)
    ]
    for results in ({f"h{n}{HOSTILE}": host(*many) for n in range(9)}, {HOSTILE: host(), "x": HOSTILE}):
        report = health.report(results, health.LIMITS, limited=HOSTILE)
        lines = [report["headline"]] + report["summary"] + report["next"]
        assert len(lines) <= 22
        assert all(len(line) <= 80 for line in [report["headline"]] + report["summary"])
        assert not [c for line in lines for c in line if not c.isprintable() or c == "\u202e"]
    assert "more findings" in "".join(health.report({"h": host(*many)}, health.LIMITS)["summary"])


@pytest.mark.parametrize("bad", [{"disc": 1}, {"disk": "much"}, {"disk": 0}, {"disk": float("nan")}, {"disk": None}])
def test_a_wrong_limit_is_an_error_in_words(bad):
    with pytest.raises(ValueError, match="nothing was judged"):
        health.limits_of(bad)
    assert health.limits_of({"disk": "80"})["disk"] == 80.0


# Measuring


def observe_module():
    spec = importlib.util.spec_from_file_location("observe_under_test", ROOT / "plugins" / "modules" / "observe.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def params(engine, state, **more):
    base = {"container_cli": str(engine.cli), "host_state": str(state), "selectors": ["label=andon.component"], "components": [], "disks": ["/"]}
    return base | {"error_patterns": [], "window": 300, "before": 1800, "log_lines": 2000, "log_deadline": 4.0, "deadline": 15.0, "engine_deadline": 5.0} | more


def test_observe_reads_hostile_logs_bounded_and_names_what_it_could_not_read(tmp_path):
    engine, now = FakeEngine(tmp_path / "e"), time.time()
    engine.add(
        "noisy", [(now - 1000, b"ERROR old")] + [(now - 60 - n / 10, b"ERROR caf\xe9 \x00 \x1b[31m{{ 7*7 }} **x** order %d" % n) for n in range(600, 0, -1)]
    )
    engine.add("quiet", [(now - 5, b"all is well, error-free")])
    engine.add("none", log_error="Error response from daemon: configured logging driver does not support reading")
    engine.add("broken", log_error="open /var/lib/docker/x: input/output error")
    engine.add("slow", log_hangs=True)
    engine.add("db", labels={"andon.protect": "true"})
    engine.add("named", labels={"andon.component": ""})
    del engine.world["containers"][-1]["Config"]["Labels"]["andon.component"]
    engine.save()
    seen = observe_module().observe(params(engine, tmp_path, log_deadline=1.5, components=[{"name": "named", "component": "risk"}]))
    found = {one["name"]: one for one in seen["components"]}
    assert set(found) == {"noisy", "quiet", "none", "broken", "slow", "db", "named"}
    assert found["noisy"]["errors_now"] > 100 and found["noisy"]["errors_before"] == pytest.approx(1 / 30, rel=0.1)
    assert "{{ 7*7 }}" in found["noisy"]["last_error"] and found["noisy"]["last_error"].isprintable() and "é" in found["noisy"]["last_error"]
    assert found["quiet"]["errors_now"] == 0.0
    assert found["none"]["log_note"] and not found["none"]["log_error"] and found["none"]["errors_now"] is None
    assert "input/output" in found["broken"]["log_error"] and "no answer" in found["slow"]["log_error"]
    assert found["db"]["protected"] and found["named"]["component"] == "risk"
    assert not [call for call in engine.calls() if call.split()[0] not in ("info", "ps", "inspect", "logs") or "--since" in call], (
        "it must only read, from the end"
    )
    json.dumps(seen)


def test_observe_answers_when_the_engine_hangs_or_is_down_and_reads_the_latch(tmp_path):
    (tmp_path / "halts").mkdir()
    (tmp_path / "halts" / "all.json").write_text(json.dumps({"operator": "ann", "reason": "\x1b[2Jx", "at": "2026-11-22T03:04:05.000Z"}))
    module = observe_module()
    down = module.observe(params(FakeEngine(tmp_path / "d", down=True), tmp_path))
    assert not down["engine"]["ok"] and not down["engine"]["hung"] and down["disks"] and down["memory"]["total"] > 0
    assert down["latches"][0]["words"].isprintable() and "ann" in down["latches"][0]["words"]
    (tmp_path / "halts" / "all.json").write_text("{")
    stopped = FakeEngine(tmp_path / "s")
    stopped.add("mm", status="exited", exit_code=137)
    assert "cannot be read" in module.observe(params(stopped, tmp_path))["latch_error"]
    hung = module.observe(params(FakeEngine(tmp_path / "h", hangs="info"), tmp_path, engine_deadline=0.3))
    assert hung["engine"]["hung"] and "no answer" in hung["engine"]["error"] and hung["load"]["cpus"]
    with pytest.raises(module.shapes.PatternError, match="no regular expression"):
        module.observe(params(stopped, tmp_path, error_patterns=["(["]))


def test_container_memory_reads_the_right_group_of_either_version(tmp_path):
    def tree(kind, files, cgroup, mount):
        root = tmp_path / kind
        folder = root / "cg" / "docker" / "abc"
        folder.mkdir(parents=True)
        for name, text in files.items():
            (folder / name).write_text(text)
        for pid in ("self", "77"):
            (root / "proc" / pid).mkdir(parents=True)
        (root / "proc" / "self" / "mountinfo").write_text(mount % (root / "cg"))
        (root / "proc" / "77" / "cgroup").write_text(cgroup)
        return measure.container_memory(77, str(root / "proc"))

    two = {"memory.current": "1000\n", "memory.stat": "anon 1\ninactive_file 300\n", "cgroup.procs": "77\n"}
    assert tree("v2", two, "0::/docker/abc\n", "30 1 0:1 / %s rw - cgroup2 cgroup2 rw\n") == 700
    one = {"memory.usage_in_bytes": "1000\n", "memory.stat": "inactive_file 5\ntotal_inactive_file 400\n", "cgroup.procs": "77\n"}
    assert tree("v1", one, "4:memory:/docker/abc\n0::/\n", "30 1 0:1 / %s rw - cgroup cgroup rw,memory\n") == 600
    assert tree("v1n", one, "4:memory:/host/docker/abc\n", "30 1 0:1 /host %s rw - cgroup cgroup rw,memory\n") == 600
    # The same path in another namespace holds other processes: not measured rather than wrong.
    assert tree("other", two | {"cgroup.procs": "5\n"}, "0::/docker/abc\n", "30 1 0:1 / %s rw - cgroup2 cgroup2 rw\n") is None


# Watching


def test_watch_shows_each_look_and_ends_with_the_last_code(capsys):
    sys.path.insert(0, str(ROOT))
    from verbs.eyes import look_again

    answers = iter([(0, '{"ok":\n true}'), (2, "torn"), (99, "")])
    assert look_again(lambda: next(answers), 1, as_json=True, screen=False, sleep=lambda _: None) == 2
    lines = capsys.readouterr().out.splitlines()
    assert json.loads(lines[0]) == {"ok": True} and json.loads(lines[1])["ok"] is False and len(lines) == 2

    def interrupted():
        raise KeyboardInterrupt

    assert look_again(interrupted, 1, as_json=False, screen=True) == 1


def test_tail_keeps_the_newest_bytes_and_says_that_the_log_goes_back_further(tmp_path):
    engine, now = FakeEngine(tmp_path / "e"), time.time()
    one = engine.add("x", [(now - 100 + n / 100, b"line %05d" % n) for n in range(5000)])
    found = tail.container(str(engine.cli), one["Id"], 4000, 5.0, keep=4096)
    assert not found.complete and found.lines[-1][1] == "line 04999" and len(found.lines) < 200
    whole = tail.container(str(engine.cli), one["Id"], 6000, 5.0)
    assert whole.complete and len(whole.lines) == 5000 and whole.first == pytest.approx(now - 100, abs=0.01)
