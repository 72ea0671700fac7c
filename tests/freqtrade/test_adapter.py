"""adapters/freqtrade.yml against the real program: what each action does at the venue, and what it says when it cannot know."""

from __future__ import annotations

import json
import subprocess
import time

from andon import adapters
from andon.adapter_run import run_all
from andon.engine import Engine
from tests.freqtrade.conftest import BTC, ETH, PASSWORD, USER, until
from tests.freqtrade.test_traps import created, entries, filled, open_ids, stops


class Here(Engine):
    """The container CLI, where the only container is this machine: `exec` runs the adapter's own scripts."""

    def run(self, *args, deadline=None, data=None):
        rest = list(args[1:])
        assert args[0] == "exec"
        while rest[0].startswith("-"):
            rest.pop(0)
        done = subprocess.run(rest[1:], input=data, capture_output=True, timeout=deadline, check=False)
        return done.returncode, done.stdout.decode(), done.stderr.decode()


def act(bot, name, budget=40.0, password=PASSWORD, base_stake=100, size_file=None, **given):
    entry = {
        "name": "ft-eager",
        "strategy": "eager",
        "adapter": {
            "kind": "freqtrade",
            "endpoint": {"base_url": bot.base_url, "auth": {"basic": {"user": USER, "password": password}}},
            "venue": {"name": "main", "symbols": [BTC, ETH]},
            "vars": {"base_stake": base_stake, "size_file": str(size_file or bot.overlay)},
        },
    }
    plan, secrets = adapters.plan(entry, name, {"incident_id": "INC-1", **given})
    (row,) = run_all([plan], name, Here("none"), secrets, budget)
    assert PASSWORD not in json.dumps(row)
    return row


def outcomes(row):
    return [(step["step"], step["outcome"]) for step in row["steps"]]


def loops(bot, count):
    """Lets the loop turn so often; a bot that would send an order has sent it by then."""
    for _ in range(count):
        before = bot.get("/health")["last_process_ts"] or 0
        until(lambda: (bot.get("/health")["last_process_ts"] or 0) > before, "the loop to turn")


