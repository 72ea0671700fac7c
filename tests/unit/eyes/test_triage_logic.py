"""Triage: where a rate changed, what broke first under clocks that lie, what is folded, bounded, and said not to be known."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import sqlite3
import struct
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from andon import changes, health, shapes, tail, triage
from andon.engine import Container, Engine
from andon.state import utc
from tests.support.eyes import FakeEngine

ROOT = Path(__file__).resolve().parents[3]
NOW = 1_795_000_000.0
WINDOW = 1800.0
HOSTILE = "\x1b[2J\x1b]0;x\x07{{ 7*7 }} | **b** ` \u202e\x00 é\r\n| # x" + "A" * 300


# --since


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30m", 1800),
        ("1h30m", 5400),
        ("90 s", 90),
        ("2d", 172800),
        ("1.5h", 5400),
        (utc(NOW - 600), 600),
        (utc(NOW - 600)[:16] + "+00:00", 600 + (NOW - 600) % 60),
    ],
)
def test_since_is_a_length_or_a_time(text, seconds):
    assert triage.parse_since(text, NOW) == pytest.approx(seconds, abs=0.01)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not understood"),
        ("banana", "not understood"),
        ("30", "not understood"),
        ("-30m", "not understood"),
        ("30m; rm -rf /", "not understood"),
        ("{{ 7*7 }}m", "not understood"),
        ("\x1b[2J", "not understood"),
        ("10s", "less than a minute"),
        ("0m", "less than a minute"),
        ("8d", "more than 7 days"),
        ("9" * 400 + "d", "more than 7 days"),
        ("2026-11-22 03:00", "no time zone"),
        ("2026-11-22T03:00 CEST", "no time zone"),
        ("2026-13-45T99:99Z", "no time:"),
        (utc(NOW + 7200), "in the future"),
    ],
)
def test_a_bad_since_is_an_error_in_words(text, words):
    with pytest.raises(ValueError, match=words) as error:
        triage.parse_since(text, NOW)
    assert str(error.value).isprintable()


# Shapes


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2026-11-22T03:04:05.678Z ERROR order 77 rejected", "2026-11-23 11:00:00,001 ERROR order 1234 rejected"),
        ("ERROR id=6ba7b810-9dad-11d1-80b4-00c04fd430c8", "ERROR id=123e4567-e89b-12d3-a456-426614174000"),
        ("ERROR tx 0xdeadbeef01 failed", "ERROR tx 0xabc failed"),
        ("ERROR block 9f86d081884c7d65 bad", "ERROR block 60303ae22b998861 bad"),
        ('ERROR unknown order "a1-b2"', 'ERROR unknown order "zz9"'),
        ("ERROR clOrdID=MM-8812-x1 late by -3.5 ms", "ERROR clOrdID=MM-1-y22 late by 12,000.25 ms"),
        ("ERROR x id=12345678", "ERROR x id=9f86d081"),
        ("ERROR late 35ms conn 7f3a", "ERROR late 7ms conn a0b"),
        ("[10:00:01] ERROR x", "[23:59:59] ERROR x"),
    ],
)
def test_what_differs_each_time_is_folded(one, other):
    assert shapes.shape(one) == shapes.shape(other)


def test_what_says_something_else_is_not_folded():
    different = ["ERROR order rejected: margin", "ERROR order rejected: price", 'ERROR state "halted"', 'ERROR state "open"', "CRITICAL order rejected: margin"]
    assert len({shapes.shape(line) for line in different}) == len(different)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_become_an_inert_shape_and_are_judged_without_an_error(raw):
    line = tail.text_of(raw)
    found = shapes.shape(line)
    assert found.isprintable() and len(found) <= 160 and "\n" not in found
    shapes.Matcher()(line)
    tail.stamp_of(line)


@pytest.mark.parametrize("line", ["a ERROR b", "CRITICAL", '{"level": "error", "x": 1}', "{'levelname':'CRITICAL'}", "level=fatal msg=x", 'lvl="error"'])
def test_the_levels_of_common_loggers_are_errors(line):
    assert shapes.Matcher()(line)


@pytest.mark.parametrize("line", ["INFO no errors", "error-free", "TERRORS", '{"level":"info","msg":"error"}', "ERRORS=0", "level=info"])
def test_what_only_looks_like_an_error_is_none(line):
    assert not shapes.Matcher()(line)


@pytest.mark.parametrize(
    "line",
    [
        "ERROR login failed password=hunter-HUNTER",
        'ERROR {"api_key": "HUNTER two", "x": 1}',
        "ERROR api-secret: 'HUNTER'",
        "ERROR POST https://bob:HUNTER@x.example/ failed",
        "ERROR Authorization: Bearer HUNTER.HUNTER",
        "ERROR sent bearer HUNTER-HUNTER",
        "ERROR GET /v3/order?symbol=A&signature=HUNTER&x=1",
        'ERROR token="HUNTER without an end',
    ],
)
def test_a_secret_in_an_error_line_reaches_neither_the_shape_nor_the_example_nor_health(line):
    tally = shapes.Tally(0, 100, 10)
    tally.add(50.0, line)
    told = health.counted(tail.Tail([(50.0, line)], complete=True), shapes.Matcher(), None, 60.0, 60, 60)
    assert told["last_error"].startswith("ERROR") and told["errors_now"] > 0
    assert "HUNTER" not in json.dumps([tally.result(0), told, changes.event(0, "package", "apt", line)])


def test_patterns_are_configurable_and_a_hostile_number_of_shapes_is_bounded():
    assert shapes.Matcher([r"PANIC\d"])("x PANIC7") and not shapes.Matcher([r"PANIC\d"])("ERROR")
    tally = shapes.Tally(0, 100, 10)
    for n in range(3000):
        tally.add(50.0, "ERROR " + "".join(chr(97 + int(d)) for d in str(n)))
    result = tally.result(0)
    assert result["count"] == 3000 and result["kinds"] <= 501 and sum(one["count"] for one in tally.shapes.values()) == 3000


def test_sparkline_is_as_long_as_asked_and_survives_any_number():
    assert shapes.spark([0, 1, 4, 8]) == " ▁▄█"
    assert len(shapes.spark(range(60), 20)) == 20
    assert shapes.spark([None, float("nan"), float("inf"), -3, 1]) == "  █ █"
    assert shapes.spark([]) == ""


# Where a rate changed


def stream(rate_before, rate_after, border, start=NOW - 2 * WINDOW, end=NOW, seed=1):
    """Poisson arrivals, as errors are; rates per minute."""
    rand, found, at = random.Random(seed), [], start
    while at < end:
        rate = rate_before if at < border else rate_after
        at += rand.expovariate(rate / 60) if rate else 60
        if at < end and (at >= border if not rate_before else True):
            found.append(at)
    return found


@pytest.mark.parametrize(("before", "after"), [(0, 2), (1, 8), (20, 60), (0, 200)])
@pytest.mark.parametrize("ago", [2400, 900, 300])
def test_a_rise_is_found_where_it_was(before, after, ago):
    found = shapes.change(stream(before, after, NOW - ago), NOW - 2 * WINDOW, NOW, NOW - 2 * WINDOW, 60)
    assert found["score"] > triage.RISING
    assert -1 <= found["at"] - (NOW - ago) <= 180
    if not before:
        assert found["at"] == min(stream(before, after, NOW - ago)), "the first error itself"
    assert found["before"] == pytest.approx(before, abs=max(1.0, before / 2)) and found["after"] == pytest.approx(after, rel=0.4)


def test_a_fall_is_no_break_and_a_steady_stream_has_seldom_a_change():
    fell = shapes.change(stream(30, 1, NOW - 900), NOW - 2 * WINDOW, NOW, 0, 60)
    assert fell["score"] < -triage.RISING
    false = [seed for seed in range(100) if abs(shapes.change(stream(3, 3, NOW, seed=seed), NOW - 2 * WINDOW, NOW, 0, 60)["score"]) >= triage.RISING]
    assert len(false) <= 5
    assert shapes.change([], 0, 100, 0, 10)["at"] is None


def test_the_part_that_the_log_does_not_cover_is_no_silence():
    stamps = stream(60, 60, NOW, start=NOW - 300)
    assert shapes.change(stamps, NOW - 2 * WINDOW, NOW, NOW - 300, 60)["at"] is None, "a log that begins late did not rise"
    assert shapes.change(stamps, NOW - 2 * WINDOW, NOW, NOW - 2 * WINDOW, 60)["at"] is not None


# Reading


def test_a_container_log_is_read_with_growing_tails_never_with_since_and_bounded(tmp_path):
    engine = FakeEngine(tmp_path / "e")
    one = engine.add("x", [(NOW - 30000 + n, b"ERROR %d" % n) for n in range(30000)])
    found = tail.container_since(str(engine.cli), one["Id"], NOW - 20000, 60.0, lines=1000, now=NOW)
    assert found.complete and len(found.lines) == 20000 and found.lines[0][0] == pytest.approx(NOW - 20000, abs=0.01)
    asked = [int(call.split()[3]) for call in engine.calls()]
    assert asked[0] == 1000 and asked == sorted(asked) and 20000 <= asked[-1] <= 60000
    few = tail.container_since(str(engine.cli), one["Id"], NOW - 20000, 60.0, keep=100_000, lines=1000, now=NOW)
    assert not few.complete and few.lines[-1][1] == "ERROR 29999" and few.bytes <= 120_000 and few.first > NOW - 4000
    hasty = tail.container_since(str(engine.cli), one["Id"], NOW - 20000, 0.9, lines=1000, now=NOW)
    assert hasty.error or hasty.lines[-1][1] == "ERROR 29999", "a deadline never costs the newest part"
    assert "--since" not in "".join(engine.calls())
    gone = tail.container_since(str(tmp_path / "nothing"), "x", 0, 1.0)
    assert "cannot be run" in gone.error


def line(at, words):
    return f"{utc(at)} {words}\n".encode()


def test_a_file_is_read_backwards_bounded_and_its_rotated_part_before_it(tmp_path):
    path = tmp_path / "a.log"
    with open(path, "wb") as out:
        out.seek(3 << 30)  # a hole of 3 GB before it: whoever reads from the start does not end
        out.write(b"\n" + b"".join(line(NOW - 9000 + n / 10, "INFO " + "x" * 80) for n in range(60000)))
        out.write(line(NOW - 100, "ERROR caf\xe9").replace("\u00e9".encode(), b"\xe9") + b"Traceback: no time \x00 here\n")
    found = tail.file_since(str(path), NOW - 4000)
    assert found.complete and found.bytes < 3 << 20
    assert all(at >= NOW - 4000 for at, _ in found.lines)
    assert found.lines[-2][1].endswith("ERROR caf\u00e9") and found.lines[-1] == (pytest.approx(NOW - 100), "Traceback: no time \x00 here")
    assert not tail.file_since(str(path), NOW - 9000, keep=300_000).complete
    (tmp_path / "b.log").write_bytes(line(NOW - 10, "new"))
    (tmp_path / "b.log.1").write_bytes(line(NOW - 20, "old"))
    both = tail.rotated_since(str(tmp_path / "b.log"), NOW - 60)
    os.utime(tmp_path / "b.log.1", (NOW, NOW))
    both = tail.rotated_since(str(tmp_path / "b.log"), NOW - 60)
    assert [words[-3:] for _, words in both.lines] == ["old", "new"]
    (tmp_path / "c.log").write_bytes(b"ERROR no time at all\n" * 3)
    assert [at for at, _ in tail.file_since(str(tmp_path / "c.log"), NOW).lines] == [None] * 3
    (tmp_path / "empty.log").write_bytes(b"")
    assert tail.file_since(str(tmp_path / "empty.log"), NOW).lines == []
    os.mkfifo(tmp_path / "fifo.log")
    assert "no regular file" in tail.file_since(str(tmp_path / "fifo.log"), NOW).error


def module_of(name):
    spec = importlib.util.spec_from_file_location(name + "_under_test", ROOT / "plugins" / "modules" / (name + ".py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_read_errors_counts_both_kinds_of_logs_and_says_what_it_could_not_read(tmp_path):
    engine, now = FakeEngine(tmp_path / "e"), time.time()
    evil = b"ERROR {{ lookup('pipe','id') }} \x1b[2J | **x** caf\xe9 \x00 order %d"
    engine.add("mm", [(now - 3000, b"INFO x")] + [(now - 600 + n, evil % n) for n in range(600)])
    engine.add("dead", [(now - 50, b"CRITICAL out")], status="exited", exit_code=1)
    engine.add("slow", log_hangs=True)
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "app.log").write_bytes(b"".join(line(now - 100 + n, "CRITICAL x") for n in range(50)))
    (logs / "old.log").write_bytes(line(now - 90000, "ERROR old"))
    os.utime(logs / "old.log", (now - 90000, now - 90000))
    (logs / "unreadable.log").symlink_to("/proc/1/nonexistent")
    os.mkfifo(logs / "fifo.log")
    base = {"container_cli": str(engine.cli), "selectors": ["label=andon.component"], "components": [], "window": 1800.0, "error_patterns": []}
    params = base | {"log_files": [str(logs / "*.log")], "keep": 1 << 24, "log_deadline": 2.0, "deadline": 30.0}
    seen = module_of("read_errors").read_errors(params)
    found = {one["name"].rpartition("/")[2]: one for one in seen["sources"]}
    assert set(found) == {"mm", "dead", "slow", "app.log", "unreadable.log", "fifo.log"}
    assert found["mm"]["count"] == 600 and found["mm"]["kinds"] == 1 and found["mm"]["shapes"][0]["shape"].isprintable()
    assert found["mm"]["change"]["at"] == pytest.approx(now - 600, abs=90) and found["mm"]["gap"] is None
    assert found["dead"]["levels"] == {"CRITICAL": 1}
    assert "no answer" in found["slow"]["error"] and found["slow"]["count"] == 0
    assert found["app.log"]["count"] == 50 and found["fifo.log"]["error"] and found["unreadable.log"]["error"]
    json.dumps(seen)
    assert module_of("read_errors").read_errors(params | {"container_cli": "/nonexistent"})["engine_error"]


# Changes


def test_commits_are_read_and_a_hostile_repository_starts_nothing(tmp_path):
    repo, mark = tmp_path / "deploy", tmp_path / "pwned"
    repo.mkdir()
    env = {
        **os.environ,
        "GIT_AUTHOR_NAME": "Ann\x1b[2J",
        "GIT_AUTHOR_EMAIL": "a@example.org",
        "GIT_COMMITTER_NAME": "Ann",
        "GIT_COMMITTER_EMAIL": "a@example.org",
    }

    def git(*args):
        subprocess.run(["git", "-C", str(repo), *args], env=env, check=True, capture_output=True)

    git("init", "-q")
    for n in range(25):
        git("-c", "commit.gpgsign=false", "commit", "-q", "--allow-empty", "-m", f"change {n} {{{{ 7*7 }}}} \x1b[2J | **x**")
    script = tmp_path / "evil"
    script.write_text(f"#!/bin/sh\ntouch {mark}\n")
    script.chmod(0o755)
    # A commit that claims to be signed: Git starts gpg.program for it when the repository's configuration says so.
    signed = subprocess.run(["git", "-C", str(repo), "cat-file", "commit", "HEAD"], check=True, capture_output=True).stdout.split(b"\n\n", 1)
    signature = b"\ngpgsig -----BEGIN PGP SIGNATURE-----\n \n iQ\n -----END PGP SIGNATURE-----\n\n"
    argv = ["git", "-C", str(repo), "hash-object", "-t", "commit", "-w", "--stdin"]
    made = subprocess.run(argv, input=signed[0] + signature + signed[1], check=True, capture_output=True).stdout.decode().strip()
    git("update-ref", "HEAD", made)
    for key in ("gpg.program", "core.fsmonitor", "core.pager", "pager.log", "core.sshCommand", "diff.external", "log.showSignature", "core.hooksPath"):
        git("config", key, "true" if key == "log.showSignature" else str(script))
    subprocess.run(["git", "-C", str(repo), "log", "-1"], capture_output=True, check=False)
    assert mark.exists(), "the trap works: an ordinary git log springs it"
    mark.unlink()
    events, note = changes.commits(str(repo))
    assert note == "" and len(events) == 20 and "change 24" in events[0]["words"]
    assert all(one["words"].isprintable() for one in events) and not mark.exists()
    assert changes.commits(str(tmp_path / "none"))[1]
    assert "not known" in changes.commits(str(tmp_path))[1]


def test_packages_logins_configuration_and_containers_of_the_window_only(tmp_path):
    start = time.time() - 3600
    local = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(start + 600))
    old = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(start - 600))
    (tmp_path / "dpkg.log").write_text(
        f"{old} upgrade libold:amd64 1 2\n{local} startup packages\n" + "".join(f"{local} upgrade lib{n}:amd64 3.0 3.1\n" for n in range(5))
    )
    (tmp_path / "apt").mkdir()
    (tmp_path / "apt" / "history.log").write_text(
        f"\nStart-Date: {local.replace(' ', '  ')}\nCommandline: apt-get upgrade\x1b[2J\nRequested-By: ann (1000)\n\n"
    )
    events, note = changes.packages(start, str(tmp_path))
    assert note == "" and [one["where"] for one in events] == ["5 packages", "apt"] and events[1]["words"].endswith("by ann (1000)")
    assert all(one["at"] == pytest.approx(start + 600, abs=2) for one in events)
    assert changes.packages(start, str(tmp_path / "none"))[1]

    record = struct.Struct("hi32s4s32s256shhiii4i20x")
    rows = [(7, "ann", start + 5), (7, "old", start - 5), (8, "gone", start + 6), (7, "evil\x1b[2J", start + 7)]
    wtmp = b"".join(record.pack(kind, 1, b"pts/0", b"", user.encode(), b"192.0.2.7", 0, 0, 0, int(at), 0, 0, 0, 0, 0) for kind, user, at in rows)
    (tmp_path / "wtmp").write_bytes(b"torn" + wtmp if len(wtmp) % 384 else wtmp + b"torn")
    events, note = changes.logins(start, str(tmp_path / "wtmp"), str(tmp_path / "no.db"))
    assert [one["where"] for one in events] == ["ann", "evil"] and note == "" and "192.0.2.7" in events[0]["words"]
    base = sqlite3.connect(tmp_path / "wtmp.db")
    base.execute("CREATE TABLE wtmp (ID INTEGER PRIMARY KEY, Type INTEGER, User TEXT, Login INTEGER, Logout INTEGER, TTY TEXT, RemoteHost TEXT, Service TEXT)")
    base.execute("INSERT INTO wtmp (Type, User, Login, TTY, RemoteHost) VALUES (3, 'bob', ?, 'pts/1', NULL)", (int((start + 9) * 1e6),))
    base.commit()
    base.close()
    events, note = changes.logins(start, str(tmp_path / "none"), str(tmp_path / "wtmp.db"))
    assert [one["where"] for one in events] == ["bob"] and note == ""
    assert changes.logins(start, str(tmp_path / "none"), str(tmp_path / "none"))[1]

    deploy = tmp_path / "deploy"
    deploy.mkdir()
    for name in ("compose.yml", ".env", "data.bin", "old.toml"):
        (deploy / name).write_text("x")
    os.utime(deploy / "old.toml", (start - 60, start - 60))
    one = Container(
        {"Name": "/mm", "Config": {"Labels": {changes.WORKING_DIR: str(deploy)}}, "Created": utc(start - 99), "State": {"StartedAt": utc(start + 60)}}
    )
    assert {Path(e["where"]).name for e in changes.configuration([one], [], start)} == {"compose.yml", ".env"}
    assert [e["kind"] for e in changes.containers([one], start)] == ["start"]


def test_a_crash_loop_is_one_line_and_other_peoples_containers_are_not_ours():
    loop = [changes.event(NOW + n, "engine", "mm", "die with exit code 1") for n in range(50)]
    last = changes.event(NOW + 49.2, "end", "mm", "ended with exit code 1")
    commit = changes.event(NOW - 5, "commit", "/srv", "abc x")
    found = changes.folded([*loop, last, commit])
    assert [(one["kind"], one.get("times")) for one in found] == [("commit", None), ("engine", 50)]

    class Events(Engine):
        def run(self, *args, **kw):
            def one(name, action):
                return json.dumps({"Action": action, "time": int(NOW), "Actor": {"ID": name, "Attributes": {"name": name, "exitCode": "137"}}})

            return 0, "\n".join([one("mm", "oom"), one("other", "oom"), "torn {", "[]", "null", one("mm", "health_status: healthy")]), ""

    events, note = changes.engine_events(Events(), [Container({"Id": "mm", "Name": "/mm"})], NOW - 9, NOW)
    assert [(one["kind"], one["where"]) for one in events] == [("oom", "mm")] and note == ""


# The report


def source(name="mm", stamps=(), *, kind="container", start=NOW - 2 * WINDOW, **more):
    tally = shapes.Tally(start, NOW, 60)
    for at in stamps:
        tally.add(at, f"ERROR order {int(at)} rejected " + more.get("words", ""))
    base = {"kind": kind, "name": name, "component": "strategy", "strategy": "", "gap": None, "error": "", "note": "", "bytes": 10, "lines": 1}
    return {**tally.result(start), **base, **more}


def errors(*sources, **more):
    return {"begin": NOW, "sources": list(sources), "engine_error": "", "files_left_out": 0, "clock": health.clock(NOW, NOW, NOW, NOW)} | more


def around(*events, endpoints=(), notes=(), **more):
    return {"events": list(events), "endpoints": list(endpoints), "notes": list(notes), "clock": health.clock(NOW, NOW, NOW, NOW)} | more


def report(seen, about=None, metrics=(), running=None):
    running = running or {host: {"state": {"services": {}}} for host in seen}
    return triage.report(seen, about or {host: around() for host in seen}, running, list(metrics), NOW, WINDOW, "30m")


def test_what_broke_first_is_first_although_a_clock_is_90_s_behind():
    first, second = stream(0, 30, NOW - 600), stream(0, 30, NOW - 540)
    behind = health.clock(NOW, NOW - 90, NOW - 90, NOW + 0.1)
    lie = errors(source("gateway", [at - 90 for at in second]), clock=behind)
    result = report({"a": errors(source("mm", first)), "b": lie})
    assert result["data"]["broke_first"]["name"] == "mm" and result["headline"].startswith("BROKE FIRST") and " a mm" in result["headline"]
    assert result["ok"] and result["data"]["sources"][0]["host"] in "ab"
    assert any("off by -9" in note for note in result["data"]["notes"])
    # Two that broke closer to each other than the clocks are known are not put in an order.
    vague = health.clock(NOW, NOW + 1, NOW - 1, NOW)
    close = report({"a": errors(source("x", first), clock=vague), "b": errors(source("y", [at + 0.5 for at in first]), clock=vague)})
    assert "as far as the clocks can say" in "\n".join(close["summary"])


def test_the_change_before_the_break_is_named_and_the_commands_say_what_they_will_not_do():
    bad = stream(0, 30, NOW - 600)
    events = [
        changes.event(NOW - 5000, "commit", "/srv", "old"),
        changes.event(NOW - 640, "image", "mm:prod", "pulled"),
        changes.event(NOW - 300, "config", "/x", "later"),
    ]
    result = report({"a": errors(source("mm", bad))}, {"a": around(*events)})
    assert [one["words"] for one in result["data"]["causes"]] == ["pulled"] and result["data"]["symptom"] == "change"
    assert result["next"][0].startswith("andon rollback --check")
    assert any(one.startswith("andon restart mm --check") for one in result["next"])
    assert all("will NOT" in one for one in result["next"])
    hostile = report({"a": errors(source("mm; rm -rf /", bad))})
    assert "rm -rf" not in "".join(hostile["next"])
    packages = report({"a": errors(source("mm", bad))}, {"a": around(changes.event(NOW - 700, "package", "libssl", "upgrade"))})
    assert packages["data"]["causes"] and "rollback" not in "".join(packages["next"])
    kill = report({"a": errors(source("mm", bad))}, {"a": around(changes.event(NOW - 700, "oom", "mm", "killed"))})
    assert kill["next"][0].startswith("andon leaks")
    endpoint = {"name": "venue", "where": "https://v", "ok": False, "layer": "TLS", "words": "expired", "seconds": {}}
    outside = report({"a": errors(source("mm"))}, {"a": around(endpoints=[endpoint])})
    assert outside["headline"].startswith("NOT REACHABLE: venue (TLS)") and outside["next"][0].startswith("andon health --watch") and outside["ok"]


def test_one_host_on_other_code_is_the_first_thing_that_is_said():
    def runs(image, power_peg="off"):
        one = {"image_id": image, "digests": [], "environment": {"POWER_PEG": power_peg}, "labels": {}, "files": {}, "command": [], "policy": "no", "count": 1}
        return {"state": {"services": {"trading": {"algo": one}}}}

    seen = {host: errors(source("algo")) for host in "abc"}
    knight = report(seen, running={"a": runs("sha256:1"), "b": runs("sha256:1"), "c": runs("sha256:2", "on")})
    assert knight["ok"] and knight["headline"].startswith("SKEW: hosts run different things (2 differences)")
    assert {one["id"]: one["odd"] for one in knight["data"]["skew"]} == {"trading/algo:image": ["c"], "trading/algo:environment:POWER_PEG": ["c"]}
    assert any(line.startswith("SKEW     2 differences, odd: c;") for line in knight["summary"]) and knight["detail"][0].startswith("DIFFERS")
    assert (
        knight["next"][0].startswith("andon skew ") and knight["next"][1].startswith("andon rollback --check") and all("will NOT" in n for n in knight["next"])
    )
    bad = {**seen, "c": errors(source("algo", stream(0, 30, NOW - 600)))}
    both = report(bad, running={"a": runs("sha256:1"), "b": runs("sha256:1"), "c": runs("sha256:2")})
    assert both["headline"].startswith("BROKE FIRST") and both["data"]["symptom"] == "skew" and any(line.startswith("SKEW") for line in both["summary"])
    same = report(seen, running={host: runs("sha256:1") for host in "abc"})
    assert "SKEW     none: 3 hosts run the same" in same["summary"] and same["data"]["skew"] == []
    dark = report(seen, running={"a": runs("sha256:1"), "b": runs("sha256:1"), "c": "the engine hangs"})
    assert not dark["ok"] and "UNKNOWN  c: what it runs: the engine hangs" in dark["summary"] and "SKEW     none" not in "".join(dark["summary"])


def test_nothing_found_is_said_and_unknown_is_never_nothing():
    calm = report({"a": errors(source("mm")), "b": errors(source("mm"))})
    assert calm["headline"] == "Nothing found: no error line on 2/2 hosts" and calm["ok"]
    steady = report({"a": errors(source("mm", stream(3, 3, NOW)))})
    assert steady["headline"].startswith("Nothing rose") and steady["ok"]
    for seen, about in (
        ({"a": errors(source("mm")), "b": "unreachable (x)"}, None),
        ({"a": errors(source("mm", error="no answer"))}, None),
        ({"a": errors(engine_error="the engine hangs")}, None),
        ({"a": errors(source("mm"))}, {"a": "its result is not complete"}),
    ):
        result = report(seen, about)
        assert not result["ok"] and result["headline"].startswith("UNKNOWN") and "UNKNOWN" in "".join(result["summary"])
    assert not triage.report({}, {}, {}, [], NOW, WINDOW, "30m")["ok"]
    broken = report({"a": errors(source("mm"))}, metrics=[{"name": "up", "query": "up", "unit": "", "error": "Prometheus does not answer", "series": []}])
    assert not broken["ok"]
    older = report({"a": errors(source("mm", gap=NOW - WINDOW - 60, bytes=1 << 24))})
    assert older["ok"] and "looked at only from" in "\n".join(older["detail"])
    late = report({"a": errors(source("mm", stream(3, 3, NOW), gap=NOW - 60, bytes=1 << 24))})
    assert not late["ok"] and late["headline"].startswith("UNKNOWN") and "read only from" in "".join(late["summary"])


def test_the_page_is_bounded_and_inert_whatever_is_in_it():
    many = [source(f"n{n}{HOSTILE}", stream(0, 9, NOW - 600 - n, seed=n), words=HOSTILE, note=HOSTILE) for n in range(40)]
    events = [changes.event(NOW - 3000 + n, "commit", HOSTILE, HOSTILE) for n in range(300)]
    endpoints = [{"name": HOSTILE, "where": HOSTILE, "ok": False, "layer": "DNS", "words": HOSTILE, "seconds": {}}] * 9
    series = [{"labels": "x", "values": [1.0] * 60, "summary": {"before": 1.0, "after": None, "min": 1, "max": 1, "last": 1}}] * 30
    metrics = [{"name": "m", "query": "m", "unit": "%", "error": "", "series": series}, {"name": "n", "query": "n", "unit": "", "error": "", "series": []}]
    result = report({"a": errors(*many), "b": HOSTILE}, {"a": around(*events, endpoints=endpoints, notes=[HOSTILE] * 50), "b": HOSTILE}, metrics)
    lines = [result["headline"], *result["summary"], *result["detail"], *result["next"]]
    assert len(result["summary"]) <= 20 and len(lines) <= 75 and all(len(one) <= 80 for one in result["summary"])
    assert not [c for one in lines for c in one if not c.isprintable() or c == "\u202e"]
    assert any("█" in one for one in result["detail"])
