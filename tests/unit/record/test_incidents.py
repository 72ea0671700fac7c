"""Incidents: the state folded from the journal, the clock against its targets, the files beside it, the one screen."""

from __future__ import annotations

import hashlib
import json
import threading
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from andon import incidents, journal, state

T0 = state.parse_utc("2026-11-22T23:58:00Z")
HOSTILE = "</script><b>x</b> {{ 7*7 }} \x1b[31mred\x1b]0;t\x07 `a` | **b** [l](javascript:1) \u202eevil\n# Title\n<!-- andon:end timeline -->"


def line(seq, kind, data=None, at=None, verb="", who="ann"):
    """A journal line without a chain: fold does not check it (verify does)."""
    return {
        "seq": seq,
        "at": state.utc(T0 + seq if at is None else at),
        "incident": "2026-11-22-exchange-down",
        "actor": {"name": who},
        "kind": kind,
        "verb": verb,
        "data": data or {},
        "prev": "",
        "hash": f"h{seq}",
    }


def ended(seq, verb, at, ok=True, hosts=None, **more):
    data = {"run": f"r{seq}", "seconds": 3.0, "ok": ok, "hosts": hosts or {"host-a": "changed"}, **more}
    return line(seq, "verb.ended", data, at, verb)


OPENED = line(1, "incident.opened", {"title": "Exchange down", "severity": 1}, T0)


def test_a_whole_life_over_midnight_utc():
    found = incidents.fold(
        [
            line(1, "incident.opened", {"title": "Exchange down", "severity": 2, "unsure": True, "detected": state.utc(T0 - 60)}, T0),
            line(2, "incident.acknowledged", at=T0 + 30, who="bob"),
            line(3, "incident.severity", {"severity": 1, "reason": "money at risk"}, T0 + 40),
            line(4, "incident.assigned", {"role": "commander", "person": "bob"}, T0 + 50),
            line(5, "verb.began", {"run": "r6", "began": T0 + 100}, T0 + 110, "emergency_stop"),
            ended(6, "emergency_stop", T0 + 110, run="r6", report={"headline": "8/8 HALTED", "data": {"orders": 3}}),
            line(7, "incident.note", {"text": "feed is back", "attachment": {"name": "a.png", "file": "attachments/x", "sha256": "00", "size": 5}}, T0 + 120),
            ended(8, "resume", T0 + 180),
            line(9, "incident.resolved", {"text": "venue is back"}, T0 + 200),
            line(10, "incident.closed", at=T0 + 300),
        ]
    )
    assert (found.id, found.title, found.state, found.severity) == ("2026-11-22-exchange-down", "Exchange down", "closed", 1)
    assert (found.detected, found.opened, found.acknowledged, found.acknowledged_by) == (T0 - 60, T0, T0 + 30, "bob")
    assert (found.mitigated, found.mitigated_by) == (T0 + 110, "emergency_stop, ann")
    assert (found.resolved, found.resolution, found.closed) == (T0 + 200, "venue is back", T0 + 300)
    assert [(level, why) for _, level, _, why in found.severities] == [(2, "unsure, so the higher one"), (1, "money at risk")]
    assert found.roles == {"commander": "bob"}
    assert [(h.scope, h.since, h.until, h.proven, h.headline) for h in found.halts] == [("all trading", T0 + 100, T0 + 180, True, "8/8 HALTED")]
    assert found.halted == [] and len(found.runs) == 2 and found.attachments[0].name == "a.png"
    assert found.events[0].text == "Detected"
    assert [e.text for e in found.events if e.seq == 6] == ["emergency_stop: 8/8 HALTED, took 3.0 s"]
    assert incidents.moment(found.mitigated).startswith("2026-11-22 23:59:50")
    assert incidents.moment(found.resolved).startswith("2026-11-23 00:01:20")
    assert (found.lines, found.head) == (10, "h10")


