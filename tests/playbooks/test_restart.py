"""restart.yml and limit_memory.yml as an operator runs them, on hosts in folders: order, gate, report, exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.fake_hands import Host, container

ROOT = Path(__file__).resolve().parents[2]
FEED = {"andon.component": "adapter", "com.docker.compose.service": "feed"}


def fleet(tmp_path, hosts, **extra):
    """An inventory of these hosts, in this order; returns its path."""
    common = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "restart_settle": 0, "restart_wait": 0, "restart_grace": 0}
    entries = {name: {"container_cli": str(host.cli), "andon_host_state": str(host.state), "restart_host_root": str(host.root)} for name, host in hosts.items()}
    path = tmp_path / "inventory.json"
    path.write_text(json.dumps({"trading": {"hosts": entries | extra, "vars": common}}))
    return path


def run(argv):
    """Runs it in --json mode; returns (exit code, report)."""
    env = os.environ | {"ANDON_JSON": "1", "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=ROOT, env=env, timeout=120)
    try:
        return done.returncode, json.loads(done.stdout)
    except ValueError:
        pytest.fail(f"no report: {done.stdout}\n{done.stderr}")


def playbook(verb, inventory, *more, **extra):
    return run([str(Path(sys.executable).with_name("ansible-playbook")), f"{verb}.yml", "-i", str(inventory), "-e", json.dumps(extra), *more])


def andon(inventory, *words):
    return run([sys.executable, "cli.py", "-i", str(inventory), "--json", *words])


def test_it_rolls_over_the_hosts_that_have_it_and_ends_at_the_first_that_fails(tmp_path):
    hosts = {
        "without": Host(tmp_path / "without", [container("other", {"andon.component": "data"})]),
        "canary": Host(tmp_path / "canary", [container("shop-feed-1", FEED, health="healthy"), container("other", {"andon.component": "data"})]),
        "second": Host(tmp_path / "second", [container("shop-feed-1", FEED)]),
        "third": Host(tmp_path / "third", [container("shop-feed-1", FEED, broken=True)]),
        "fourth": Host(tmp_path / "fourth", [container("shop-feed-1", FEED)]),
    }
    inventory = fleet(tmp_path, hosts)
    incident = Path(os.environ["ANDON_STATE"]) / "incidents"
    incident.mkdir(parents=True)
    (incident.parent / "active").write_text("2026-11-22-feed-stale\n")

    code, report = playbook("restart", inventory, "--tags", "nothing", "--skip-tags", "always", service="feed", confirm="feed")
    assert (code, report["ok"]) == (2, False), report
    assert report["headline"] == "FAILED 2/4 hosts restarted, 1 failed, 1 not touched", report
    assert {name: len(host.changes()) for name, host in hosts.items()} == {"without": 0, "canary": 1, "second": 1, "third": 1, "fourth": 0}
    assert hosts["canary"]["other"]["starts"] == 1
    assert [line for line in report["summary"] if "fourth" in line] == ["fourth         NOT TOUCHED"]
    assert "    | shop-feed-1 says why" in report["detail"] and any("exit code 3" in line for line in report["detail"])

    kept = sorted(incident.glob("2026-11-22-feed-stale/evidence/*/*.json"))
    assert not list(tmp_path.rglob("lock.json")), "a batch that fails must give the fleet's lock back"
    assert [path.name for path in kept] == [f"{host}-shop-feed-1.json" for host in ("canary", "fourth", "second", "third")]
    assert {path.stat().st_mode & 0o777 for path in kept} == {0o600}
    before = json.loads(kept[0].read_text())
    assert (before["container"]["State"]["StartedAt"], before["logs"][-1]) == ("2026-11-22T03:00:01.000000000Z", "shop-feed-1 says why")
    assert before["actor"]["name"] == "tester" and "planted-secret" not in kept[0].read_text()


def test_an_unknown_name_a_host_that_does_not_answer_and_no_confirmation_touch_nothing(tmp_path):
    hosts = {name: Host(tmp_path / name, [container("shop-feed-1", FEED)]) for name in ("one", "two")}
    inventory = fleet(tmp_path, hosts)
    code, report = andon(inventory, "restart", "feeed", "--yes")
    assert code == 2 and report["headline"] == "FAILED no host of 2 has a component called feeed"
    assert report["summary"][0].startswith("Did you mean: feed") and report["next"] == ["andon restart feed"]

    code, report = playbook("restart", inventory, service="feed", confirm="fed")
    assert code == 2 and "needs a confirmation that names feed" in report["headline"]

    dead = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
    code, report = playbook("restart", fleet(tmp_path, hosts, dead=dead), service="feed", confirm="feed")
    assert code == 2 and report["headline"] == "NOT DONE 1 of 3 hosts did not say whether they have feed"
    assert any("dead" in line and "UNKNOWN  unreachable" in line for line in report["summary"])
    assert "--limit 'one,two'" in report["next"][0]
    assert all(host.changes() == [] for host in hosts.values())
    assert not (Path(os.environ["ANDON_STATE"]) / "evidence").exists()


def test_while_another_run_holds_the_fleets_lock_nothing_is_touched(tmp_path):
    hosts = {name: Host(tmp_path / name, [container("shop-feed-1", FEED)]) for name in ("one", "two")}
    lock = {"owner": "other", "run_id": "r1", "verb": "rollback", "at": "2026-11-22T03:00:00.000Z", "expires": "2099-11-22T03:00:00.000Z"}
    hosts["two"].state.mkdir(parents=True, exist_ok=True)
    (hosts["two"].state / "lock.json").write_text(json.dumps(lock))
    code, report = playbook("restart", fleet(tmp_path, hosts), service="feed", confirm="feed")
    assert code == 2 and "held by other" in report["failures"][0]["msg"], report
    assert all(host.changes() == [] for host in hosts.values())
    assert not (hosts["one"].state / "lock.json").exists(), "all or nothing"


def test_a_limit_is_set_on_every_host_and_the_second_run_says_that_there_is_nothing_to_do(tmp_path):
    hosts = {"one": Host(tmp_path / "one", [container("shop-feed-1", FEED)]), "two": Host(tmp_path / "two", [container("shop-feed-1", FEED)], cgroup=2)}
    inventory = fleet(tmp_path, hosts)
    code, report = andon(inventory, "restart", "feed", "--memory", "64m", "--yes")
    assert (code, report["headline"], report["failures"]) == (0, "HEALTHY 2/2 hosts: 2 containers limited", [])
    assert any("mem_limit: 67108864" in line for line in report["detail"])
    assert [host["shop-feed-1"]["memory"] for host in hosts.values()] == [64 << 20] * 2
    before = [host.changes() for host in hosts.values()]
    code, report = playbook("limit_memory", inventory, service="feed", memory="64m", confirm="feed")
    assert (code, report["headline"]) == (0, "OK nothing to do: every limit is as asked")
    assert [host.changes() for host in hosts.values()] == before


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["; rm -rf /"], "cannot be the name of a component"),
        (["feed", "--memory", "lots"], "'lots' is not a size of memory"),
        (["feed", "--memory", "1"], "less than the least limit"),
        (["feed", "--memory", "64m", "--undo"], "give one of them"),
        (["feed"], "there is no terminal"),
    ],
)
def test_the_command_refuses_before_any_host_is_asked(tmp_path, words, reason):
    from click.testing import CliRunner

    import cli

    inventory = tmp_path / "inventory.yml"
    inventory.write_text("trading: {}\n")
    done = CliRunner().invoke(
        cli.main, ["-i", str(inventory), "restart", "--", *words] if words[0].startswith(";") else ["-i", str(inventory), "restart", *words]
    )
    assert done.exit_code != 0 and reason in done.output, done.output
