#!/usr/bin/env python3
"""`andon restart` against the same restart by hand, on the lab, in one run.

By hand is what a runbook says: host by host, `ssh HOST docker restart NAME`, then looking until it is healthy. Both are measured
on the bastion's clock, in turn, so that the machine's load meets both. Prints JSON: seconds of each run, the medians, their ratio.

    ./dev bench restart
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from lab import lab as fleet_lab  # noqa: E402

# Running and, where there is a health check, healthy.
LOOK = "docker inspect --format '{{.State.Status}} {{if .State.Health}}{{.State.Health.Status}}{{end}}' %s"
GREATEST_WAIT = 120


def by_hand(name: str, hosts: tuple[str, ...], ssh: list[str]) -> None:
    """What a careful person types, host by host; the next host only after this one is healthy.

    Raises:
        subprocess.CalledProcessError: a command failed. TimeoutError: not healthy in time.
    """
    for host in hosts:
        subprocess.run([*ssh, host, f"docker restart {name}"], check=True, capture_output=True)
        end = time.monotonic() + GREATEST_WAIT
        while subprocess.run([*ssh, host, LOOK % name], check=True, capture_output=True, text=True).stdout.split() not in (["running"], ["running", "healthy"]):
            if time.monotonic() > end:
                raise TimeoutError(f"{name} on {host} is not healthy after {GREATEST_WAIT} s")
            time.sleep(0.5)


def by_andon(name: str, inventory: str) -> None:
    """One command, with its plan, evidence, gates and report."""
    argv = [sys.executable, str(ROOT / "cli.py"), "-i", inventory, "restart", name, "--yes"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"andon restart {name} failed, so there is nothing to compare:\n{done.stdout}{done.stderr}")


def seconds(work, *args) -> float:
    begun = time.monotonic()
    work(*args)
    return round(time.monotonic() - begun, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", default="momentum", help="the component to restart (a container's name)")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    ssh = ["ssh", "-F", str(fleet_lab.STATE / "ssh_config")]
    rounds = [(seconds(by_hand, options.name, fleet_lab.HOSTS, ssh), seconds(by_andon, options.name, str(fleet_lab.INVENTORY))) for _ in range(options.rounds)]
    hand, andon = (statistics.median(column) for column in zip(*rounds, strict=True))
    result = {
        "bench": "restart",
        "hosts": len(fleet_lab.HOSTS),
        "cpus": os.cpu_count(),
        "rounds": [{"by_hand": one, "andon": other} for one, other in rounds],
        "median_by_hand": hand,
        "median_andon": andon,
        "ratio": round(andon / hand, 2),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