@pytest.mark.parametrize(
    ("severity", "run", "mitigated", "halted"),
    [
        (1, ended(2, "emergency_stop", T0 + 9), True, True),
        (1, ended(2, "emergency_stop", T0 + 9, ok=False, hosts={"host-a": "changed", "host-d": "unreachable"}), False, True),
        (1, ended(2, "emergency_stop", T0 + 9, ok=False, hosts={"host-d": "unreachable"}), False, False),
        (1, ended(2, "emergency_stop", T0 + 9, check=True), False, False),
        (1, ended(2, "emergency_stop", T0 + 9, interrupted=True), False, True),
        (1, ended(2, "kill_strategy", T0 + 9, variables={"strategy": "mm-1"}), True, True),
        (1, ended(2, "kill_strategy", T0 + 9, ok=False, report={"data": {"hosts": {"host-a": {"verdict": "NOT HERE"}}}}), False, False),
        (1, ended(2, "emergency_stop", T0 + 9, ok=False, report={"data": {"hosts": {"a": {"verdict": "UNKNOWN"}, "b": {"verdict": "HALTED"}}}}), False, True),
        (1, ended(2, "restart", T0 + 9), False, False),
        (2, ended(2, "restart", T0 + 9), True, False),
        (2, ended(2, "health_check", T0 + 9), False, False),
    ],
)
def test_what_a_run_means(severity, run, mitigated, halted):
    opened = line(1, "incident.opened", {"title": "t", "severity": severity}, T0)
    found = incidents.fold([opened, run])
    assert (found.mitigated is not None, bool(found.halted)) == (mitigated, halted)


def test_halts_end_by_a_resume_of_the_same_thing_only():
    lines = [
        OPENED,
        ended(2, "kill_strategy", T0 + 10, variables={"strategy": "a"}),
        ended(3, "kill_strategy", T0 + 20, variables={"strategy": "b"}),
        ended(4, "kill_strategy", T0 + 25, variables={"strategy": "b"}),
        ended(5, "resume", T0 + 30, variables={"andon_strategy": "a"}),
        ended(6, "resume", T0 + 35, ok=False),
        ended(7, "resume", T0 + 36, check=True),
        ended(8, "resume", T0 + 37, limit="host-a"),
    ]
    assert [(h.scope, h.since) for h in incidents.fold(lines).halted] == [("strategy b", T0 + 17)]
    assert incidents.fold([*lines, ended(9, "resume", T0 + 40)]).halted == []


def test_a_verb_that_was_killed_and_a_resolution_taken_back():
    found = incidents.fold(
        [
            OPENED,
            line(2, "verb.began", {"run": "x", "began": T0 + 5}, verb="rollback"),
            line(3, "incident.resolved", at=T0 + 60),
            line(4, "incident.reopened", {"text": "no"}, T0 + 70),
        ]
    )
    assert incidents.outcome(found.runs[0]).startswith("no end is recorded")
    assert (found.state, found.resolved, found.mitigated) == ("detected", None, None)


def test_the_order_is_the_journals_where_the_clock_stepped_back():
    found = incidents.fold(
        [
            OPENED,
            line(2, "incident.note", {"text": "before"}, T0 + 100),
            line(3, "incident.acknowledged", at=T0 - 50),
            line(4, "incident.note", {"text": "after"}, T0 - 40),
        ]
    )
    assert [e.seq for e in found.events] == [1, 2, 3, 4]
    assert [e.seq for e in found.events if e.stepped_back] == [3] and found.clock_steps == [3]
    screen = "\n".join(incidents.incident_screen(found, T0 - 30))
    assert "after 0.0 s" in screen and "the clock stepped back" in screen


json_data = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=30) | st.just(HOSTILE),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["title", "severity", "hosts", "report", "data", "text", "run", "began", "variables"]), inner, max_size=4)
    ),
    max_leaves=4,
)
KINDS = ["incident." + what for what in incidents._INCIDENT] + ["verb.began", "verb.ended", "journal.torn", "postmortem.written", "x"]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(KINDS),
            st.dictionaries(
                st.sampled_from(
                    ["title", "severity", "text", "hosts", "report", "run", "attachment", "variables", "began", "ok", "role", "person", "limit", "command"]
                ),
                json_data,
                max_size=5,
            ),
            st.integers(-1000, 100000),
            st.text(max_size=10) | st.just(HOSTILE),
        ),
        max_size=8,
    ),
    st.integers(-10000, 10**7),
)
def test_nothing_in_a_line_breaks_the_fold_or_the_screen(parts, now):
    lines = [line(n, kind, data, T0 + at, verb=word, who=word) for n, (kind, data, at, word) in enumerate(parts, 1)]
    found = incidents.fold(lines, "2026-11-22-x")
    screen = incidents.incident_screen(found, T0 + now)
    assert len(screen) <= 23
    for text in screen:
        assert incidents.width(text) <= 80 and not any(unicodedata.category(c) in ("Cc", "Cf") for c in text)


