"""The lab's hosts for the fault tests. What a test breaks, the fixture mends; every look at a host goes through the machine's
own engine, not through what a verb said."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from lab import lab as fleet_lab
from tests.support.fleet import ROOT, Result

ALL = {"feed", "adapter-sim", "momentum", "meanrev", "ledger"}


class Lab:
    """The lab as a test sees it."""

    hosts = fleet_lab.HOSTS

    def __init__(self) -> None:
        self.started: list[subprocess.Popen[str]] = []

    def sh(self, host: str, command: str, check: bool = True, timeout: float = 60) -> str:
        """Runs a shell command on a host through the machine's engine (no SSH); returns its output."""
        argv = ["docker", "exec", fleet_lab.container(host), "bash", "-c", command]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False)
        assert not check or done.returncode == 0, f"{host}: {command}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def running(self, host: str) -> set[str]:
        return set(self.sh(host, "docker ps --filter status=running --format '{{.Names}}'").split())

    def policies(self, host: str) -> dict[str, str]:
        lines = self.sh(host, "docker ps -aq | xargs -r docker inspect --format '{{.Name}} {{.HostConfig.RestartPolicy.Name}}'").splitlines()
        return {line.split()[0].lstrip("/"): line.split()[1] for line in lines}

    def latch(self, host: str, scope: str = "all", folder: str = "/var/lib/andon/halts") -> dict[str, Any] | None:
        text = self.sh(host, f"cat {folder}/{scope}.json 2>/dev/null", check=False)
        return json.loads(text) if text else None

    def argv(self, verb: str, *args: str, **extra: Any) -> tuple[list[str], dict[str, str]]:
        argv = [sys.executable, "-m", "ansible", "playbook", str(ROOT / f"{verb}.yml"), "-i", str(fleet_lab.INVENTORY), *args]
        if extra:
            argv += ["-e", json.dumps(extra)]
        return argv, os.environ | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "NO_COLOR": "1", "ANSIBLE_NOCOLOR": "1", "ANDON_JSON": "1"}

    def run(self, verb: str, *args: str, **extra: Any) -> Result:
        """Runs ansible-playbook VERB.yml on the lab, with its report as JSON."""
        argv, env = self.argv(verb, *args, **extra)
        return Result(subprocess.run(argv, env=env, cwd=ROOT, capture_output=True, text=True, timeout=180, check=False))

    def start(self, verb: str, *args: str, screen: bool = False, **extra: Any) -> subprocess.Popen[str]:
        """Begins a run; one that a failed test leaves behind is ended with the test."""
        argv, env = self.argv(verb, *args, **extra)
        if screen:
            env.pop("ANDON_JSON")
        run = subprocess.Popen(argv, env=env, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
        self.started.append(run)
        return run

    def end(self) -> None:
        for run in self.started:
            if run.poll() is None:
                os.killpg(run.pid, signal.SIGKILL)
                run.communicate()

    def verdicts(self, result: Result) -> dict[str, str]:
        return {host: one["verdict"] for host, one in result.report["data"]["hosts"].items()}

    def assert_halted(self, *hosts: str) -> None:
        """These hosts run nothing but the protected database, and would not start anything again."""
        for host in hosts:
            assert self.running(host) == {"ledger"}, host
            assert {n: p for n, p in self.policies(host).items() if n != "ledger" and p != "no"} == {}, host
            assert self.latch(host), host


@pytest.fixture(scope="session")
def booted():
    fleet_lab.up()


@pytest.fixture
def lab(booted):
    """Three healthy hosts, reset after the test."""
    one = Lab()
    yield one
    one.end()
    fleet_lab.close_connections()
    fleet_lab.reset()
