"""The journal: chained, torn lines kept, concurrent and killed writers lose nothing, a full disk is said."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from andon import journal

ROOT = Path(__file__).resolve().parents[3]
WRITER = """
import resource, sys
sys.path.insert(0, sys.argv[1])
from andon import journal
folder, who, count, limit = sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
for n in range(count):
    try:
        journal.append(folder, "note", "note", {"who": who, "n": n, "pad": "x" * (n * 37 % 500)}, {"name": who}, wait=20)
    except journal.JournalError as error:
        print("REFUSED", n, error, error.means, error.then)
        sys.exit(3)
    print("WROTE", who, n, flush=True)
"""


def writer(folder, who, count, limit=0):
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(ROOT / "plugins" / "module_utils"), str(folder), who, str(count), str(limit)],
        stdout=subprocess.PIPE,
        text=True,
    )


def texts(folder):
    return [line["data"].get("text") for line in journal.read(folder) if line["kind"] == "note"]


@pytest.fixture
def incident(tmp_path):
    return tmp_path / "2026-11-22-exchange-down"


def write(folder, *words):
    for word in words:
        journal.append(folder, "note", "note", {"text": word})


def test_line_form_and_hash_can_be_checked_with_sha256sum_alone(incident):
    write(incident, "one", "zwei ü \u2028 \x1b[31m\n")
    first, second = (incident / "journal.jsonl").read_bytes().splitlines()
    line = json.loads(second)
    assert list(line) == ["seq", "at", "incident", "actor", "kind", "verb", "data", "prev", "hash"]
    assert (line["seq"], line["incident"], line["actor"]["name"]) == (2, incident.name, "tester")
    assert line["at"].endswith("Z") and line["at"][10] == "T"
    assert line["prev"] == json.loads(first)["hash"]
    body, _, rest = second.rpartition(b',"hash":"')
    assert hashlib.sha256(body + b"}").hexdigest() == rest.decode()[:64]
    assert texts(incident) == ["one", "zwei ü \u2028 \x1b[31m\n"]
    assert journal.verify(incident) == journal.Verdict(2, line["hash"], None, "", 0, ())


@settings(max_examples=40, deadline=None)
@given(
    before=st.lists(st.text(max_size=40), min_size=0, max_size=4),
    cut=st.integers(1, 400),
    junk=st.binary(max_size=30).map(lambda raw: raw.replace(b"\n", b"")),
    after=st.lists(st.text(max_size=40), min_size=1, max_size=3),
)
def test_a_write_torn_anywhere_loses_no_whole_line_and_no_torn_byte(before, cut, junk, after):
    root = Path(tempfile.mkdtemp())
    try:
        folder = root / "2026-11-22-torn"
        write(folder, *before, "the torn one")
        path = folder / "journal.jsonl"
        content = path.read_bytes()
        last = content.rstrip(b"\n").rfind(b"\n") + 1
        torn = content[last : last + min(cut, len(content) - last - 1)] + junk
        path.write_bytes(content[:last] + torn)
        whole = torn == content[last:-1]
        write(folder, *after)
        verdict = journal.verify(folder)
        assert verdict.ok, verdict
        assert texts(folder) == [*before, *(["the torn one"] if whole else []), *after]
        kept = [line["data"] for line in journal.read(folder) if line["kind"] == "journal.torn"]
        assert [(folder / item["file"]).read_bytes() for item in kept] == ([] if whole else [torn])
        assert path.read_bytes().startswith(content[:last])
    finally:
        shutil.rmtree(root)


@settings(max_examples=25, deadline=None)
@given(stop=st.integers(0, 1200))
def test_a_crash_while_a_torn_line_is_repaired_loses_nothing(stop):
    """The repair itself may stop after any number of bytes: no truncation, no sync, only some of the bytes."""
    root = Path(tempfile.mkdtemp())
    try:
        folder = root / "2026-11-22-twice"
        write(folder, "a", "b")
        path = folder / "journal.jsonl"
        content = path.read_bytes()
        torn = content[:250] + b"#" * 700
        path.write_bytes(content + torn)

        def half(handle, new, offset, before):
            os.pwrite(handle, new[:stop], offset)
            raise KeyboardInterrupt

        real, journal._write_at = journal._write_at, half
        try:
            with pytest.raises(KeyboardInterrupt):
                write(folder, "c")
        finally:
            journal._write_at = real
        write(folder, "d")
        assert journal.verify(folder).ok
        assert [t for t in texts(folder) if t != "c"] == ["a", "b", "d"]
        assert torn in [kept.read_bytes() for kept in folder.glob("journal.torn-*")]
        assert "journal.torn" in [line["kind"] for line in journal.read(folder)]
    finally:
        shutil.rmtree(root)


def test_concurrent_writers_and_kill_9_lose_no_line_that_was_acknowledged(incident):
    steady = [writer(incident, f"w{n}", 25) for n in range(3)]
    doomed = writer(incident, "doomed", 100000)
    said = [doomed.stdout.readline() for _ in range(5)]
    os.kill(doomed.pid, signal.SIGKILL)
    said += doomed.communicate(timeout=60)[0].splitlines()
    said += [line for process in steady for line in process.communicate(timeout=60)[0].splitlines()]
    write(incident, "the last")  # puts right whatever the kill left
    assert journal.verify(incident).ok
    have = [(line["data"]["who"], line["data"]["n"]) for line in journal.read(incident) if "who" in line["data"]]
    acknowledged = [(who, int(n)) for _, who, n in (line.split() for line in said if line.count(" ") == 2)]
    assert len(have) == len(set(have))
    assert set(acknowledged) <= set(have)
    assert {(f"w{n}", m) for n in range(3) for m in range(25)} <= set(have)
    for who in ("w0", "w1", "w2", "doomed"):
        mine = [n for name, n in have if name == who]
        assert mine == list(range(len(mine)))


def test_a_full_disk_is_said_and_leaves_the_journal_whole(incident):
    """A file size limit gives what a full disk gives: a write that ends in the middle."""
    done = writer(incident, "full", 50, limit=3000)
    out = done.communicate(timeout=60)[0]
    assert done.returncode == 3
    refused = out.splitlines()[-1]
    assert refused.startswith("REFUSED") and "could not be written" in refused and "df -h" in refused
    wrote = out.count("WROTE")
    assert wrote > 2
    verdict = journal.verify(incident)
    assert (verdict.ok, verdict.lines, verdict.torn) == (True, wrote, 0)
    write(incident, "space again")
    assert texts(incident)[-1] == "space again" and journal.verify(incident).ok


def test_a_locked_journal_is_given_up_and_the_error_says_so(incident):
    write(incident, "one")
    handle = os.open(incident / "journal.jsonl", os.O_RDWR)
    try:
        journal.lock(handle, incident, 1)
        with pytest.raises(journal.JournalError, match="locked by another writer") as caught:
            journal.append(incident, "note", "note", {"text": "two"}, wait=0.05)
        assert "not recorded" in caught.value.means and "fuser" in caught.value.then
    finally:
        os.close(handle)
    write(incident, "three")
    assert texts(incident) == ["one", "three"]


def test_a_folder_that_is_a_file_is_an_error_in_words(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(journal.JournalError, match="could not be written"):
        journal.append(tmp_path / "file" / "2026-11-22-x", "note", "note")
    with pytest.raises(journal.JournalError, match="no journal"):
        journal.read(tmp_path / "2026-11-22-none")


@pytest.mark.parametrize(
    ("change", "bad", "why"),
    [
        (lambda lines: [lines[0], lines[1].replace(b"two", b"TWO"), *lines[2:]], 2, "changed after"),
        (lambda lines: [lines[0], *lines[2:]], 2, "number is 3"),
        (lambda lines: [lines[1], lines[0], *lines[2:]], 1, "number is 2"),
        (lambda lines: [*lines[:2], b"garbage", *lines[2:]], 3, "not a line"),
        (lambda lines: [*lines, lines[-1]], 5, "number is 4"),
        (lambda lines: [b"", *lines], 1, "not a line"),
        (lambda lines: [lines[0].replace(b'"seq":1', b'"seq": 1'), *lines[1:]], 1, "changed after"),
    ],
)
def test_verify_names_the_first_bad_line(incident, change, bad, why):
    write(incident, "one", "two", "three", "four")
    path = incident / "journal.jsonl"
    path.write_bytes(b"\n".join(change(path.read_bytes().splitlines())) + b"\n")
    verdict = journal.verify(incident)
    assert verdict.bad_line == bad and why in verdict.why


def test_a_forged_line_with_a_right_hash_of_its_own_breaks_the_chain(incident):
    write(incident, "one", "two", "three")
    path = incident / "journal.jsonl"
    lines = path.read_bytes().splitlines()
    old = json.loads(lines[1])
    fields = {key: old[key] for key in ("incident", "actor", "kind", "verb")} | {"data": {"text": "forged"}}
    forged, _ = journal.encode(fields, 2, old["prev"], old["at"])
    path.write_bytes(lines[0] + b"\n" + forged + lines[2] + b"\n")
    verdict = journal.verify(incident)
    assert verdict.bad_line == 3 and "does not follow" in verdict.why


def test_a_damaged_last_line_does_not_stop_the_next_one(incident):
    write(incident, "one")
    path = incident / "journal.jsonl"
    path.write_bytes(path.read_bytes() + b"\0" * 70000 + b"\n")
    write(incident, "two")
    assert texts(incident) == ["one", "two"]
    assert journal.verify(incident).bad_line == 2


def test_a_clock_that_jumps_back_is_visible_and_the_order_stays(incident, monkeypatch):
    for at in ("2026-11-22T03:00:00.000Z", "2026-11-22T02:58:30.000Z", "2026-11-22T02:59:00.000Z"):
        monkeypatch.setattr(journal.state, "utc_now", lambda at=at: at)
        write(incident, at)
    verdict = journal.verify(incident)
    assert verdict.ok and verdict.clock_steps == (2,)
    assert [line["seq"] for line in journal.read(incident)] == [1, 2, 3]


def test_lines_longer_than_a_block_and_values_that_json_lacks(incident):
    write(incident, "x" * 1_000_000)
    line = journal.append(incident, "note", "note", {"nan": float("nan"), "raw": b"\xff", "set": {1}, 7: Path("/x"), "cut": "\udc80"})
    assert line["data"] == {"nan": "nan", "raw": "\ufffd", "set": [1], "7": "/x", "cut": "\udc80"}
    assert journal.verify(incident).ok and journal.read(incident)[1]["data"] == line["data"]


def test_a_shared_bastion_stays_writable_for_the_group(tmp_path):
    shared = tmp_path / "state"
    shared.mkdir()
    shared.chmod(0o2770)
    write(shared / "incidents" / "2026-11-22-x", "one")
    modes = {path.relative_to(shared).as_posix(): path.stat().st_mode & 0o7777 for path in shared.rglob("*")}
    assert modes["incidents"] & 0o2070 == 0o2070 and modes["incidents/2026-11-22-x"] & 0o2070 == 0o2070
    assert modes["incidents/2026-11-22-x/journal.jsonl"] == 0o660


def test_an_ordinary_append_is_not_slowed_by_a_long_journal(incident):
    """The last line is found from the end: what is read does not grow with the journal."""
    write(incident, "one")
    path = incident / "journal.jsonl"
    path.write_bytes(b"x" * 5_000_000 + b"\n" + path.read_bytes())
    reads = []
    real = os.pread

    def counted(handle, count, offset):
        reads.append(count)
        return real(handle, count, offset)

    journal.os.pread = counted
    try:
        write(incident, "two")
    finally:
        journal.os.pread = real
    assert sum(reads) < 200_000
