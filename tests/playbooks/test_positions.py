"""andon positions and close-orphans with a real adapter module, a Freqtrade that answers, and a venue that ccxt talks to."""

from __future__ import annotations

import json

import pytest

from andon import incidents, journal
from tests.support.fake_freqtrade import running
from tests.support.venue import serving

ETH = "ETH/USDT:USDT"


@pytest.fixture
def venue(monkeypatch):
    with serving() as server:
        monkeypatch.setenv("LAB_VENUE_SECRET", "SECRET-1")
        monkeypatch.setenv("LAB_FT_PASSWORD", "ft-secret-pw")
        yield server


@pytest.fixture
def bot():
    """A Freqtrade that holds 0.5 BTC."""
    with running() as bot:
        bot.trade(1)
        yield bot


def configure(fleet, venue, *components):
    fleet.save()
    inventory = json.loads(fleet.inventory.read_text())
    credentials = {"api_key": "KEY-1", "secret_env": "LAB_VENUE_SECRET"}
    options = {"fetchMarkets": {"types": ["linear"]}}
    one = {"name": "main", "ccxt": "bybit", "credentials": credentials, "sections": [{"type": "swap"}], "urls": venue.url, "timeout_s": 20, "options": options}
    inventory["trading"]["vars"] = {"andon_venue_budget": 60, "andon_close_budget": 60, "andon_venues": [one], "andon_components": list(components)}
    fleet.inventory.write_text(json.dumps(inventory))


def freqtrade(bot):
    endpoint = {"base_url": bot.url, "auth": {"basic": {"user": "ops", "password_env": "LAB_FT_PASSWORD"}}}
    adapter = {"kind": "freqtrade", "endpoint": endpoint, "venue": {"name": "main", "symbols": ["BTC/USDT:USDT"]}, "vars": {"base_stake": 100}}
    return {"name": "momentum", "component": "strategy", "strategy": "momentum", "adapter": adapter}


def by_file(path):
    """Home-made software that writes what it holds into a file; its own templates are not Ansible's."""
    reads = {"do": [{"file": {"path": str(path), "read": True}}], "data": ""}
    halt = {"do": [{"file": {"path": str(path) + ".halt", "touch": True}}], "verify": [{"manual": "look at {{ component }}"}]}
    return {
        "name": "meanrev",
        "component": "strategy",
        "adapter": {"kind": "custom", "venue": {"name": "main"}, "override": {"positions": reads, "halt": halt}},
    }


def hold(venue, symbol, side, size):
    venue.account.hold({"symbol": symbol, "side": side, "size": size, "avgPrice": "100", "markPrice": "110", "positionValue": "2"})


def held(venue):
    return {(p["symbol"], p["side"], p["size"]) for p in venue.account._positions}


def created(venue):
    return [asked for path, asked in venue.account.calls if path == "/v5/order/create"]


def test_an_orphan_is_found_confirmed_closed_and_the_books_agree_again(fleet, venue, bot, tmp_path):
    claims = tmp_path / "claims.json"
    claims.write_text("[]")
    del fleet.hosts["h2"]
    configure(fleet, venue, freqtrade(bot), by_file(claims))
    hold(venue, "BTCUSDT", "Buy", "0.5")
    hold(venue, "ETHUSDT", "Sell", "0.3")
    name = incidents.open_incident("position mismatch", 1, verb="open")
    result = fleet.run("reconcile")
    assert result.code == 2, result
    assert result.report["headline"] == "1/2 positions MATCH, 1 ORPHAN", result.report["detail"]
    orphan, match = result.report["data"]["positions"]["rows"]
    assert (orphan["verdict"], orphan["symbol"], orphan["actual"], match["verdict"], match["local"]) == ("ORPHAN", ETH, "-0.3", "MATCH", "0.5")
    assert any("EXPOSURE   88.00 USDT" in line for line in result.report["summary"]) and "SECRET-1" not in result.out and "ft-secret-pw" not in result.out
    # The gate is in the acting step: without a confirmation nothing is sent, whatever the flags.
    refused = fleet.run("close_orphans", "--skip-tags", "always", andon_close_cap=500)
    assert refused.code == 2 and f"out of: {ETH} 0.3" in refused.out and not created(venue), refused
    done = fleet.run("close_orphans", andon_close_cap=500, confirm=[f"{ETH} 0.3"])
    assert done.code == 0 and done.report["headline"] == "1/1 CLOSED", done
    assert held(venue) == {("BTCUSDT", "Buy", "0.5")} and len(created(venue)) == 1
    again = fleet.run("reconcile", text=True)
    assert again.code == 0 and "1/1 position MATCH" in again.out and "-33.00 USDT since" in again.out, again
    kept = journal.read(incidents.folder(name))
    reports = [line["data"]["report"] for line in kept if line["kind"] == "verb.ended" and line["verb"] == "close_orphans" and "report" in line["data"]]
    assert reports[-1]["data"]["positions"]["closed"][0]["verdict"] == "CLOSED" and journal.verify(incidents.folder(name)).ok


def test_halt_first_is_confirmed_and_a_host_that_is_silent_is_unknown(fleet, venue, bot):
    fleet.dead()
    configure(fleet, venue, freqtrade(bot))
    hold(venue, "BTCUSDT", "Buy", "0.5")
    refused = fleet.run("reconcile", andon_halt_first=True, confirm="main")
    assert refused.code == 2 and bot.state == "running" and not bot.posted() and "NOT HALTED" in refused.out, refused
    result = fleet.run("reconcile", andon_halt_first=True, confirm="all")
    assert result.code == 2 and bot.state == "paused", result
    assert result.report["summary"][0].startswith("2/3 HALTED before the look, NOT HALTED: momentum: "), result
    verdicts = {row["verdict"] for row in result.report["data"]["positions"]["rows"]}
    assert verdicts == {"UNKNOWN"}, "the dead host may run one as well"


def test_without_any_adapter_the_venues_positions_are_shown_and_nothing_claims_them(fleet, venue):
    configure(fleet, venue)
    hold(venue, "ETHUSDT", "Sell", "0.3")
    result = fleet.run("reconcile")
    assert result.code == 2 and result.report["headline"] == "0/1 position MATCH, 1 UNCLAIMED", result
    assert any(line.startswith("No component has an adapter") for line in result.report["summary"])
    checked = fleet.run("close_orphans", "--check", andon_close_cap=500, andon_close_unclaimed=True)
    assert checked.code == 0 and checked.report["headline"] == "1/1 WOULD CLOSE" and not created(venue), checked
    asked = len(venue.account.calls)
    status = fleet.run("status", text=True)
    assert status.code == 0 and "EXPOSURE   33.00 USDT (" in status.out and len(venue.account.calls) == asked, "no venue is asked for a status"
