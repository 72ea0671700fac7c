"""The stop with a venue, and the venues' verbs: orders are cancelled beside the hosts, and a venue that lies is never a success."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from tests.support.venue import serving

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((ROOT / "docs" / "proof.schema.json").read_text())


@pytest.fixture
def venue(fleet, monkeypatch):
    """A running venue with two resting orders, and the fleet's inventory that names it; the secret is in the environment only."""
    with serving() as server:
        monkeypatch.setenv("LAB_VENUE_SECRET", "SECRET-1")
        configure(fleet, server)
        for number in range(2):
            server.account.place({"symbol": "BTCUSDT", "price": "100", "orderLinkId": f"bot-{number}"})
        server.account.hold({"symbol": "BTCUSDT", "side": "Buy", "size": "0.02", "avgPrice": "100", "markPrice": "101", "positionValue": "2"})
        yield server


def configure(fleet, *servers):
    fleet.save()
    inventory = json.loads(fleet.inventory.read_text())
    inventory["trading"]["vars"] = {
        "andon_venue_budget": 5,
        "andon_venues": [
            {
                "name": f"venue-{number}",
                "ccxt": "bybit",
                "credentials": {"api_key": "KEY-1", "secret_env": "LAB_VENUE_SECRET"},
                "sections": [{"type": "swap"}],
                "urls": server if isinstance(server, str) else server.url,
                "timeout_s": 2,
                "options": {"fetchMarkets": {"types": ["linear"]}},
            }
            for number, server in enumerate(servers, 1)
        ],
    }
    fleet.inventory.write_text(json.dumps(inventory))


def halted(fleet):
    return all(host.running() == {"ledger"} for host in fleet.hosts.values())


def test_a_stop_cancels_at_the_venue_and_proves_it(fleet, venue):
    result = fleet.run("emergency_stop")
    assert result.code == 0, result
    report = result.report
    assert halted(fleet) and venue.account.open() == []
    assert report["headline"] == "2/2 HALTED" and "ORDERS 1/1 venue CANCELLED" in report["summary"]
    assert any("WITHOUT STOP: BTC/USDT:USDT" in line for line in report["summary"])
    jsonschema.validate(report["data"], SCHEMA)
    (row,) = report["data"]["orders"]["venues"]
    assert len(row["gone"]) == 2 and row["at"] > report["data"]["finished_at"], "the proof is from after the hosts' end"
    assert "SECRET-1" not in result.out and "KEY-1" not in result.out
    # What is limited to some hosts cancels nothing: the others may still trade.
    venue.account.place({"symbol": "BTCUSDT", "price": "100"})
    limited = fleet.run("emergency_stop", "--limit", "h1")
    assert limited.code == 0 and len(venue.account.open()) == 1, limited
    assert any("ORDERS NOT CANCELLED: this run is limited" in line for line in limited.report["summary"])


def test_venues_that_lie_or_are_down_fail_the_run_and_not_the_hosts(fleet, venue):
    venue.account.faults["lie_cancel"] = 1
    fleet.dead("a-dead-one")
    configure(fleet, venue, "http://127.0.0.1:1")
    result = fleet.run("emergency_stop")
    assert result.code == 2 and halted(fleet), result
    document = result.report["data"]
    assert document["proven"] == 2 and {h: one["verdict"] for h, one in document["hosts"].items()} == {"h1": "HALTED", "h2": "HALTED", "a-dead-one": "UNKNOWN"}
    assert result.report["headline"].startswith("2/3 HALTED, ORDERS NOT PROVEN, 1 UNKNOWN")
    assert [row["verdict"] for row in document["orders"]["venues"]] == ["NOT CANCELLED", "UNKNOWN"]
    assert document["orders"]["line"].startswith("ORDERS 0/2 venues CANCELLED, 1 NOT CANCELLED (venue-1: still open: 2 orders")
    jsonschema.validate(document, SCHEMA)
    # Every host proven, and only the venue not: still not a success, and --start-at-task asks the venues too.
    venue.account.faults.clear()
    venue.account.faults["reject_cancel"] = 1
    fleet.extra_hosts.clear()
    configure(fleet, venue)
    result = fleet.run("emergency_stop")
    assert result.code == 2 and result.report["data"]["ok"] is True and result.report["ok"] is False, result
    assert result.report["next"][0].startswith("andon cancel-orders")


def test_verbs_need_the_target_and_report(fleet, venue):
    result = fleet.run("cancel_orders", text=True, confirm="venue-1")
    assert result.code == 2 and "must be all" in result.out and len(venue.account.open()) == 2, result
    looked = fleet.run("venue_status")
    assert looked.code == 0 and looked.report["headline"] == "1/1 venue OK", looked
    assert "key OK, WITHOUT STOP: BTC/USDT:USDT, 2 " in looked.report["summary"][0]
    done = fleet.run("cancel_orders", "--skip-tags", "always", "-vvv", text=True, confirm="all")
    assert done.code == 0 and "ORDERS 1/1 venue CANCELLED" in done.out and venue.account.open() == [], done
    assert "SECRET-1" not in done.out + done.err and "KEY-1" not in done.out + done.err


def test_check_mode_lists_and_a_config_that_cannot_be_read_is_unknown(fleet, venue):
    result = fleet.run("emergency_stop", "--check", text=True)
    assert result.code == 0 and "\nORDERS 1/1 venue WOULD CANCEL\n" in result.out, result
    assert result.out.index("HOSTS          2/2 WOULD HALT; now the venues") < result.out.index("ORDERS 1/1"), "the hosts' verdict does not wait"
    assert len(venue.account.open()) == 2 and not halted(fleet)
    result = fleet.run("emergency_stop", andon_venues="{{ nowhere_defined }}")
    assert result.code == 2 and halted(fleet) and result.report["data"]["ok"] is True, result
    assert any("ORDERS UNKNOWN: andon_venues cannot be read" in line for line in result.report["summary"])
