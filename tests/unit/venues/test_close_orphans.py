"""Closing orphans with an unmodified ccxt against the lab's venue: once, only as it was seen, and proven by the position."""

from __future__ import annotations

import json

import pytest

from andon import closing, positions, reconcile
from andon.venues import Desk, Run
from tests.support.venue import entry as venue_entry

BTC, ETH = "BTC/USDT:USDT", "ETH/USDT:USDT"
RECONCILIATION = "20261122T030405678Z"


@pytest.fixture
def venue(venue):
    """A running venue that holds 0.5 BTC long, worth 55 USDT."""
    hold(venue)
    return venue


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(closing, "SETTLE", 0.3)
    monkeypatch.setattr(closing, "AGAIN", 0.02)


def hold(server, symbol="BTCUSDT", side="Buy", size="0.5", mark="110", **more):
    server.account.hold({"symbol": symbol, "side": side, "size": size, "avgPrice": "100", "markPrice": mark, "positionValue": "2", **more})


def entry(server):
    return venue_entry(server, ("linear",), timeout_s=20)


def orders(server):
    """What a reconciliation lists as unclaimed, as the action hands it on."""
    rows = reconcile.judge([], positions.look(Run([entry(server)]), {}, 60), {})
    keys = ("venue", "symbol", "side", "confirm")
    return [
        {
            **{key: row[key] for key in keys},
            **{key: row["position"][key] for key in ("contracts", "size")},
            "client_id": reconcile.client_id(RECONCILIATION, row),
        }
        for row in rows
    ]


def close(server, some, tmp_path, *, cap="1000", check=False, budget=60):
    job = {"config": [entry(server)], "orders": some, "cap": cap, "check": check, "sent": str(tmp_path / "sent"), "budget": budget}
    return closing.rows(job)


def created(server):
    return [asked for path, asked in server.account.calls if path == "/v5/order/create"]


def test_one_reduce_only_market_order_with_our_id_and_the_position_is_the_proof(venue, tmp_path):
    hold(venue, "ETHUSDT", "Sell", "0.3")
    some = orders(venue)
    rows = close(venue, some, tmp_path)
    assert [row["verdict"] for row in rows] == ["CLOSED", "CLOSED"] and all(row["ok"] and row["after"] == "0" for row in rows)
    assert [(o["side"], o["qty"], o["orderType"], o["reduceOnly"]) for o in created(venue)] == [("Sell", "0.5", "Market", True), ("Buy", "0.3", "Market", True)]
    assert [o["orderLinkId"] for o in created(venue)] == [one["client_id"] for one in some]
    assert venue.account.calls[-2][0] == "/v5/position/list" or venue.account.calls[-1][0] == "/v5/position/list"
    # Again: nothing is there, nothing is sent.
    assert [row["verdict"] for row in close(venue, some, tmp_path)] == ["FLAT", "FLAT"] and len(created(venue)) == 2


def test_check_sends_nothing_and_says_the_same_refusals(venue, tmp_path):
    some = orders(venue)
    (row,) = close(venue, some, tmp_path, check=True)
    assert row["verdict"] == "WOULD CLOSE" and row["ok"] and row["worth"] == "55"
    (row,) = close(venue, some, tmp_path, check=True, cap="54.99")
    assert row["verdict"] == "REFUSED" and "andon_close_cap is 54.99" in row["why"] and not row["ok"]
    assert created(venue) == [] and not (tmp_path / "sent").exists()


@pytest.mark.parametrize(
    ("size", "side", "words"), [("0.4", "Buy", "it was long 0.5 and is long 0.4"), ("0.6", "Buy", "is long 0.6"), ("0.5", "Sell", "is short 0.5")]
)
def test_a_position_that_changed_since_is_refused(venue, tmp_path, size, side, words):
    some = orders(venue)
    venue.account._positions.clear()
    hold(venue, side=side, size=size)
    (row,) = close(venue, some, tmp_path)
    assert row["verdict"] == "REFUSED" and words in row["why"] and created(venue) == []


def test_the_cap_holds_for_all_of_a_run_together_at_the_price_of_now(venue, tmp_path):
    hold(venue, "ETHUSDT", "Sell", "0.3")
    some = orders(venue)
    rows = close(venue, some, tmp_path, cap="80")  # 55 and 33
    assert [row["verdict"] for row in rows] == ["CLOSED", "REFUSED"] and "55 of it for the others" in rows[1]["why"]
    next(p for p in venue.account._positions if p["symbol"] == "ETHUSDT")["markPrice"] = "400"
    (row,) = close(venue, some[1:], tmp_path, cap="80")
    assert row["verdict"] == "REFUSED" and "worth 120" in row["why"] and len(created(venue)) == 1


