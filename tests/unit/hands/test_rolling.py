"""The verdicts: a host that said nothing is never a success, and a report says what is true of each host."""

from __future__ import annotations

import datetime
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from andon import evidence, rolling, state

ASK = rolling.Ask("restart", "feed", confirm="feed")


def match(verdict="act", why="", **more):
    one = {"id": "a", "name": "feed", "status": "running", "health": "", "by": "name", "usage": {}, "warnings": [], "verdict": verdict, "why": why}
    return one | more


def found(*matches, **more):
    return {"matches": list(matches), "known": ["feed", "quoter"], "elsewhere": False} | more


def done(ok=True, **more):
    one = {"name": "feed", "ok": ok, "words": "healthy" if ok else "it died", "seconds": 1.0, "lines": [] if ok else ["last \x1b[31mwords"]}
    return {"containers": [one]} | ({} if ok else {"failed": True, "msg": "feed: it died"}) | more


def plan_of(*hosts, same=()):
    return {"acting": list(hosts), "same": list(same), "matches": {host: [match()] for host in hosts}, "hosts": {}, "target": "feed"}


NO_ANSWER = [None, {}, {"unreachable": True, "msg": "timed out"}, {"skipped": True}, {"failed": True, "msg": "boom"}]


@pytest.mark.parametrize("silent", NO_ANSWER)
def test_one_host_that_gives_no_answer_is_a_plan_that_fails_and_is_named(silent):
    report = rolling.judge_plan(ASK, {"h1": found(match()), "h2": silent})
    assert not report["ok"] and "1 of 2 hosts" in report["headline"]
    assert any(line.startswith("h2") and "UNKNOWN" in line for line in report["summary"])
    assert report["summary"][-1] == "Nothing was touched on any host."


@pytest.mark.parametrize("silent", NO_ANSWER)
def test_one_host_that_gives_no_answer_fails_the_batch_and_the_end(silent):
    everything = {"h1": done(), "h2": silent, "h3": None}
    report = rolling.judge_act(ASK, {"h1": done(), "h2": silent}, everything, plan_of("h1", "h2", "h3"), "")
    assert not report["ok"] and report["headline"] == "FAILED 1/3 hosts restarted, 1 failed, 1 not touched"
    assert "NOT TOUCHED" in report["summary"][2]
    assert report["data"]["hosts"]["h1"] == {"verdict": "HEALTHY"} and report["data"]["hosts"]["h3"] == {"verdict": "NOT TOUCHED"}
    assert report["data"]["hosts"]["h2"]["verdict"] in ("UNKNOWN", "FAILED")
    assert not rolling.judge_act(ASK, everything, everything, plan_of("h1", "h2", "h3"), "")["ok"]


