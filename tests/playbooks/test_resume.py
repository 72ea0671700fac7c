"""resume on fake hosts: plan, order, gates, compensation, and what refuses."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from andon import approvals, incidents, journal
from tests.support.fake_freqtrade import running


def starts(host):
    """Names in the order in which this host's containers were started."""
    names = {c["Id"]: c["Name"][1:] for c in host.read()["containers"]}
    return [names[word] for call in host.calls() if call[0] == "start" for word in call[1:]]


def test_starts_in_order_with_the_old_policies_and_lifts_the_latch(fleet):
    for host in fleet.hosts.values():
        engine = host.read()
        engine["containers"][3]["State"].update(Running=False, Status="exited")  # meanrev did not run before
        host.write(engine)
    assert fleet.run("emergency_stop").code == 0
    plan = fleet.run("resume", "--check")
    assert plan.code == 0 and "would start" in plan.report["headline"], plan
    assert fleet.hosts["h1"].running() == {"ledger"} and fleet.hosts["h1"].latch()
    result = fleet.run("resume", confirm="all", andon_plan=plan.report["data"]["digest"])
    assert result.code == 0 and result.report["headline"] == "2/2 RESUMED", result
    for host in fleet.hosts.values():
        assert starts(host) == ["feed", "adapter-sim", "momentum"]
        assert host.running() == {"feed", "adapter-sim", "momentum", "ledger"}
        assert {c["Name"][1:]: c["HostConfig"]["RestartPolicy"]["Name"] for c in host.read()["containers"]}["meanrev"] == "on-failure"
        assert not (Path(host.state) / "lock.json").exists(), "the fleet's lock was not given back"
        assert host.latch() is None and list((Path(host.state) / "halts" / "lifted").iterdir()), "the lifted latch is kept"
    again = fleet.run("resume", confirm="all")
    assert again.code == 2 and "nothing is halted" in " ".join(again.report["summary"]), again


def test_a_failed_gate_on_the_second_host_halts_everything_again(fleet):
    assert fleet.run("emergency_stop").code == 0
    host = fleet.hosts["h2"]
    engine = host.read()
    engine["containers"][1].update(unhealthy=True, log=["ERROR no venue {{ 1 + 1 }}"])
    host.write(engine)
    result = fleet.run("resume", text=True, confirm="all")
    assert result.code == 2 and "adapter-sim is not healthy" in result.out and "ERROR no venue {{ 1 + 1 }}" in result.out, result
    for name in ("h1", "h2"):
        assert fleet.hosts[name].running() == {"ledger"}, "what this run started must be halted again"
        assert fleet.hosts[name].latch()
        assert {c["HostConfig"]["RestartPolicy"]["Name"] for c in fleet.hosts[name].read()["containers"][:4]} == {"no"}
    assert "momentum" not in starts(host), "no tier may start after a failed gate"


def test_canary_failure_never_reaches_the_second_host(fleet):
    assert fleet.run("emergency_stop").code == 0
    engine = fleet.hosts["h1"].read()
    engine["containers"][0]["unhealthy"] = True
    fleet.hosts["h1"].write(engine)
    result = fleet.run("resume", confirm="all")
    assert result.code == 2 and starts(fleet.hosts["h2"]) == [], result