def test_a_partial_fill_is_no_close_and_the_same_reconciliation_cannot_go_on(venue, tmp_path):
    some = orders(venue)
    venue.account.faults["partial"] = 0.4
    (row,) = close(venue, some, tmp_path)
    assert row["verdict"] == "NOT CLOSED" and row["after"] == "0.3" and "long 0.3 is still held" in row["why"] and "0.2 filled" in row["why"]
    (row,) = close(venue, some, tmp_path)
    assert row["verdict"] == "REFUSED" and "changed since" in row["why"] and len(created(venue)) == 1


def test_an_order_without_an_answer_is_found_and_never_sent_twice(venue, tmp_path):
    some = orders(venue)
    venue.account.faults.update(lose_answer=1, partial=0.4)
    (row,) = close(venue, some, tmp_path)
    assert row["outcome"] == "unknown" and row["order"]["filled"] == 0.2, "found by our client order id"
    assert row["verdict"] == "NOT CLOSED" and "no answer to the order" in row["why"]
    # The same, and the position is gone: that is the proof, whatever was answered.
    venue.account.faults = {"lose_answer": 1}
    (left,) = orders(venue)
    (row,) = close(venue, [left], tmp_path)
    assert row["verdict"] == "CLOSED" and row["outcome"] == "unknown" and row["after"] == "0"
    assert len(created(venue)) == 2


def test_an_order_that_never_arrived_stays_unknown_and_is_not_sent_again(venue, tmp_path):
    some = orders(venue)
    venue.account.faults["lose_order"] = 1
    (row,) = close(venue, some, tmp_path)
    assert row["verdict"] == "UNKNOWN" and "the order may still come" in row["why"] and row["client_id"] in row["why"] and not row["ok"]
    venue.account.faults.clear()
    (row,) = close(venue, some, tmp_path)
    assert row["verdict"] == "UNKNOWN" and row["outcome"] == "sent before" and len(created(venue)) == 1
    assert json.loads((tmp_path / "sent" / f"{row['client_id']}.json").read_text())["symbol"] == BTC


def test_a_refused_reduce_only_order_means_flat_only_if_the_position_is(venue, tmp_path, monkeypatch):
    some = orders(venue)
    real = closing._send

    def somebody_was_faster(*args):
        venue.account._positions.clear()
        return real(*args)

    monkeypatch.setattr(closing, "_send", somebody_was_faster)
    (row,) = close(venue, some, tmp_path)
    assert row["verdict"] == "FLAT" and row["ok"] and row["outcome"] == "rejected" and "reduce-only" in row["why"]
    monkeypatch.setattr(closing, "_send", real)
    hold(venue, "ETHUSDT", "Buy", "0.3")
    (eth,) = orders(venue)
    venue.account._links.append(eth["client_id"])  # the venue refuses it as a duplicate
    (row,) = close(venue, [eth], tmp_path)
    assert row["verdict"] == "NOT CLOSED" and "refused the order" in row["why"] and row["after"] == "0.3"


def test_nothing_is_sent_that_could_not_be_read_or_written_down_first(venue, tmp_path):
    some = orders(venue)
    (tmp_path / "sent").write_text("a file where a folder should be")
    (row,) = close(venue, some, tmp_path)
    assert row["verdict"] == "REFUSED" and "cannot be written" in row["why"]
    venue.account.faults["error500"] = 1
    (row,) = close(venue, some, tmp_path)
    assert row["verdict"] == "UNKNOWN" and row["why"].endswith("nothing was sent")
    (row,) = close(venue, [{**some[0], "venue": "other"}], tmp_path)
    assert row["verdict"] == "REFUSED" and "no venue of this name" in row["why"]
    venue.account.faults.clear()
    (row,) = close(venue, some, tmp_path, budget=closing.ENOUGH)
    assert row["verdict"] == "REFUSED" and "no time is left" in row["why"] and created(venue) == []


def test_a_position_that_cannot_be_read_after_the_order_is_unknown(venue, tmp_path, monkeypatch):
    some = orders(venue)
    real = closing._send

    def then_it_breaks(*args):
        result = real(*args)
        venue.account.faults["error500"] = 1
        return result

    monkeypatch.setattr(closing, "_send", then_it_breaks)
    (row,) = close(venue, some, tmp_path)
    assert row["verdict"] == "UNKNOWN" and "could not be read" in row["why"] and row["client_id"] in row["why"] and row["sent"]


