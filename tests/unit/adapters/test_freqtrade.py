"""adapters/freqtrade.yml against a fake Freqtrade that misleads as the real one does; each test is one of its traps."""

from __future__ import annotations

import json

import pytest

from andon import adapters
from andon.adapter_run import run_all
from tests.support.fake_freqtrade import running

PASSWORD = "ft-secret-pw"  # noqa: S105  (of the fake)


class FakeEngine:
    """Only what the steps use: exec into a container whose files are a dict."""

    def __init__(self):
        self.files, self.ran = {}, []

    def run(self, *args, deadline=None, data=None):
        self.ran.append(args)
        path = args[-1]
        if data is not None:
            self.files[path] = data.decode()
            return 0, "", ""
        return (0, self.files[path], "") if path in self.files else (44, "", "")


@pytest.fixture
def bot():
    with running() as bot:
        yield bot


def act(bot, name, engine=None, budget=20.0, check=False, in_stop=False, password=PASSWORD, **given):
    entry = {
        "name": "ft-momentum",
        "strategy": "momentum",
        "adapter": {
            "kind": "freqtrade",
            "endpoint": {"base_url": bot.url, "auth": {"basic": {"user": "ops", "password": password}}},
            "venue": {"name": "main"},
            "vars": {"base_stake": 100},
        },
    }
    plan, secrets = adapters.plan(entry, name, {"incident_id": "INC-1", **given})
    assert PASSWORD not in json.dumps(plan)
    (row,) = run_all([plan], name, engine or FakeEngine(), secrets, budget, check=check, in_stop=in_stop)
    assert PASSWORD not in json.dumps(row)
    return row


def test_a_halt_locks_pauses_and_believes_only_the_worker(bot):
    row = act(bot, "halt")
    assert row["outcome"] == "ok" and row["state"] == "paused"
    assert bot.posted() == [("POST", "/locks"), ("POST", "/pause")]
    (lock,) = bot.locks.values()
    assert lock["pair"] == "*" and lock["side"] == "*" and lock["reason"] == "andon INC-1"
    assert [step["outcome"] for step in row["steps"]] == ["ok", "ok", "ok", "unknown"]
    assert row["proven"] is False and "needs the venue" in row["why"] and row["needs"] == [{"no_new_orders_for_s": 10}]
    again = act(bot, "halt")
    assert again["outcome"] == "ok" and len(bot.locks) == 1, "pressing twice piles up nothing"


def test_an_acknowledged_pause_that_the_loop_does_not_follow_is_not_proven(bot):
    bot.turn("paused"), bot.turn("running")  # an old line of the worker proves nothing
    bot.faults["slow_loop"] = 30
    row = act(bot, "halt", budget=1.5)
    assert row["state"] == "paused" or row["state"] == "", "the API says so at once"
    assert row["proven"] is False and "no line like" in row["why"]
    again = act(bot, "halt", budget=0.8)
    assert [step["outcome"] for step in again["steps"] if step["step"] == "verify log"] == ["unknown"], "nor is it when it is asked again"


def test_a_stopped_bot_is_never_paused_because_that_starts_it(bot):
    bot.state = "stopped"
    row = act(bot, "halt")
    assert bot.state == "stopped" and bot.posted() == [("POST", "/locks")] and row["outcome"] == "ok"
    assert row["steps"][1] == {"step": "pause", "outcome": "already", "words": "not sent: it is stopped"}


def test_a_state_that_cannot_be_read_sends_the_lock_and_not_the_pause(bot):
    bot.faults["hang"] = "/show_config"
    row = act(bot, "halt", in_stop=True, budget=1.5)
    assert bot.posted() == [("POST", "/locks")] and row["outcome"] == "failed" and "state could not be read" in row["why"]


@pytest.mark.parametrize("name", ["flatten", "cancel_orders"])
def test_a_stopped_bot_refuses_so_nothing_is_sent(bot, name):
    bot.trade(1, orders=1)
    bot.state = "stopped"
    row = act(bot, name)
    assert row["outcome"] == "refused" and "it is stopped" in row["why"] and bot.posted() == []


def test_flatten_goes_one_by_one_past_a_position_that_vanished(bot):
    for number in (1, 2, 3):
        bot.trade(number)
    bot.trade(4, amount=0, orders=1)  # an entry that was never filled is no position
    bot.faults["gone"] = (2,)
    row = act(bot, "flatten")
    assert set(bot.trades) == {2, 4} and row["outcome"] == "unknown", "500 on an exit is not known, and the others are exited"
    assert [body["tradeid"] for _, path, body in bot.calls if path == "/forceexit"] == ["1", "2", "3"], "never all, never twice"
    assert row["needs"] == [{"positions": 0}] and row["proven"] is False