def test_the_clock_runs_against_the_targets():
    found = incidents.fold([OPENED])
    assert incidents.overdue(found, T0 + 299) == []
    late = incidents.overdue(found, T0 + 1260)
    assert [(o.what, o.late) for o in late] == [("acknowledgement", 960.0), ("mitigation", 960.0), ("update", 60.0)]
    acked = incidents.fold([OPENED, line(2, "incident.acknowledged", at=T0 + 60), line(3, "incident.updated", {"text": "x"}, T0 + 700)])
    assert [o.what for o in incidents.overdue(acked, T0 + 1899)] == ["mitigation"]
    assert [o.what for o in incidents.overdue(acked, T0 + 1901)] == ["mitigation", "update"]
    assert incidents.overdue(incidents.fold([OPENED, line(2, "incident.resolved")]), T0 + 10**6) == []
    minor = incidents.fold([line(1, "incident.opened", {"title": "t", "severity": 3}, T0)])
    assert [o.what for o in incidents.overdue(minor, T0 + 14401)] == ["acknowledgement", "mitigation"]


def test_the_screen_says_what_matters():
    lines = [
        OPENED,
        ended(
            2,
            "emergency_stop",
            T0 + 60,
            ok=False,
            hosts={"a": "changed", "d": "unreachable"},
            report={"headline": "7/8 HALTED, 1 UNKNOWN (host-d: unreachable)"},
        ),
    ]
    lines += [line(n, "incident.note", {"text": f"note {n}"}, T0 + 60 + n) for n in range(3, 12)]
    screen = incidents.incident_screen(incidents.fold(lines), T0 + 723)
    text = "\n".join(screen)
    assert screen[0].startswith("2026-11-22-exchange-down") and screen[0].endswith("SEV1 DETECTED") and len(screen[0]) == 80
    assert "2026-11-22 23:58:00 UTC, 12 min 03 s ago" in text
    assert "Acknowledged NOT YET, OVERDUE by 7 min 03 s (target 5 min)" in text
    assert "HALTED       all trading since 2026-11-22 23:58:57 UTC: 7/8 HALTED, 1 UNKNOWN" in text
    assert "OVERDUE      acknowledgement by 7 min 03 s; mitigation by 7 min 03 s" in text
    assert [n for n in range(3, 12) if f"note {n}" in text] == [7, 8, 9, 10, 11]
    assert "andon ack" in text and "andon resume --check" in text and "andon stop" not in text
    assert "andon stop" in "\n".join(incidents.incident_screen(incidents.fold([OPENED]), T0 + 5))


def test_severities_in_the_organisations_words(tmp_path, monkeypatch):
    assert [incidents.parse_severity(w) for w in ("1", "SEV3", "unsure", "2/3", "2?")] == [(1, False), (3, False), (1, True), (2, True), (2, True)]
    for bad in ("", "0", "4", "one", "1; rm", "12"):
        with pytest.raises(incidents.IncidentError, match="not a severity"):
            incidents.parse_severity(bad)
    path = tmp_path / "org.yml"
    path.write_text("severities:\n  1: {meaning: Everything burns, response_minutes: 3, mitigate_minutes: 10, update_minutes: 15}\n  4: {meaning: Later}\n")
    monkeypatch.setenv("ANDON_ORGANISATION", str(path))
    levels, warning = incidents.severities()
    assert warning == "" and sorted(levels) == [1, 4]
    assert levels[1] == incidents.Severity(1, "Everything burns", 180, 600, None, 900)
    for broken in ("severities: [1", "severities: {1: {response_minutes: soon}}", "severities: {x: {}}", "- 1"):
        path.write_text(broken)
        levels, warning = incidents.severities()
        assert levels == incidents.SEVERITIES and "cannot be used" in warning


