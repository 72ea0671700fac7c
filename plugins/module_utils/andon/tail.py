"""Reading the end of a log, bounded in bytes and in time.

Engines keep logs as one line after the other; asking one with C(--since) reads everything from the start (measured: 23 s
for 568 MB), asking with C(--tail) reads from the end (0.04 s). So Andon asks for a number of lines, and for more of them
until they reach back far enough. Used on the hosts: standard library only, Python 3.8.
"""

from __future__ import annotations

import glob
import os
import re
import select
import signal
import stat
import subprocess
import time

from .state import parse_utc

# A longer line is cut before any pattern is tried on it: a pattern's cost grows with the line, and a message's first
# words are what a person reads.
LINE = 4096
FILES = 200  # log files at most, the newest
_STAMP = re.compile(r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?)")


class Tail:
    """What was read.

    Attributes:
        lines: (Unix time in seconds or None, text without the engine's stamp), oldest first: those that were wanted.
        first: time of the oldest line that was read and has one, or None.
        complete: True when the log's first line was read, so that silence before it is known.
        error: why it could not be read, or "".
        note: why there can be nothing to read (a log driver that keeps nothing), or "".
        bytes, count: how many bytes and lines were read.
    """

    def __init__(self, lines=(), complete=False, error="", note="", size=0, count=None, first=None):
        self.lines = list(lines)
        self.complete = complete
        self.error = error
        self.note = note
        self.bytes = size
        self.count = len(self.lines) if count is None else count
        self.first = next((at for at, _ in self.lines if at is not None), None) if first is None else first


def text_of(raw):
    """Text from log bytes: UTF-8, else Latin-1 (every byte is a character there). Never raises."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def run_bounded(argv, deadline, sink):
    """Runs a program and hands on what it writes (both streams), in blocks of whole lines, as it comes.

    Args:
        argv: the program.
        deadline: seconds; its whole process group is killed then.
        sink: called with bytes; the last block may end without a line end. A line of more than 1 MiB comes in pieces.

    Returns:
        (how many bytes it wrote, exit code or None when the deadline passed).

    Raises:
        OSError: the program cannot be started.
    """
    process = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        env=dict(os.environ, LC_ALL="C"),
    )
    end, carry, total, code = time.monotonic() + deadline, b"", 0, None
    try:
        handle = process.stdout.fileno()
        while True:
            left = end - time.monotonic()
            if left <= 0 or not select.select([handle], [], [], left)[0]:
                break
            piece = os.read(handle, 1 << 18)
            if not piece:
                try:
                    code = process.wait(timeout=max(end - time.monotonic(), 0.2))
                except subprocess.TimeoutExpired:
                    code = None
                break
            total += len(piece)
            whole, found, rest = (carry + piece).rpartition(b"\n")
            if found:
                sink(whole + found)
            carry = rest
            if len(carry) > 1 << 20:
                sink(carry)
                carry = b""
        if carry:
            sink(carry)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        process.stdout.close()
    return total, code


class _Collector:
    """Takes the wanted lines out of an engine's log as it streams by, and forgets the others.

    Args:
        wanted: a shapes.Matcher, or None: all lines.
        keep: bytes of lines held at most; the newest stay.
    """

    def __init__(self, wanted, keep):
        self.wanted, self.keep = wanted, keep
        self.lines, self.held, self.count, self.first, self.last, self.trimmed = [], 0, 0, None, b"", False
        self.seconds = {}

    def take(self, block):
        self.count += block.count(b"\n") + (not block.endswith(b"\n"))
        self.last = block[-400:]
        if self.first is None:
            self.first = next((at for at in (self._split(line)[0] for line in block.split(b"\n", 50)[:50]) if at is not None), None)
        # Most of a log is no error. Asking a block of 256 KiB first costs a hundredth of asking each of its lines.
        if self.wanted is not None and not self.wanted.maybe(block):
            return
        for line in (block[:-1] if block.endswith(b"\n") else block).split(b"\n"):
            if self.wanted is not None and not self.wanted.maybe(line):
                continue
            at, rest = self._split(line)
            text = text_of(rest[:LINE])
            if self.wanted is None or self.wanted(text):
                self.lines.append((at, text))
                self.held += len(text) + 64
        if self.held > 2 * self.keep:
            cut = 0
            while self.held > self.keep:
                self.held -= len(self.lines[cut][1]) + 64
                cut += 1
            del self.lines[:cut]
            self.trimmed = True

    def _split(self, line):
        stamp, _, rest = line.partition(b" ")
        at = _engine_time(stamp, self.seconds)
        return at, (rest if at is not None else line)


def container(cli, container_id, lines, deadline, keep=16 << 20, wanted=None):
    """The last C(lines) lines of a container's log.

    Args:
        cli: the container CLI.
        container_id: id or name.
        lines: how many.
        deadline: seconds.
        keep: bytes of lines held at most; the newest are kept.
        wanted: a shapes.Matcher: only lines that it finds are returned. None: all.

    Returns:
        Tail.
    """
    got = _Collector(wanted, keep)
    argv = [cli, "logs", "--timestamps", "--tail", str(lines), container_id]
    try:
        total, code = run_bounded(argv, deadline, got.take)
    except OSError as error:
        return Tail(error="%s cannot be run: %s" % (cli, error.strerror))
    if code is None:
        # The engine writes the oldest line first: what came in time is no measure of now.
        return Tail(error="the log gave no answer within %.1f s" % deadline, size=total)
    if code:
        words = text_of(got.last).strip().splitlines()
        words = words[-1] if words else "exit code %d" % code
        if "does not support reading" in words:
            return Tail(note="its log driver keeps nothing that can be read")
        return Tail(error=words, size=total)
    first = got.first
    if got.trimmed:
        first = next((at for at, _ in got.lines if at is not None), first)
    return Tail(got.lines, got.count < lines and not got.trimmed, size=total, count=got.count, first=first)


def _engine_time(stamp, seconds):
    """The Unix time of an engine's stamp, or None; C(seconds) remembers whole seconds (there are many lines in each)."""
    if not 19 < len(stamp) < 40:
        return None
    if stamp[-1:] != b"Z" or not stamp[20:-1].isdigit():
        return parse_utc(stamp.decode("ascii", "replace"))
    head = stamp[:19]
    if head not in seconds:
        seconds[head] = parse_utc(head.decode("ascii", "replace") + "Z")
    base = seconds[head]
    return None if base is None else base + float(b"0." + stamp[20:-1])


