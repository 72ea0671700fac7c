"""Collects one host's evidence into one redacted archive: on the host, as root, standard library only, Python 3.8.

One pass and constant memory: every source is read, redacted, compressed and written at once. The archive is a tar whose members are
small plain files and large gzip files, so that one member can be read, checked and shown without the others.
The collector runs on its own (C(start) forks it) and tells how far it is in a small file, for two reasons: the
bastion can show progress, and when the bastion, the connection or the operator goes away, the collector notices that nobody asks
any more, stops, and takes its folder away: a copy of the logs never stays on the host.
"""

from __future__ import annotations

import bz2
import collections
import contextlib
import errno
import glob
import gzip
import hashlib
import json
import lzma
import os
import re
import selectors
import shutil
import signal
import stat
import subprocess
import tarfile
import time
import zlib

from .engine import Engine, EngineError
from .redact import STAMP, Redactor, environment_secrets, looks_secret
from .state import parse_utc, utc

SCHEMA = "andon.evidence/1"
PREFIX = "andon-evidence-"
# Plain bytes per gzip member: the unit of compression and of what truncation drops.
BLOCK = 1 << 20
READ = 1 << 18
# A finished item up to this size is stored as it is: a person can read it without a tool.
PLAIN = 1 << 16
# The tail of a truncated item waits in memory, compressed; this is the most of it (bytes).
TAIL = 16 << 20
# Below this (bytes) a collection is refused: not even the small items would fit.
SMALLEST = 2 << 20
# The progress file has a fixed size and is overwritten in place, so that it works on a disk that has become full.
PROGRESS = 2048
MAX_FILES = 2000
# Seconds for what an engine that works answers at once. One that hangs must not cost the log files.
ENGINE_DEADLINE = 20.0
STATE_DEADLINE = 45.0
DISK, MEMORY = "disk", "memory"
FOLDERS = (("/var/tmp", DISK), ("/tmp", DISK), ("/run", MEMORY), ("/dev/shm", MEMORY))  # noqa: S108 (a private folder with a random name is made inside)
LINE_TIME = re.compile(rb"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9}))? ?(Z|[+-]\d\d:?\d\d)?")
FOLDER_NAME = re.compile(r"(?:/[A-Za-z0-9_.\-]+)+/" + PREFIX + r"[0-9a-f]{32}\Z")


class EvidenceError(Exception):
    """The collection cannot start; C(str()) is one line for a person."""


class Abandoned(Exception):
    """Nobody asks for this collection any more."""


class Full(Exception):
    """The archive's file system is full."""


# Space