def test_a_halt_holds_over_a_restart_and_only_the_worker_proves_it(freqtrade, venue):
    bot = freqtrade()
    until(lambda: len(entries(venue)) == 2, "an entry in each market")
    until(lambda: len(bot.trades()) == 2, "both trades in /status")
    begun = time.time()
    row = act(bot, "halt")
    assert row["outcome"] == "ok" and row["state"] == "paused" and bot.logged("to: PAUSED", begun), row
    assert outcomes(row) == [("lock all pairs", "ok"), ("pause", "ok"), ("verify log", "ok"), ("verify venue", "unknown")]
    assert row["proven"] is False and row["needs"] == [{"no_new_orders_for_s": 10}], "the last word is the venue's"
    again = act(bot, "halt")
    assert again["outcome"] == "ok" and outcomes(again)[0] == ("lock all pairs", "already")
    assert [(one["pair"], one["side"], one["reason"]) for one in bot.get("/locks")["locks"]] == [("*", "*", "andon INC-1")]

    assert {one["fact"]: one["ok"] for one in act(bot, "liveness")["data"]} == {"process": True, "loop": True, "protections": True, "errors": True}
    assert act(bot, "positions")["data"] == [], "an entry that nobody filled is no position"
    rows = act(bot, "open_orders")["data"]
    assert {one["symbol"] for one in rows} == {BTC, ETH} and {i for one in rows for i in one["ids"]} == open_ids(venue)

    # A venue that says OK and does nothing: the outcome is the answer's, and nothing is proven.
    resting = open_ids(venue)
    venue.account.faults["lie_cancel"] = 1
    row = act(bot, "cancel_orders")
    assert row["outcome"] == "ok" and open_ids(venue) == resting
    assert row["proven"] is False and row["needs"] == [{"open_orders": 0, "include_conditional": False}]
    venue.account.faults.clear()
    row = act(bot, "cancel_orders")
    assert row["outcome"] in ("ok", "already") and venue.account.open() == [], row
    assert [one for one in act(bot, "cancel_orders")["steps"] if one["step"].startswith("cancel")] == [], "nothing is left to cancel"

    # The process ends and comes back with initial_state running: the lock is what holds.
    sent = len(created(venue))
    assert bot.end() == 130
    bot.start()
    assert bot.state == "running"
    loops(bot, 3)
    assert len(created(venue)) == sent, "no order after the restart"
    assert act(bot, "halt")["outcome"] == "ok" and bot.state == "paused"

    # Up again: the lock goes, the entries come.
    row = act(bot, "resume")
    assert row["outcome"] == "ok" and row["proven"] is True and bot.get("/locks")["locks"] == [], row
    until(lambda: len(entries(venue)) == 2, "the bot enters again")

    # A venue that hangs: the API says paused at once, the worker does not, and nobody is told that it is proven.
    until(lambda: len(bot.trades()) == 2, "both trades in /status")
    venue.account.faults["slow"] = 8
    seen = len(venue.account.calls)
    until(lambda: len(venue.account.calls) > seen, "the loop to be in a call")
    row = act(bot, "halt", budget=4)
    assert bot.state == "paused" and row["proven"] is False and ("verify log", "unknown") in outcomes(row), row

    row = act(bot, "halt", budget=4)
    assert ("verify log", "ok") not in outcomes(row), "and not when it is asked again, though the API had said paused before"

    # A bot that is stopped is never paused: that would start it.
    venue.account.faults.clear()
    begun = time.time()
    assert bot.post("/stop").status == 200
    bot.changed("STOPPED", begun)
    row = act(bot, "halt")
    assert row["outcome"] in ("ok", "already") and bot.state == "stopped" and ("pause", "already") in outcomes(row), row
    for name in ("flatten", "cancel_orders"):
        row = act(bot, name)
        assert row["outcome"] == "refused" and row["steps"] == [], row


def test_flatten_and_what_the_bot_says_that_it_holds(freqtrade, venue):
    bot = freqtrade()
    until(lambda: len(entries(venue)) == 2, "an entry in each market")
    number = bot.lock()
    filled(bot, venue, "BTCUSDT", "ETHUSDT")
    row = act(bot, "positions")
    assert row["outcome"] == "ok" and row["state"] == "running" and row["proven"] is False, "a claim, not a proof"
    assert {(one["symbol"], one["side"], one["qty"]) for one in row["data"]} == {
        (symbol[:3] + "/USDT:USDT", "long", float(venue.account.size(symbol))) for symbol in ("BTCUSDT", "ETHUSDT")
    }
    assert all(one["entry"] > 0 and one["as_of"].endswith("Z") and one["ref"] for one in row["data"])
    assert act(bot, "open_orders")["data"] == [], "protective stops are no open orders"
    assert len(stops(venue)) == 2

    row = act(bot, "flatten")
    assert row["outcome"] == "ok" and row["needs"] == [{"positions": 0}], row
    until(lambda: venue.account.size("BTCUSDT") == venue.account.size("ETHUSDT") == 0, "both positions are closed")
    until(lambda: len(bot.get("/trades")["trades"]) == 2, "both trades closed")
    until(lambda: venue.account.open() == [], "their stops are gone with them")

    # One of two positions vanishes: the adapter goes past it and says that it does not know.
    assert bot.call("DELETE", f"/locks/{number}").status == 200
    until(lambda: len(entries(venue)) == 2, "the bot enters again")
    bot.lock()
    filled(bot, venue, "BTCUSDT", "ETHUSDT")
    ghost, other = (t["base_currency"] + "USDT" for t in sorted(bot.trades(), key=lambda t: t["trade_id"]))
    venue.account.hold({"symbol": ghost, "size": "0"})
    row = act(bot, "flatten")
    assert row["outcome"] == "unknown" and [step["outcome"] for step in row["steps"][:2]] == ["unknown", "ok"], row
    until(lambda: venue.account.size(other) == 0, "the other one is closed")

    # The newest first: with a limit, the API's own order keeps the oldest.
    until(lambda: len(bot.get("/trades")["trades"]) == 3, "three closed trades")
    ids = [t["trade_id"] for t in bot.get("/trades")["trades"]]
    assert bot.get("/trades?limit=1")["trades"][0]["trade_id"] == min(ids)
    row = act(bot, "trades")
    assert [one["ref"] for one in row["data"]][0] == str(max(ids)) and len(row["data"]) == 3
    assert all(one["reason"] == "force_exit" and isinstance(one["pnl"], float) and one["closed_at"].endswith("Z") and one["qty"] > 0 for one in row["data"])

    # Green health, exchange gone: the errors are a fact of their own.
    venue.account.faults["down"] = 1
    row = until(
        lambda: next((r for r in [act(bot, "liveness")] if not all(one["ok"] for one in r["data"])), None),
        "liveness to see that the venue is gone",
    )
    assert {one["fact"]: one["ok"] for one in row["data"]} == {"process": True, "loop": True, "protections": True, "errors": False} and row["proven"] is False
    assert venue.account.secret not in json.dumps(row) and venue.account.key not in json.dumps(row)
    row = act(bot, "positions", password="wrong")
    assert row["outcome"] == "failed" and "credentials are not accepted" in row["why"]