def test_neither_code_of_a_cancel_is_believed(bot):
    bot.trade(1, orders=1)
    bot.trade(2, amount=0, orders=1)
    row = act(bot, "cancel_orders")
    # 502 although it worked: the unfilled entry was the whole trade.
    assert [(step["step"][-1], step["outcome"]) for step in row["steps"][:2]] == [("1", "ok"), ("2", "already")]
    bot.trade(3, orders=1)
    bot.faults["lying_cancel"] = True
    row = act(bot, "cancel_orders")
    assert row["steps"][0]["outcome"] == "ok" and bot.trades[3]["has_open_orders"], "200, and it rests"
    assert row["proven"] is False and row["needs"] == [{"open_orders": 0, "include_conditional": False}]


def test_an_order_call_without_an_answer_is_unknown_and_sent_once(bot):
    bot.trade(1)
    bot.faults["hang"] = "/forceexit"
    row = act(bot, "flatten", budget=1.5)
    assert row["outcome"] == "unknown" and "no answer" in row["why"]
    assert len([path for _, path, _ in bot.calls if path == "/forceexit"]) == 1


def test_positions_and_open_orders_have_the_common_form(bot):
    bot.trade(1, amount=0.5)
    bot.trade(2, amount=0.2, short=True, orders=2)
    bot.trade(3, amount=0, orders=1)
    row = act(bot, "positions")
    assert row["outcome"] == "ok" and row["state"] == "running"
    assert [(one["ref"], one["symbol"], one["side"], one["qty"], one["entry"]) for one in row["data"]] == [
        ("1", "BTC/USDT:USDT", "long", 0.5, 100.0),
        ("2", "BTC/USDT:USDT", "short", 0.2, 100.0),
    ]
    assert all(one["as_of"].endswith("Z") for one in row["data"])
    bot.trades[2]["orders"].append({"order_id": "stop", "is_open": True, "ft_order_side": "stoploss"})  # protective, and kept
    assert [one["ids"] for one in act(bot, "open_orders")["data"]] == [["o2-0", "o2-1"], ["o3-0"]]
    bot.trades[1]["amount"] = "a lot"
    wrong = act(bot, "positions")
    assert wrong["data"] is None and wrong["outcome"] == "failed", "a position that cannot be read is never no position"


def test_liveness_has_separate_facts(bot):
    facts = {one["fact"]: one["ok"] for one in act(bot, "liveness")["data"]}
    assert facts == {"process": True, "loop": True, "errors": True, "protections": True}
    import time

    bot.logs += [["", int(time.time() * 1000), "freqtrade.exchange.common", "WARNING", "fetch_ticker() returned exception: RequestTimeout"]] * 5
    row = act(bot, "liveness")
    facts = {one["fact"]: one["ok"] for one in row["data"]}
    assert facts == {"process": True, "loop": True, "errors": False, "protections": True} and row["proven"] is False, "green health, exchange gone"


def test_a_smaller_resume_writes_validates_reloads_and_lifts_the_lock_last(bot):
    engine = FakeEngine()
    bot.size_file = lambda: json.loads(engine.files["/freqtrade/user_data/andon_size.json"])
    act(bot, "halt")
    bot.calls.clear()
    row = act(bot, "resume", engine, size=0.25)
    assert row["outcome"] == "ok" and row["proven"] is True and bot.state == "running", row
    assert bot.posted() == [("POST", "/reload_config"), ("DELETE", "/locks/1"), ("POST", "/start")]
    assert json.loads(engine.files["/freqtrade/user_data/andon_size.json"]) == {"initial_state": "paused", "max_open_trades": 1, "stake_amount": 25.0}
    assert bot.stake == 25.0 and not bot.locks


def test_a_bot_that_does_not_take_the_size_keeps_its_lock(bot):
    act(bot, "halt")
    bot.calls.clear()
    row = act(bot, "resume", budget=1.5, size=0.25)  # its command line does not name the file: reload_config makes it RUN at full size
    assert bot.posted() == [("POST", "/reload_config")] and bot.locks, "the lock is what still holds it"
    assert row["outcome"] == "failed" and "not yet" in row["why"]


def test_check_mode_sends_nothing_and_a_wrong_password_says_so(bot):
    bot.trade(1)
    row = act(bot, "flatten", check=True)
    assert bot.posted() == [] and row["steps"] == [{"step": "exit trade 1", "outcome": "would", "words": "check mode: not sent"}]
    row = act(bot, "positions", password="other")  # noqa: S106
    assert row["outcome"] == "failed" and "credentials are not accepted" in row["why"]


def test_in_a_stop_only_the_steps_are_sent(bot):
    bot.faults["slow_loop"] = 30
    row = act(bot, "halt", in_stop=True)
    assert row["outcome"] == "ok" and [step["step"] for step in row["steps"]] == ["lock all pairs", "pause"], "the stop itself is the proof"
