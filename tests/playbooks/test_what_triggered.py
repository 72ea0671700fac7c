"""andon why on the fake fleet: with a log that says so, an adapter, a venue; a person; nothing; and what could not be read."""

from __future__ import annotations

import time

import pytest

from andon.state import utc
from tests.support.fake_freqtrade import running
from tests.support.venue import serving

PASSWORD = "ft-secret-pw"  # noqa: S105  (of the fake)


@pytest.fixture
def bot():
    with running() as bot:
        yield bot


@pytest.fixture
def venue():
    with serving() as server:
        yield server


def says(host, name, *lines):
    """Puts lines (seconds ago, text) into a container's log."""
    engine = host.read()
    for one in engine["containers"]:
        if one["Name"] == "/" + name:
            one["log"] = [f"{utc(time.time() - ago)[:-1]}000Z {text}" for ago, text in lines]
    host.write(engine)


def why(fleet, *args, **more):
    return fleet.run("what_triggered", *args, andon_log_files=[str(fleet.folder / "*.log")], **more)


def test_the_cause_the_evidence_and_the_trades_on_one_screen(fleet, bot, venue):
    said = (900, "INFO max drawdown 10%"), (300, "CRITICAL \x1b[31mkill switch triggered\x1b[0m: drawdown {{ 7 * 7 }}% > 10%")
    says(fleet.hosts["h1"], "momentum", *said)
    bot.state = "paused"
    bot.locks[1] = {"id": 1, "pair": "*", "reason": "0.121 passed 0.1 in 48 candles, locking for 60 minutes.", "lock_timestamp": int(1000 * time.time())}
    for number, pnl in enumerate(("4.5", "-20", "-11.25")):
        venue.account.execute({"symbol": "BTCUSDT", "side": "Sell", "execTime": str(int(1000 * (time.time() - 500 + number))), "execPnl": pnl})
    endpoint = {"base_url": bot.url, "auth": {"basic": {"user": "ops", "password": PASSWORD}}}
    adapter = {"kind": "freqtrade", "endpoint": endpoint, "venue": {"name": "main"}, "vars": {"base_stake": 100}}
    # Its own template, which is not Ansible's: it must not be filled in on the way.
    step = {"http": {"method": "DELETE", "path": "/trades/{{ item }}/open-order"}}
    adapter["override"] = {"cancel_orders": {"foreach": {"from": "open_orders", "key": "ref"}, "do": [step], "verify": [{"venue": {"open_orders": 0}}]}}
    where = {"name": "main", "ccxt": "bybit", "credentials": {"api_key": "KEY-1", "secret": "SECRET-1"}, "sections": [{"type": "swap"}], "urls": venue.url}
    where |= {"options": {"fetchMarkets": {"types": ["linear"]}}}
    components = [{"name": "momentum", "component": "strategy", "strategy": "momentum", "adapter": adapter}]
    done = why(fleet, andon_components=components, andon_venues=[where], text=True)
    shown = done.out[done.out.index("DRAWDOWN at") :].rstrip("\n").splitlines()
    assert done.code == 0, done
    assert len(shown) <= 24 and max(map(len, shown)) <= 80, done
    text = "\n".join(shown)
    for words in (
        "adapter and log agree",
        "kill switch triggered: drawdown {{ 7 * 7 }}%",
        "momentum says that it is paused",
        "AGAINST  manual: no latch on 2/2 hosts",
    ):
        assert words in text, done
    assert "venue main: 3 trades, P&L -26.75 USDT, deepest fall 31.25 USDT" in text and "P&L -11.25 USDT" in text
    assert "49%" not in text and "\x1b[31m" not in text, "hostile words are neither run nor obeyed"
    assert PASSWORD not in done.out + done.err and "SECRET-1" not in done.out + done.err
    assert not bot.posted() and not [path for path, _ in venue.account.calls if "cancel" in path or "create" in path], "it only reads"


def test_a_person_is_named_and_a_host_that_was_not_seen_makes_it_perhaps(fleet):
    assert fleet.run("emergency_stop", andon_reason="odd fills").code == 0
    done = why(fleet, "--tags", "nothing", "--skip-tags", "always")
    assert done.code == 0 and done.report["headline"].startswith("MANUAL at ") and done.report["headline"].endswith("by tester"), done
    assert done.report["data"]["records"] == ["journal", "latch"]
    assert any("pulled the cord: odd fills" in line for line in done.report["summary"])
    fleet.dead()
    unsure = why(fleet)
    assert unsure.code == 2 and unsure.report["headline"].startswith("PERHAPS MANUAL"), unsure
    assert any(line.startswith("UNKNOWN  dead: unreachable") for line in unsure.report["summary"])


def test_not_triggered_is_proven_where_a_switch_is_only_armed(fleet):
    says(fleet.hosts["h1"], "momentum", (60, "INFO kill switch armed, drawdown 0.3% of 10%"))
    done = why(fleet, why_strategy="momentum")
    assert done.code == 0 and done.report["headline"].startswith("NOT TRIGGERED in the last 30 min"), done