def allowances(folders, reserve):
    """How many bytes a collection may write in each folder.

    Args:
        folders: (path, DISK or MEMORY) pairs, the best first.
        reserve: bytes that must stay free on a disk.

    Returns:
        list of (path, bytes). Of a disk: what is free, less the greater of the reserve and 2 % of it. Of a file system in memory: at
        most a quarter of the memory that is available, because a host in trouble may be short of it.
    """
    result = []
    for path, kind in folders:
        try:
            found = os.statvfs(path)
        except OSError:
            continue
        free = free_bytes(path)
        total = found.f_blocks * found.f_frsize
        if kind == MEMORY:
            result.append((path, min(free - total // 50, available_memory() // 4)))
        else:
            result.append((path, free - max(reserve, total // 50)))
    return result


def available_memory():
    """MemAvailable in bytes; 0 when the kernel does not say."""
    try:
        with open("/proc/meminfo", "rb") as source:
            for line in source:
                if line.startswith(b"MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return 0


def free_bytes(path):
    """Bytes that this process may still write on a path's file system."""
    found = os.statvfs(path)
    return found.f_frsize * (found.f_bavail if os.geteuid() else found.f_bfree)


def choose(folders, reserve, need, most):
    """The folder to work in.

    Args:
        folders, reserve: as for C(allowances).
        need: bytes that the archive probably needs.
        most: bytes that it may have at all.

    Returns:
        (path, bytes that may be written there, True when that is less than needed).

    Raises:
        EvidenceError: no file system has room.
    """
    found = allowances(folders, reserve)
    need = min(need, most)
    for path, room in found:
        if room >= need and room >= SMALLEST:
            return path, min(room, most), False
    path, room = max(found, key=lambda one: one[1], default=("", 0))
    if room < SMALLEST:
        raise EvidenceError(
            "no file system of this host has room for the evidence (looked at: %s); nothing was written. Next: free some space, or name a folder with "
            "collect_logs_work_folders" % (", ".join("%s %d KiB" % (name, max(free, 0) // 1024) for name, free in found) or "none exists")
        )
    return path, min(room, most), True


def make_folder(parent):
    """A new private folder: others may pass through it (the file inside is the connection's user's), nobody may list it."""
    path = os.path.join(parent, PREFIX + os.urandom(16).hex())
    os.mkdir(path, 0o700)
    os.chmod(path, 0o711)  # noqa: S103 (passing through is what it is for)
    return path


def sweep(folders):
    """Takes away what collections left whose process is gone (killed, or the host restarted). Returns the paths."""
    gone = []
    for parent, _kind in folders:
        for path in glob.glob(os.path.join(parent, PREFIX + "*")):
            try:
                if not FOLDER_NAME.match(path) or os.lstat(path).st_uid != os.geteuid() or not stat.S_ISDIR(os.lstat(path).st_mode):
                    continue
                with open(os.path.join(path, "pid"), encoding="ascii") as source:
                    pid, started = source.read().split()
                if process_start(int(pid)) == started:
                    continue
            except (OSError, ValueError):
                # A folder without a readable pid is being made, or was left half made: an hour tells.
                try:
                    if time.time() - os.lstat(path).st_mtime < 3600:
                        continue
                except OSError:
                    continue
            shutil.rmtree(path, ignore_errors=True)
            gone.append(path)
    return gone


def process_start(pid):
    """The start time of a process in clock ticks (text), which makes its pid unique; "" when there is none."""
    try:
        with open("/proc/%d/stat" % pid, "rb") as source:
            return source.read().rsplit(b")", 1)[1].split()[19].decode("ascii")
    except (OSError, IndexError):
        return ""


# The archive


class Archive:
    """A tar file whose members are written as they come; each header is written when its member is complete.

    Args:
        path: the file to make (0600).
        budget: bytes that it may grow to.
        reserve: bytes that must stay free on its file system.
    """

    def __init__(self, path, budget, reserve):
        self.path, self.budget, self.reserve = path, budget, reserve
        self.file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "w+b", buffering=0)
        self.spooled = 0

    def room(self):
        """Bytes that may still be written."""
        return min(self.budget - self.file.tell() - self.spooled, free_bytes(self.path) - self.reserve) - 65536

    def begin(self):
        """Starts a member; returns its mark."""
        mark = self.file.tell()
        self.write(b"\0" * 512)
        return mark

    def write(self, data):
        view = memoryview(data)
        try:
            while view:
                view = view[self.file.write(view) :]
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise Full() from None
            raise

    def end(self, mark, name):
        """Completes a member; returns its size in bytes."""
        size = self.file.tell() - mark - 512
        self.write(b"\0" * (-size % 512))
        after = self.file.tell()
        info = tarfile.TarInfo(name)
        info.size, info.mode, info.mtime = size, 0o600, int(time.time())
        self.file.seek(mark)
        self.write(info.tobuf(tarfile.GNU_FORMAT))
        self.file.seek(after)
        return size

    def drop(self, mark):
        """Takes a member away again."""
        self.file.seek(mark)
        self.file.truncate()

    def close(self):
        """Ends the archive; returns (bytes, SHA-256 in hex)."""
        self.write(b"\0" * 1024)
        self.file.flush()
        self.file.seek(0)
        digest, size = hashlib.sha256(), 0
        for piece in iter(lambda: self.file.read(BLOCK), b""):
            digest.update(piece)
            size += len(piece)
        self.file.close()
        return size, digest.hexdigest()


class Spool:
    """Where the second of two streams waits until the first is complete; same file system, counted in the budget."""

    def __init__(self, archive):
        self.archive = archive
        self.path = archive.path + ".spool"
        self.file = os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "w+b", buffering=0)
        os.unlink(self.path)
        self.size = 0

    def write(self, data):
        try:
            self.file.write(data)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise Full() from None
            raise
        self.size += len(data)
        self.archive.spooled += len(data)

    def room(self):
        return self.archive.room()

    def move(self):
        """Writes everything into the archive and gives the space back."""
        self.file.seek(0)
        for piece in iter(lambda: self.file.read(BLOCK), b""):
            self.archive.write(piece)
        self.close()

    def close(self):
        self.archive.spooled -= self.size
        self.size = 0
        self.file.close()


class Sink:
    """Writes one item's redacted text in blocks; beyond its limit it keeps the head and the tail and says what is missing.

    Args:
        out: an Archive or a Spool.
        limit: bytes to store (compressed).

    Attributes:
        bytes, lines: of the item as stored, without compression; dropped, dropped_lines: what truncation left out;
        sha256: of the text; stored_sha256, stored: of what lies in the archive; encoding: "gzip" or "".
    """

    def __init__(self, out, limit):
        self._out, self._limit = out, max(limit, 4096)
        # Small enough that head and tail of a small limit still hold several.
        self._size = min(BLOCK, max(self._limit // 16, 4096))
        self._buffer = bytearray()
        self._ring = collections.deque()
        self._ring_size = 0
        self._text, self._raw = hashlib.sha256(), hashlib.sha256()
        self.bytes = self.lines = self.dropped = self.dropped_lines = self.stored = 0
        self.encoding = ""

    def write(self, data):
        self._buffer += data
        while len(self._buffer) >= self._size:
            # A block ends with a line, so that nothing is cut in the middle of one.
            cut = self._buffer.rfind(b"\n", 0, self._size) + 1 or self._size
            block = bytes(self._buffer[:cut])
            del self._buffer[:cut]
            self._block(block)

    def _pack(self, block):
        packer = zlib.compressobj(1, zlib.DEFLATED, 31)
        return packer.compress(block) + packer.flush()

    def _store(self, packed, block):
        self._out.write(packed)
        self.stored += len(packed)
        self._raw.update(packed)
        self._text.update(block)
        self.bytes += len(block)
        self.lines += block.count(b"\n")

    def _block(self, block):
        packed = self._pack(block)
        self.encoding = "gzip"
        tail = min(self._limit // 2, TAIL)
        # Somebody else may be filling the disk: the tail must still fit.
        if not self._ring and not self.dropped and self.stored + len(packed) <= self._limit - tail and self._out.room() > len(packed) + tail:
            self._store(packed, block)
            return
        self._ring.append((packed, len(block), block.count(b"\n")))
        self._ring_size += len(packed)
        while len(self._ring) > 1 and self._ring_size > tail:
            gone = self._ring.popleft()
            self._ring_size -= len(gone[0])
            self.dropped += gone[1]
            self.dropped_lines += gone[2]

    def finish(self, note=b""):
        """Completes the item; C(note) is a last line, e.g. that the command was killed."""
        if note:
            if self._buffer and not self._buffer.endswith(b"\n"):
                self._buffer += b"\n"
            self._buffer += note + b"\n"
        rest, self._buffer = bytes(self._buffer), bytearray()
        if not self.encoding and len(rest) <= PLAIN:
            self._store(rest, rest)
        elif rest:
            self._block(rest)
        if self.dropped:
            words = b"[andon: %d bytes (%d lines) were left out here: the item is longer than its limit of %d stored bytes]\n"
            words %= (self.dropped, self.dropped_lines, self._limit)
            self._store(self._pack(words), words)
        for packed, _size, _lines in self._ring:
            self._store(packed, zlib.decompress(packed, 31))
        self._ring.clear()
        self.sha256, self.stored_sha256 = self._text.hexdigest(), self._raw.hexdigest()


# Windows in files


def line_time(line):
    """The Unix time at the start of a log line (bytes), or None. Without a zone it is the host's own zone, as loggers write it."""
    found = LINE_TIME.search(line[:200])
    if not found:
        return None
    year, month, day, hour, minute, second, fraction, zone = found.groups()
    try:
        numbers = tuple(int(part) for part in (year, month, day, hour, minute, second))
        if zone is None:
            base = time.mktime(numbers + (0, 0, -1))
        else:
            text = "%s-%s-%sT%s:%s:%s" % tuple(part.decode() for part in (year, month, day, hour, minute, second))
            zone = zone.decode()
            if zone != "Z" and ":" not in zone:
                zone = zone[:3] + ":" + zone[3:]
            base = parse_utc(text + zone)
    except (ValueError, OverflowError):
        return None
    return None if base is None else base + float("0." + (fraction or b"0").decode())


def _time_after(source, offset, size):
    """(start, time) of the first line with a time that begins at or after C(offset).

    Without one within BLOCK bytes the time is None; the start is then the first line's, or size when the file ends before.
    """
    source.seek(max(offset - 1, 0))
    position = max(offset - 1, 0)
    if offset:
        position += len(source.readline(BLOCK))
    begin, end = position, min(size, position + BLOCK)
    while position < end:
        line = source.readline(BLOCK)
        if not line:
            break
        when = line_time(line)
        if when is not None:
            return position, when
        position += len(line)
    return (size if position >= size else begin), None


def file_window(source, size, since, until):
    """The part of a log file that lies in a window, found by bisection: no log is read just to be thrown away.

    Args:
        source: a seekable binary file; size: how much of it counts (it may be growing).
        since, until: Unix times.

    Returns:
        (start, end, words, first): offsets, "honoured" or "not honoured: ...", the time of the file's first line or None.
    """
    start, first = _time_after(source, 0, size)
    if first is None:
        return 0, size, "not honoured: its lines have no time", None
    tail_at, last = max(0, size - 65536), None
    while tail_at < size:
        tail_at, when = _time_after(source, tail_at, size)
        if when is None:
            break
        last, tail_at = when, tail_at + 1
    if last is None:
        return 0, size, "not honoured: its last lines have no time", first
    if last < first:
        return 0, size, "not honoured: its lines are not in order of time", first

    def cut(after, strictly):
        low, high = 0, size
        while low < high:
            middle = (low + high) // 2
            at, when = _time_after(source, middle, size)
            if when is None and strictly and at < size:
                # A long stretch without times: rather too much than too little, at both ends.
                low = middle + 1
            elif when is None or when > after or (when == after and not strictly):
                high = middle
            else:
                low = max(at, middle) + 1
        if low >= size:
            return size
        at, when = _time_after(source, low, size)
        return size if strictly and when is None else at

    begin = 0 if first >= since else cut(since, False)
    end = size if last <= until else cut(until, True)
    return begin, max(begin, end), "honoured", first


# The collector


class Collector:
    """One collection on one host.

    Args:
        folder: the private folder (C(make_folder)).
        options: dict, see the module's options; since and until are Unix times.
        budget: bytes that the archive may have.
        shrunk: the budget is less than the collection probably needs.
        clock: seconds that only go forward.
    """

    def __init__(self, folder, options, budget, shrunk, clock=time.monotonic):
        self.folder, self.o, self.clock = folder, options, clock
        self.began = clock()
        self.end = self.began + options["host_deadline"]
        # Of what the plan leaves free, others may take half before items are cut short.
        leave = max(0, free_bytes(folder) - budget) // 2
        self.archive = Archive(os.path.join(folder, "evidence.tar"), budget, min(leave, options["reserve"]))
        self.redactor = Redactor(bytes.fromhex(options["key"]), options.get("known") or ())
        self.engine = Engine(options["container_cli"], min(ENGINE_DEADLINE, options["command_deadline"]))
        # Why the engine gives nothing, once that is known: then it is not asked again.
        self.engine_gone = ""
        self.since, self.until = options["since"], options["until"]
        self.items, self.gaps, self.skipped, self.names = [], [], [], set()
        self.shrunk = shrunk
        # Where the last complete member of the archive ends.
        self.complete = 0
        self.done, self.total, self.expected, self.seen = 0, 0, 0, 0
        self.current, self.told = "", 0.0
        self.lease_seen, self.lease_at, self.lease = None, clock(), options["lease"]
        self.progress_file = os.open(os.path.join(folder, "progress.json"), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)

    # Telling, and noticing that nobody listens

    def tell(self, state="collecting", now=False, **more):
        if not now and self.clock() - self.told < 0.5:
            return
        self.told = self.clock()
        words = dict(more, state=state, items=self.done, of=self.total, current=self.current[:80], bytes=self.seen, expected=self.expected, time=time.time())
        os.pwrite(self.progress_file, json.dumps(words).encode("ascii").ljust(PROGRESS)[:PROGRESS], 0)

    def check(self):
        """Raises Abandoned when the lease has run out or the folder is gone."""
        try:
            with open(os.path.join(self.folder, "lease"), "rb") as source:
                seen = (os.fstat(source.fileno()).st_mtime_ns, source.read(16))
        except OSError:
            seen = None
            if not os.path.isdir(self.folder):
                raise Abandoned() from None
        if seen != self.lease_seen:
            # Measured on the clock that only goes forward: a host whose time is being corrected keeps its lease.
            self.lease_seen, self.lease_at = seen, self.clock()
            self.lease = self.o["lease"]
            if seen and seen[1].strip().isdigit():
                self.lease = min(int(seen[1]), 24 * 3600)
        if self.clock() - self.lease_at > self.lease:
            raise Abandoned()

    # Items

    def name(self, wanted):
        """A safe member name (without secrets) that no other item has."""
        group, _, rest = self.redactor.text(wanted).partition("/")
        safe = re.sub(r"[^A-Za-z0-9._\-]+", "_", rest).strip("._") or "item"
        base = "%s/%s" % (group, safe if len(safe) <= 80 else hashlib.sha256(safe.encode()).hexdigest()[:12] + "-" + safe[-60:])
        name, number = base, 2
        while name in self.names:
            name, number = "%s-%d" % (base, number), number + 1
        self.names.add(name)
        return name

    def entry(self, name, source, **more):
        """A new line of the manifest, with everything that L2 asks for."""
        item = {
            "name": self.name(name),
            "source": self.redactor.text(source),
            "container": "",
            "image": "",
            "command": [],
            "rc": None,
            "start": utc(time.time()),
            "end": None,
            "bytes": 0,
            "lines": 0,
            "sha256": "",
            "status": "ok",
            "error": "",
            "window": "honoured",
            "redactions": [],
        }
        item.update(more)
        item["command"] = self.redactor.words(item["command"])
        self.items.append(item)
        self.current = item["name"]
        return item

    def share(self):
        """Bytes that the next item may take: an equal part of what is left, so that one log cannot starve the others."""
        return max(4096, min(self.o["max_item_bytes"], self.archive.room() // max(self.total - self.done, 1)))

    def settle(self, item, sink, stream, mark, note=b""):
        """Completes an item: the end of its text, its member's header, its line in the manifest."""
        try:
            sink.write(stream.finish())
            sink.finish(note)
            if isinstance(sink._out, Spool):
                mark = self.archive.begin()
                sink._out.move()
            item["file"] = item["name"] + (".gz" if sink.encoding else "")
            item["stored_bytes"] = self.archive.end(mark, item["file"])
            self.complete = self.archive.file.tell()
        except Full:
            self.no_room(item, mark)
            return
        item.update(
            bytes=sink.bytes, lines=sink.lines, sha256=sink.sha256, stored_sha256=sink.stored_sha256, encoding=sink.encoding, end=utc(time.time()),
            redactions=stream.report(),
        )  # fmt: skip
        for key, value in (
            ("dropped_bytes", sink.dropped),
            ("dropped_lines", sink.dropped_lines),
            ("joined_pieces", stream.joined),
            ("replaced_lines", stream.replaced),
            ("removed_escapes", stream.escapes),
        ):
            if value:
                item[key] = value
        if sink.dropped and item["status"] == "ok":
            item["status"] = "truncated"
            item["error"] = "longer than its limit: head and tail are kept"

    def no_room(self, item, mark):
        if mark is not None:
            self.archive.drop(mark)
        item.pop("file", None)
        item.update(status="failed", error="the work folder's file system became full", end=utc(time.time()))

    def fail(self, item, words, status="failed"):
        item.update(status=status, error=self.redactor.text(words)[:300], end=item["end"] or utc(time.time()))

    def text(self, name, source, text, **more):
        """An item from text that is already here."""
        item = self.entry(name, source, **more)
        stream = self.redactor.stream()
        mark = None
        try:
            mark = self.archive.begin()
            sink = Sink(self.archive, self.share())
            sink.write(stream.feed(text.encode("utf-8", "surrogateescape")))
        except Full:
            self.no_room(item, mark)
            return item
        self.settle(item, sink, stream, mark)
        return item

    @staticmethod
    def launch(argv):
        """Starts a command in a process group of its own."""
        pipe = subprocess.PIPE
        return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, start_new_session=True, env=dict(os.environ, LC_ALL="C.UTF-8"))

    def command(self, name, argv, docker=False, errors_name=None, process=None, **more):
        """An item from a command's output; with C(errors_name) its standard error is an item of its own.

        The command is killed at its deadline or the host's; what it said until then is kept and marked.
        C(process) is the command itself when it was started before.

        Returns:
            (item, item of standard error or None).
        """
        item = self.entry(name, " ".join(argv[:2]), command=argv, **more)
        second = self.entry(errors_name, " ".join(argv[:2]), command=argv, **more) if errors_name else None
        self.current = item["name"]
        remaining = self.end - self.clock()
        late = remaining <= 0 and "the host's deadline of %g s had passed" % self.o["host_deadline"]
        gone = argv[0] == self.o["container_cli"] and self.engine_gone
        if late or gone:
            for one in (item, second):
                if one:
                    self.fail(one, late or gone, "timeout" if late else "failed")
            return item, second
        deadline = min(self.o["command_deadline"], remaining, self.o["command_deadline"] if docker else STATE_DEADLINE)
        try:
            process = process or self.launch(argv)
        except OSError as error:
            absent = error.errno == errno.ENOENT
            for one in (item, second):
                if one:
                    self.fail(one, "%s: %s" % (argv[0], "is not installed" if absent else error.strerror), "absent" if absent else "failed")
            return item, second
        mark, spool = None, None
        errors = bytearray()
        try:
            mark = self.archive.begin()
            limit = self.share()
            sinks = {process.stdout: (Sink(self.archive, limit), self.redactor.stream(docker))}
            if second:
                spool = Spool(self.archive)
                sinks[process.stderr] = (Sink(spool, limit), self.redactor.stream(docker))
            killed = self.pump(process, sinks, errors, self.clock() + deadline)
        except Full:
            self.no_room(item, mark)
            if second:
                self.no_room(second, None)
                if spool:
                    spool.close()
            return item, second
        finally:
            self.kill(process)
        code = None if killed else process.returncode
        note = b"[andon: the command was stopped after %d s; what follows is missing]" % deadline if killed else b""
        for one, pipe in ((item, process.stdout), (second, process.stderr)):
            if not one:
                continue
            one["rc"] = code
            sink, stream = sinks[pipe]
            self.settle(one, sink, stream, mark if one is item else None, note)
            if killed and one["status"] != "failed":
                one.update(status="timeout", error="no end within %g s" % round(deadline, 1))
            if docker:
                one["first"], one["last"] = ((stamp or b"").decode("ascii") for stamp in (stream.first, stream.last))
        if code and not docker:
            self.fail(item, "exit code %d: %s" % (code, bytes(errors).decode("utf-8", "replace").strip().replace("\n", " ")[:250]))
        return item, second

    def pump(self, process, sinks, errors, end):
        """Moves a process's output through redaction into the sinks. Returns True when it had to be killed."""
        waiting = {pipe: bytearray() for pipe in sinks}
        try:
            return self.listen(process, sinks, waiting, errors, end)
        finally:
            # What came before a deadline is evidence too.
            for pipe, data in waiting.items():
                self.flow(sinks[pipe], data)

    def listen(self, process, sinks, waiting, errors, end):
        with selectors.DefaultSelector() as ready:
            for pipe in (process.stdout, process.stderr):
                ready.register(pipe, selectors.EVENT_READ)
            while ready.get_map():
                if self.clock() > end:
                    return True
                for key, _events in ready.select(0.5):
                    data = os.read(key.fd, READ)
                    if not data:
                        ready.unregister(key.fileobj)
                    elif key.fileobj in sinks:
                        self.seen += len(data)
                        waiting[key.fileobj] += data
                        if len(waiting[key.fileobj]) >= READ:
                            self.flow(sinks[key.fileobj], waiting[key.fileobj])
                    elif len(errors) < 4096:
                        errors += data
                self.check()
                self.tell()
        try:
            process.wait(max(0.1, end - self.clock()))
        except subprocess.TimeoutExpired:
            return True
        return False

    @staticmethod
    def flow(pair, data):
        sink, stream = pair
        sink.write(stream.feed(bytes(data)))
        data.clear()

    @staticmethod
    def kill(process):
        """Ends a command and its children, whatever state it is in."""
        if process.stdout.closed:
            # Ended before: its number may be another process's by now.
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        process.stderr.close()

    # Sources

    def window_words(self):
        return utc(self.since), utc(self.until)

    def run(self):
        """Collects everything; returns (bytes, SHA-256) of the archive. Its manifest is its last member."""
        containers = self.find_containers()
        files = self.find_files()
        jobs = [(one.log_size, self.logs, one) for one in containers] + [(size, self.file, path) for path, size in files]
        # system() makes about this many items.
        self.total = 20 + len(jobs)
        self.expected = sum(job[0] for job in jobs)
        self.alone(self.system)
        # The smallest first: what they leave of their share is there for the largest.
        for number, (_size, collect, what) in enumerate(sorted(jobs, key=lambda job: job[0])):
            self.check()
            self.tell()
            self.done, self.total = len(self.items), len(self.items) + len(jobs) - number
            self.alone(collect, what)
        self.file_gaps()
        manifest = {
            "schema": SCHEMA,
            "run": self.o["run"],
            "since": utc(self.since),
            "until": utc(self.until),
            "host_time": utc(time.time()),
            "seconds": round(self.clock() - self.began, 1),
            "known_values": len(self.redactor.needles),
            "space": {"folder": os.path.dirname(self.folder), "budget_bytes": self.archive.budget, "shrunk": self.shrunk},
            "items": self.items,
            "gaps": self.gaps,
            "skipped": self.skipped,
        }
        mark = self.archive.begin()
        self.archive.write(json.dumps(manifest, indent=1, sort_keys=True).encode("utf-8", "backslashreplace") + b"\n")
        self.archive.end(mark, "host.json")
        return self.archive.close()

    def alone(self, collect, *args):
        """One source must not take the others with it: whatever it raises becomes its items' error."""
        known = len(self.items)
        try:
            collect(*args)
        except Abandoned:
            raise
        except Exception as error:
            # Members that are complete stay; the one that was being written goes.
            self.archive.drop(self.complete)
            for one in [one for one in self.items[known:] if one["end"] is None]:
                one.pop("file", None)
                self.fail(one, "%s: %s" % (type(error).__name__, error))

    def find_containers(self):
        """The containers of this host, those with the smallest logs first; also learns the secrets in their environment."""
        try:
            every = self.engine.inspect(self.engine.must("ps", "-a", "-q", "--no-trunc").split())
            wanted = set(self.engine.ids(self.filters()))
        except EngineError as error:
            self.engine_gone = str(error)
            self.fail(self.entry("system/engine", "the container engine", window="not a log"), self.engine_gone)
            return []
        for one in every:
            config = one.raw.get("Config") or {}
            argv = list(config.get("Entrypoint") or []) + list(config.get("Cmd") or [])
            self.redactor.add_known(environment_secrets(config.get("Env") or [], argv))
        chosen = [one for one in every if one.id in wanted]
        for one in chosen:
            one.log_size = total_size(one.raw.get("LogPath") or "")
        chosen.sort(key=lambda one: (one.log_size, one.name))
        if not chosen:
            self.fail(self.entry("system/containers", "the container engine", window="not a log"), "no container matches %s" % ", ".join(self.filters()))
        self.inspected(chosen)
        return chosen

    def filters(self):
        names = [one["name"] for one in self.o.get("components") or ()]
        return list(self.o["selectors"]) + ["name=^/?%s$" % name.replace(".", "\\.") for name in names]

    def inspected(self, containers):
        """The inspect of the containers: secrets in the environment and in arguments go by name, then everything by the rules."""
        raw = []
        for one in containers:
            copy = json.loads(json.dumps(one.raw))
            config = copy.get("Config") or {}
            config["Env"] = [self.variable(entry) for entry in config.get("Env") or []]
            for where, key in ((config, "Cmd"), (config, "Entrypoint"), (copy, "Args")):
                if isinstance(where.get(key), list):
                    where[key] = self.redactor.words(where[key])
            raw.append(copy)
        self.text("system/inspect.json", "%s inspect" % self.o["container_cli"], json.dumps(raw, indent=1, sort_keys=True) + "\n", window="the state now")

    def variable(self, entry):
        name, equals, value = str(entry).partition("=")
        if value and looks_secret(name):
            return name + equals + self.redactor.token(value.encode("utf-8", "surrogateescape")).decode("ascii")
        return entry

    def logs(self, one):
        """The log of one container, both streams, and whether the engine still has what was asked for."""
        since, until = self.window_words()
        argv = [self.o["container_cli"], "logs", "--timestamps", "--since", since, "--until", until, one.id]
        more = {"container": one.id, "container_name": one.name, "image": one.image_id, "state": one.status}
        item, errors = self.command("containers/%s.stdout.log" % one.name, argv, True, "containers/%s.stderr.log" % one.name, **more)
        if item["rc"]:
            words = self.refusal(one)
            for each in (item, errors):
                self.fail(each, "exit code %d: %s" % (item["rc"], words))
            return
        if "timeout" in (item["status"], errors["status"]):
            # A long log, or an engine that hangs? If it hangs, nothing more is asked of it.
            try:
                self.engine.must("ps", "-q")
            except EngineError as error:
                self.engine_gone = str(error)
                return
            # The engine reads a log from its start: what was asked for last is the newest. Reading from the end is quick.
            tail = argv[:3] + ["--tail", "5000"] + argv[3:]
            self.command("containers/%s.newest.stdout.log" % one.name, tail, True, "containers/%s.newest.stderr.log" % one.name, **more)
        self.gap(one, [each["first"] for each in (item, errors) if each.get("first")])

    def refusal(self, one):
        """The engine's own words for why it gives no log."""
        try:
            _code, _out, err = self.engine.run("logs", "--tail", "1", one.id, deadline=5.0)
            return err.strip().splitlines()[-1] if err.strip() else "no words"
        except EngineError as error:
            return str(error)

    def gap(self, one, firsts):
        """Notes when the log that is kept begins after C(since): an explicit entry, not a silent absence."""
        first = min((parse_utc(text) for text in firsts), default=None)
        if first is not None and first <= self.since + 1:
            return
        created = parse_utc(one.raw.get("Created", ""))
        oldest = self.oldest(one)
        if oldest is not None and oldest <= self.since:
            # The engine still has older lines: the container was silent, nothing is missing.
            return
        if created is not None and created >= self.since:
            why = "the container was made at %s" % utc(created)
        elif oldest is None:
            why = "the engine keeps no line of this container"
        else:
            why = "older lines were rotated away, or nothing was logged since the container was made"
        missing_to = first if first is not None else self.until
        self.gaps.append({"source": one.name, "container": one.id, "from": utc(self.since), "to": utc(missing_to), "why": why})

    def oldest(self, one):
        """The time of the oldest line that the engine keeps of a container; the command is ended after that line."""
        argv = [self.o["container_cli"], "logs", "--timestamps", one.id]
        try:
            process = self.launch(argv)
        except OSError:
            return None
        found = []
        try:
            with selectors.DefaultSelector() as ready:
                for pipe in (process.stdout, process.stderr):
                    ready.register(pipe, selectors.EVENT_READ)
                end = self.clock() + 5
                while ready.get_map() and self.clock() < end and not found:
                    for key, _events in ready.select(0.5):
                        data = os.read(key.fd, 256)
                        stamp = STAMP.match(data)
                        if stamp:
                            found.append(parse_utc(stamp.group().decode("ascii").strip()))
                        ready.unregister(key.fileobj)
        finally:
            self.kill(process)
        return min(found) if found else None

    def system(self):
        """Everything that is no log of trading: engine, kernel, clock, disk, memory, versions."""
        cli = self.o["container_cli"]
        state = {"window": "the state now"}
        # The engine measures for some seconds: meanwhile the rest is collected.
        stats = [cli, "stats", "--no-stream", "--no-trunc"]
        measuring = None
        if not self.engine_gone:
            with contextlib.suppress(OSError):
                measuring = self.launch(stats)
        try:
            self.state_now(cli, state)
            self.in_window(cli)
            self.command("system/stats.txt", stats, process=measuring, **state)
        finally:
            if measuring:
                self.kill(measuring)

    def state_now(self, cli, state):
        for name, argv in (
            ("system/engine-version.json", [cli, "version", "--format", "{{json .}}"]),
            ("system/engine-info.json", [cli, "info", "--format", "{{json .}}"]),
            ("system/containers.txt", [cli, "ps", "--all", "--no-trunc"]),
            ("system/disk.txt", ["df", "-P", "-k"]),
            ("system/inodes.txt", ["df", "-P", "-i"]),
            ("system/processes.txt", ["ps", "-eo", "pid,ppid,user,stat,lstart,rss,pcpu,args"]),
            ("system/kernel-version.txt", ["uname", "-a"]),
        ):
            self.command(name, argv, **state)
        item, _none = self.command(
            "system/time-service.txt", ["chronyc", "-n", "tracking"] if shutil.which("chronyc") else ["timedatectl", "--no-pager"], **state
        )
        if item["status"] == "failed":
            self.fail(item, "no time service answers: %s" % item["error"], "absent")
        self.text("system/clock.txt", "the host's clock", clock_words(), **state)
        for path in ("/etc/docker/daemon.json", "/etc/os-release", "/proc/meminfo", "/proc/loadavg", "/proc/uptime", "/proc/pressure/memory",
                     "/proc/pressure/cpu", "/proc/pressure/io"):  # fmt: skip
            self.small_file(path)

    def in_window(self, cli):
        """The engine's events and the journals."""
        since, until = self.window_words()
        # Never a time in the future: the engine would wait for it.
        self.command("system/events.json", [cli, "events", "--since", since, "--until", utc(min(self.until, time.time())), "--format", "{{json .}}"])
        self.journal("system/journal-engine.log", ["-u", "docker", "-u", "containerd", "-u", "podman"])
        self.journal("system/journal-kernel.log", ["-k"], ["dmesg", "--time-format", "iso"])

    def journal(self, name, which, otherwise=None):
        """A part of the system's journal; where there is none, another command that cannot honour a window."""
        argv = ["journalctl", "--no-pager", "--utc", "-o", "short-iso-precise", "--since", "@%d" % self.since, "--until", "@%d" % (self.until + 0.999)]
        item, _none = self.command(name, argv + which)
        if item["status"] == "ok" and item["lines"] > 1:
            return
        if item["status"] == "failed" or (item["status"] == "ok" and item["lines"] <= 1 and not os.path.isdir("/run/systemd/system")):
            self.fail(item, "this host keeps no such journal: %s" % (item["error"] or "it is empty"), "absent")
        if otherwise and item["status"] == "absent":
            item, _none = self.command(name.replace("journal-", "log-"), otherwise, window="not honoured: %s has no window" % otherwise[0])
            if item["status"] == "failed" and "not permitted" in item["error"]:
                self.fail(item, "this host does not let it be read: %s" % item["error"], "absent")

    def small_file(self, path):
        try:
            with open(path, encoding="utf-8", errors="surrogateescape") as source:
                content = source.read(1 << 20)
        except FileNotFoundError:
            self.fail(self.entry("system/" + path.lstrip("/").replace("/", "-"), path, window="the state now"), "does not exist on this host", "absent")
            return
        except OSError as error:
            self.fail(self.entry("system/" + path.lstrip("/").replace("/", "-"), path, window="the state now"), error.strerror)
            return
        self.text("system/" + path.lstrip("/").replace("/", "-"), path, content, window="the state now")

    # Log files

    def find_files(self):
        """(path, bytes) of the log files that may hold something of the window, the smallest first."""
        found = {}
        for pattern in self.o["files"]:
            for path in glob.glob(pattern):
                try:
                    about = os.stat(path)
                except OSError as error:
                    self.fail(self.entry("files/" + path.lstrip("/"), path), error.strerror)
                    continue
                if not stat.S_ISDIR(about.st_mode):
                    found[path] = about
        self.first_lines = {}
        result = []
        for path, about in sorted(found.items(), key=lambda one: (one[1].st_size, one[0]))[:MAX_FILES]:
            if about.st_mtime < self.since and stat.S_ISREG(about.st_mode):
                self.skipped.append({"source": self.redactor.text(path), "why": "last written at %s, before the window" % utc(about.st_mtime)})
                self.first_lines.setdefault(family(path), []).append(about.st_mtime)
            else:
                result.append((path, about.st_size))
        if len(found) > MAX_FILES:
            self.fail(self.entry("files/more", "log files"), "%d more files match; only the %d smallest were taken" % (len(found) - MAX_FILES, MAX_FILES))
        return result

    def file(self, path):
        """One log file: the part in the window, decompressed when it is a rotated one."""
        # Stored without the packing of the source: a name that ends with .gz is a member that we packed.
        item = self.entry("files/" + re.sub(r"\.(?:gz|bz2|xz)\Z", "", path.lstrip("/")), path)
        if self.clock() > self.end:
            self.fail(item, "the host's deadline of %g s had passed" % self.o["host_deadline"], "timeout")
            return
        try:
            source, size = open_log(path)
        except (OSError, EvidenceError) as error:
            self.fail(item, getattr(error, "strerror", None) or str(error))
            return
        mark = None
        stream = self.redactor.stream()
        with source:
            try:
                mark = self.archive.begin()
                sink = Sink(self.archive, self.share())
                note = self.read_file(item, source, size, sink, stream)
            except Full:
                self.no_room(item, mark)
                return
            except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
                # Half a compressed file is still evidence: what could be read is kept.
                note = b"[andon: the file could not be read further]"
                self.fail(item, "could not be read to its end: %s" % error)
        self.settle(item, sink, stream, mark, note)

    def read_file(self, item, source, size, sink, stream):
        """Reads one file into the sink; returns a last line, or b""."""
        path = item["source"]
        reader = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}.get(os.path.splitext(path)[1])
        if reader:
            item["window"] = "not honoured: compressed, taken as a whole"
            source, left = reader(source), None
        else:
            begin, finish, item["window"], first = file_window(source, size, self.since, self.until)
            if first is not None:
                self.first_lines.setdefault(family(path), []).append(first)
            source.seek(begin)
            left = finish - begin
        end = min(self.end, self.clock() + self.o["command_deadline"])
        while left is None or left > 0:
            data = source.read(BLOCK if left is None else min(BLOCK, left))
            if not data:
                break
            if left is not None:
                left -= len(data)
            self.seen += len(data)
            sink.write(stream.feed(data))
            self.check()
            self.tell()
            if self.clock() > end:
                self.fail(item, "not read to its end within %g s" % self.o["command_deadline"], "timeout")
                return b"[andon: reading was stopped; what follows is missing]"
        return b""

    def file_gaps(self):
        """Log files whose oldest line is younger than the window's start."""
        for name, times in sorted(self.first_lines.items()):
            if min(times) > self.since + 1:
                why = "the oldest line kept in these files is younger"
                self.gaps.append({"source": self.redactor.text(name), "container": "", "from": utc(self.since), "to": utc(min(times)), "why": why})


def clock_words():
    """What the host's clocks say now; its offset against the bastion is in the bundle's manifest."""
    return "UTC %s\nlocal zone %s, UTC%+d s\nsince boot %.3f s\n" % (
        utc(time.time()),
        time.tzname[time.localtime().tm_isdst > 0],
        time.localtime().tm_gmtoff,
        time.clock_gettime(time.CLOCK_BOOTTIME),
    )


def family(path):
    """The name that a log and its rotated files share: /var/log/trading/bot.log of bot.log.1, bot.log-20261122.gz."""
    return re.sub(r"(?:[.\-](?:\d+|gz|bz2|xz|zst))+\Z", "", path)


def total_size(path):
    """Bytes of an engine's log file and its rotated ones; 0 when they cannot be seen."""
    total = 0
    for name in [path] + glob.glob(glob.escape(path) + ".*") if path else []:
        try:
            total += os.stat(name).st_size
        except OSError:
            continue
    return total


def open_log(path):
    """Opens a log file; returns (binary file, bytes at this moment).

    Raises:
        EvidenceError: it is a device, a pipe, a link out of its folder, or packed in a way that cannot be read here.
        OSError: it cannot be opened.
    """
    if path.endswith((".zst", ".lz4", ".zip", ".Z", ".7z", ".br")):
        raise EvidenceError("it cannot be unpacked with the standard library, so it cannot be redacted, so it was left out")
    real = os.path.realpath(path)
    if os.path.dirname(real) != os.path.realpath(os.path.dirname(path)):
        raise EvidenceError("it is a link out of its folder, so it was left out")
    handle = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    about = os.fstat(handle)
    if not stat.S_ISREG(about.st_mode):
        os.close(handle)
        raise EvidenceError("it is no ordinary file, so it was left out")
    return os.fdopen(handle, "rb"), about.st_size


# Start, estimate, remove


def estimate(options):
    """What a collection would take, without making anything.

    Returns:
        dict: containers (names), files (paths), bytes (about, before compression), engine ("" or why it gave no answer).
    """
    engine = Engine(options["container_cli"], 10.0)
    names, size, words = [], 0, ""
    components = ["name=^/?%s$" % one["name"].replace(".", "\\.") for one in options.get("components") or ()]
    try:
        for one in engine.inspect(engine.ids(list(options["selectors"]) + components)):
            names.append(one.name)
            size += total_size(one.raw.get("LogPath") or "")
    except EngineError as error:
        words = str(error)
    files = []
    for path in sorted(path for pattern in options["files"] for path in glob.glob(pattern)):
        try:
            about = os.stat(path)
        except OSError:
            continue
        if stat.S_ISREG(about.st_mode) and about.st_mtime >= options["since"] and path not in files:
            files.append(path)
            size += about.st_size
    return {"containers": sorted(names), "files": files, "bytes": size, "engine": words}


def start(options, folders=FOLDERS):
    """Makes the folder and starts the collector in it, on its own.

    Args:
        options: the module's options; owner is the user id that will fetch the archive.

    Returns:
        dict: folder, pid, expected (bytes before compression), room (bytes), shrunk, swept (paths of dead collections taken away).

    Raises:
        EvidenceError: no room.
    """
    folders = tuple((path, MEMORY if kind == MEMORY else DISK) for path, kind in folders)
    swept = sweep(folders)
    expected = estimate(options)["bytes"]
    # Logs compress to a fifth or better; a quarter is careful.
    parent, room, shrunk = choose(folders, options["reserve"], expected // 4 + (16 << 20), options["max_host_bytes"])
    folder = make_folder(parent)
    with open(os.path.join(folder, "lease"), "wb") as out:
        out.write(b"%d" % options["lease"])
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        pid = _wait_for_pid(folder)
        return {"folder": folder, "pid": pid, "expected": expected, "room": room, "shrunk": shrunk, "swept": swept}
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        detach()
        serve(folder, options, room, shrunk)
    finally:
        os._exit(1)
    return None  # pragma: no cover


def _wait_for_pid(folder, seconds=5.0):
    """The pid of the collector, from its own file."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            with open(os.path.join(folder, "pid"), encoding="ascii") as source:
                return int(source.read().split()[0])
        except (OSError, IndexError, ValueError):
            time.sleep(0.01)
    shutil.rmtree(folder, ignore_errors=True)
    raise EvidenceError("the collector did not start within %g s" % seconds)


def detach():
    """Cuts the collector off from the connection: no terminal, no pipe that keeps the module waiting, lower priority, no umask surprise."""
    os.umask(0o077)
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    os.closerange(3, 256)
    os.nice(5)
    os.chdir("/")


def serve(folder, options, room, shrunk):
    """The collector's whole life: collect, hand over, wait until it is fetched, take the folder away."""
    collector = None
    try:
        with open(os.path.join(folder, "pid"), "w", encoding="ascii") as out:
            out.write("%d %s" % (os.getpid(), process_start(os.getpid())))
        collector = Collector(folder, options, room, shrunk)
        collector.tell(now=True)
        try:
            size, digest = collector.run()
            path = os.path.join(folder, "evidence.tar")
            if options["owner"] != os.geteuid():
                os.chown(path, options["owner"], -1)
            collector.tell("done", now=True, size=size, sha256=digest)
        except Abandoned:
            raise
        except Exception as error:
            # Whatever it was, it must reach the operator: nobody reads this process's own output.
            words = collector.redactor.text("%s: %s" % (type(error).__name__, error))[:300]
            collector.tell("failed", now=True, error="the work folder's file system became full" if isinstance(error, Full) else words)
        while True:
            collector.check()
            time.sleep(0.2)
    except Abandoned:
        pass
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(0)


def remove(folder):
    """Takes a collection's folder away; the collector notices and ends. True when there was one.

    Raises:
        EvidenceError: the path is no collection's folder, or it could not be removed.
    """
    if not FOLDER_NAME.match(folder):
        raise EvidenceError("%r is no folder of a collection" % folder)
    if not os.path.lexists(folder):
        return False
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        return True
    except OSError as error:
        raise EvidenceError("%s could not be removed: %s" % (folder, error.strerror)) from error
    return True
