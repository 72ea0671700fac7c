"""The journal of one incident: append-only, hash-chained, one JSON object per line.

A line is C({"seq", "at", "incident", "actor", "kind", "verb", "data", "prev", "hash"}), compact, in this order. C(hash) is
the SHA-256 of the line's bytes without C(,"hash":"…"), so any machine with sha256sum can check it; C(prev) is the hash of the
line before. The order is C(seq)'s, never the clock's: a clock that jumps back is seen in C(at) and changes nothing else.

Writers take turns with flock and each line is on the disk (fsync) before C(append) returns. A last line that was torn (power
cut, kill -9, full disk) is kept aside in a file of its own and noted by a line; it is never silently dropped.

Bastion only; standard library only.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import math
import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator

from . import state

NAME = "journal.jsonl"
GENESIS = "0" * 64  # what the first line has as `prev`
KEYS = ("seq", "at", "incident", "actor", "kind", "verb", "data", "prev", "hash")
LOCK_WAIT = 2.0  # seconds; nobody at the keyboard waits longer for another writer
_HASH_HEAD = b',"hash":"'
_HASH_TAIL = len(_HASH_HEAD) + 64 + len(b'"}')
_BLOCK = 65536


class JournalError(Exception):
    """The journal could not be written or read.

    Attributes:
        means: what that means for the person, one line.
        then: what to type next, one line.
    """

    def __init__(self, what: str, means: str, then: str) -> None:
        super().__init__(what)
        self.means = means
        self.then = then


@dataclass(frozen=True)
class Verdict:
    """What C(verify) found.

    Attributes:
        lines: number of complete lines in the file.
        head: hash of the last good line before the first bad one (GENESIS when there is none).
        bad_line: number of the first bad line, counted from 1; None when the chain is intact.
        why: what is wrong with it; "" when nothing is.
        torn: bytes after the last complete line (a writer died there); the next writer keeps them aside.
        clock_steps: numbers of the lines whose time is before that of the line above.
    """

    lines: int
    head: str
    bad_line: int | None
    why: str
    torn: int
    clock_steps: tuple[int, ...]

    @property
    def ok(self) -> bool:
        return self.bad_line is None


def append(
    incident_dir: str | Path,
    kind: str,
    verb: str,
    data: dict[str, Any] | None = None,
    actor: dict[str, Any] | None = None,
    *,
    wait: float = LOCK_WAIT,
) -> dict[str, Any]:
    """Appends one line and returns it once it is on the disk.

    Args:
        incident_dir: the incident's folder; its name is the incident's id. It is made when it is not there.
        kind: what happened, e.g. "incident.opened", "verb.ended".
        verb: the verb that says so, e.g. "open", "emergency_stop".
        data: anything JSON can hold; what it cannot hold is written as text.
        actor: who (state.actor()); None: the person at this keyboard.
        wait: the longest wait for other writers, in seconds.

    Raises:
        JournalError: locked for too long, disk full, read-only, no permission. The journal is as it was before.
    """
    folder = Path(incident_dir)
    fields = {
        "incident": folder.name,
        "actor": _plain(actor if actor is not None else state.actor()),
        "kind": str(kind),
        "verb": str(verb),
        "data": _plain(data or {}),
    }
    path = folder / NAME
    try:
        with _locked(path, wait) as handle:
            return _append_locked(handle, folder, fields)
    except OSError as error:
        raise unwritable(path, error) from error


def read(incident_dir: str | Path) -> list[dict[str, Any]]:
    """The journal's lines in the file's order. Lines that are no JSON object are left out: C(verify) names them.

    Raises:
        JournalError: there is no journal, or it cannot be read.
    """
    lines = []
    for raw in _raw_lines(Path(incident_dir))[0]:
        line = _parse(raw)
        if line is not None:
            lines.append(line)
    return lines


def verify(incident_dir: str | Path) -> Verdict:
    """Walks the chain and stops at the first line that does not fit.

    Raises:
        JournalError: there is no journal, or it cannot be read.
    """
    folder = Path(incident_dir)
    raws, torn = _raw_lines(folder)
    head, seq, before, steps = GENESIS, 0, "", []
    for number, raw in enumerate(raws, 1):
        why = _fault(raw, folder.name, seq + 1, head)
        if why:
            return Verdict(len(raws), head, number, why, len(torn), tuple(steps))
        line = json.loads(raw)
        seq, head = line["seq"], line["hash"]
        if line["at"] < before:
            steps.append(number)
        before = line["at"]
    return Verdict(len(raws), head, None, "", len(torn), tuple(steps))


def encode(fields: dict[str, Any], seq: int, prev: str, at: str) -> tuple[bytes, dict[str, Any]]:
    """The bytes of one line, with its line break, and the line as a dict."""
    line = {"seq": seq, "at": at, **fields, "prev": prev}
    body = json.dumps({key: line[key] for key in KEYS[:-1]}, separators=(",", ":"), ensure_ascii=True).encode("ascii")
    line["hash"] = hashlib.sha256(body).hexdigest()
    return body[:-1] + _HASH_HEAD + line["hash"].encode("ascii") + b'"}\n', line


# The rest is how.


def _append_locked(handle: int, folder: Path, fields: dict[str, Any]) -> dict[str, Any]:
    end, last, tail = _end(handle)
    seq, prev = (last["seq"], last["hash"]) if last else (0, GENESIS)
    out = b""
    if tail:
        whole = _parse(tail)
        if whole is not None and not _fault(tail, folder.name, seq + 1, prev):
            # Only the line break is missing: the line itself is whole and stays where it is.
            out = tail + b"\n"
            seq, prev = whole["seq"], whole["hash"]
        else:
            note = {**fields, "kind": "journal.torn", "verb": "journal", "data": _keep_torn(folder, tail)}
            seq += 1
            out, noted = encode(note, seq, prev, state.utc_now())
            prev = noted["hash"]
    encoded, line = encode(fields, seq + 1, prev, state.utc_now())
    # The torn bytes are overwritten, not cut off first: wherever this stops, the file ends in whole lines and a torn
    # rest, and the next writer finds the note or the same torn bytes again.
    _write_at(handle, out + encoded, end, tail)
    return line


def _write_at(handle: int, content: bytes, offset: int, before: bytes) -> None:
    """Writes at an offset, cuts the file there and syncs; puts the old end back when that fails."""
    try:
        done = 0
        while done < len(content):
            done += os.pwrite(handle, content[done:], offset + done)
        os.ftruncate(handle, offset + len(content))
        os.fsync(handle)
    except OSError:
        with contextlib.suppress(OSError):
            os.ftruncate(handle, offset)
            if before:
                os.pwrite(handle, before, offset)
        raise


def _keep_torn(folder: Path, tail: bytes) -> dict[str, Any]:
    """Keeps torn bytes in a file named after their hash, so that doing it twice is doing it once."""
    digest = hashlib.sha256(tail).hexdigest()
    path = folder / ("journal.torn-%s" % digest[:16])
    if not path.exists():
        state.write_atomic(path, tail, file_mode(folder))
    return {"file": path.name, "bytes": len(tail), "sha256": digest}


@contextlib.contextmanager
def _locked(path: Path, wait: float) -> Iterator[int]:
    """The open journal, with this writer alone in it."""
    make_folder(path.parent)
    new = not path.exists()
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        lock(handle, path, wait)
        if new:
            with contextlib.suppress(PermissionError):  # another member of the group made it first
                os.fchmod(handle, file_mode(path.parent))
            sync_folder(path.parent)
        yield handle
    finally:
        os.close(handle)  # gives the lock back, too


def lock(handle: int, path: Path, wait: float) -> None:
    """flock with a bounded wait.

    Raises:
        JournalError: somebody else held it for all of C(wait) seconds.
    """
    deadline = time.monotonic() + wait
    pause = 0.001
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES, errno.EINTR):
                raise
        if time.monotonic() >= deadline:
            raise JournalError(
                "%s is locked by another writer for more than %g s." % (path, wait),
                "This entry was not recorded; what it records was not held up.",
                "the same command again; who holds it: fuser -v %s" % path,
            )
        time.sleep(pause)
        pause = min(pause * 2, 0.05)


def make_folder(path: Path) -> None:
    """Makes a folder, as open to the group as its parent is (a shared bastion), and its parents.

    Raises:
        OSError: the disk is full, read-only, or the folder may not be made.
    """
    if path.is_dir():
        return
    make_folder(path.parent)
    mode = stat.S_IMODE(path.parent.stat().st_mode)
    try:
        path.mkdir()
    except FileExistsError:
        return
    path.chmod((mode & 0o2070) | 0o700)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """fsync of a folder, so that a new file's name survives a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def file_mode(folder: Path) -> int:
    """Permissions of a new file: the group's, too, where the folder is the group's (a shared bastion)."""
    return 0o660 if folder.stat().st_mode & stat.S_IWGRP else 0o640


