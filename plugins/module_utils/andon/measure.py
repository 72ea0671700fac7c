"""What a host says of itself: disks, memory, load, and the memory of one container, from the kernel's own files.

Standard library only, Python 3.8. Nothing here waits: C(docker stats) takes two seconds, the same number in the cgroup
takes none.
"""

from __future__ import annotations

import os

from . import cgroup
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


def memory(proc="/proc"):
    """{total, available, swap_total, swap_free} in bytes and pressure; {} when the kernel does not say."""
    try:
        found = cgroup.host_memory(proc)
    except OSError:
        return {}
    return found if found["total"] else {}


def load():
    """{one, five, fifteen, cpus}: the load averages and how many CPUs share them."""
    one, five, fifteen = os.getloadavg()
    return {"one": one, "five": five, "fifteen": fifteen, "cpus": os.cpu_count() or 1}


def container_memory(pid, proc="/proc"):
    """The memory that the control group of a process uses, less the file cache that the kernel can drop at once: the number that
    C(docker stats) shows.

    Args:
        pid: the container's first process, as the engine numbers it. proc: where the process file system is.

    Returns:
        bytes, or None when it cannot be found or read.
    """
    try:
        group = cgroup.Memory(pid, proc)
        # An engine on another machine or in another namespace numbers processes differently: no number rather than a wrong one.
        if str(pid) not in cgroup.read(os.path.join(group.folder, "cgroup.procs")).split():
            return None
        return group.figures()["working"]
    except (OSError, cgroup.NoAccounting):
        return None


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