def container_since(cli, container_id, since, deadline, keep=128 << 20, wanted=None, now=None, lines=2000):
    """A container's log back to a time, by asking for as many lines as it seems to take.

    The first answer says how many lines came per second; the next ones how fast the engine reads. What would not end in time,
    or be more than C(keep), is not asked for: then the newest part is returned, and C(first) says from when.

    Args:
        cli: the container CLI.
        container_id: id or name.
        since: Unix time in seconds on the host's clock.
        deadline: seconds for all the reading.
        keep: bytes that are asked for at most.
        wanted: a shapes.Matcher: only lines that it finds are returned. None: all.
        now: Unix time on the host's clock.
        lines: how many the first time.

    Returns:
        Tail: lines older than C(since) are left out.
    """
    end, best, now = time.monotonic() + deadline, None, time.time() if now is None else now
    while True:
        left = end - time.monotonic()
        begun = time.monotonic()
        tail = container(cli, container_id, lines, left, 16 << 20, wanted)
        took = time.monotonic() - begun
        if tail.error and best is not None:
            break
        best = tail
        if tail.error or tail.note or tail.complete or tail.count == 0 or (tail.first is not None and tail.first <= since):
            break
        share = (now - since) / max(now - tail.first, 0.001) if tail.first is not None else 4.0
        needed = int(lines * min(max(share * 1.3, 2.0), 1e6))
        # Twenty times the last at most: the first answer's speed is mostly the cost of asking at all.
        affordable = int(0.6 * (end - time.monotonic()) * tail.count / took)
        target = min(needed, int(keep * tail.count / max(tail.bytes, 1)), max(affordable, 10000), 20 * lines)
        if target < 1.5 * lines or end - time.monotonic() < 0.3:
            break
        lines = target
    if best.first is not None and best.first <= since:
        best.complete = True  # complete for what was asked
    best.lines = [(at, line) for at, line in best.lines if at is None or at >= since]
    return best