def _end(handle: int) -> tuple[int, dict[str, Any] | None, bytes]:
    """Where the complete lines end, the last one that is a journal line, and the torn bytes after them."""
    size = os.fstat(handle).st_size
    tail, start = b"", size
    last: dict[str, Any] | None = None
    end: int | None = None
    while start > 0:
        block = min(_BLOCK, start)
        start -= block
        tail = os.pread(handle, block, start) + tail
        if end is None and b"\n" in tail:
            end = start + tail.rindex(b"\n") + 1
        if end is None:
            continue
        # All lines in the buffer that are whole, the last one first; one that is cut by the buffer's start waits.
        lines = tail[: end - start].split(b"\n")[:-1]
        for raw in reversed(lines if start == 0 else lines[1:]):
            line = _parse(raw)
            if line is not None:
                last = line
                break
        if last is not None:
            break
    whole = end or 0
    return whole, last, os.pread(handle, size - whole, whole) if size > whole else b""


def _raw_lines(folder: Path) -> tuple[list[bytes], bytes]:
    path = folder / NAME
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise JournalError("There is no journal at %s." % path, "Nothing is recorded for this incident.", "andon incidents") from error
    except OSError as error:
        raise JournalError("%s cannot be read: %s." % (path, error.strerror), "The incident cannot be shown.", "ls -l %s" % path) from error
    *lines, torn = content.split(b"\n")
    return lines, torn


