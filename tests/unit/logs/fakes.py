"""A host for the collector: an engine that answers from files, and system commands that answer at once."""

from __future__ import annotations

import json
from pathlib import Path

CANARY = "zq9CANARYx7Wv"
PEM_BODY = "MIIEowIBAAKCAQEAcanaryABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnop"
STAMP = "2026-11-22T03:00:00.%09dZ "
DOCKER = """#!/bin/sh
# A container engine's CLI that answers from files beside it and writes down how it was called.
d=${0%/*}/engine
echo "$@" >>"$d/calls"
[ ! -e "$d/down" ] || { echo "Cannot connect to the Docker daemon. Is the docker daemon running?" >&2; exit 1; }
[ ! -e "$d/hung" ] || exec sleep 60
case $1 in
ps) for i in "$d"/logs/*; do [ ! -d "$i" ] || echo "${i##*/}"; done ;;
inspect) cat "$d/inspect.json" ;;
logs)
    for id; do :; done
    [ ! -e "$d/logs/$id/none" ] || { echo "configured logging driver does not support reading" >&2; exit 1; }
    case " $* " in
    *" --since "*)
        case $id in slow*) case " $* " in *" --tail "*) echo "2026-11-22T03:59:59.000000001Z newest" ;;
            *) cat "$d/logs/$id/out"; exec sleep 60 ;; esac ;; esac
        cat "$d/logs/$id/out"; cat "$d/logs/$id/err" >&2 ;;
    *) cat "$d/logs/$id/oldest" ;;
    esac ;;
*) echo "{\\"what\\": \\"$1\\"}" ;;
esac
"""


class FakeHost:
    """Makes the commands in a folder; containers are added with C(add)."""

    def __init__(self, root: Path):
        self.bin = root / "bin"
        self.engine = self.bin / "engine"
        (self.engine / "logs").mkdir(parents=True)
        self.files = root / "trading"
        self.files.mkdir()
        self.work = root / "work"
        self.work.mkdir()
        self.raw: list[dict] = []
        self.command("docker", DOCKER)
        for name in ("journalctl", "dmesg", "df", "ps", "uname", "timedatectl", "chronyc"):
            self.command(name, f"#!/bin/sh\necho '{name} says one'\necho 'and two password={CANARY}'\n")

    def command(self, name: str, text: str) -> None:
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def add(self, name: str, out="", err="", oldest=None, status="running", env=(), cmd=(), none=False, created="2026-11-01T00:00:00Z"):
        """A container; the id is its name and zeros."""
        one = (name + "0" * 64)[:64]
        folder = self.engine / "logs" / one
        folder.mkdir()
        for file, text in (("out", out), ("err", err), ("oldest", oldest if oldest is not None else out)):
            (folder / file).write_bytes(text if isinstance(text, bytes) else text.encode())
        if none:
            (folder / "none").touch()
        self.raw.append(
            {
                "Id": one,
                "Name": "/" + name,
                "Image": "sha256:" + "ab" * 32,
                "Created": created,
                "Args": list(cmd),
                "Config": {"Image": "x:1", "Env": list(env), "Cmd": list(cmd), "Labels": {"andon.component": "strategy"}},
                "State": {"Status": status, "Running": status in ("running", "paused")},
                "HostConfig": {},
            }
        )
        (self.engine / "inspect.json").write_text(json.dumps(self.raw))
        return one

    def calls(self) -> list[str]:
        return (self.engine / "calls").read_text().splitlines()

    def plant(self) -> None:
        """Secrets in every place that a bundle could carry them from."""
        split = "A" * (16384 - 15) + "password=" + CANARY
        out = (
            STAMP % 1
            + f"GET https://x.example/?apikey={CANARY}\n"
            + STAMP % 2
            + json.dumps({"api_secret": CANARY, "n": 1})
            + "\n"
            + "".join(STAMP % n + line + "\n" for n, line in enumerate(["-----BEGIN PRIVATE KEY-----", *[PEM_BODY] * 9, "Zm9v", "-----END PRIVATE KEY-----"]))
            + (STAMP % 3 + split[:16384] + STAMP % 3 + split[16384:] + "\n")
            + (STAMP % 4 + "{{ 7*7 }} \x1b[31mred\x1b[0m | [x](javascript:1) caf\xe9 \x00 end\n")
        ).encode("latin-1")
        self.add("momentum", out, STAMP % 5 + f"raw {CANARY} in stderr\n", env=[f"API_SECRET={CANARY}", f"DB=postgres://u:{CANARY}@db/x"])
        self.add("exited", STAMP % 1 + "bye\n", status="exited", cmd=["bot", "--token", CANARY])
        self.add("paused", STAMP % 1 + "ice\n", status="paused")
        self.add("looping", STAMP % 1 + "crash\n", status="restarting")
        (self.files / f"dump-{CANARY}.log").write_text(f"2026-11-22T03:10:00Z token: {CANARY}\n")


def options(host: FakeHost, **more):
    """The collector's options for a fake host: the hour of the fake log lines."""
    return {
        "run": "r1",
        "key": "ab" * 32,
        "known": [],
        "since": 1795316400.0,  # 2026-11-22T03:00:00Z
        "until": 1795320000.0,
        "container_cli": str(host.bin / "docker"),
        "selectors": ["label=andon.component"],
        "components": [],
        "files": [str(host.files / "*")],
        "owner": __import__("os").geteuid(),
        "command_deadline": 20.0,
        "host_deadline": 60.0,
        "lease": 30,
        "max_item_bytes": 1 << 30,
        "max_host_bytes": 1 << 30,
        "reserve": 0,
    } | more