@pytest.mark.parametrize(
    "case", ["unconfirmed", "dead host", "other incident", "changed plan", "unreadable latch", "locked", "jumped over"], ids=lambda c: c.replace(" ", "-")
)
def test_refusals_start_nothing(fleet, case):
    assert fleet.run("emergency_stop").code == 0
    flags, extra, words = [], {"confirm": "all"}, ""
    latch = Path(fleet.hosts["h2"].state) / "halts" / "all.json"
    if case == "unconfirmed":
        extra, words = {"confirm": "yes"}, "not confirmed"
    elif case == "dead host":
        fleet.dead()
        words = "dead is UNKNOWN"
    elif case == "other incident":
        latch.write_text(json.dumps(json.loads(latch.read_text()) | {"incident": "2020-01-01-other"}))
        words = "different incidents"
    elif case == "changed plan":
        extra["andon_plan"], words = "0123456789abcdef", "the plan is another one"
    elif case == "unreadable latch":
        latch.write_text("{")
        words = "h2 is UNKNOWN"
    elif case == "locked":
        lock = {"owner": "other", "run_id": "r1", "verb": "rollback", "at": "2026-11-22T03:00:00.000Z", "expires": "2099-11-22T03:00:00.000Z"}
        (Path(fleet.hosts["h2"].state) / "lock.json").write_text(json.dumps(lock))
        words = "held by other"
    else:
        flags = ["--start-at-task", "Start"]
    result = fleet.run("resume", *flags, **extra)
    assert result.code != 0, result
    assert words in result.out.replace("\n", ""), result
    assert all(starts(host) == [] for host in fleet.hosts.values())


def halt(host, incident="2026-11-22-runaway", not_before=()):
    """What a stop leaves: a latch that names what ran, and nothing that runs. Cheaper than a stop."""
    engine = host.read()
    latched = []
    for one in engine["containers"]:
        if one["Config"]["Labels"].get("andon.protect"):
            continue
        name = one["Name"][1:]
        latched.append({"id": one["Id"], "name": name, "image": "trading:1", "restart_policy": "always", "was_running": name not in not_before})
        one["State"].update(Running=False, Status="exited")
        one["HostConfig"]["RestartPolicy"] = {"Name": "no", "MaximumRetryCount": 0}
    host.write(engine)
    latch = Path(host.state) / "halts" / "all.json"
    latch.parent.mkdir(parents=True)
    latch.write_text(json.dumps({"incident": incident, "operator": "ann", "reason": "", "at": "2026-11-22T03:00:00.000Z", "containers": latched}))


@pytest.fixture
def bot(monkeypatch):
    """A Freqtrade behind h1's momentum; it was halted through its adapter."""
    with running() as bot:
        bot.state = "paused"
        bot.locks[1] = {"id": 1, "pair": "*", "side": "*", "reason": "andon 2026-11-22-runaway"}
        monkeypatch.setenv("FT_PASSWORD", "ft-secret-pw")
        yield bot


def configure(fleet, bot, **more):
    """One host with the bot, a venue that nobody answers for, and approvals."""
    fleet.hosts.pop("h2", None)
    fleet.save()
    inventory = json.loads(fleet.inventory.read_text())
    adapter = {"kind": "freqtrade", "endpoint": {"base_url": bot.url, "auth": {"basic": {"user": "ops", "password_env": "FT_PASSWORD"}}}}
    inventory["trading"]["vars"] = {
        "andon_components": [{"name": "momentum", "component": "strategy", "strategy": "momentum", "adapter": {**adapter, "vars": {"base_stake": 100}}}],
        "andon_venues": [
            {"name": "main", "ccxt": "bybit", "symbols": ["BTC/USDT:USDT"], "urls": "http://127.0.0.1:1", "credentials": {"api_key": "k", "secret": "s"}}
        ],
        "andon_venue_budget": 3,
        **more,
    }
    fleet.inventory.write_text(json.dumps(inventory))


