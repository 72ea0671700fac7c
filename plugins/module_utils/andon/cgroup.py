"""What the kernel says of a container's memory, on control groups of version 1 and 2.

Used by modules on the hosts: standard library only, Python 3.8. Parsers take text, so that they are tested on copies of
real files; C(Memory) reads the files. Everything is read, nothing is written.

Words:
    anon      memory of the processes that no file backs: what they allocated.
    held      anon + shared memory + swap: what the kernel cannot drop. A leak grows here and nowhere else.
    working   usage less inactive file pages: what `docker stats` shows. It still has cache in it, so it can be full without harm.
    firm      usage less all page cache: what counts when a limit is reached (held and the kernel's own share).
"""

from __future__ import annotations

import os

# Version 1 says "no limit" with the greatest multiple of a page in a signed 64-bit number; nothing real is near it.
UNLIMITED = 1 << 60


class NoAccounting(Exception):
    """This host's kernel does not account memory per container; C(str()) says why."""


def digits(text):
    """True for what int() takes: isdigit() alone is also true for "²"."""
    return text.isascii() and text.isdigit()


def flat(text):
    """`key number` lines (memory.stat, memory.events, memory.oom_control) as a dict; other lines are left out."""
    result = {}
    for line in text.splitlines():
        parts = line.split()
        if len(parts) == 2:
            try:
                result[parts[0]] = int(parts[1])
            except ValueError:
                continue
    return result


def number(text):
    """A single number; None for "max", for version 1's "no limit", and for nothing."""
    text = text.strip()
    if not digits(text):
        return None
    value = int(text)
    return None if value >= UNLIMITED else value


def pressure(text):
    """PSI text (memory.pressure, /proc/pressure/memory) as {some: {avg10, avg60, avg300, total}, full: ...}; {} without PSI."""
    result = {}
    for line in text.splitlines():
        kind, _, rest = line.strip().partition(" ")
        values = {}
        for pair in rest.split():
            key, _, value = pair.partition("=")
            try:
                values[key] = float(value)
            except ValueError:
                continue
        if kind in ("some", "full") and values:
            result[kind] = values
    return result


def kilobytes(text, keys):
    """`Key:  123 kB` lines (/proc/meminfo, /proc/PID/status) as bytes, for the keys that are there."""
    result = {}
    for line in text.splitlines():
        key, colon, rest = line.partition(":")
        if colon and key in keys:
            parts = rest.split()
            if parts and digits(parts[0]):
                result[key] = int(parts[0]) * 1024
    return result


def groups(text):
    """/proc/PID/cgroup as {controller: path}; version 2's single group has the key ""."""
    result = {}
    for line in text.splitlines():
        parts = line.split(":", 2)
        if len(parts) == 3:
            for controller in parts[1].split(","):
                result[controller] = parts[2]
    return result


def mounts(text):
    """/proc/self/mountinfo as a list of (version, controllers, root, mount point) of the control groups' trees."""
    result = []
    for line in text.splitlines():
        left, dash, right = line.partition(" - ")
        fields, kind = left.split(), right.split()
        if not dash or len(fields) < 5 or len(kind) < 3 or kind[0] not in ("cgroup", "cgroup2"):
            continue
        controllers = set(kind[2].split(",")) if kind[0] == "cgroup" else set()
        # The kernel writes blanks in paths as \040.
        root, point = (field.replace("\\040", " ") for field in fields[3:5])
        result.append((1 if kind[0] == "cgroup" else 2, controllers, root, point))
    return result


def place(cgroup_text, mountinfo_text):
    """Where a process' memory is accounted.

    In hybrid mode both versions are mounted and only version 1 has the memory controller, so version 1 is asked first.
    A host that is itself a container sees a part of the tree: the mount's root is cut off the path.

    Returns:
        (version, folder, mount point)

    Raises:
        NoAccounting: neither version accounts memory here.
    """
    where = groups(cgroup_text)
    trees = mounts(mountinfo_text)
    for version, controllers, root, point in trees:
        if version == 1 and "memory" in controllers and "memory" in where:
            return 1, _below(point, root, where["memory"]), point
    if "memory" not in where:
        for version, _, root, point in trees:
            if version == 2 and "" in where:
                return 2, _below(point, root, where[""]), point
    raise NoAccounting("the kernel has no memory controller mounted (boot with cgroup_enable=memory, or mount it)")


def _below(point, root, path):
    if root != "/" and (path + "/").startswith(root + "/"):
        path = path[len(root) :]
    return os.path.normpath(point + "/" + path)


def figures_v1(stat, usage):
    """The words above from version 1's memory.stat (text) and memory.usage_in_bytes (int)."""
    numbers = flat(stat)
    shared = numbers.get("total_shmem", 0)
    anon = numbers.get("total_rss", 0)
    cache = max(numbers.get("total_cache", 0) - shared, 0)
    return _figures(anon, shared, numbers.get("total_swap", 0), usage, numbers.get("total_inactive_file", 0), cache)


def figures_v2(stat, usage, swap):
    """The words above from version 2's memory.stat (text), memory.current and memory.swap.current (ints)."""
    numbers = flat(stat)
    shared = numbers.get("shmem", 0)
    cache = max(numbers.get("file", 0) - shared, 0)
    return _figures(numbers.get("anon", 0), shared, swap, usage, numbers.get("inactive_file", 0), cache)


def _figures(anon, shared, swap, usage, inactive, cache):
    return {
        "anon": anon,
        "held": anon + shared + swap,
        "usage": usage,
        "working": max(usage - inactive, 0),
        "firm": max(usage - cache, 0),
        "cache": cache,
    }


