"""The stop with trading software that has an adapter: halted through it first, and never held up by it."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from tests.support.fake_freqtrade import running
from tests.support.fleet import standard

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((ROOT / "docs" / "proof.schema.json").read_text())
PASSWORD = "ft-secret-pw"  # noqa: S105  (of the fake)


@pytest.fixture
def bot(fleet, monkeypatch):
    with running() as bot:
        monkeypatch.setenv("FT_PASSWORD", PASSWORD)
        fleet.extra_hosts.clear()
        yield bot


def configure(fleet, components, **more):
    """One host, so that one bot is asked once."""
    fleet.hosts.pop("h2", None)
    fleet.save()
    inventory = json.loads(fleet.inventory.read_text())
    inventory["trading"]["vars"] = {"andon_components": components, **more}
    fleet.inventory.write_text(json.dumps(inventory))


def freqtrade(url, name="momentum", **auth):
    endpoint = {"base_url": url, "auth": {"basic": {"user": "ops", **(auth or {"password_env": "FT_PASSWORD"})}}}
    return {"name": name, "component": "strategy", "strategy": name, "adapter": {"kind": "freqtrade", "endpoint": endpoint}}


def test_halted_through_the_adapter_and_then_stopped(fleet, bot):
    configure(fleet, [freqtrade(bot.url)], andon_adapter_budget=20)
    result = fleet.run("emergency_stop")
    assert result.code == 0, result
    document = result.report["data"]
    jsonschema.validate(document, SCHEMA)
    (row,) = document["hosts"]["h1"]["adapters"]
    assert row["outcome"] == "ok" and [step["step"] for step in row["steps"]] == ["lock all pairs", "pause"], row
    assert bot.posted() == [("POST", "/locks"), ("POST", "/pause")] and document["incident"] in next(iter(bot.locks.values()))["reason"]
    assert "ADAPTERS 1/1 component halted first" in result.report["summary"]
    assert fleet.hosts["h1"].running() == {"ledger"}
    assert PASSWORD not in result.out + result.err
    # The others did not wait for it: two calls of stop, the first without it.
    own = fleet.hosts["h1"].of("momentum")["Id"]
    assert sorted(own in call for call in fleet.hosts["h1"].calls() if call[0] == "stop") == [False, True]


def test_a_budget_that_is_exceeded_and_a_missing_secret_change_no_verdict(fleet, bot):
    bot.faults["hang"] = "/"
    configure(fleet, [freqtrade(bot.url), freqtrade(bot.url, "meanrev", password_env="NOT_SET")], andon_adapter_budget=1)  # noqa: S106
    result = fleet.run("emergency_stop")
    assert result.code == 0 and fleet.hosts["h1"].running() == {"ledger"}, result
    document = result.report["data"]
    jsonschema.validate(document, SCHEMA)
    rows = {row["component"]: row for row in document["hosts"]["h1"]["adapters"]}
    assert rows["momentum"]["outcome"] == "unknown" and rows["momentum"]["proven"] is False
    assert rows["meanrev"]["outcome"] == "failed" and "environment variable NOT_SET is not set" in rows["meanrev"]["why"]
    assert any(line.startswith("ADAPTERS 0/2 components halted first, not: meanrev failed") for line in result.report["summary"])
    assert {path for _, path, _ in bot.calls} <= {"/locks"}, "the lock needs no state, so it is sent before anything that could hang"


def test_mode_now_and_a_vault_that_fails_ask_nobody_and_stop_all_the_same(fleet, bot):
    configure(fleet, [freqtrade(bot.url, password="{{ vault_that_is_not_defined }}")])  # noqa: S106
    result = fleet.run("emergency_stop", "-vvv", text=True, andon_stop_mode="now")
    assert result.code == 0 and "ADAPTERS 0/1 component halted first, not: momentum skipped: mode now" in result.out, result
    fleet.hosts["h1"].write({"containers": standard()})
    result = fleet.run("kill_strategy", "-vvv", text=True, strategy="momentum", confirm="momentum")
    assert result.code == 0 and "its adapter cannot be read" in result.out and bot.calls == [], result
    assert fleet.hosts["h1"].running() == {"feed", "adapter-sim", "meanrev", "ledger"}