def test_a_smaller_resume_is_read_back_before_anything_is_reloaded(freqtrade, venue):
    bot = freqtrade(initial_state="running", stake_amount=400)
    until(lambda: len(entries(venue)) == 2 and len(bot.trades()) == 2, "an entry in each market")
    whole = {order["symbol"]: float(order["qty"]) for order in entries(venue)}
    assert act(bot, "halt")["outcome"] == "ok"
    act(bot, "cancel_orders")
    until(lambda: venue.account.open() == [], "no order is left")
    sent = len(created(venue))

    # A file that cannot be written: nothing is reloaded, the lock stays.
    process = bot.process.pid
    row = act(bot, "resume", base_stake=400, size=0.25, size_file=bot.folder / "config.json" / "size.json")
    assert row["outcome"] == "failed" and [one["outcome"] for one in row["steps"]] == ["ok", "failed"], row
    assert bot.process.poll() is None and bot.state == "paused" and len(bot.get("/locks")["locks"]) == 1

    # A file that the bot was not started with: it comes back at full size, and the lock is what still holds it.
    row = act(bot, "resume", budget=15, base_stake=400, size=0.25, size_file=bot.folder / "elsewhere.json")
    assert row["outcome"] == "failed" and float(bot.get("/show_config")["stake_amount"]) == 400
    loops(bot, 2)
    assert len(created(venue)) == sent and len(bot.get("/locks")["locks"]) == 1

    # A broken file that somebody left there is replaced before the reload, so the bot lives.
    bot.overlay.write_text("{broken")
    row = act(bot, "resume", base_stake=400, size=0.25)
    assert row["outcome"] == "ok" and row["proven"] is True, row
    assert json.loads(bot.overlay.read_text()) == {"initial_state": "paused", "max_open_trades": 1, "stake_amount": 100.0}
    shown = bot.get("/show_config")
    assert (shown["state"], float(shown["stake_amount"]), shown["max_open_trades"]) == ("running", 100.0, 1)
    assert bot.process.poll() is None and bot.process.pid == process and bot.get("/locks")["locks"] == []
    (order,) = until(lambda: entries(venue), "the bot enters again")
    assert float(order["qty"]) <= whole[order["symbol"]] / 4 + 0.001
    loops(bot, 2)
    assert len(entries(venue)) == 1, "one trade at most"
