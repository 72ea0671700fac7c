"""The collector on a fake host: completeness, leaks, gaps, truncation, deadlines, space, cleaning up."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import tarfile
import time
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from andon import collector

from .fakes import CANARY, PEM_BODY, STAMP, FakeHost, options

DAY = 86400.0


@pytest.fixture
def host(tmp_path, monkeypatch):
    made = FakeHost(tmp_path)
    monkeypatch.setenv("PATH", f"{made.bin}:{os.environ['PATH']}")
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    return made


def collect(host, budget=1 << 28, shrunk=False, **more):
    """Runs the collector in this process; returns (manifest, {file: text}, raw archive)."""
    folder = collector.make_folder(str(host.work))
    (host.work / folder / "lease").write_text("30")
    one = collector.Collector(folder, options(host, **more), budget, shrunk)
    size, digest = one.run()
    raw = (host.work / folder / "evidence.tar").read_bytes()
    assert len(raw) == size <= budget + (1 << 20)
    import hashlib

    assert hashlib.sha256(raw).hexdigest() == digest
    files = {}
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        for member in tar.getmembers():
            data = tar.extractfile(member).read()
            assert member.isreg() and member.mode == 0o600
            files[member.name] = gzip.decompress(data) if member.name.endswith(".gz") else data
    return json.loads(files.pop("host.json")), files, raw


def item(manifest, name):
    return next(one for one in manifest["items"] if one["name"] == name)


def test_everything_is_collected_and_no_secret_leaves_the_host(host):
    host.plant()
    manifest, files, raw = collect(host)
    everything = raw + b"".join(files.values()) + "".join(files).encode()
    for secret in (CANARY.encode(), PEM_BODY[:20].encode(), b"Zm9v", b"CANARY"):
        assert secret not in everything, secret
    text = files["containers/momentum.stdout.log.gz" if "containers/momentum.stdout.log.gz" in files else "containers/momentum.stdout.log"]
    assert b"\x1b" not in text and b"\x00" in text and b"caf\xe9" in text and b"{{ 7*7 }}" in text
    for name in ("exited", "paused", "looping"):
        assert item(manifest, f"containers/{name}.stdout.log")["status"] == "ok"
    for name in ("system/inspect.json", "system/events.json", "system/stats.txt", "system/journal-engine.log", "system/journal-kernel.log", "system/clock.txt"):
        assert item(manifest, name)["bytes"] > 0
    logs = item(manifest, "containers/momentum.stdout.log")
    assert {r["rule"] for r in logs["redactions"]} >= {"known", "pem"} and logs["joined_pieces"] == 1
    assert logs["image"].startswith("sha256:") and len(logs["container"]) == 64 and logs["rc"] == 0 and logs["start"] <= logs["end"]
    assert any(c.startswith("logs --timestamps --since 2026-11-22T03:00:00.000Z --until 2026-11-22T04:00:00.000Z momentum") for c in host.calls())
    assert any(c.startswith("events --since 2026-11-22T03:00:00.000Z --until 2026-11-22T04:00:00.000Z") for c in host.calls())
    # The same secret has the same token in every file.
    tokens = {part.split(b"]")[0] for part in files["containers/momentum.stderr.log"].split(b"[REDACTED:")[1:]}
    assert len(tokens) == 1 and tokens.pop() in text


def test_every_item_is_declared_with_what_an_auditor_asks_for(host):
    host.plant()
    manifest, files, _raw = collect(host)
    import hashlib

    assert {one["file"] for one in manifest["items"] if one.get("file")} == set(files)
    for one in manifest["items"]:
        assert one["status"] in ("ok", "absent") and one["start"] and one["end"] and one["window"]
        if one.get("file"):
            assert hashlib.sha256(files[one["file"]]).hexdigest() == one["sha256"] and len(files[one["file"]]) == one["bytes"]
            assert one["source"] and (one["command"] or one["source"].startswith(("/", str(host.bin), "the host")))


def test_gaps_are_said_and_silence_is_not_a_gap(host):
    late = STAMP.replace("03:00:00", "03:30:00")
    host.add("rotated", late % 1 + "x\n")
    host.add("silent", late % 1 + "x\n", oldest=STAMP.replace("22T03", "21T03") % 1 + "old\n")
    host.add("young", late % 1 + "x\n", created="2026-11-22T03:29:00Z")
    host.add("whole", STAMP % 1 + "x\n")
    (host.files / "bot.log").write_text("2026-11-22T03:40:00Z first\n")
    manifest, _files, _raw = collect(host)
    gaps = {one["source"].rsplit("/", 1)[-1]: one for one in manifest["gaps"]}
    assert set(gaps) == {"rotated", "young", "bot.log"}
    assert gaps["rotated"]["to"] == "2026-11-22T03:30:00.000Z" and "rotated away" in gaps["rotated"]["why"]
    assert "was made at" in gaps["young"]["why"]


def test_a_slow_log_is_stopped_and_its_newest_lines_are_fetched(host):
    host.add("slow", STAMP % 1 + "begun\n")
    host.add("quick", STAMP % 1 + "done\n")
    manifest, files, _raw = collect(host, command_deadline=0.4)
    slow = item(manifest, "containers/slow.stdout.log")
    assert slow["status"] == "timeout" and slow["rc"] is None
    assert b"begun\n[andon: the command was stopped after" in files["containers/slow.stdout.log"]
    assert b"newest" in files["containers/slow.newest.stdout.log"]
    assert item(manifest, "containers/quick.stdout.log")["status"] == "ok"


def test_after_the_hosts_deadline_nothing_more_is_read_and_that_is_said(host):
    host.add("x", STAMP % 1 + "zqlate\n")
    (host.files / "bot.log").write_text("2026-11-22T03:00:00Z zqlate\n")
    manifest, _files, raw = collect(host, host_deadline=0.0)
    for one in manifest["items"]:
        if one["source"].endswith("bot.log") or one["name"].startswith("containers/") or one["name"] == "system/disk.txt":
            assert one["status"] == "timeout" and "deadline of 0 s had passed" in one["error"]
    assert len([one for one in manifest["items"] if one["status"] == "timeout"]) > 8 and b"zqlate" not in raw


def test_one_failing_source_fails_alone(host):
    host.add("mute", none=True)
    host.add("good", STAMP % 1 + "x\n")
    host.command("df", f"#!/bin/sh\necho broken token={CANARY} >&2; exit 3\n")
    (host.files / "packed.log.zst").write_bytes(b"(\xb5/\xfd")
    (host.files / "broken.log.gz").write_bytes(gzip.compress(os.urandom(4000))[:2000])
    os.mkfifo(host.files / "pipe.log")
    (host.bin / "shadow").write_text("root:x")
    (host.files / "passwd.log").symlink_to(host.bin / "shadow")
    (host.files / "gone.log").symlink_to(host.files / "nothing")
    manifest, files, raw = collect(host)
    status = {one["name"].rsplit("_", 1)[-1]: one["status"] for one in manifest["items"] if one["name"].startswith("files/")}
    assert status == {"packed.log.zst": "failed", "broken.log": "failed", "pipe.log": "failed", "passwd.log": "failed", "gone.log": "failed"}
    assert item(manifest, "containers/mute.stdout.log")["status"] == "failed"
    assert "does not support reading" in item(manifest, "containers/mute.stdout.log")["error"]
    disk = item(manifest, "system/disk.txt")
    assert disk["status"] == "failed" and disk["rc"] == 3 and CANARY not in disk["error"]
    assert item(manifest, "containers/good.stdout.log")["status"] == "ok" and b"root:" not in raw
    assert all(b"root:x" not in one for one in files.values())


@pytest.mark.parametrize("how", ["down", "hung"])
def test_an_engine_that_is_down_or_hangs_is_asked_once_and_the_files_come(host, how, monkeypatch):
    monkeypatch.setattr(collector, "ENGINE_DEADLINE", 0.3 if how == "hung" else 20)
    host.add("x")
    (host.engine / how).touch()
    (host.files / "bot.log").write_text("2026-11-22T03:10:00Z hello\n")
    manifest, files, _raw = collect(host)
    words = "does not answer" if how == "down" else "gave no answer"
    assert item(manifest, "system/engine")["status"] == "failed" and words in item(manifest, "system/engine")["error"]
    assert item(manifest, "system/events.json")["status"] == "failed" and len(host.calls()) == 1
    assert item(manifest, "system/disk.txt")["status"] == "ok"
    assert any(b"hello" in one for one in files.values())


def test_files_honour_the_window_or_say_that_they_cannot(host):
    host.add("x", STAMP % 1 + "x\n")
    lines = [f"2026-11-22T{h:02d}:00:00Z hour {h}\n  continued {h}\n" for h in range(24)]
    (host.files / "iso.log").write_text("".join(lines))
    (host.files / "plain.log").write_text("no time here\n")
    (host.files / "mixed.log").write_text("2026-11-22T05:00:00Z b\n2026-11-22T03:00:00Z a\n")
    (host.files / "iso.log.1").write_bytes(b"2026-11-20T01:00:00Z old\n")
    os.utime(host.files / "iso.log.1", (1795316400 - DAY, 1795316400 - DAY))
    (host.files / "iso.log.2.gz").write_bytes(gzip.compress(b"2026-11-22T03:10:00Z zipped\n"))
    manifest, files, _raw = collect(host)
    found = {name.rsplit("_", 1)[-1]: (files[one["file"]], one["window"]) for one in manifest["items"] for name in [one["name"]] if name.startswith("files/")}
    assert found["iso.log"] == (b"2026-11-22T03:00:00Z hour 3\n  continued 3\n2026-11-22T04:00:00Z hour 4\n  continued 4\n", "honoured")
    assert found["plain.log"][1].startswith("not honoured") and found["mixed.log"][1].startswith("not honoured")
    assert found["iso.log.2"][0] == b"2026-11-22T03:10:00Z zipped\n" and found["iso.log.2"][1].startswith("not honoured")
    assert "iso.log.1" not in found and any("iso.log.1" in one["source"] for one in manifest["skipped"])


@pytest.mark.parametrize("how", ["grows", "is cut off", "is rotated"])
def test_a_file_that_changes_while_it_is_read_gives_what_it_had(host, monkeypatch, how):
    """What is written after the file was opened is not in the item; what was taken away is no error of the others."""
    path = host.files / "bot.log"
    lines = [b"2026-11-22T03:%02d:00Z line\n" % n for n in range(30)]
    path.write_bytes(b"".join(lines))
    (host.files / "other.log").write_bytes(lines[0])
    opened = collector.open_log

    def meanwhile(name):
        found = opened(name)
        if name == str(path) and how == "grows":
            with path.open("ab") as out:
                out.write(b"2026-11-22T03:59:00Z password=" + CANARY.encode())
        elif name == str(path) and how == "is cut off":
            os.truncate(path, len(lines[0]) * 10 + 5)
        elif name == str(path):
            path.rename(host.files / "bot.log.old")
            path.write_bytes(b"2026-11-22T03:58:00Z new\n")
        return found

    monkeypatch.setattr(collector, "open_log", meanwhile)
    manifest, files, raw = collect(host)
    one = next(one for one in manifest["items"] if one["name"].endswith("bot.log"))
    wanted = b"".join(lines)[: len(lines[0]) * 10 + 5] if how == "is cut off" else b"".join(lines)
    assert files[one["file"]] == wanted and one["status"] == "ok" and CANARY.encode() not in raw
    assert any(name.endswith("other.log") and text == lines[0] for name, text in files.items())


def test_a_file_that_may_not_be_read_is_declared(host, monkeypatch):
    (host.files / "private.log").write_text("2026-11-22T03:00:00Z x\n")
    (host.files / "bot.log").write_text("2026-11-22T03:00:00Z y\n")
    ordinary = os.open

    def refuse(path, *args, **more):
        if str(path).endswith("private.log"):
            raise PermissionError(13, "Permission denied", path)
        return ordinary(path, *args, **more)

    # Tests run as root, whom no mode keeps out.
    monkeypatch.setattr(os, "open", refuse)
    manifest, files, _raw = collect(host)
    one = next(one for one in manifest["items"] if one["name"].endswith("private.log"))
    assert one["status"] == "failed" and one["error"] == "Permission denied" and "file" not in one
    assert any(text.endswith(b"y\n") for text in files.values())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 3)), min_size=1, max_size=40), st.integers(-5, 60), st.integers(0, 60))
def test_bisection_finds_what_reading_every_line_finds(steps, since, length):
    base, at, lines = 1795316400, 0, []
    for step, more in steps:
        at += step % 5
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(base + at))
        lines.append((at, (stamp + " line\n" + "  more\n" * more).encode()))
    since, until = base + since, base + since + length
    raw = b"".join(text for _at, text in lines)
    start, end, words, first = collector.file_window(io.BytesIO(raw), len(raw), since, until)
    expected = b"".join(text for at, text in lines if since <= base + at <= until)
    assert words == "honoured" and first == base + lines[0][0]
    assert raw[start:end] == expected
    # Where no time is in reach, too much is taken, never too little.
    with mock.patch.object(collector, "BLOCK", 30):
        start, end, words, _first = collector.file_window(io.BytesIO(raw), len(raw), since, until)
    assert expected in raw[start:end]


@pytest.mark.parametrize("limit", [4096, 300 << 10, 3 << 20])
def test_truncation_keeps_head_and_tail_and_counts_what_is_missing(tmp_path, limit):
    archive = collector.Archive(str(tmp_path / "a.tar"), 1 << 30, 0)
    sink = collector.Sink(archive, limit)
    source = random.Random(7)
    lines = [f"{n:07d} {source.getrandbits(400)}\n".encode() for n in range(12000)]
    for line in lines:
        sink.write(line)
    sink.finish()
    text = gzip.decompress((tmp_path / "a.tar").read_bytes())
    if limit > 1 << 20:
        assert text == b"".join(lines) and not sink.dropped
        return
    head, _marker, tail = text.partition(b"[andon: ")
    words, _, tail = tail.partition(b"\n")
    assert head == b"".join(lines)[: len(head)] and tail == b"".join(lines)[-len(tail) :] and tail
    assert len(head) + len(tail) + sink.dropped == sum(map(len, lines)) and b"%d bytes (%d lines)" % (sink.dropped, sink.dropped_lines) in words
    assert sink.stored <= limit + 8192 and len(text) == sink.bytes and text.count(b"\n") == sink.lines


def test_a_disk_that_fills_up_loses_one_item_and_says_so(host, monkeypatch):
    (host.files / "big.log").write_bytes(os.urandom(3 << 20).replace(b"\n", b"x"))
    host.add("x", STAMP % 1 + "x\n")
    write = collector.Archive.write

    def fills(self, data):
        if self.file.tell() > 1 << 20:
            raise collector.Full()
        write(self, data)

    monkeypatch.setattr(collector.Archive, "write", fills)
    monkeypatch.setattr("andon.redact.MAX_LINE", 8 << 20)
    manifest, files, _raw = collect(host)
    big = next(one for one in manifest["items"] if one["name"].endswith("big.log"))
    assert big["status"] == "failed" and "became full" in big["error"] and "file" not in big
    assert item(manifest, "containers/x.stdout.log")["status"] == "ok"


def test_space_is_checked_first(monkeypatch):
    monkeypatch.setattr(collector, "allowances", lambda folders, reserve: [("/disk", 1 << 20), ("/memory", 40 << 20)])
    assert collector.choose((), 0, 30 << 20, 1 << 40) == ("/memory", 40 << 20, False)
    assert collector.choose((), 0, 90 << 20, 1 << 40) == ("/memory", 40 << 20, True)
    assert collector.choose((), 0, 90 << 20, 8 << 20) == ("/memory", 8 << 20, False)
    monkeypatch.setattr(collector, "allowances", lambda folders, reserve: [("/disk", 1000), ("/memory", -5)])
    with pytest.raises(collector.EvidenceError, match="no file system of this host has room"):
        collector.choose((), 0, 90 << 20, 1 << 40)


def wait(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError("it did not happen")


def progress(folder):
    try:
        return json.loads((folder / "progress.json").read_text())
    except (OSError, ValueError):
        return {}


def test_the_collector_runs_alone_and_ends_when_its_folder_is_taken_away(host):
    from pathlib import Path

    host.plant()
    started = collector.start(options(host), ((str(host.work), "disk"),))
    folder = Path(started["folder"])
    assert collector.FOLDER_NAME.match(started["folder"]) and folder.stat().st_mode & 0o777 == 0o711
    state = wait(lambda: progress(folder).get("state") == "done" and progress(folder))
    assert (folder / "evidence.tar").stat().st_mode & 0o777 == 0o600 and state["size"] == (folder / "evidence.tar").stat().st_size
    assert collector.sweep(((str(host.work), "disk"),)) == [], "a living collection was taken away"
    assert collector.remove(started["folder"]) and not folder.exists()
    wait(lambda: not collector.process_start(started["pid"]))
    assert collector.remove(started["folder"]) is False


def test_when_nobody_asks_any_more_nothing_stays_on_the_host(host):
    host.add("slow", STAMP % 1 + "begun\n")
    started = collector.start(options(host, lease=1), ((str(host.work), "disk"),))
    wait(lambda: not collector.process_start(started["pid"]))
    assert list(host.work.iterdir()) == []


def test_what_a_killed_collection_left_is_swept(host):
    folder = host.work / (collector.PREFIX + "0" * 32)
    folder.mkdir()
    (folder / "pid").write_text("999999999 1")
    (folder / "evidence.tar").write_text("x")
    other = host.work / "andon-evidence-mine"
    other.mkdir()
    assert collector.sweep(((str(host.work), "disk"),)) == [str(folder)] and other.exists() and not folder.exists()


@pytest.mark.parametrize("path", ["/", "/etc", "/tmp/andon-evidence-", "/tmp/../etc/andon-evidence-" + "0" * 31, "relative/andon-evidence-" + "0" * 32])
def test_remove_takes_nothing_else(path):
    with pytest.raises(collector.EvidenceError):
        collector.remove(path)
