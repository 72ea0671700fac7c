"""A container engine made of files, for tests that must not need a real one."""

from __future__ import annotations

import datetime
import json
import sys
import time
from pathlib import Path

PROGRAM = r"""
import json, os, re, sys, time
world = json.load(open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "world.json")))
args = sys.argv[1:]
open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "calls"), "a").write(" ".join(args) + "\n")
if world.get("hangs") == args[0]:
    time.sleep(60)
if world.get("down"):
    sys.exit("Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?")
if args[0] == "info":
    print(json.dumps({"ServerVersion": "20.10.24", "DockerRootDir": "/"}))
elif args[0] == "ps":
    want = args[args.index("--filter") + 1]
    for one in world["containers"]:
        labels = one["Config"]["Labels"]
        key, _, value = want.partition("=")
        if (key == "label" and any(value in (k, k + "=" + v) for k, v in labels.items())) or (key == "name" and re.search(value, one["Name"])):
            print(one["Id"])
elif args[0] == "inspect":
    print(json.dumps([one for one in world["containers"] if one["Id"] in args]))
elif args[0] == "logs":
    one = [c for c in world["containers"] if c["Id"] == args[-1]][0]
    if one.get("log_hangs"):
        sys.stdout.write("2026-01-01T00:00:00Z ERROR old\n"); sys.stdout.flush(); time.sleep(60)
    if one.get("log_error"):
        sys.exit(one["log_error"])
    path = one.get("log")
    lines = open(path, "rb").read().splitlines(True) if path else []
    sys.stdout.buffer.write(b"".join(lines[-int(args[args.index("--tail") + 1]):]))
elif args[0] in ("events", "images"):
    pass
elif args[0] == "version":
    print("20.10.24")
elif args[:2] == ["image", "inspect"]:
    print("[]")
else:
    sys.exit("no such command: " + args[0])
"""


def stamp(at: float) -> str:
    return datetime.datetime.fromtimestamp(at, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class FakeEngine:
    """An engine whose CLI is a small program and whose containers are a JSON file.

    Args:
        folder: where it lives.
    """

    def __init__(self, folder: Path, **world: object) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.world: dict = {"containers": [], **world}
        self.cli = folder / "docker"
        self.cli.write_text(f"#!{sys.executable}\n{PROGRAM}")
        self.cli.chmod(0o755)
        self.save()

    def save(self) -> None:
        (self.folder / "world.json").write_text(json.dumps(self.world))

    def calls(self) -> list[str]:
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def add(self, name: str, log: list[tuple[float, bytes]] = (), *, started_ago: float = 7200.0, created_ago: float = 7200.0, **more: object) -> dict:
        """A container; C(log) holds (Unix time, line)."""
        path = self.folder / (name + ".log")
        path.write_bytes(b"".join(stamp(at).encode() + b" " + line + b"\n" for at, line in log))
        now = time.time()
        one = {
            "Id": f"{abs(hash((str(self.folder), name))):064x}",
            "Name": "/" + name,
            "Created": stamp(now - created_ago),
            "Image": more.pop("digest", "sha256:" + "a" * 64),
            "RestartCount": more.pop("restarts", 0),
            "Config": {"Image": more.pop("image", "trading/" + name + ":prod"), "Labels": {"andon.component": "strategy", **more.pop("labels", {})}},
            "HostConfig": {"Memory": more.pop("limit", 0), "RestartPolicy": {"Name": "always"}},
            "State": {
                "Status": more.get("status", "running"),
                "Running": more.pop("status", "running") in ("running", "paused", "restarting"),
                "Pid": 0,
                "ExitCode": more.pop("exit_code", 0),
                "StartedAt": stamp(now - started_ago),
                "FinishedAt": stamp(now - 60),
                **({"Health": {"Status": more.pop("health")}} if "health" in more else {}),
            },
            "log": str(path),
            **more,
        }
        self.world["containers"].append(one)
        self.save()
        return one
