"""Fake hosts for the playbook tests: the machine itself, several times, each with a container CLI of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def container(name: str, component: str = "strategy", number: int = 1, **more: Any) -> dict[str, Any]:
    """What `docker inspect` says of one running container (the fields that Andon reads).

    Args:
        more: labels (dict), policy (name), and the switches of fake_docker.py.
    """
    labels = {"andon.component": component, **more.pop("labels", {})}
    policy = more.pop("policy", "always")
    running = more.pop("running", True)
    status = "running" if running else "exited"
    one: dict[str, Any] = {
        "Id": (name.encode().hex() + "0" * 64)[:62] + f"{number:02x}",
        "Name": "/" + name,
        "Image": "sha256:" + "a" * 64,
        "RestartCount": 0,
        "Config": {"Image": "trading:1", "Labels": labels},
        "HostConfig": {"RestartPolicy": {"Name": policy, "MaximumRetryCount": 0}, "Memory": 0, "MemorySwap": 0},
        "State": {
            "Status": status,
            "Running": running,
            "Paused": False,
            "Restarting": False,
            "Pid": 0,
            "ExitCode": 0,
            "OOMKilled": False,
            "StartedAt": "2026-11-22T03:00:00.000000000Z",
            "FinishedAt": "0001-01-01T00:00:00Z",
            "Health": {"Status": "healthy"},
        },
    }
    one.update(more)
    return one


def standard() -> list[dict[str, Any]]:
    """A host's usual containers: a feed, an adapter, two strategies, a protected database."""
    return [
        container("feed", "data", policy="unless-stopped"),
        container("adapter-sim", "adapter", policy="unless-stopped"),
        container("momentum", "strategy", labels={"andon.strategy": "momentum"}),
        container("meanrev", "strategy", labels={"andon.strategy": "meanrev"}, policy="on-failure"),
        container("ledger", "data", labels={"andon.protect": "true"}),
    ]


class FakeHost:
    """One host: a folder with a `docker`, its engine.json, and Andon's folder."""

    def __init__(self, folder: Path, containers: list[dict[str, Any]]) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        source = Path(__file__).with_name("fake_docker.py")
        # This test's own interpreter, so that no shim of a version manager stands in between.
        (folder / "docker").write_text(f"#!{sys.executable} -IS\n" + source.read_text().split("\n", 1)[1])
        (folder / "docker").chmod(0o755)
        (folder / "calls").write_text("")
        self.write({"containers": containers})

    @property
    def cli(self) -> str:
        return str(self.folder / "docker")

    @property
    def state(self) -> str:
        return str(self.folder / "andon")

    def read(self) -> dict[str, Any]:
        return json.loads((self.folder / "engine.json").read_text())

    def write(self, engine: dict[str, Any]) -> None:
        (self.folder / "engine.json").write_text(json.dumps(engine))

    def change(self, **more: Any) -> None:
        self.write(self.read() | more)

    def of(self, name: str) -> dict[str, Any]:
        return next(c for c in self.read()["containers"] if c["Name"] == "/" + name)

    def running(self) -> set[str]:
        return {c["Name"][1:] for c in self.read()["containers"] if c["State"]["Running"]}

    def calls(self) -> list[list[str]]:
        return [json.loads(line) for line in (self.folder / "calls").read_text().splitlines()]

    def latch(self, scope: str = "all") -> dict[str, Any] | None:
        path = Path(self.state) / "halts" / f"{scope}.json"
        return json.loads(path.read_text()) if path.exists() else None


class FakeFleet:
    """Several fake hosts and an inventory; runs the real playbooks on them."""

    def __init__(self, folder: Path, names: tuple[str, ...] = ("h1", "h2")) -> None:
        self.folder = folder
        self.hosts = {name: FakeHost(folder / name, standard()) for name in names}
        self.inventory = folder / "hosts.json"
        self.extra_hosts: dict[str, dict[str, Any]] = {}
        self.save()

    def save(self) -> None:
        hosts: dict[str, Any] = {
            name: {
                "ansible_connection": "local",
                "ansible_python_interpreter": sys.executable,
                "container_cli": host.cli,
                "andon_host_state": host.state,
                # A silent fake engine must never lead the stop to this machine's real containers.
                "andon_engine_root": str(host.folder / "engine"),
                "andon_stop_settle": 0.05,
                "andon_resume_settle": 0.05,
                "andon_resume_wait": 2,
            }
            for name, host in self.hosts.items()
        }
        self.inventory.write_text(json.dumps({"trading": {"hosts": hosts | self.extra_hosts}}))

    def dead(self, name: str = "dead") -> None:
        """Adds a host that refuses connections."""
        self.extra_hosts[name] = {"ansible_host": "127.0.0.1", "ansible_port": 1}
        self.save()

    def run(self, verb: str, *args: str, text: bool = False, **extra: Any) -> Result:
        """Runs ansible-playbook VERB.yml. extra: extra vars. text: the ordinary screen instead of JSON."""
        tool = Path(sys.executable).with_name("ansible-playbook")
        argv = [str(tool) if tool.exists() else str(shutil.which("ansible-playbook")), str(ROOT / f"{verb}.yml"), "-i", str(self.inventory), *args]
        if extra:
            argv += ["-e", json.dumps(extra)]
        env = os.environ | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "NO_COLOR": "1", "ANSIBLE_NOCOLOR": "1"}
        env.pop("ANDON_JSON", None)
        if not text:
            env["ANDON_JSON"] = "1"
        done = subprocess.run(argv, env=env, cwd=self.folder, capture_output=True, text=True, timeout=120, check=False)
        return Result(done)


class Result:
    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.code = done.returncode
        self.out = done.stdout
        self.err = done.stderr

    @property
    def report(self) -> dict[str, Any]:
        return json.loads(self.out)

    def __repr__(self) -> str:
        return f"exit {self.code}\n{self.out[-3000:]}\n{self.err[-1500:]}"
