"""component.yml: a component's own halt is proven only when the venue agrees, and nothing is sent unconfirmed."""

from __future__ import annotations

import json

import pytest

from tests.support.fake_freqtrade import running
from tests.support.venue import serving

PASSWORD = "ft-secret-pw"  # noqa: S105  (of the fake)
SYMBOL = "BTC/USDT:USDT"


@pytest.fixture
def bot(fleet, monkeypatch):
    """One host with a bot, and the venue that it trades at."""
    with running() as bot, serving() as venue:
        monkeypatch.setenv("FT_PASSWORD", PASSWORD)
        monkeypatch.setenv("LAB_VENUE_SECRET", "SECRET-1")
        fleet.hosts.pop("h2")
        fleet.save()
        inventory = json.loads(fleet.inventory.read_text())
        inventory["trading"]["vars"] = {
            "andon_components": [
                {
                    "name": "momentum",
                    "strategy": "momentum",
                    "adapter": {
                        "kind": "freqtrade",
                        "endpoint": {"base_url": bot.url, "auth": {"basic": {"user": "ops", "password_env": "FT_PASSWORD"}}},
                        "venue": {"name": "main", "symbols": [SYMBOL]},
                        "override": {"halt": quick_halt()},
                    },
                },
            ],
            "andon_venues": [
                {
                    "name": "main",
                    "ccxt": "bybit",
                    "credentials": {"api_key": "KEY-1", "secret_env": "LAB_VENUE_SECRET"},
                    "sections": [{"type": "swap"}],
                    "urls": venue.url,
                    "timeout_s": 2,
                    "options": {"fetchMarkets": {"types": ["linear"]}},
                }
            ],
        }
        fleet.inventory.write_text(json.dumps(inventory))
        bot.venue = venue.account
        yield bot


def quick_halt():
    """The file's halt with a short look at the venue; its own templates pass Ansible untouched."""
    return {
        "durable": True,
        "do": [
            {
                "http": {
                    "method": "POST",
                    "path": "/locks",
                    "json": [{"pair": "*", "side": "*", "until": "{{ halt_until }}", "reason": "andon {{ incident_id }}"}],
                }
            },
            {"http": {"method": "POST", "path": "/pause"}, "unless_state": ["stopped"]},
        ],
        "verify": [
            {"log": {"http": {"path": "/logs"}, "each": "logs", "at": "1", "unit": "ms", "text": "4", "regex": "to: PAUSED$"}, "timeout_s": 5},
            {"venue": {"no_new_orders_for_s": 0.2}},
        ],
    }


def test_a_halt_is_proven_by_the_workers_log_and_the_venue(fleet, bot):
    bot.venue.place({"symbol": "BTCUSDT", "price": "100"})  # it rested before: no new order
    unconfirmed = fleet.run("component", "--skip-tags", "always", andon_act="halt", andon_component="momentum", confirm="momentun")
    assert unconfirmed.code == 2 and bot.posted() == [] and "not confirmed: confirm must be momentum" in unconfirmed.out, unconfirmed
    done = fleet.run("component", andon_act="halt", andon_component="momentum", confirm="momentum")
    assert done.code == 0 and bot.state == "paused" and len(bot.locks) == 1, done
    (row,) = done.report["data"]["hosts"]["h1"]
    assert row["proven"] is True and row["outcome"] == "ok" and done.report["headline"] == "halt 1/1 component OK"
    assert PASSWORD not in done.out and "SECRET-1" not in done.out


def test_cancels_that_answer_200_and_cancel_nothing_are_no_success(fleet, bot):
    bot.trade(1, orders=1)
    bot.faults["lying_cancel"] = True
    bot.venue.place({"symbol": "BTCUSDT", "price": "100"})
    done = fleet.run("component", "-vvv", text=True, andon_act="cancel_orders", confirm="all")
    assert done.code == 2 and "the venue still has 1 open order" in done.out and "OK, NOT PROVEN" in done.out, done
    assert PASSWORD not in done.out + done.err


def test_positions_are_listed_and_a_missing_secret_sends_nothing(fleet, bot, monkeypatch):
    bot.trade(1, amount=0.5)
    done = fleet.run("component", andon_act="positions")
    (row,) = done.report["data"]["hosts"]["h1"]
    assert done.code == 0 and row["data"][0]["symbol"] == SYMBOL and row["data"][0]["qty"] == 0.5 and row["venue"] == "main", done
    monkeypatch.delenv("FT_PASSWORD")
    calls = len(bot.calls)
    done = fleet.run("component", andon_act="flatten", confirm="all")
    assert done.code == 2 and "the environment variable FT_PASSWORD is not set" in done.out and len(bot.calls) == calls, done