def test_a_smaller_resume_that_two_people_signed(fleet, bot, tmp_path):
    """Refused by name without an adapter; gates passed by name only; two signatures; the step on the host asks for all of it itself."""
    people = {}
    for name in ("tester", "bob", "carol"):
        people[name] = str(tmp_path / name)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", people[name]], check=True)
    signers = tmp_path / "allowed_signers"
    signers.write_text("".join(f"{name} {Path(key + '.pub').read_text()}" for name, key in people.items()))
    signers.chmod(0o644)
    host = fleet.hosts["h1"]
    configure(fleet, bot, andon_resume_approvals=2, andon_allowed_signers=str(signers))
    halt(host)
    size_file = host.folder / "files" / "momentum" / "freqtrade" / "user_data" / "andon_size.json"
    bot.size_file = lambda: json.loads(size_file.read_text())

    # 1. meanrev has no adapter: with a size nothing starts at all, not even a plan is written.
    refused = fleet.run("resume", andon_resume_request=True, andon_resume_size=0.25)
    assert refused.code == 2 and "meanrev on h1 has no adapter" in "".join(refused.report["summary"]), refused
    assert not list((tmp_path / "state").glob("plans/*")) and starts(host) == []

    # 2. The plan is written, with the gates that did not pass and whose names were given.
    engine = host.read()
    engine["containers"] = [c for c in engine["containers"] if c["Name"] != "/meanrev"]
    next(c for c in engine["containers"] if c["Name"] == "/momentum")["Config"]["Cmd"] = ["trade", "--config", "/freqtrade/user_data/andon_size.json"]
    host.write(engine)
    accept = ["positions", "credentials", "clock"]
    asked = fleet.run("resume", andon_resume_request=True, andon_resume_size=0.25, andon_resume_accept=accept)
    assert asked.code == 0 and asked.report["headline"] == "PLAN WRITTEN, NOTHING WAS STARTED", asked
    gates = {one["gate"]: one for one in asked.report["data"]["gates"]}
    assert [gates[name]["state"] for name in ("positions", "credentials", "clock", "skew")] == ["UNKNOWN"] * 3 + ["not applicable"]
    plan = Path(asked.report["data"]["file"])
    assert starts(host) == [] and not size_file.exists() and bot.posted() == []

    # 3. One signature, the requester's, and an operator who gives the plan's result and the number of approvals by hand.
    for name in ("bob", "tester"):
        approvals.sign(plan, approvals.load(plan), people[name])
    forged = {"__andon_resume_planned": {"go": True, "incident": "2026-11-22-runaway"}, "andon_resume_approvals": 0}
    jumped = fleet.run("resume", "--start-at-task", "Start", confirm="all", andon_resume_plan=str(plan), **forged)
    assert jumped.code != 0 and "cannot be given with -e" in jumped.out + jumped.err, jumped
    assert starts(host) == [] and host.latch()
    held = fleet.run("resume", confirm="all", andon_resume_plan=str(plan))
    words = "".join(held.report["summary"])
    assert held.code == 2 and "1 of 2 approvals" in words and "two people" in words and starts(host) == [], held

    # 4. Two people, and an open incident: the size is in place before the start, the bot is small before it may trade, and the report says what shows it.
    incident = incidents.open_incident("Runaway", 1)
    approvals.sign(plan, approvals.load(plan), people["carol"])
    done = fleet.run("resume", confirm="all", andon_resume_plan=str(plan))
    assert done.code == 0 and done.report["headline"] == "1/1 RESUMED", done.report["data"]["hosts"]
    calls = [call[0] for call in host.calls()]
    momentum = host.of("momentum")["Id"]
    assert calls.index("cp") < next(n for n, call in enumerate(host.calls()) if call[0] == "start" and momentum in call)
    assert bot.posted() == [("POST", "/reload_config"), ("DELETE", "/locks/1"), ("POST", "/start")] and (bot.stake, bot.state) == (25.0, "running")
    data = done.report["data"]
    (size,) = data["sizes"]
    assert (size["component"], size["size"], size["proven"]) == ("momentum", 0.25, True) and "verify wait" in size["by"]
    assert [person for person, _ in data["approvals"]["people"]] == ["bob", "carol"]
    shown = "\n".join(done.report["summary"])
    assert "SIZE 0.25" in shown and "APPROVED by bob, carol" in shown and shown.count("ACCEPTED by name") == 3
    assert host.latch() is None and json.loads((Path(host.state) / "sizes.json").read_text())[momentum]["size"] == 0.25
    assert "ft-secret-pw" not in done.out + done.err
    (ended,) = [one["data"] for one in journal.read(incidents.folder(incident)) if one["kind"] == "verb.ended"]
    kept = ended["report"]["data"]
    assert [one["gate"] for one in kept["gates"] if one["accepted"]] == accept and kept["approvals"]["plan"] == plan.stem and kept["size"] == 0.25
