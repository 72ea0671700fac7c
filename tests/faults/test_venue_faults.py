"""The stop's part at the venues, with real strategies whose orders it cancels. The witness is the simulator's own channel (lab.py,
open_orders): it shows what rests, whatever the venue's faults make it answer."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from lab import lab as fleet_lab
from tests.faults.test_stop_faults import wait_until

PATIENCE = 60  # andon_venue_budget, in seconds, where the venues answer: a busy machine is not what these tests are about


class Venues:
    """Both venues, seen and broken through the simulator's own channel."""

    def __init__(self) -> None:
        self.urls = fleet_lab.venue_urls()

    def fault(self, venue: str, mode: str | None, value: float = 1) -> None:
        fleet_lab.ask_venue(self.urls[venue], "faults", {"mode": mode, "value": value})

    def held(self, venue: str) -> int:
        return fleet_lab.ask_venue(self.urls[venue], "faults")["held"]

    def resting(self, venue: str) -> dict[str, str]:
        """{order id: client order id}"""
        return {order["orderId"]: order["orderLinkId"] for order in fleet_lab.open_orders(self.urls[venue])}


@pytest.fixture
def venues(lab):
    """Strategies of all hosts have orders at both venues; the lab's reset takes orders and faults away."""
    fleet_lab.wait_for_orders()
    return Venues()


def the_proof():
    """What the one stop of this test has left on the bastion."""
    (path,) = (Path(os.environ["ANDON_STATE"]) / "proofs").glob("*emergency_stop.json")
    return json.loads(path.read_text())


def rows(report):
    return {row["name"]: row for row in report["data"]["orders"]["venues"]}


def ours(orders):
    return {link for link in orders.values() if link.startswith(fleet_lab.PREFIX)}


def test_a_dead_host_and_a_dead_venue_have_denominators_of_their_own(lab, venues):
    venues.fault("second", "down")
    # trading.md B2.2: every process is up and its own health check good, and the exchange is gone.
    wait_until(lambda: lab.sh("host-b", "docker inspect -f '{{.State.Health.Status}}' meanrev") == "healthy")
    looked = lab.run("venue_status")
    assert looked.code == 2 and looked.report["headline"].startswith("1/2 venues OK, not: second "), looked
    fleet_lab.docker("pause", fleet_lab.container("host-a"))
    result = lab.run("emergency_stop", andon_stop_mode="now", andon_venue_budget=PATIENCE)
    assert result.code == 2, result
    assert lab.verdicts(result) == {"host-a": "UNKNOWN", "host-b": "HALTED", "host-c": "HALTED"}
    lab.assert_halted("host-b", "host-c")
    assert result.report["headline"].startswith("2/3 HALTED, ORDERS NOT PROVEN, 1 UNKNOWN (host-a"), result
    line = result.report["data"]["orders"]["line"]
    assert line.startswith("ORDERS 1/2 venues CANCELLED, 1 UNKNOWN (second: "), line
    # The dead host's orders too: the venue does not need it for that. What is behind the dead venue still rests.
    assert venues.resting("main") == {} and any("host-a" in link for link in ours(venues.resting("second")))

    venues.fault("second", None)
    fleet_lab.docker("unpause", fleet_lab.container("host-a"))
    again = lab.run("emergency_stop", andon_stop_mode="now", andon_venue_budget=PATIENCE)
    assert again.code == 0 and again.report["headline"] == "3/3 HALTED", again
    lab.assert_halted(*lab.hosts)
    assert venues.resting("main") == venues.resting("second") == {}


