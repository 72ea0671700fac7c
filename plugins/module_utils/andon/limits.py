"""Memory limits: how they are written, what a component needs, what is in force, and what they were before.

Used on the hosts, so standard library only, Python 3.8. Sizes are in bytes; 0 is unlimited for C(memory), -1 for C(swap)
(the engine's own words). C(swap) is always memory and swap together, as the engine's C(--memory-swap).
"""

from __future__ import annotations

import fcntl
import json
import os
import re

from .state import utc_now, write_atomic
from .text import clean, size

# The engine's own least limit (daemon_unix.go); below it `docker update` fails after the container was stopped for it.
LEAST = 6 * 1024 * 1024
UNLIMITED_SWAP = -1
# cgroup v1 writes "no limit" as the greatest multiple of a page; anything above 2^60 is no limit on any machine.
NO_LIMIT = 1 << 60
SCHEMA = "andon.limits/1"

_SIZE = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,3})?) ?([bkmgt]?)(?:i?b)?\Z", re.IGNORECASE)
_POWER = {"": 0, "b": 0, "k": 1, "m": 2, "g": 3, "t": 4}


class LimitError(ValueError):
    """A limit that cannot be meant. C(str()) is one line for a person."""


def parse_size(text):
    """Bytes of a size such as 512m, 1g, 1.5GiB or 536870912, as the engine reads it (1k = 1024).

    Raises:
        LimitError: it is no size, or less than the engine accepts (6 MiB).
    """
    match = _SIZE.match(str(text).strip())
    if not match or isinstance(text, bool):
        raise LimitError("'%s' is not a size of memory. Write it as 512m, 1g or in bytes" % clean(text, 40))
    count = int(float(match.group(1)) * 1024 ** _POWER[match.group(2).lower()])
    if count < LEAST:
        hint = ". Did you mean %sm?" % match.group(1) if not match.group(2) and float(match.group(1)) >= 6 else ""
        raise LimitError("%s is less than the least limit that the engine accepts (6 MiB)%s" % (size(count), hint))
    return count


def parse_swap(text, memory):
    """Bytes of memory and swap together: "" is the same as C(memory) (no swap), "-1" is unlimited swap.

    Raises:
        LimitError: no size, or less than C(memory).
    """
    words = str(text).strip()
    if not words:
        return memory
    if words == "-1":
        return UNLIMITED_SWAP
    swap = parse_size(words)
    if swap < memory:
        raise LimitError("memory and swap together (%s) cannot be less than memory (%s)" % (size(swap), size(memory)))
    return swap


def words(memory, swap):
    """A limit for a person: "512.0 MiB, no swap"."""
    if not memory:
        return "unlimited"
    if swap == memory:
        return "%s, no swap" % size(memory)
    # 0 is what an engine without swap accounting says.
    return "%s, swap %s" % (size(memory), "unlimited" if swap <= 0 else size(swap - memory))


def required(usage, margin):
    """The least limit that leaves a component room: its working set (never less than anon) and C(margin) percent."""
    return int(max(usage.get("working_set") or 0, usage.get("anon") or 0) * (100 + margin) / 100.0)


def compose_lines(service, memory, swap):
    """The lines to add to the Compose file, without which the next recreate drops the limit."""
    lines = ["services:", "  %s:" % service, "    mem_limit: %d" % memory]
    return lines + ["    memswap_limit: %d" % swap]


# What is in force: the kernel's files


class Cgroup:
    """The memory cgroup of a container.

    Args:
        pid: the container's first process, as the host counts.
        container_id: the container's id; its own cgroup is the one that is named after it, even when the process sits deeper.
        root: where the host's /proc and /sys are.

    Raises:
        LookupError: there is no such process, or no memory accounting.
    """

    def __init__(self, pid, container_id, root="/"):
        self.version, self.path = _locate(int(pid), container_id, root)

    def _read(self, name):
        try:
            with open(os.path.join(self.path, name), encoding="ascii", errors="replace") as source:
                return source.read()
        except OSError:
            return None

    def _number(self, name):
        """Bytes in a one-line file; None: no such file; 0: no limit."""
        text = self._read(name)
        if text is None:
            return None
        text = text.strip()
        if text == "max":
            return 0
        return 0 if int(text) > NO_LIMIT else int(text)

    def limit(self):
        """(memory, swap) in force: bytes, memory 0 for unlimited, swap -1 for unlimited, None where it is not accounted."""
        if self.version == 1:
            memory, swap = self._number("memory.limit_in_bytes"), self._number("memory.memsw.limit_in_bytes")
            return memory, UNLIMITED_SWAP if swap == 0 else swap
        memory, text = self._number("memory.max"), self._read("memory.swap.max")
        if text is None:
            return memory, None
        # v2 counts swap alone; the engine's word is memory and swap together.
        return memory, UNLIMITED_SWAP if text.strip() == "max" or not memory else memory + int(text)

    def usage(self):
        """dict of bytes: usage, anon, working_set (usage less inactive page cache, as `docker stats` counts)."""
        stat = {}
        for line in (self._read("memory.stat") or "").splitlines():
            key, _, value = line.partition(" ")
            if value.strip().isdigit():
                stat[key] = int(value)
        total = self._number("memory.usage_in_bytes" if self.version == 1 else "memory.current") or 0
        inactive = stat.get("total_inactive_file", stat.get("inactive_file", 0))
        anon = stat.get("total_rss", stat.get("rss", 0)) if self.version == 1 else stat.get("anon", 0)
        return {"usage": total, "anon": anon, "working_set": max(total - inactive, 0)}


