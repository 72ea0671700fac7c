"""Reading the end of a log, bounded in bytes and in time.

Engines keep logs as one line after the other; asking one with C(--since) reads everything from the start (measured: 23 s
for 568 MB), asking with C(--tail) reads from the end (0.04 s). So Andon asks for a number of lines, and for more of them
until they reach back far enough. Used on the hosts: standard library only, Python 3.8.
"""

from __future__ import annotations

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
_STAMP = re.compile(r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?)")


class Tail:
    """What was read.

    Attributes:
        lines: (Unix time in seconds or None, text without the engine's stamp), oldest first.
        complete: True when the log's first line is among them, so that silence before it is known.
        error: why it could not be read, or "" (what was read before that is in C(lines)).
        note: why there can be nothing to read (a log driver that keeps nothing), or "".
        bytes: how many bytes were read.
    """

    def __init__(self, lines=(), complete=False, error="", note="", count=0):
        self.lines = list(lines)
        self.complete = complete
        self.error = error
        self.note = note
        self.bytes = count

    @property
    def first(self):
        """Time of the oldest line that has one, or None."""
        for stamp, _ in self.lines:
            if stamp is not None:
                return stamp
        return None


def text_of(raw):
    """Text from log bytes: UTF-8, else Latin-1 (every byte is a character there). Never raises."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def run_bounded(argv, deadline, keep):
    """Runs a program, keeping the last C(keep) bytes of what it writes (both streams).

    Args:
        argv: the program.
        deadline: seconds; its whole process group is killed then.
        keep: bytes held in memory.

    Returns:
        (bytes, how many it wrote in all, exit code or None when the deadline passed).

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
    end, held, total, code = time.monotonic() + deadline, bytearray(), 0, None
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
            held += piece
            if len(held) > 2 * keep:
                del held[:-keep]
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        process.stdout.close()
    return bytes(held[-keep:]), total, code


def container(cli, container_id, lines, deadline, keep=16 << 20):
    """The last C(lines) lines of a container's log.

    Args:
        cli: the container CLI.
        container_id: id or name.
        lines: how many.
        deadline: seconds.
        keep: bytes held at most; the newest ones are kept.

    Returns:
        Tail.
    """
    argv = [cli, "logs", "--timestamps", "--tail", str(lines), container_id]
    try:
        raw, total, code = run_bounded(argv, deadline, keep)
    except OSError as error:
        return Tail(error="%s cannot be run: %s" % (cli, error.strerror))
    if code is None:
        # The engine writes the oldest line first: what came in time is no measure of now.
        return Tail(error="the log gave no answer within %.1f s" % deadline, count=total)
    whole = raw.split(b"\n")
    if whole and not whole[-1]:
        whole.pop()
    if total > len(raw) and whole:
        whole.pop(0)  # half a line
    if code:
        words = text_of(whole[-1])[:300] if whole else "exit code %d" % code
        if "does not support reading" in words:
            return Tail(complete=False, note="its log driver keeps nothing that can be read")
        return Tail(error=words, count=total)
    found, seconds = [], {}
    for line in whole:
        stamp, _, rest = line.partition(b" ")
        at = _engine_time(stamp, seconds)
        found.append((at, text_of((rest if at is not None else line)[:LINE])))
    return Tail(found, complete=len(whole) < lines and total == len(raw), count=total)


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


def container_since(cli, container_id, since, deadline, keep=16 << 20, lines=2000):
    """A container's log back to a time, by asking for four times as many lines until they reach it.

    Args:
        cli: the container CLI.
        container_id: id or name.
        since: Unix time in seconds on the host's clock.
        deadline: seconds for all the reading.
        keep: bytes held at most; when the log since then is longer, the newest are kept and C(first) says from when.
        lines: how many the first time.

    Returns:
        Tail: lines older than C(since) are left out.
    """
    end, best, took = time.monotonic() + deadline, None, 0.0
    while True:
        left = end - time.monotonic()
        # Four times the lines take four times as long: what cannot end in time is not begun.
        if best is not None and left < max(0.3, 4 * took):
            break
        begun = time.monotonic()
        tail = container(cli, container_id, lines, left, keep)
        if tail.error:
            if best is None:
                return tail
            break
        best, took = tail, time.monotonic() - begun
        enough = tail.complete or tail.note or tail.bytes > keep
        if enough or (tail.first is not None and tail.first <= since):
            break
        lines *= 4
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
    return Tail(older.lines + tail.lines, older.complete, older.error, "", older.bytes + tail.bytes)


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
    return Tail(found, complete=reached, error=error, count=count)


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