def test_a_venue_that_answers_ok_and_cancels_nothing(lab, venues):
    """trading.md B2.4 and B2.7: killed strategies leave orders, and a cancel that is answered with OK is no cancelled order."""
    venues.fault("main", "lie_cancel")
    result = lab.run("emergency_stop", andon_stop_mode="now", andon_venue_budget=PATIENCE)
    assert result.code == 2 and result.report["headline"] == "3/3 HALTED, ORDERS NOT PROVEN", result
    lab.assert_halted(*lab.hosts)
    assert result.report["data"]["ok"] is True, "the hosts' verdict does not depend on a venue"
    left = venues.resting("main")
    assert {host for host in lab.hosts for link in ours(left) if host in link} == set(lab.hosts)
    assert rows(result.report)["main"]["verdict"] == "NOT CANCELLED" and {one["id"] for one in rows(result.report)["main"]["remaining"]} == set(left)
    assert "the venue said that it cancelled" in result.report["data"]["orders"]["line"]
    assert rows(result.report)["second"]["verdict"] == "CANCELLED" and venues.resting("second") == {}
    assert result.report["next"][0].startswith("andon cancel-orders")

    venues.fault("main", None)
    done = lab.run("cancel_orders", confirm="all", andon_venue_budget=PATIENCE)
    assert done.code == 0 and done.report["headline"] == "ORDERS 2/2 venues CANCELLED" and venues.resting("main") == {}, done


def test_orders_of_killed_strategies_that_arrive_after_the_hosts_are_halted(lab, venues):
    """trading.md B2.1: what was on its way when the process died becomes an order when nobody is left to know of it."""
    for venue in venues.urls:
        venues.fault(venue, "hold_create", 600)
    wait_until(lambda: all(venues.held(venue) >= len(lab.hosts) for venue in venues.urls))
    before = {venue: set(venues.resting(venue)) for venue in venues.urls}
    run = lab.start("emergency_stop", screen=True, andon_stop_mode="now", andon_venue_budget=PATIENCE)
    seen = ""
    while "now the venues" not in seen:
        line = run.stdout.readline()
        assert line, (seen, run.stderr.read())
        seen += line
    for venue in venues.urls:
        venues.fault(venue, None)
    out, err = run.communicate(timeout=180)
    assert run.returncode == 0 and "ORDERS 2/2 venues CANCELLED" in out, (seen, out, err)
    lab.assert_halted(*lab.hosts)
    assert venues.resting("main") == venues.resting("second") == {}
    proof = the_proof()
    for row in proof["orders"]["venues"]:
        late = {order for order in row["gone"] if order > max(before[row["name"]], default="")}
        assert late, "the orders that were held back had come, and were cancelled"


def test_venues_that_are_too_slow_or_refuse_the_key_keep_nobody_waiting(lab, venues):
    """trading.md B2.3: a key that the venue refuses shows nowhere until it is needed."""
    venues.fault("main", "slow", 120)
    inventory = json.loads((fleet_lab.INVENTORY / "hosts.yml").read_text())["trading"]["vars"]["andon_venues"]
    secret = inventory[1]["credentials"]["secret"]
    inventory[1]["credentials"]["secret"] = secret[::-1] + "x"
    run = lab.start("emergency_stop", screen=True, andon_stop_mode="now", andon_venue_budget=6, andon_venues=inventory)
    out, err = run.communicate(timeout=180)
    assert run.returncode == 2, (out, err)
    lab.assert_halted(*lab.hosts)
    assert out.index("3/3 HALTED; now the venues") < out.index("ORDERS 0/2 venues CANCELLED, 2 UNKNOWN (main: "), out
    proof = the_proof()
    assert proof["ok"] is True and proof["proven"] == 3
    found = {row["name"]: row for row in proof["orders"]["venues"]}
    assert "AuthenticationError" in found["second"]["why"] and found["main"]["verdict"] == "UNKNOWN"
    for words in (secret, secret[::-1]):
        assert words not in out + err + json.dumps(proof)
    assert ours(venues.resting("main")) and ours(venues.resting("second")), "nothing was sent without a list"

    venues.fault("main", None)
    done = lab.run("cancel_orders", confirm="all", andon_venue_budget=PATIENCE)
    assert done.code == 0 and venues.resting("main") == venues.resting("second") == {}, done
