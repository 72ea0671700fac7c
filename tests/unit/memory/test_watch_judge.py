"""The watch: what it calls a problem, whom it tells how often, what it draws."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from andon import notifier, state, watch_judge
from andon.engine import Container, EngineHung
from andon.slope import MIB
from andon.watch_judge import Limits, Past, judge, report, tell
from andon.watch_look import errors, finder, look

T = 1795706670.0
LIMITS = Limits(cooldown=900)


def container(name="feed", held=100 * MIB, limit=512 * MIB, **kw):
    memory = {"held": held, "working": held, "firm": held, "limit": limit, "kills": 0}
    base = {
        "id": name * 4,
        "name": name,
        "component": "data",
        "strategy": "",
        "status": "running",
        "running": True,
        "health": "healthy",
        "restarts": 0,
        "started_at": "2026-11-26T01:00:00Z",
        "exit_code": 0,
        "memory": memory,
        "errors": {"count": 0, "lines": 10, "full": False},
    }
    return dict(base, **kw)


def host(*containers, available=8000 * MIB, full=0.0, latches=(), latch_error=None):
    memory = {"total": 10000 * MIB, "available": available, "pressure": {"full": {"avg60": full}}}
    return {"memory": memory, "containers": list(containers), "latches": list(latches), "latch_error": latch_error, "window": 60.0}


def down(name="feed", **kw):
    return container(name, running=False, status="exited", exit_code=137, health="", memory={}, errors=None, **kw)


def kinds(problems):
    return [(one.container, one.kind) for one in problems]


BEFORE = judge({"h1": host(container())}, {}, {}, T, LIMITS)[1]
KILLED = dict(container()["memory"], kills=2)
CASES = {
    "all well": (host(container()), []),
    "near its limit": (host(container(held=470 * MIB)), [("feed", "memory")]),
    "unhealthy": (host(container(health="unhealthy")), [("feed", "unhealthy")]),
    "down": (host(down()), [("feed", "down")]),
    "crash loop": (host(down(), container("x", status="restarting")), [("feed", "down"), ("x", "restarting")]),
    "restarted": (host(container(started_at="2026-11-26T02:00:00Z", restarts=1)), [("feed", "restarted")]),
    "recreated": (host(container(id="other", started_at="2026-11-26T02:00:00Z")), []),
    "child killed": (host(container(memory=KILLED)), [("feed", "killed")]),
    "errors": (host(container(errors={"count": 31, "lines": 99, "full": False})), [("feed", "errors")]),
    "gone": (host(container("other")), [("feed", "gone")]),
    "halted": (host(down(), latches=[{"scope": "all", "words": "halted", "containers": ["feed" * 4]}]), [("", "latch all")]),
    "latch that cannot be read": (host(container(), latch_error="x"), [("", "latch")]),
    "pressure": (host(container(), full=20.0, available=700 * MIB), [("", "pressure")]),
    "cache is turned over": (host(container(), full=20.0), []),
    "host short": (host(container(), available=400 * MIB), [("", "memory")]),
    "no accounting": (host(container(memory={"error": "off"})), [("feed", "unknown")]),
}


@pytest.mark.parametrize("name", CASES)
def test_problems(name):
    seen, expected = CASES[name]
    assert kinds(judge({"h1": seen}, {}, BEFORE, T + 30, LIMITS)[0]) == expected


def test_a_leak_is_told_from_the_looks_and_a_restart_forgets_them():
    before, found = {}, []
    for turn in range(20):
        seen = host(container(held=(100 + 5 * turn) * MIB))
        problems, before = judge({"h1": seen}, {}, before, T + 30 * turn, LIMITS)
        found.append(kinds(problems))
    assert found[:11] == [[]] * 11 and found[-1] == [("feed", "leak")]
    again = host(container(started_at="2026-11-26T02:00:00Z"))
    assert len(judge({"h1": again}, {}, before, T + 700, LIMITS)[1]["h1"]["feed"]["history"]) == 1


def test_a_host_without_a_look_is_an_alarm_and_keeps_its_past():
    problems, after = judge({}, {"h1": "unreachable"}, BEFORE, T + 30, LIMITS)
    assert kinds(problems) == [("", "unknown")] and after == BEFORE
    assert report({}, {"h1": "unreachable"}, problems, after, [], [])["ok"] is False


class Post:
    """What was sent, at which second."""

    def __init__(self):
        self.past, self.sent, self.broken = Past(), [], False

    def notify(self, event):
        if self.broken:
            raise OSError("No space left on device")
        self.sent.append((event["kind"], event["over"]))

    def at(self, second, looks, unknown=()):
        """One look; returns what was sent."""
        self.sent = []
        problems, after = judge(looks, dict.fromkeys(unknown, "x"), self.past.data["hosts"], T + second, LIMITS)
        self.past.data["hosts"] = after
        self.failed = tell(problems, self.past, set(looks), T + second, LIMITS, self.notify)[1]
        return self.sent


SICK, WELL = {"h1": host(container(health="unhealthy"))}, {"h1": host(container())}


def test_told_once_in_a_cooldown_and_once_when_over():
    post = Post()
    assert post.at(0, SICK) == [("unhealthy", False)]
    assert post.at(30, SICK) == []
    assert post.at(900, SICK) == [("unhealthy", False)], "it lasts: told again after the cooldown"
    assert post.at(930, WELL) == [] and post.at(960, SICK) == [] and post.at(990, WELL) == [], "it comes and goes: silence"
    assert post.at(1110, WELL) == [("unhealthy", True)]
    assert post.at(1140, WELL) == []
    assert post.at(1170, SICK) == [("unhealthy", False)], "it was over, so this is a new one"


def test_nothing_is_over_on_a_host_that_nobody_sees():
    post = Post()
    post.at(0, SICK)
    assert post.at(300, {}, unknown=["h1"]) == [("unknown", False)]
    assert post.at(600, {"h2": host(container())}) == [], "--limit h2: h1 was not asked"
    assert post.at(630, WELL) == [] and post.at(760, WELL) == [("unknown", True), ("unhealthy", True)]


def test_what_could_not_be_told_is_told_at_the_next_look():
    post = Post()
    post.broken = True
    assert post.at(0, SICK) == [] and "No space left" in post.failed[0]
    post.broken = False
    assert post.at(30, SICK) == [("unhealthy", False)]


def test_past_survives_on_disk_and_rubbish_begins_anew(tmp_path):
    past = Past()
    with past.locked():
        past.data["hosts"] = BEFORE
        past.data["told"] = {"old": T - 10 * 86400, "new": T}
        past.save(T, 900)
    again = Past().load().data
    assert again["hosts"] == BEFORE and again["told"] == {"new": T}
    past.path.write_text("{")
    assert Past().load().data["hosts"] == {}


def test_notifier_appends_whole_lines():
    for number in range(3):
        notifier.notify({"kind": "memory", "words": f"n{number}\nsecond line"})
    lines = [json.loads(line) for line in notifier.alerts_file().read_text().splitlines()]
    assert [line["words"][:2] for line in lines] == ["n0", "n1", "n2"]
    assert all(line["schema"] == "andon.event/1" and line["at"].endswith("Z") for line in lines)


class Logs:
    """An engine that only has logs."""

    def __init__(self, answer):
        self.answer = answer

    def run(self, *args, **kw):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_an_alarm_waits_in_the_outbox_for_the_people_and_a_note_does_not():
    notifier.notify({"kind": "memory", "level": "note", "words": "calm"})
    notifier.notify({"kind": "memory", "level": "alarm", "words": "momentum on host-a: 91 % of its limit"})
    (message,) = [json.loads(path.read_text()) for path in (state.state_dir() / "outbox").rglob("*.json")]
    assert "momentum on host-a: 91 % of its limit" in json.dumps(message) and "alert" in json.dumps(message)


def test_error_lines_are_counted_and_never_returned():
    pattern = finder(["error", "critical"])
    text = "2026 ERROR key=hunter2\nall well\nterrors are no error-free\n"
    assert errors(Logs((0, text, "CRITICAL\n")), "x", pattern, 60) == {"count": 3, "lines": 4, "full": False}
    assert errors(Logs((1, "", "configured logging driver does not support reading")), "x", pattern, 60) is None
    assert errors(Logs(EngineHung("slow")), "x", pattern, 60) is None
    assert finder([]).search("error") is None and finder(["("]).search("a ( b")


def test_a_look_names_latches_and_what_they_cover(tmp_path):
    (tmp_path / "halts").mkdir()
    (tmp_path / "halts" / "strategy-mm.json").write_text(json.dumps({"operator": "ann", "at": "2026", "containers": []}))
    one = Container({"Id": "a", "Name": "/q", "State": {"Status": "exited"}, "Config": {"Labels": {"andon.strategy": "mm"}}})
    seen = look(Logs((0, "", "")), [one], str(tmp_path), finder(["x"]), 60)
    assert seen["latches"][0]["containers"] == ["a"] and seen["latch_error"] is None
    (tmp_path / "halts" / "all.json").write_text("{")
    assert "cannot be read" in look(Logs((0, "", "")), [], str(tmp_path), finder(["x"]), 60)["latch_error"]


def test_dashboard_is_as_high_as_the_terminal_and_shows_alarms_first():
    from verbs.watching import BLIND, dashboard

    many = [container(f"c{number:02}") for number in range(60)]
    many[41] = container("bad[red]", health="unhealthy")
    problems, after = judge({"h1": host(*many)}, {}, {}, T, LIMITS)
    made = report({"h1": host(*many)}, {}, problems, after, [], [])
    assert made["ok"] is False and len(made["summary"]) <= 20 and all(len(line) <= 80 for line in made["summary"])
    out = Console(file=io.StringIO(), width=100, height=24, force_terminal=False)
    out.print(dashboard(made, 30, 24))
    drawn = out.file.getvalue().splitlines()
    assert len(drawn) <= 24 and "bad[red]" in drawn[2] and any(line.startswith("ALARM  h1 bad[red]") for line in drawn)
    out.print(dashboard(BLIND, 30, 24))
    assert "not being watched" in out.file.getvalue()


def test_rows_of_a_halted_container():
    seen = {"h1": host(down(), latches=[{"scope": "all", "words": "w", "containers": ["feed" * 4]}])}
    problems, after = judge(seen, {}, {}, T, LIMITS)
    assert watch_judge.rows(seen, after, problems)[0]["state"] == "HALTED"
    assert report(seen, {}, problems, after, [], [])["ok"] is True, "a halt is known, not a fault"