def _parse(raw: bytes) -> dict[str, Any] | None:
    """A line as a dict if it has the journal's keys with their types, else None."""
    try:
        line = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    if not isinstance(line, dict) or tuple(line) != KEYS:
        return None
    texts = all(isinstance(line[key], str) for key in ("at", "incident", "kind", "verb", "prev", "hash"))
    maps = isinstance(line["actor"], dict) and isinstance(line["data"], dict)
    whole = isinstance(line["seq"], int) and not isinstance(line["seq"], bool)
    return line if texts and maps and whole else None


def _fault(raw: bytes, incident: str, seq: int, prev: str) -> str:
    """What is wrong with a line; "" when nothing is."""
    line = _parse(raw)
    if line is None:
        return "it is not a line of a journal"
    body, mark = raw[:-_HASH_TAIL] + b"}", raw[-_HASH_TAIL:]
    if mark != _HASH_HEAD + line["hash"].encode() + b'"}' or hashlib.sha256(body).hexdigest() != line["hash"]:
        return "its content does not match its hash: it was changed after it was written"
    if line["seq"] != seq:
        return "its number is %d where %d was due: lines were removed, added or moved" % (line["seq"], seq)
    if line["prev"] != prev:
        return "it does not follow from the line above: lines were removed, added or moved"
    if line["incident"] != incident:
        return "it belongs to another incident"
    return ""


def _plain(value: Any) -> Any:
    """A copy of plain JSON types: Ansible tags its strings, and JSON has no NaN and no bytes."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    if isinstance(value, str):
        return str.__str__(value)
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value)


def unwritable(path: Path, error: OSError) -> JournalError:
    """An operating system's error in an operator's words."""
    reason = error.strerror or str(error)
    then = "df -h %s" % path.parent
    if error.errno in (errno.EACCES, errno.EPERM):
        then = "ls -ld %s" % path.parent
    elif error.errno == errno.EROFS:
        then = "mount | grep ' ro[,)]'"
    return JournalError(
        "The journal %s could not be written: %s." % (path, reason),
        "This entry is not recorded: write it down by hand. Nothing else was held up, the stop works without a journal.",
        then,
    )