@given(st.lists(st.sampled_from(["good", *range(len(NO_ANSWER))]), min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_ok_if_and_only_if_every_host_of_the_plan_is_good(kinds):
    everything = {f"h{i}": done() if kind == "good" else NO_ANSWER[kind] for i, kind in enumerate(kinds)}
    report = rolling.judge_act(ASK, everything, everything, plan_of(*everything), "")
    assert report["ok"] is all(kind == "good" for kind in kinds)
    assert len(report["summary"]) <= 20 and all(len(line) <= 80 for line in [report["headline"], *report["summary"]])


def test_the_failing_containers_own_words_are_shown_without_their_escapes():
    report = rolling.judge_act(ASK, {"h1": done(ok=False)}, {"h1": done(ok=False), "h2": None}, plan_of("h1", "h2"), "/kept/here")
    assert "    | last words" in report["detail"] and "Evidence from before: /kept/here" in report["detail"]


def test_a_container_of_the_plan_that_was_left_out_is_unknown():
    nothing = {"h1": {"containers": []}, "h2": done()}
    report = rolling.judge_act(ASK, nothing, nothing, plan_of("h1", "h2"), "")
    assert not report["ok"] and "feed was in the plan and was left out" in " ".join(" ".join(report["detail"]).split())
    nothing = {"h1": {"containers": []}}
    assert rolling.judge_act(ASK, nothing, nothing, plan_of(same=["h1"]) | {"matches": {"h1": [match("same")]}}, "")["ok"]


def test_check_mode_shows_each_container_with_its_limit_now_and_then():
    ask = rolling.Ask("limit_memory", "feed", memory="64m", check=True)
    plan = plan_of("h1", "h2") | {
        "matches": {"h1": [match(memory=0, memory_swap=0, new_memory=64 << 20, new_swap=64 << 20)], "h2": [match("same", "already 64.0 MiB")]}
    }
    nothing = {"h1": {"containers": []}, "h2": {"containers": []}}
    report = rolling.judge_act(ask, nothing, nothing, plan, "")
    assert report["ok"] and report["headline"].endswith("nothing was changed")
    assert report["summary"] == ["h1             feed running; limit unlimited -> 64.0 MiB, no swap", "h2             same  feed running: already 64.0 MiB"]


def test_a_long_line_goes_on_in_the_next_and_only_a_very_long_one_is_cut():
    assert rolling.folded("h1             " + "x" * 65) == ["h1             " + "x" * 65]
    two = rolling.folded("h1             " + "word " * 20)
    assert [len(line) <= 80 for line in two] == [True, True] and "".join(two).count("word") == 20
    long = rolling.folded("word " * 200)
    assert len(long) == 5 and long[-1].endswith("…") and len(long[-1]) <= 80


@pytest.mark.parametrize("confirm", ["", "yes", "FEED", "feed "])
def test_only_the_targets_own_name_confirms(confirm):
    report = rolling.judge_plan(rolling.Ask("restart", "feed", confirm=confirm), {"h1": found(match())})
    assert not report["ok"] and "confirmation" in report["headline"]
    assert rolling.judge_plan(rolling.Ask("restart", "feed", check=True), {"h1": found(match())})["ok"]


def test_one_refusal_anywhere_ends_it_everywhere_with_the_whole_reason():
    why = "64.0 MiB is too little: it uses 63.2 MiB (anon 62.7 MiB), with 20 % margin that is 75.8 MiB"
    ask = rolling.Ask("limit_memory", "feed", memory="64m", confirm="feed")
    report = rolling.judge_plan(ask, {"h1": found(match()), "h2": found(match("refuse", why))})
    assert not report["ok"] and why in " ".join(" ".join(report["summary"]).split())
    assert report["next"] == ["andon restart feed --memory 64m --force feed"]
    latched = rolling.judge_plan(ask, {"h1": found(match("refuse", "everything is halted"))})
    assert not latched["ok"] and latched["next"] == []


def test_unknown_names_get_the_nearest_ones_and_an_uncovered_container_is_said():
    report = rolling.judge_plan(rolling.Ask("restart", "qouter", confirm="qouter"), {"h1": found(), "h2": found()})
    assert not report["ok"] and report["summary"][0] == "Did you mean: quoter?" and report["next"] == ["andon restart quoter"]
    report = rolling.judge_plan(rolling.Ask("restart", "db", confirm="db"), {"h1": found(elsewhere=True), "h2": found()})
    assert not report["ok"] and "the cord does not cover it" in " ".join(report["summary"])


def test_when_all_that_matches_is_down_nothing_is_done_and_the_way_is_said():
    report = rolling.judge_plan(ASK, {"h1": found(match("leave", "it is exited (exit code 1); --also-stopped starts it"))})
    assert not report["ok"] and report["next"] == ["andon restart feed --also-stopped"]


def test_evidence_goes_to_the_open_incident_and_hostile_names_stay_in_its_folder():
    now = datetime.datetime(2026, 11, 22, 3, 4, 5, tzinfo=datetime.UTC)
    active = state.state_dir() / "active"
    assert evidence.run_folder("restart", "feed", now).parent == state.state_dir() / "evidence"
    active.parent.mkdir(parents=True)
    active.write_text("../../etc\n")
    assert evidence.run_folder("restart", "feed", now).parent == state.state_dir() / "evidence"
    active.write_text("2026-11-22-stale\n")
    folder = evidence.run_folder("restart", "../feed", now)
    assert folder.parent == active.parent / "incidents" / "2026-11-22-stale" / "evidence" and folder.name.startswith("20261122T030405Z-")
    (path,) = evidence.keep(folder, "../../h1", [{"name": "../x", "logs": ["one"]}], {"verb": "restart"})
    assert path.parent == folder and path.stat().st_mode & 0o777 == 0o600 and folder.stat().st_mode & 0o777 == 0o700
    assert json.loads(path.read_text())["schema"] == "andon.evidence/1"
