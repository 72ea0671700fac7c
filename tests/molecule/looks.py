"""What the tests see of a host: its engine's and its kernel's own words, never a verb's."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

ALL = {"feed", "adapter-sim", "momentum", "meanrev", "ledger"}
COVERED = ALL - {"ledger"}

Shell = Callable[[str], str]


def containers(sh: Shell) -> dict[str, dict[str, Any]]:
    """Every container of a host, running or not, by name.

    Args:
        sh: runs a shell command on the host; returns its output, raises when it fails.
    """
    found = {}
    for one in json.loads(sh("docker ps -aq --no-trunc | xargs docker inspect")):
        state, settings = one["State"], one["HostConfig"]
        found[one["Name"].lstrip("/")] = {
            "id": one["Id"],
            "image": one["Image"],
            "status": state["Status"],
            "started_at": state["StartedAt"],
            "restarts": one["RestartCount"],
            "policy": settings["RestartPolicy"],
            "memory": settings["Memory"],
            "memory_swap": settings["MemorySwap"],
            "health": (state.get("Health") or {}).get("Status"),
        }
    return found


def programs(sh: Shell) -> set[str]:
    """Names of the trading programs that have a process on the host, as the kernel lists them (no engine)."""
    # The pattern does not match itself, which is in this command's own arguments.
    words = "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\000' ' ' | grep -o '/app/trader.py --name [a-z-]\\+' || true"
    return {line.split()[-1] for line in sh(words).splitlines()}
