#!/usr/bin/env python3
"""How long a rollback takes on the lab: to the first healthy canary, and to all hosts.

    ./dev bench rollback

Records what runs, deploys another image under the same tag, rolls back. Times are from the start of ansible-playbook on the bastion's clock;
the lab's hosts share it. The canary's time is when its own audit line says that it is done.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "plugins" / "module_utils")]

from andon.state import parse_utc  # noqa: E402  (the path above must be set first)
from lab import lab  # noqa: E402


def on(host: str, command: str) -> str:
    argv = ["docker", "exec", lab.container(host), "bash", "-c", command]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


def play(verb: str, **extra: object) -> tuple[float, dict]:
    """Runs a verb; returns (when it began, its report). Ends the benchmark when it fails."""
    argv = [sys.executable, "-m", "ansible", "playbook", str(ROOT / f"{verb}.yml"), "-i", str(lab.INVENTORY), "-e", json.dumps(extra)]
    began = time.time()
    done = subprocess.run(argv, cwd=ROOT, env=os.environ | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANDON_JSON": "1"}, capture_output=True, text=True)
    report = json.loads(done.stdout)
    if done.returncode:
        sys.exit(f"{verb}: {report['headline']}\n" + "\n".join(report.get("summary", [])))
    return began, report


def main() -> None:
    lab.up()
    images = {host: on(host, "docker image inspect -f '{{.Id}}' trading:1") for host in lab.HOSTS}
    name = f"bench-{int(time.time())}"
    play("record_release", release_name=name)
    try:
        for host in lab.HOSTS:
            on(
                host,
                "cd /srv/trading && printf 'FROM trading:1\\nENV BENCH=1\\n' | DOCKER_BUILDKIT=0 docker build -q -t trading:1 - "
                "&& docker compose -p trading up -d",
            )
        began, report = play("rollback", to=name, confirm=name)
        ended = time.time()
        ends = {}
        for host in lab.HOSTS:
            ends[host] = parse_utc(json.loads(on(host, "tail -n 1 /var/lib/andon/releases/audit.jsonl"))["at"]) - began
        print(report["headline"])
        print(f"first healthy canary   {min(ends.values()):6.1f} s")
        print(f"all hosts healthy      {max(ends.values()):6.1f} s")
        print(f"proven and reported    {ended - began:6.1f} s")
    finally:
        for host, image in images.items():
            on(host, f"docker tag {image} trading:1")
        lab.reset()


if __name__ == "__main__":
    main()
