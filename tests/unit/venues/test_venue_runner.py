"""The process beside a stop: it cancels before the hosts are done, hears of their end, and is never waited for in vain."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time

import pytest

from andon import proof, venue_runner, venue_stop, venue_words, venues
from tests.support.venue import entry as venue_entry


@pytest.fixture
def venue(venue):
    """A running venue with one order."""
    venue.account.place({"symbol": "BTCUSDT", "price": "100"})
    return venue


@pytest.fixture
def key(monkeypatch, tmp_path):
    """A run's name that no other test has: xdist's workers share one parent process."""
    name = "test-%d-%s" % (os.getpid(), tmp_path.name)
    monkeypatch.setattr(venue_runner, "run_key", lambda: name)
    return name


def config(server):
    return [venue_entry(server, ("linear",))]


def until(condition):
    """Waits, with a generous guard, for what another process does."""
    ends = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < ends, "it did not happen"
        time.sleep(0.02)


def test_it_cancels_while_the_hosts_are_being_stopped_and_once_more_after_them(venue, key):
    folder = venue_runner.start(lambda: config(venue), cancel=True, budget=20)
    assert venue_runner.find_folder(key) == folder and folder.stat().st_mode & 0o077 == 0
    until(lambda: venue.account.open() == [])  # nobody has released it
    late = venue.account.place({"symbol": "BTCUSDT", "price": "100"})["orderId"]
    answer = venue_runner.finish(folder, 20)
    assert answer["venues"][0]["verdict"] == "CANCELLED" and late in answer["venues"][0]["gone"]
    assert not folder.exists() and venue_runner.find_folder(key) is None


def test_a_lookup_that_fails_is_said_and_one_that_hangs_holds_nobody(key, monkeypatch):
    def fails():
        raise KeyError("vault is sealed")

    folder = venue_runner.start(fails, cancel=True, budget=1)
    assert "andon_venues cannot be read" in venue_runner.finish(folder, 20)["error"]
    monkeypatch.setattr(venue_runner, "GRACE", 0.1)
    monkeypatch.setattr(venue_runner, "READING", 2)
    folder = venue_runner.start(lambda: threading.Event().wait(), cancel=True, budget=1)
    assert "nothing came back" in venue_runner.finish(folder, 0.1)["error"]


def test_what_is_known_when_the_run_was_interrupted_is_kept(venue, key, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir(mode=0o700)
    gone = subprocess.Popen(["true"])
    gone.wait()
    job = {"config": config(venue), "cancel": True, "budget": 20, "folder": str(folder), "parent": [gone.pid, "1"]}
    assert venue_runner.launch(job, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).wait(60) == 0
    (kept,) = (tmp_path / "state" / "proofs").glob("*-orders.json")
    assert json.loads(kept.read_text())["venues"][0]["verdict"] == "CANCELLED" and not folder.exists() and venue.account.open() == []


def test_ask_gives_rows_or_says_what_is_wrong(venue):
    assert venue_runner.ask(config(venue), cancel=False, status=True)[0]["verdict"] == "OK"
    with pytest.raises(venues.ConfigError, match="there is no venue 'other'"):
        venue_runner.ask(config(venue), cancel=True, only="other")
    assert len(venue.account.open()) == 1


def test_only_a_stop_of_the_whole_fleet_asks_the_venues():
    facts = {"groups": {"trading": ["h1", "h2"]}, "ansible_play_hosts_all": ["h1", "h2"], "andon_venues": "{{ unreadable }}"}
    for change, strategy in (({}, "momentum"), ({"ansible_play_hosts_all": ["h1"]}, "")):
        found = venue_stop.end(facts | change, None, check=False, strategy=strategy)
        assert found["ok"] is None and found["line"].startswith("ORDERS NOT CANCELLED: ") and "andon cancel-orders" in found["line"]


def test_a_proof_with_venues_keeps_the_hosts_verdict_and_its_width():
    rows = [{**venues.blank("v%d" % n), "verdict": "CANCELLED" if n else "UNKNOWN", "why": "" if n else "x" * 300} for n in range(20)]
    document = proof.document(
        verb="emergency_stop",
        asked=["h%02d" % n for n in range(30)],
        fleet=[],
        results={"h%02d" % n: {"verdict": "HALTED"} for n in range(30)},
        mode="graceful",
        strategy="",
        incident="i",
        operator={"name": "n", "bastion": "b"},
        reason="",
        pressed_at="2026-11-22T03:04:05.678Z",
        finished_at="2026-11-22T03:04:06.678Z",
        check=False,
        orders=venue_words.orders(rows),
    )
    report = proof.report(document)
    assert document["ok"] is True and report["ok"] is False and report["headline"] == "30/30 HALTED, ORDERS NOT PROVEN"
    assert len(report["summary"]) <= 20 and max(map(len, report["summary"])) <= 80
    assert any(line.startswith("ORDERS 19/20 venues CANCELLED, 1 UNKNOWN (v0: xxx") for line in report["summary"])
    assert not proof.orders_failed({"orders": None}) and not proof.orders_failed({"orders": {"ok": None}})
