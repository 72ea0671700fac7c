#!/usr/bin/env python3
"""Puts the lab's hosts back to fresh (not with --no-reset), waits until all is healthy, and writes what runs there: prepare.py FILE [--no-reset]."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

import looks  # noqa: E402  (the path above must be set first)

from lab import lab  # noqa: E402

PATIENCE = 60  # seconds for the health checks; a guard, they take 2


def healthy(found: dict[str, dict[str, Any]]) -> bool:
    return {name for name, one in found.items() if one["health"] == "healthy"} == looks.ALL


def main() -> None:
    if "--no-reset" not in sys.argv[2:]:
        lab.reset()
    end = time.monotonic() + PATIENCE
    before = {}
    for host in lab.HOSTS:

        def sh(command: str, host: str = host) -> str:
            return lab.docker("exec", lab.container(host), "bash", "-o", "pipefail", "-c", command)

        while not healthy(found := looks.containers(sh)):
            if time.monotonic() > end:
                sys.exit(f"{host} is not healthy after {PATIENCE} s: " + ", ".join(f"{name} {one['status']} {one['health']}" for name, one in found.items()))
            time.sleep(0.2)
        before[host] = found
    Path(sys.argv[1]).write_text(json.dumps(before))


if __name__ == "__main__":
    main()