def test_in_hedge_mode_only_the_confirmed_side_is_closed(venue, tmp_path):
    venue.account._positions.clear()
    hold(venue, side="Buy", size="0.5", positionIdx=1)
    hold(venue, side="Sell", size="0.5", positionIdx=2)
    long, short = orders(venue)
    assert long["confirm"] == f"main long {BTC} 0.5"
    (row,) = close(venue, [short], tmp_path)
    assert row["verdict"] == "CLOSED" and [(p["side"], p["size"]) for p in venue.account._positions] == [("Buy", "0.5")]
    assert [(o["side"], o["positionIdx"]) for o in created(venue)] == [("Buy", 2)]


def test_what_is_not_priced_in_dollars_or_has_no_price_is_refused():
    desk = Desk(Run([{"name": "main", "ccxt": "bybit", "symbols": [BTC]}]).desks["main"].venue)
    position = {"side": "long", "size": "1", "contracts": "1", "quote": "BTC", "notional": "1"}
    order = {"side": "long", "size": "1", "contracts": "1"}
    assert "priced in BTC" in closing._refusal(desk, order, position)
    assert "no price" in closing._refusal(desk, order, {**position, "quote": "USDT", "notional": None})


# The acting step on the bastion


def listed(**more):
    rows = reconcile.judge([], [{**positions.blank("main"), "ok": True, "markets": {}, "positions": [POSITION]}], {})
    return {"id": RECONCILIATION, "rows": [{**rows[0], **more}]}


POSITION = {"symbol": BTC, "side": "long", "contracts": "0.5", "size": "0.5", "notional": "55", "quote": "USDT", "settle": "USDT", "pnl": None, "hedged": False}


def test_only_what_the_reconciliation_lists_can_be_confirmed():
    from ansible.errors import AnsibleActionFail

    from plugins.action.close_orphans import chosen, closable, given

    assert closable(listed(), False) == [] and len(closable(listed(), True)) == 1, "unclaimed ones only when that is said"
    rows = closable(listed(verdict="ORPHAN"), False)
    target = f"{BTC} 0.5"
    for confirm in ([target], f" {BTC}  0.5 ,"):
        assert chosen(rows, confirm, False) == rows
    assert chosen(rows, [], True) == rows and given("a 1, b 2") == ["a 1", "b 2"]
    for confirm, check, words in (
        ([], False, "must name each position"),
        ("", False, "must name each position"),
        ([f"{BTC} 0.4"], False, "is not in the reconciliation"),
        ([f"{BTC} 0.4"], True, "Did you mean"),
        (["all"], False, "is not in the reconciliation"),
        ([target, target], False, "named twice"),
    ):
        with pytest.raises(AnsibleActionFail, match=words):
            chosen(rows, confirm, check)
    for verdict in ("MATCH", "SIZE DIFFERS", "GHOST", "UNKNOWN"):
        assert closable(listed(verdict=verdict), True) == []


def test_what_a_component_claims_or_may_claim_by_now_is_not_closed():
    from plugins.action.close_orphans import refusal

    row = listed()["rows"][0]
    mine = reconcile.Source("h1", "bot", "main", (), True, "", [reconcile.claim({"symbol": BTC, "side": "short", "qty": 1})])
    assert "bot on h1 claims" in refusal(row, [mine])
    dead = reconcile.Source("h2", "bot", "main", (), False, "unreachable")
    assert "could not be asked: unreachable" in refusal(row, [dead])
    for other in ({"venue": "alt"}, {"symbols": (ETH,)}):
        assert refusal(row, [reconcile.Source("h2", "bot", **{"venue": "main", **other})]) == ""


def test_an_old_or_replaced_reconciliation_closes_nothing(monkeypatch):
    from ansible.errors import AnsibleActionFail

    from andon import reconciliations, state
    from plugins.action.close_orphans import ActionModule

    found = listed()
    made = reconciliations.made_at(RECONCILIATION)
    monkeypatch.setattr("time.time", lambda: made + 901)
    with pytest.raises(AnsibleActionFail, match="may be 15 min 00 s"):
        ActionModule._fresh(found, {"age": 900}, None)
    monkeypatch.setattr("time.time", lambda: made + 60)
    ActionModule._fresh(found, {"age": 900}, None)
    later = reconciliations.new_id(state.utc(made + 30))
    venue = {"main": {"ok": True, "at": state.utc(made + 30), "exposure": {}, "pnl": {}}}
    reconciliations.keep({"schema": reconciliations.SCHEMA, "id": later, "rows": [], "venues": venue}, None)
    with pytest.raises(AnsibleActionFail, match="there is a later reconciliation of main"):
        ActionModule._fresh(found, {"age": 900}, None)
