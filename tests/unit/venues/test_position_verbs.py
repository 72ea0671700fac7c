"""The CLI of positions and close-orphans: each position is asked for, one by one, and what is shown is what is closed."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

import cli
import verbs.positions
from andon import positions, reconcile, reconciliations, state

TARGETS = ["BTC/USDT:USDT 0.5", "ETH/USDT:USDT 2"]


@pytest.fixture
def executed(monkeypatch, tmp_path):
    """What would have been run; with a reconciliation of two orphans that is kept."""
    calls = []

    def execve(path, argv, env):
        calls.append(json.loads(argv[argv.index("-e") + 1]) | {"check": "--check" in argv})
        raise SystemExit(7)

    monkeypatch.setattr(cli.os, "execve", execve)
    monkeypatch.setattr(verbs.positions, "interactive", lambda: True)
    monkeypatch.setattr(cli, "interactive", lambda: True)
    monkeypatch.setenv("ANSIBLE_INVENTORY", str(tmp_path))
    held = [{"symbol": t.split()[0], "side": "long", "size": t.split()[1], "notional": "5", "quote": "USDT", "pnl": "1"} for t in TARGETS]
    book = {**positions.blank("main"), "ok": True, "positions": held}
    source = reconcile.Source("h1", "bot", "main", ok=True)
    now = state.utc_now()
    document = {"schema": reconciliations.SCHEMA, "id": reconciliations.new_id(now), "rows": reconcile.judge([source], [book], {}), "venues": {}}
    reconciliations.keep(document, None)
    return calls, document["id"]


def run(*args, typed=""):
    return CliRunner().invoke(cli.main, args, input=typed, catch_exceptions=False)


def test_each_is_asked_for_and_only_the_typed_ones_are_confirmed(executed):
    calls, ident = executed
    result = run("close-orphans", "--cap", "500", typed="\nETH/USDT:USDT  2\n")
    assert result.exit_code == 7 and f"Type {TARGETS[0]} to close it" in result.output, result.output
    assert calls == [
        {
            "andon_close_cap": 500.0,
            "andon_reconciliation": {"__ansible_unsafe": ident},
            "confirm": {"__ansible_unsafe": TARGETS[1]},
            "check": False,
        }
    ]


@pytest.mark.parametrize("typed", ["\n\n", "BTC/USDT:USDT 0.4\n", "all\n", f"{TARGETS[0]}\nyes\n"])
def test_anything_else_sends_nothing(executed, typed):
    calls, _ = executed
    result = run("close-orphans", "--cap", "500", typed=typed)
    assert result.exit_code == 1 and calls == [] and "It means: Nothing was sent" in result.output


def test_without_a_terminal_each_has_to_be_named(executed, monkeypatch):
    calls, ident = executed
    monkeypatch.setattr(verbs.positions, "interactive", lambda: False)
    assert run("close-orphans", "--cap", "500").exit_code == 1 and calls == []
    assert run("close-orphans", "--cap", "500", "--reconciliation", "../x").exit_code == 1 and calls == []
    assert run("close-orphans", "--cap", "0").exit_code == 2 and calls == []
    assert run("close-orphans", "--confirm", TARGETS[0], "--confirm", TARGETS[1]).exit_code == 7
    assert calls[0]["confirm"]["__ansible_unsafe"] == ", ".join(TARGETS) and "andon_close_cap" not in calls[0]
    assert run("close-orphans", "--check", "--cap", "9").exit_code == 7 and "confirm" not in calls[1] and calls[1]["check"]


def test_halt_first_is_typed(executed):
    calls, _ = executed
    assert run("positions", "--halt-first", typed="main\n").exit_code == 1 and calls == []
    assert run("positions", "--halt-first", typed="all\n").exit_code == 7
    assert calls[0]["andon_halt_first"] is True and calls[0]["confirm"] == {"__ansible_unsafe": "all"}
    assert run("positions", "--venue", "main").exit_code == 7 and calls[1] == {"andon_venue": {"__ansible_unsafe": "main"}, "check": False}
