"""After two presses nothing of ours rests at either venue but what protects a position, and every host is halted. The venues are
asked through the simulator's own channel: neither Andon nor ccxt is the witness."""

import json
import os
from pathlib import Path

import pytest
from looks import COVERED, programs

from lab import lab

HERE = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])
RECORD = HERE / "venues.json"


@pytest.fixture(params=lab.VENUES)
def venue(request):
    """(what rested before the stop, what was to stay, what rests now): client order ids at one venue after another."""
    record = json.loads(RECORD.read_text())[request.param]
    return record["resting"], record["stays"], [order["orderLinkId"] for order in lab.open_orders(lab.venue_urls()[request.param])]


def test_every_host_had_orders_and_what_protects_or_is_not_ours_is_all_that_is_left(venue):
    before, stays, now = venue
    assert {host for host in lab.HOSTS for link in before if link.startswith(f"{lab.PREFIX}{host}-")} == set(lab.HOSTS)
    assert now == stays


def test_the_strategies_did_not_take_them_off_themselves(host):
    logs = host.check_output("tail -qn 1 /var/log/trading/momentum.log /var/log/trading/meanrev.log")
    assert len(logs.splitlines()) == 2 and "stopp" not in logs


def test_the_hosts_are_halted_and_latched(host, after, latch):
    assert {name for name, one in after.items() if one["status"] != "exited"} == {"ledger"} == programs(host.check_output)
    assert {after[name]["policy"]["Name"] for name in COVERED} == {"no"}
    assert latch("all")["operator"] == "molecule"


def test_the_proof_of_the_first_press_says_what_was_cancelled():
    # The scenarios share their state: those before this one have left proofs as well.
    proofs = [one for one in sorted((HERE / "state").rglob("*emergency_stop.json")) if one.stat().st_mtime > RECORD.stat().st_mtime]
    assert len(proofs) == 2
    orders = json.loads(proofs[0].read_text())["orders"]
    assert orders["line"] == "ORDERS 2/2 venues CANCELLED"
    rows = {row["name"]: row for row in orders["venues"]}
    assert {name: (len(row["kept"]), row["foreign"], row["unprotected"]) for name, row in rows.items()} == {"main": (1, 1, []), "second": (1, 0, [])}
    assert all(len(row["gone"]) >= len(lab.HOSTS) for row in rows.values())
