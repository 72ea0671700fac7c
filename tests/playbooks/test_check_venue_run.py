"""check_venue and venue_switch as an operator runs them: layers from real namespaces, one adapter restarted and watched, the switch's gate."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from andon import incidents, journal
from tests.support.venue import serving

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import socket, sys, time
kept = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
print("ready", flush=True)
time.sleep(120)
"""


def configure(fleet, server):
    """Writes the inventory's variables; anew after fleet.dead, which writes the inventory without them."""
    inventory = json.loads(fleet.inventory.read_text())
    inventory["trading"]["vars"] = {
        "restart_settle": 0,
        "restart_wait": 5,
        "restart_host_root": str(fleet.folder),
        # An entry of the inventory wins over labels, and what it says of an adapter may hold a secret: no host needs that.
        "andon_components": [{"name": "adapter-sim", "component": "adapter", "adapter": {"venue": {"name": "main"}, "endpoint": {"password": "SECRET-2"}}}],
        "andon_venues": [
            {
                "name": "main",
                "ccxt": "bybit",
                "credentials": {"api_key": "KEY-1", "secret_env": "LAB_VENUE_SECRET"},
                "sections": [{"type": "swap"}],
                "urls": server.url,
                "options": {"fetchMarkets": {"types": ["linear"]}},
            }
        ],
    }
    fleet.inventory.write_text(json.dumps(inventory))


@pytest.fixture
def venue(fleet, monkeypatch):
    """A running venue that the fleet's inventory names; its secret is in the environment only."""
    with serving() as server:
        monkeypatch.setenv("LAB_VENUE_SECRET", "SECRET-1")
        configure(fleet, server)
        yield server


@pytest.fixture
def started():
    """Starts processes that stand for a container's; they are ended afterwards."""
    some = []

    def start(*argv):
        process = subprocess.Popen(argv, stdout=subprocess.PIPE)
        process.stdout.readline()
        some.append(process)
        return process.pid

    yield start
    for process in some:
        process.kill()
        process.wait()
        process.stdout.close()


def set_adapter(host, runs, **more):
    """The host's adapter runs as this process, or does not run (0). more: the switches of fake_docker.py."""
    engine = host.read()
    for one in engine["containers"]:
        if one["Name"] == "/adapter-sim":
            one["State"].update(Pid=runs, Running=bool(runs), Status="running" if runs else "exited")
            one.update(more)
    host.write(engine)


def starts(host):
    return [call for call in host.calls() if call[0] in ("restart", "start", "stop", "kill")]


root_only = pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="entering a network namespace needs root and unshare")


@root_only
def test_it_says_which_layer_is_broken_and_from_where(fleet, venue, started):
    set_adapter(fleet.hosts["h1"], started("unshare", "-n", "sh", "-c", "echo ready; exec sleep 120"))
    set_adapter(fleet.hosts["h2"], os.getpid())
    result = fleet.run("check_venue", "-vvv", "--tags", "nothing", "--skip-tags", "always", text=True)
    assert result.code == 2 and "NOT OK main: TCP broken only inside h1/adapter-sim; h1 itself gets through" in result.out, result
    assert "Next: andon venue check --venue main --restart-adapter" in result.out and "it is not shown" in result.out
    assert not [word for word in ("SECRET-1", "SECRET-2", "KEY-1") if word in result.out + result.err]
    assert not any(starts(host) for host in fleet.hosts.values()), "it only reads"
    # The same way is open everywhere; the key is not.
    set_adapter(fleet.hosts["h1"], os.getpid())
    venue.account.faults["bad_key"] = 1
    fleet.dead("gone")
    configure(fleet, venue)
    result = fleet.run("check_venue")
    report = result.report
    assert result.code == 2 and report["headline"].startswith("NOT OK main: private call broken from the bastion: the key is refused"), result
    assert any(line.startswith("UNKNOWN") and "gone: unreachable" in line for line in report["summary"]), report["summary"]
    assert report["data"]["hosts"]["gone"]["verdict"] == "UNKNOWN" and report["data"]["hosts"]["h1"]["verdict"] == "OK"


def test_an_adapter_is_restarted_and_watched_until_it_is_connected_and_not_under_a_latch(fleet, venue, started):
    pid = started(sys.executable, "-c", PROGRAM, str(venue.server_address[1]))
    for host in fleet.hosts.values():
        set_adapter(host, 0, pid=pid)
    # The CLI finds the name by itself: it looks, asks (--yes), restarts, watches.
    argv = [sys.executable, str(ROOT / "cli.py"), "--json", "-i", str(fleet.inventory), "venue", "check", "--venue", "main", "--restart-adapter", "--yes"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=180, check=False, cwd=fleet.folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "h1/adapter-sim does not run (exited)" in done.stderr
    report = json.loads(done.stdout)
    assert report["headline"] == "OK main: every layer is open from the bastion and 2 components", report
    assert [line for line in report["summary"] if "Restarted adapter-sim on h1" in line and "reconnected" in line], report["summary"]
    for host in fleet.hosts.values():
        assert [call[0] for call in starts(host)] == ["start"] and "adapter-sim" in host.running()
    assert not list(fleet.folder.rglob("lock.json")), "the fleet's lock is given back"

    # A latch covers it: nothing is started, and the check does not end in a success.
    latch = Path(fleet.hosts["h2"].state) / "halts" / "all.json"
    latch.parent.mkdir(parents=True, exist_ok=True)
    latch.write_text(json.dumps({"incident": "", "operator": "ops", "reason": "drill", "at": "2026-11-22T03:00:00Z", "containers": []}))
    before = [len(starts(host)) for host in fleet.hosts.values()]
    result = fleet.run("check_venue", andon_restart_adapter="adapter-sim", confirm="adapter-sim")
    assert result.code == 2 and "everything is halted" in result.out and [len(starts(host)) for host in fleet.hosts.values()] == before, result


def test_the_switch_needs_the_venues_name_and_is_remembered(fleet, venue):
    armed = {"andon_switch_act": "arm", "andon_venue": "main", "andon_switch_timeout_s": 40}
    result = fleet.run("venue_switch", "--skip-tags", "always", text=True, **armed, confirm="mian")
    assert result.code == 2 and "must be main (a typo?)" in result.out and venue.account.windows["DERIVATIVES"] == 10, result
    incident = incidents.open_incident("Exchange down", 2)
    result = fleet.run("venue_switch", **armed, confirm="main")
    assert result.code == 0 and result.report["headline"] == "SET the dead man's switch of main 40 s", result
    assert venue.account.windows["DERIVATIVES"] == 40 and "SECRET-1" not in result.out
    (run,) = incidents.load(incident).runs
    assert (run.verb, run.ok, run.headline) == ("venue_switch", True, result.report["headline"])
    assert {"andon_venue": "main", "andon_switch_act": "arm"}.items() <= run.variables.items(), run.variables
    kept = journal.read(incidents.folder(incident))[-1]["data"]
    assert '"read_back": "DERIVATIVES ON 40 s"' in json.dumps(kept) and "SECRET-1" not in json.dumps(kept), kept
    result = fleet.run("venue_status")
    assert any("switch: arm 20" in line and "by tester: SET, 40 s" in line for line in result.report["detail"]), result
    result = fleet.run("venue_capabilities", andon_exchange="okx")
    assert result.code == 0 and "okx" in result.report["summary"][0] and "unified (countdown)" in result.report["summary"][0], result