def read(path):
    """A small file's text.

    Raises:
        OSError: as open does; a group that has gone is FileNotFoundError or ENODEV.
    """
    with open(path, encoding="utf-8", errors="replace") as source:
        return source.read()


def read_or(path, other=""):
    """A small file's text, or C(other) when it is not there (older kernels, controllers that are off)."""
    try:
        return read(path)
    except OSError:
        return other


class Memory:
    """The memory group of one process.

    Args:
        pid: a process of the container, in this host's numbering.
        proc: where /proc is.

    Raises:
        NoAccounting: memory is not accounted here.
        OSError: the process has gone.
    """

    def __init__(self, pid, proc="/proc"):
        self.version, self.folder, self.top = place(read("%s/%d/cgroup" % (proc, pid)), read("%s/self/mountinfo" % proc))
        self.proc = proc
        self.stat_file = os.path.join(self.folder, "memory.stat")
        if not os.path.exists(self.stat_file) and os.path.exists("%s/%d" % (proc, pid)):
            raise NoAccounting("%s is not there: the memory controller is off for this container" % self.stat_file)

    def _path(self, name):
        return os.path.join(self.folder, name)

    def figures(self):
        """anon, held, usage, working, firm, cache in bytes, now.

        Raises:
            OSError: the group has gone.
        """
        stat = read(self.stat_file)
        if self.version == 1:
            return figures_v1(stat, number(read(self._path("memory.usage_in_bytes"))) or 0)
        swap = number(read_or(self._path("memory.swap.current"))) or 0
        return figures_v2(stat, number(read(self._path("memory.current"))) or 0, swap)

    def limit(self):
        """The lowest limit that holds for this container, its own or one of a group above it; None: unlimited."""
        if self.version == 1:
            above = flat(read_or(self.stat_file)).get("hierarchical_memory_limit")
            found = [number(read_or(self._path("memory.limit_in_bytes"))), number(str(above))]
        else:
            found, folder = [], self.folder
            while folder.startswith(self.top) and folder != self.top:
                found.append(number(read_or(os.path.join(folder, "memory.max"))))
                folder = os.path.dirname(folder)
        return min((value for value in found if value is not None), default=None)

    def kills(self):
        """How many processes of this group the kernel has killed for memory since the group was made; None: not counted."""
        name = "memory.oom_control" if self.version == 1 else "memory.events"
        return flat(read_or(self._path(name))).get("oom_kill")

    def hits(self):
        """How often the limit was reached."""
        if self.version == 1:
            return number(read_or(self._path("memory.failcnt"))) or 0
        return flat(read_or(self._path("memory.events"))).get("max", 0)

    def pressure(self):
        """PSI of this container; {} on version 1, which has none per group."""
        return pressure(read_or(self._path("memory.pressure"))) if self.version == 2 else {}

    def processes(self):
        """Every process of the group and the groups below it.

        Returns:
            list of dict pid (this host's), inner (the container's own numbering), name, held (bytes: RssAnon + RssShmem +
            VmSwap), greatest first. One that ends while it is read is left out.
        """
        found = []
        for folder, _, _ in os.walk(self.folder):
            for pid in read_or(os.path.join(folder, "cgroup.procs")).split():
                one = process(read_or("%s/%s/status" % (self.proc, pid)), read_or("%s/%s/cmdline" % (self.proc, pid)))
                if one:
                    one["pid"] = int(pid)
                    found.append(one)
        return sorted(found, key=lambda one: -one["held"])


INTERPRETERS = ("python", "node", "ruby", "perl", "bash", "sh")


def process(status, cmdline):
    """One process from the text of its status and cmdline files; None for a thread of the kernel or one that has gone.

    Only the program and, for an interpreter, its script's name are kept of the command line: arguments may be secrets.
    """
    sizes = kilobytes(status, ("RssAnon", "RssShmem", "VmSwap"))
    if "RssAnon" not in sizes:
        return None
    lines = dict(line.partition(":")[::2] for line in status.splitlines())
    name = lines.get("Name", "?").strip()
    arguments = cmdline.split("\0")
    if len(arguments) > 1 and os.path.basename(arguments[0]).startswith(INTERPRETERS):
        script = arguments[2] if arguments[1] == "-m" and len(arguments) > 2 else arguments[1]
        if script and not script.startswith("-"):
            name += " " + os.path.basename(script)
    inner = lines.get("NSpid", "").split()
    return {"name": name[:80], "inner": int(inner[-1]) if inner and digits(inner[-1]) else None, "held": sum(sizes.values())}


def host_memory(proc="/proc"):
    """The host's memory: total, available, swap_total, swap_free in bytes, and pressure (PSI, {} without it)."""
    numbers = kilobytes(read(proc + "/meminfo"), ("MemTotal", "MemAvailable", "SwapTotal", "SwapFree"))
    return {
        "total": numbers.get("MemTotal", 0),
        "available": numbers.get("MemAvailable", 0),
        "swap_total": numbers.get("SwapTotal", 0),
        "swap_free": numbers.get("SwapFree", 0),
        "pressure": pressure(read_or(proc + "/pressure/memory")),
    }


def birth(pid, proc="/proc"):
    """When a process began, in clock ticks since boot: tells it from a later one with the same number; None: it has gone."""
    text = read_or("%s/%d/stat" % (proc, pid))
    # The second field is the name in brackets and may hold anything, brackets and blanks included.
    fields = text.rpartition(")")[2].split()
    return int(fields[19]) if len(fields) > 19 else None