def test_ids_files_and_two_open_incidents():
    first = incidents.open_incident("Exchange <b>down</b>!\n{{ x }}", 1)
    assert first == state.utc_now()[:10] + "-exchange-b-down-b-x"
    with pytest.raises(incidents.IncidentError, match="open already: " + first):
        incidents.open_incident("Another", 2, another=False)
    second = incidents.open_incident("Exchange b down b x", 2)
    assert second == first + "-2" and incidents.current() == second and incidents.open_ids() == [second, first]
    assert incidents.current(first) == first
    with pytest.raises(incidents.IncidentError, match="not resolved"):
        incidents.close(second)
    incidents.record(second, "resolved", "resolve")
    incidents.close(second)
    assert incidents.current() == first
    incidents.record(first, "resolved", "resolve")
    third = incidents.open_incident("ελληνικά", 3, another=False)  # a resolved one does not stand in the way
    assert third.endswith("-incident")
    (state.state_dir() / "active").write_text("../../etc/passwd")
    assert incidents.current() in (third, first)
    incidents.reopen(second, "not over")
    assert incidents.current() == second and incidents.load(second).state == "detected"
    for bad in ("../x", "nope", "", "a/b"):
        with pytest.raises(incidents.IncidentError, match="no incident"):
            incidents.folder(bad)


def test_a_crash_between_folder_and_first_line_leaves_nothing_open():
    journal.make_folder(incidents.incidents_dir() / "2026-11-22-half")
    assert incidents.ids() == [] and incidents.current() is None
    with pytest.raises(incidents.IncidentError, match="No incident is open"):
        incidents.require()


def test_two_people_who_open_at_once_get_one_incident():
    results = []

    def opener():
        try:
            results.append(incidents.open_incident("Exchange down", 1, another=False, wait=20))
        except incidents.IncidentError as error:
            results.append(error)

    threads = [threading.Thread(target=opener) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sum(isinstance(r, str) for r in results) == 1 and len(results) == 4 and len(incidents.ids()) == 1


def test_two_stops_that_end_at_once_share_one_incident():
    names = {incidents.open_incident("Emergency stop", 1, wanted="2026-11-22-emergency-stop", join=True) for _ in range(2)}
    assert names == {"2026-11-22-emergency-stop"} and len(journal.read(incidents.folder(*names))) == 1
    incidents.record(*names, "resolved", "resolve")
    incidents.close(*names)
    assert incidents.open_incident("Emergency stop", 1, wanted="2026-11-22-emergency-stop", join=True) not in names
    assert incidents.open_incident("x", 1, wanted="../x") == state.utc_now()[:10] + "-x"


def test_an_attachment_is_copied_with_its_hash(tmp_path):
    name = incidents.open_incident("x", 2)
    source = tmp_path / "..graph <1>.png"
    source.write_bytes(b"\x89PNG" * 1000)
    item = incidents.attach(name, source)
    copy = incidents.folder(name) / item["file"]
    assert copy.read_bytes() == source.read_bytes() and item["size"] == 4000
    assert item["sha256"] == hashlib.sha256(source.read_bytes()).hexdigest() and copy.parent.name == "attachments"
    assert incidents.attach(name, source)["file"] == item["file"]
    for bad in (tmp_path, tmp_path / "none", "/dev/zero"):
        with pytest.raises(incidents.IncidentError, match="not a file"):
            incidents.attach(name, state.Path(bad))


def test_a_megabyte_of_anything_is_brief_in_the_state_and_whole_in_the_journal():
    name = incidents.open_incident(HOSTILE * 8000, 1)
    incidents.record(name, "note", "note", {"text": HOSTILE * 8000})
    found = incidents.load(name)
    assert len(found.title) <= 200 and all(len(e.text) <= 600 and e.text.isprintable() for e in found.events)
    assert "characters, all in the journal" in found.events[-1].text
    assert json.loads((incidents.folder(name) / journal.NAME).read_text().splitlines()[1])["data"]["text"] == HOSTILE * 8000
    assert incidents.valid_id(name)
