"""Which run this is, and whether another run on the same bastion is dead. Runs on the bastion, in action plugins.

A run is the ansible-playbook process: its number and start time name it, so no variable has to be passed around.
"""

from __future__ import annotations

import os
import re
import socket


def start_time(pid):
    """The process's start in clock ticks since boot, as text; "" if there is none."""
    try:
        with open("/proc/%d/stat" % pid, encoding="ascii", errors="replace") as source:
            fields = source.read().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


def where():
    """This boot of this machine and its process namespace: process numbers mean nothing elsewhere."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as source:
            boot = source.read().strip()
    except OSError:
        boot = "?"
    try:
        space = os.readlink("/proc/self/ns/pid")
    except OSError:
        space = "?"
    return "%s %s" % (boot, space)


def this_run(pid=None):
    """This run's name and place. In an action plugin the parent process is ansible-playbook itself.

    Returns:
        dict: run_id ("bastion-PID-START"), where.
    """
    pid = os.getppid() if pid is None else pid
    return {"run_id": "%s-%d-%s" % (re.sub(r"[^A-Za-z0-9.]", "-", socket.gethostname())[:40].lstrip(".-") or "bastion", pid, start_time(pid)), "where": where()}


def is_dead(holder):
    """True if a lock's holder was a process of this boot of this machine that is no more. False where nobody can know."""
    if holder.get("where") != where() or "?" in holder["where"]:
        return False
    _, _, rest = str(holder.get("run_id", "")).rpartition("-")
    pid = str(holder.get("run_id", "")).split("-")[-2:-1]
    if not rest or not pid or not pid[0].isdigit():
        return False
    return start_time(int(pid[0])) != rest
