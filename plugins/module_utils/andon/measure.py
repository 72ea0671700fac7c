"""What a host says of itself: disks, memory, load, and the memory of one container, from the kernel's own files.

Standard library only, Python 3.8. Nothing here waits: C(docker stats) takes two seconds, the same number in the cgroup
takes none.
"""

from __future__ import annotations

import os

from .engine import COMPONENT, PROTECT, STRATEGY, VENUE


def disks(paths):
    """How full the file systems that hold these paths are, each once.

    Args:
        paths: folders; one that does not exist is left out.

    Returns:
        list of {path, size, free (bytes, for others than root), used (0..1), inodes_used (0..1 or None), read_only}.
    """
    found, seen = [], set()
    for path in paths:
        try:
            device, fs = os.stat(path).st_dev, os.statvfs(path)
        except OSError:
            continue
        if device in seen or not fs.f_blocks:
            continue
        seen.add(device)
        usable = fs.f_blocks - fs.f_bfree + fs.f_bavail
        found.append(
            {
                "path": path,
                "size": fs.f_blocks * fs.f_frsize,
                "free": fs.f_bavail * fs.f_frsize,
                "used": 1.0 - fs.f_bavail / usable if usable else 1.0,
                "inodes_used": 1.0 - fs.f_favail / fs.f_files if fs.f_files else None,
                "read_only": bool(fs.f_flag & os.ST_RDONLY),
            }
        )
    return found


def memory(path="/proc/meminfo"):
    """{total, available, swap_total, swap_free} in bytes; {} when the kernel does not say."""
    values = {}
    try:
        with open(path, encoding="ascii", errors="replace") as source:
            for line in source:
                name, _, rest = line.partition(":")
                words = rest.split()
                if words and words[0].isdigit():
                    values[name] = int(words[0]) * 1024
    except OSError:
        return {}
    if "MemTotal" not in values:
        return {}
    available = values.get("MemAvailable", values.get("MemFree", 0) + values.get("Cached", 0))
    return {"total": values["MemTotal"], "available": available, "swap_total": values.get("SwapTotal", 0), "swap_free": values.get("SwapFree", 0)}


def load():
    """{one, five, fifteen, cpus}: the load averages and how many CPUs share them."""
    one, five, fifteen = os.getloadavg()
    return {"one": one, "five": five, "fifteen": fifteen, "cpus": os.cpu_count() or 1}


def _read(path):
    try:
        with open(path, encoding="ascii", errors="replace") as source:
            return source.read()
    except OSError:
        return ""


def _mounts(text):
    """(root, mount point, is version 2, controllers) of every cgroup file system in a mountinfo text."""
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        fields, kind = left.split(), right.split()
        if len(fields) > 4 and kind and kind[0] in ("cgroup", "cgroup2"):
            yield fields[3], fields[4], kind[0] == "cgroup2", kind[-1].split(",")


def container_memory(pid, proc="/proc"):
    """The memory that the cgroup of a process uses, less the file cache that the kernel can drop at once.

    The same number as C(docker stats): usage - inactive_file (cgroup 2) or total_inactive_file (cgroup 1).

    Args:
        pid: the container's first process, on this host.
        proc: where the process file system is.

    Returns:
        bytes, or None when the cgroup cannot be found or read.
    """
    mounts = list(_mounts(_read(os.path.join(proc, "self", "mountinfo"))))
    for line in _read(os.path.join(proc, str(pid), "cgroup")).splitlines():
        number, controllers, path = (line.split(":", 2) + ["", ""])[:3]
        second = number == "0" and not controllers
        if not second and "memory" not in controllers.split(","):
            continue
        usage_name, key = ("memory.current", "inactive_file") if second else ("memory.usage_in_bytes", "total_inactive_file")
        for root, point, is_second, names in mounts:
            if is_second != second or (not second and "memory" not in names):
                continue
            inside = path[len(root) :] if root != "/" and path.startswith(root) else path
            folder = os.path.join(point, inside.lstrip("/"))
            usage = _read(os.path.join(folder, usage_name)).strip()
            # Without this check a path of another namespace would be read as the whole host's group.
            if not usage.isdigit() or str(pid) not in _pids(folder):
                continue
            for one in _read(os.path.join(folder, "memory.stat")).splitlines():
                name, _, value = one.partition(" ")
                if name == key and value.isdigit():
                    return max(int(usage) - int(value), 0)
            return int(usage)
    return None


def _pids(folder):
    return _read(os.path.join(folder, "cgroup.procs")).split()


def components(engine, selectors, named):
    """The containers that an operator wants to see: those that the cord covers, and the protected ones.

    The cord spares a database; whoever looks wants to know that it lives.

    Args:
        engine: engine.Engine. selectors: engine filters. named: the inventory's words for containers without labels; they win.

    Returns:
        list of engine.Container, by name.

    Raises:
        EngineError: the engine refused or gave no answer.
    """
    by_name = {one["name"]: one for one in named}
    filters = list(selectors) + ["name=^/?%s$" % name.replace(".", "\\.") for name in by_name]
    found = sorted(engine.inspect(engine.ids(filters)), key=lambda one: one.name)
    for container in found:
        one = by_name.get(container.name, {})
        for label, key in ((COMPONENT, "component"), (STRATEGY, "strategy"), (VENUE, "venue")):
            if one.get(key):
                container.labels[label] = str(one[key])
        if one.get("protect") is not None:
            container.labels[PROTECT] = "true" if one["protect"] else "false"
    return found