def _locate(pid, container_id, root):
    try:
        with open(os.path.join(root, "proc", str(pid), "cgroup"), encoding="utf-8", errors="replace") as source:
            lines = [line.rstrip("\n").split(":", 2) for line in source]
    except OSError as error:
        raise LookupError("process %d is gone" % pid) from error
    lines = [line for line in lines if len(line) == 3]
    v1 = [line[2] for line in lines if "memory" in line[1].split(",")]
    v2 = [line[2] for line in lines if line[0] == "0" and not line[1]]
    fs = os.path.join(root, "sys/fs/cgroup")
    # In hybrid mode both are there and the controller is v1's. A v2 cgroup without the controller has no memory.max.
    for version, paths, mount, name in ((1, v1, "memory", "memory.limit_in_bytes"), (2, v2, "", "memory.max"), (2, v2, "unified", "memory.max")):
        for path in paths:
            found = _folder(os.path.join(fs, mount), path, pid, container_id, name)
            if found:
                return version, found
    raise LookupError("the kernel does not account memory for this container (no memory cgroup)")


def _folder(mount, path, pid, container_id, name):
    """The folder under C(mount) that C(path) means.

    A host that is a container itself may see a longer path than its mount begins with, so leading parts are dropped until
    the folder really lists the process.
    """
    parts = [part for part in path.split("/") if part and part != ".."]
    for drop in range(len(parts) + 1):
        folder = os.path.join(mount, *parts[drop:])
        try:
            with open(os.path.join(folder, "cgroup.procs"), encoding="ascii") as source:
                if str(pid) not in source.read().split():
                    continue
        except OSError:
            continue
        rest = parts[drop:]
        # A container with its own init system moves its first process deeper; the limit is on the folder named after the id.
        while rest and container_id not in rest[-1]:
            rest = rest[:-1]
        own = os.path.join(mount, *rest) if rest else folder
        if os.path.exists(os.path.join(own, name)):
            return own
    return None


def differs(wanted, found, page=None):
    """What the kernel enforces against what was asked for: [] or lines for a person.

    Args:
        wanted: (memory, swap) as the engine takes them.
        found: (memory, swap) as Cgroup.limit says; a None swap is "not accounted", which is no difference.
        page: the kernel's page size; limits are rounded down to it.
    """
    page = page or os.sysconf("SC_PAGE_SIZE")
    lines = []
    for index, label in enumerate(("memory", "memory and swap")):
        want, have = wanted[index], found[index]
        if index and have is None:
            continue
        if have is None or (want if want <= 0 else want // page * page) != (have if have <= 0 else have // page * page):
            lines.append("%s: asked for %s, in force is %s" % (label, _bytes(want), _bytes(have)))
    return lines


def _bytes(count):
    return "nothing" if count is None else "unlimited" if count <= 0 else "%d bytes (%s)" % (count, size(count))


# What it was before: <andon_host_state>/limits.json


def record_path(host_state):
    return os.path.join(host_state, "limits.json")


def recorded(host_state):
    """The limits before the first change: {container id: {name, memory, memory_swap, at}}; {} when there was none.

    Raises:
        LimitError: the file is there and cannot be read (nothing must be changed then, or the old limits would be lost).
    """
    path = record_path(host_state)
    try:
        with open(path, encoding="utf-8") as source:
            data = json.load(source)
        containers = data["containers"]
        if not isinstance(containers, dict):
            raise TypeError("containers is no object")
        return containers
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LimitError("%s is there and cannot be read (%s). Next: look at that file on the host" % (path, clean(error))) from error


def record(host_state, containers):
    """Writes down limits before their first change; what is there already is never overwritten.

    Args:
        host_state: Andon's folder on this host.
        containers: dicts {id, name, memory, memory_swap} as they are now.

    Raises:
        LimitError, OSError: it could not be kept, so nothing may be changed.
    """
    if not os.path.isdir(host_state):
        os.makedirs(host_state, 0o700)
    with open(record_path(host_state) + ".lock", "a") as lock:
        # Two operators at once: the second must see what the first wrote.
        fcntl.flock(lock, fcntl.LOCK_EX)
        known = recorded(host_state)
        fresh = {one["id"]: dict({key: one[key] for key in ("name", "memory", "memory_swap")}, at=utc_now()) for one in containers if one["id"] not in known}
        if fresh:
            write_atomic(record_path(host_state), {"schema": SCHEMA, "containers": dict(known, **fresh)}, 0o600)