def rotated_since(path, since, keep=16 << 20, deadline=5.0, local_offset=0.0):
    """C(file_since), and when the file was rotated in between, its predecessor C(path.1) before it."""
    tail = file_since(path, since, keep, deadline, local_offset)
    if not tail.complete or tail.error or (tail.first is None and tail.lines) or not os.path.isfile(path + ".1"):
        return tail
    try:
        if os.stat(path + ".1").st_mtime < since:
            return tail
        older = file_since(path + ".1", since, max(keep - tail.bytes, 1), deadline, local_offset)
    except OSError:
        return tail
    return Tail(older.lines + tail.lines, older.complete, older.error, "", older.bytes + tail.bytes, older.count + tail.count)


def file_since(path, since, keep=16 << 20, deadline=5.0, local_offset=0.0):
    """A text file's lines since a time, read backwards from its end.

    Args:
        path: the file.
        since: Unix time in seconds on the host's clock.
        keep: bytes read at most.
        deadline: seconds.
        local_offset: seconds east of UTC that stamps without a zone are written in.

    Returns:
        Tail: a line without a time of its own has the time of the line before it. When no line has one, their times are
        None and C(complete) says whether the whole file was read.

    Raises:
        OSError: the file cannot be read.
    """
    end, block, pieces = time.monotonic() + deadline, 1 << 18, []
    # O_NONBLOCK: a FIFO named like a log must not hang the reader; a regular file ignores it.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0))
    try:
        info = os.fstat(handle)
        if not stat.S_ISREG(info.st_mode):
            return Tail(error="it is no regular file")
        position, count, error, older = info.st_size, 0, "", 0
        while position > 0 and count < keep:
            if time.monotonic() > end:
                error = "not read back far enough within %.1f s" % deadline
                break
            step = min(block, position)
            position -= step
            piece = os.pread(handle, step, position)
            pieces.append(piece)
            count += len(piece)
            start = piece.find(b"\n") + 1
            first = stamp_of(text_of(piece[start : start + 200]), local_offset) if start else None
            # Two blocks in a row: one line alone may speak of an older day without being of it.
            older = older + 1 if first is not None and first < since else 0
            if older == 2:
                break
    finally:
        os.close(handle)
    raw = b"".join(reversed(pieces))
    whole = raw.split(b"\n")
    if whole and not whole[-1]:
        whole.pop()
    if position > 0 and whole:
        whole.pop(0)
    found, last, reached = [], None, position == 0
    for line in whole:
        words = text_of(line[:LINE])
        at = stamp_of(words[:200], local_offset)
        last = at if at is not None else last
        if last is not None and last < since:
            reached = True
            continue
        found.append((last, words))
    return Tail(found, complete=reached, error=error, size=count)


def stamp_of(line, local_offset=0.0):
    """The Unix time of the first ISO-like stamp near a line's start, or None.

    Args:
        line: text.
        local_offset: seconds east of UTC for a stamp without a zone.
    """
    match = _STAMP.search(line[:120])
    if not match or match.start() > 64:
        return None
    words = match.group(1).replace(",", ".").replace(" ", "T")
    zoned = words.endswith("Z") or re.search(r"[+-]\d\d:?\d\d\Z", words[19:]) is not None
    if zoned and words[-5] in "+-":
        words = words[:-2] + ":" + words[-2:]
    at = parse_utc(words if zoned else words + "Z")
    return at if at is None or zoned else at - local_offset


def matching_files(patterns, start):
    """(paths that may hold lines since C(start), how many were left out because there are too many)."""
    found = {}
    for pattern in patterns:
        for path in glob.glob(pattern):
            real = os.path.realpath(path)
            try:
                changed = os.stat(real).st_mtime
            except OSError:
                changed = float("inf")  # it is named, and cannot be looked at: the reader says why
            if changed >= start and not os.path.isdir(real):
                found[real] = (changed, path)
    paths = [path for _, path in sorted(found.values(), reverse=True)]
    return sorted(paths[:FILES]), max(len(paths) - FILES, 0)
