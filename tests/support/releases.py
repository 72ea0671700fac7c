"""A fleet of hosts with fake engines, for the tests of releases."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from ansible.module_utils.andon.catalogue import state_print
from ansible.module_utils.andon.engine import Engine

import plugins.modules.release_record as release_record
import plugins.modules.release_state as release_state
from tests.support.compose_docker import FakeDocker, program

ROOT = Path(__file__).resolve().parents[2]


class Host:
    """One host: its engine, its deploy folder and Andon's folder."""

    def __init__(self, base: Path, name: str) -> None:
        self.name = name
        self.base = base / name
        self.folder = self.base / "deploy"
        self.folder.mkdir(parents=True)
        self.state = self.base / "andon"
        self.cli = program(self.base)
        self.engine.save()

    @property
    def engine(self) -> FakeDocker:
        return FakeDocker(self.base / "state.json")

    def deploy(self, content: str, flag: str = "off", config: str = "limit: 1", behaviour: str = "good", digest: str = "", extra: dict | None = None) -> str:
        """Deploys version C(content) of project trading: services feed (data) and algo (strategy). Returns algo's image id."""
        fake = self.engine
        fake.image("feed 1", "feed:1")
        ident = fake.image(content, "algo:latest", digests=(digest,) if digest else (), behaviour=behaviour)
        (self.folder / "app.yml").write_text(config)
        (self.folder / "app.env").write_text("API_TOKEN=t0psecret-value\n")
        model = {
            "services": {
                "feed": {"image": "feed:1", "labels": {"andon.component": "data"}, "restart": "always"},
                "algo": {
                    "image": "algo:latest",
                    "labels": {"andon.component": "strategy", "andon.strategy": "s1"},
                    "environment": {"POWER_PEG": flag, "API_TOKEN": "t0psecret-value"},
                    "env_file": [{"path": str(self.folder / "app.env")}],
                    "restart": "always",
                    "depends_on": {"feed": {}},
                    "volumes": [{"type": "bind", "source": str(self.folder / "app.yml"), "target": "/app.yml"}],
                },
                **(extra or {}),
            }
        }
        (self.folder / "compose.yaml").write_text(json.dumps(model))
        fake.deploy("trading", self.folder)
        return ident

    def params(self, **more: object) -> dict[str, object]:
        return {
            "container_cli": str(self.cli),
            "host_state": str(self.state),
            "selectors": ["label=andon.component"],
            "components": [],
            "protected": [],
            "key": "k",
            "health_wait": 0,
            **more,
        }


def record(host: Host, name: str, hosts: list[str], healthy: bool = True, second: int = 1) -> None:
    """Records what runs on one host, with the modules themselves; C(second) orders the releases."""
    expected = state_print(release_state.look(host.params())["services"])
    words = {"at": "2026-11-26T10:00:%02d.000Z" % second, "operator": "ann", "reason": "", "run": "rec-%s" % name, "hosts": hosts, "allowed": []}
    release_record.run(host.params(release=name, expected=expected, words=words, healthy=healthy, why="", keep=10, never=[], disk_reserve=1), False)


class FakeEngine(Engine):
    """The engine client, with the fake engine in this process instead of a CLI. Its CLI's path says which host it is."""

    def run(self, *args: str, **kw: object) -> tuple[int, str, str]:
        fake = FakeDocker(Path(self.cli).parent / "state.json")
        answer = fake(*args)
        fake.save()
        return answer


def inventory(base: Path, hosts: list[Host]) -> Path:
    """Writes an inventory of these hosts with local connections."""
    lines = {
        h.name: {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "container_cli": str(h.cli),
            "andon_host_state": str(h.state),
        }
        for h in hosts
    }
    path = base / "hosts.json"
    path.write_text(json.dumps({"trading": {"hosts": lines, "vars": {"releases_health_wait": 1, "releases_disk_reserve": 1}}}))
    return path


def play(base: Path, verb: str, *args: str, **extra: object) -> tuple[int, dict]:
    """Runs a verb's root playbook; returns (exit code, its JSON document)."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("ANSIBLE_")}
    env.update(
        ANDON_STATE=str(base / "bastion"),
        ANDON_JSON="1",
        ANSIBLE_CONFIG=str(ROOT / "ansible.cfg"),
        ANSIBLE_HOME=str(base / "ansible"),
        ANSIBLE_LOCAL_TEMP=str(base / "tmp"),
    )
    argv = [
        str(Path(sys.executable).with_name("ansible-playbook")),
        str(ROOT / (verb + ".yml")),
        "-i",
        str(base / "hosts.json"),
        *args,
        "-e",
        json.dumps(extra),
    ]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=300, check=False)
    try:
        return done.returncode, json.loads(done.stdout)
    except ValueError:
        raise AssertionError("no JSON from %s:\n%s\n%s" % (verb, done.stdout[-3000:], done.stderr[-3000:])) from None
