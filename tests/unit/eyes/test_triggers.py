"""What triggered the kill switch: what a line says, what a host knows, and a judge that never says more than the evidence."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import cli
from andon import incidents, journal, notifier, recorded, shapes, trigger_lines, triggers
from andon.text import clean
from andon.trigger_lines import TriggerPatterns
from tests.support.eyes import FakeEngine

ROOT = Path(__file__).resolve().parents[3]
NOW = 1_795_000_000.0
WINDOW = 1800.0


# What a line says


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("CRITICAL kill switch triggered: drawdown 12.1% > 10%", ("trip", "drawdown")),
        ("trading halted: max daily loss exceeded", ("trip", "drawdown")),
        ("Too many order rejections: 25 in 60 s, kill switch engaged", ("trip", "error_rate")),
        ("circuit breaker tripped after 12 consecutive failures", ("trip", "error_rate")),
        ("KILL SWITCH ACTIVATED by operator jane", ("trip", "manual")),
        ("not responding, so the kill switch was triggered", ("trip", "")),
        ("risk: KILL SWITCH TRIPPED: daily loss limit and too many errors", ("trip", "")),  # two causes are none
        ("freqtrade.plugins.protections - INFO - Trading stopped due to Max Drawdown 0.22 > 0.1 within 48 candles.", ("trip", "drawdown")),
        ("INFO - Trading stopped due to 4 stoplosses within 60 minutes.", ("trip", "drawdown")),
        ("Global pairlock active until 2026-11-26 04:00:00. Not creating new trades, reason: 0.22 passed 0.1 in 48 candles, locking 1h.", ("trip", "drawdown")),
        ("Global pairlock active until 2026-11-26 04:00:00. Not creating new trades, reason: 4 stoplosses in 60 min, locking 1h.", ("trip", "drawdown")),
        ("Global pairlock active until 2026-11-26 04:00:00. Not creating new trades, reason: INC-1.", ("trip", "")),
        ("freqtrade.worker - INFO - Changing state from RUNNING to: STOPPED", ("trip", "")),
        ("hummingbot - INFO - Kill switch threshold reached. Stopping the bot...", ("trip", "drawdown")),
        ("[WARN] TRADER-001.RiskEngine: TradingState is HALTED", ("trip", "")),
        ("WARNING Drawdown limit breached: 5.20% > 5.00%", ("limit", "drawdown")),
        ("error rate exceeded 5% for 2 minutes", ("limit", "error_rate")),
        ("kill switch will be triggered at 10% drawdown", ("doubt", "drawdown")),
        ("TEST kill switch triggered", ("doubt", "")),
        ("halting trading if max loss is exceeded", ("doubt", "drawdown")),
        ("MaxDrawdown - Max drawdown protection, stop trading if drawdown is > 0.1 within 10 candles.", ("mention", "drawdown")),
        ("kill switch not triggered", ("mention", "")),
        ("no limit breached, kill switch armed, drawdown 0.8%", ("mention", "drawdown")),
        ("INFO kill switch deactivated", ("mention", "")),
        ("ERROR connection lost", None),
        ("order rejected: insufficient margin (error 5)", None),
        ("INFO manual order placed", None),
        ("", None),
    ],
)
def test_a_line_says_what_it_says_and_not_more(line, said):
    found = TriggerPatterns().classify(line)
    assert (found[:2] if found else None) == said


def test_patterns_of_the_inventory_come_first_and_bad_ones_are_refused_in_words():
    own = TriggerPatterns({"error_rate": [r"RISK-17\b"], "trip": ["SAFE MODE"]})
    assert own.classify("if RISK-17 then") == ("trip", "error_rate", "andon_trigger_patterns")
    assert own.classify("SAFE MODE: drawdown") == ("trip", "", "andon_trigger_patterns")
    assert own.classify("RISK-171") is None
    for bad, words in (({"weather": ["x"]}, "is no cause"), ({"trip": ["("]}, "no regular expression"), ({"trip": "x"}, "no list"), (["x"], "no mapping")):
        with pytest.raises(shapes.PatternError, match=words):
            TriggerPatterns(bad)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=300), st.sampled_from(["kill switch triggered ", "", "\x1b]0;x\x07drawdown limit hit ", "a" * 4000, "no " * 1000, "trading halted "]))
def test_any_line_is_judged_and_what_is_kept_of_it_is_inert(text, head):
    patterns = TriggerPatterns()
    line = (head + text)[:4096]
    rows, left_out = trigger_lines.found_in([(5.0, line)] * 3, patterns, 0.0, 10.0)
    assert left_out == 0 and len(rows) == (patterns.classify(line) is not None)
    for row in rows:
        assert row["count"] == 3 and row["words"] == clean(row["words"], 240)
    # What the reader skips in bulk could not have been wanted.
    wanted = trigger_lines.Wanted(patterns, shapes.Matcher())
    assert wanted.maybe(line.encode("utf-8", "surrogatepass")) or not wanted(line)


def test_what_is_said_again_later_is_another_event_and_a_flood_is_bounded_and_said():
    patterns = TriggerPatterns()
    lines = [(10.0, "kill switch triggered 1"), (20.0, "kill switch triggered 2"), (500.0, "kill switch triggered 3"), (9999.0, "kill switch triggered")]
    rows, _ = trigger_lines.found_in(lines, patterns, 0.0, 1000.0)
    assert [(r["first"], r["last"], r["count"]) for r in rows] == [(10.0, 20.0, 2), (500.0, 500.0, 1)]
    flood = [(float(n), "drawdown of " + "".join(chr(113 + int(c)) for c in str(n))) for n in range(2000)] + [(2000.0, "kill switch triggered token=abc")]
    rows, left_out = trigger_lines.found_in(flood, patterns, 0.0, 3000.0)
    assert len(rows) == trigger_lines.KEPT + 1 and left_out == 0 and rows[0]["strength"] == "trip" and "abc" not in rows[0]["words"]
    trips = [(at, line.replace("drawdown", "kill switch triggered")) for at, line in flood[:200]]
    rows, left_out = trigger_lines.found_in(trips, patterns, 0.0, 3000.0)
    assert len(rows) == trigger_lines.KEPT and left_out == 200 - sum(row["count"] for row in rows) > 0, "what is more than a mention is missed aloud"


# What a host knows


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The module read_triggers; this machine's own latches in memory are out of its sight."""
    spec = importlib.util.spec_from_file_location("read_triggers_under_test", ROOT / "plugins" / "modules" / "read_triggers.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module.latch, "VOLATILE", str(tmp_path / "volatile"))
    return module


def params(engine, tmp_path, **more):
    return {
        "container_cli": str(engine.cli),
        "host_state": str(tmp_path / "host"),
        "selectors": ["label=andon.component"],
        "components": [],
        "window": 1800.0,
        "log_files": [str(tmp_path / "*.log")],
        "trigger_patterns": {},
        "error_patterns": [],
        "keep": 1 << 20,
        "log_deadline": 5.0,
        "deadline": 20.0,
        **more,
    }


def test_one_step_reads_latches_containers_and_both_kinds_of_logs(tmp_path, module):
    now = time.time()
    engine = FakeEngine(tmp_path / "e")
    log = [(now - 3000, b"kill switch triggered: old"), (now - 1000, b"ERROR x"), (now - 600, b"ERROR \x1b[31mkill switch triggered\x1b[0m: drawdown 12% \xff")]
    engine.add("momentum", log, labels={"andon.strategy": "momentum", "andon.venue": "main"})
    engine.add("gw", status="exited", labels={"andon.component": "gateway"}, log_error="broken pipe")
    (tmp_path / "risk.log").write_text("kill switch triggered: no time in this file\n")
    latches = tmp_path / "host" / "halts"
    latches.mkdir(parents=True)
    (latches / "all.json").write_text('{"operator": "jane\\u202e", "reason": "x", "at": "2026-11-26T03:04:05.000Z", "containers": []}')
    seen = module.read_triggers(params(engine, tmp_path))
    by_name = {one["name"].rpartition("/")[2]: one for one in seen["sources"]}
    (trip,) = by_name["momentum"]["found"]
    assert (trip["strength"], trip["cause"], trip["words"]) == ("trip", "drawdown", "ERROR kill switch triggered: drawdown 12% ÿ")
    assert trip["first"] == pytest.approx(now - 600, abs=0.01) and by_name["momentum"]["errors"] == 2
    assert by_name["gw"]["error"] == "broken pipe" and by_name["risk.log"]["found"][0]["first"] is None
    assert seen["latches"] == [{"scope": "all", "incident": "", "operator": "jane", "reason": "x", "at": pytest.approx(1795662245.0)}]
    assert {(c["name"], c["running"], c["venue"]) for c in seen["containers"]} == {("momentum", True, "main"), ("gw", False, "")}
    (latches / "all.json").write_text("{")
    assert "cannot be read" in module.read_triggers(params(engine, tmp_path))["latch_error"]


# The judge


def seen(*lines, latches=(), running=True, clock=None, component="strategy", strategy="momentum", **more):
    """What read_triggers returns for a host with one container; lines: (seconds ago, text)."""
    start = NOW - WINDOW
    found, left_out = trigger_lines.found_in([(None if ago is None else NOW - ago, text) for ago, text in lines], TriggerPatterns(), start, NOW)
    change = {"at": None, "before": 0.0, "after": 0.0, "score": 0.0}
    names = {"kind": "container", "name": "mm", "component": component, "strategy": strategy}
    source = {**names, "found": found, "left_out": left_out, "errors": 0, "change": change, "gap": None, "error": "", "note": "", **more}
    container = {"name": "mm", "component": "strategy", "strategy": strategy, "venue": "main", "running": running, "status": "running" if running else "exited"}
    clock = clock or {"low": -0.01, "high": 0.01, "offset": 0.0, "uncertainty": 0.01}
    return {
        "begin": NOW,
        "end": NOW,
        "window": WINDOW,
        "clock": clock,
        "latches": list(latches),
        "latch_error": "",
        "containers": [container],
        "sources": [source],
        "engine_error": "",
        "files_left_out": 0,
    }


def latch(ago, scope="all"):
    return {"scope": scope, "incident": "i", "operator": "jane", "reason": "odd fills", "at": NOW - ago}


def liveness(words, *, state="running", outcome="ok", fact="locks"):
    return {
        "h1": [
            {
                "component": "mm",
                "strategy": "momentum",
                "venue": "main",
                "act": "liveness",
                "outcome": outcome,
                "why": "x",
                "state": state,
                "data": [{"fact": fact, "ok": True, "words": words}],
            }
        ]
    }


def judged(hosts, adapters=None, said=(), lifts=(), missing=(), venues=None, **more):
    return triggers.report(hosts, adapters or {}, (list(said), list(lifts), list(missing)), venues, now=NOW, window=WINDOW, since="30m", **more)


TRIP = "kill switch triggered: drawdown 12% > 10%"


def test_what_came_first_is_the_cause_and_the_cord_that_followed_is_not():
    report = judged({"h1": seen((600, TRIP), latches=[latch(560)], running=False)})
    assert report["ok"] and report["data"]["cause"] == "drawdown" and report["headline"].startswith("DRAWDOWN at ") and "h1 mm" in report["headline"]
    assert "one kind of record says so (log)" in report["data"]["why"]
    lines = report["summary"]
    assert [line for line in lines if "TRIP" in line and "jane pulled the cord" in line], lines
    first = judged({"h1": seen((500, TRIP), latches=[latch(560)], running=False)})
    assert first["data"]["cause"] == "manual" and "by jane" in first["headline"] and first["ok"]
    assert any(line.startswith("AGAINST  error rate: no line of a error rate trigger") or line.startswith("AGAINST  error rate:") for line in first["summary"])


def test_what_decides_is_shown_to_its_end_and_other_lines_are_cut():
    long = "2026-11-26 03:04:05,678 CRITICAL risk.guard %s kill switch triggered: drawdown 12 percent, " % ("x" * 30)
    report = judged({"h1": seen((600, long + "book main, limit 10 percent END"), (300, "trading halted: drawdown " + "y" * 90))})
    text = " ".join(line.strip() for line in report["summary"])
    assert "…kill switch triggered: drawdown 12 percent, book main, limit 10 percent END" in text and "CRITICAL" not in text
    assert [line for line in report["summary"] if line.endswith("yy…")], report["summary"]


def test_two_kinds_of_records_agree_and_it_is_said():
    report = judged({"h1": seen((600, TRIP))}, liveness("*: 0.12 drawdown limit passed, trading halted", state="paused"))
    assert report["data"]["records"] == ["adapter", "log"] and "adapter and log agree" in report["data"]["why"] and report["ok"]
    stop = recorded.evidence(NOW - 700, "trip", "manual", "journal", "inc", "jane typed andon stop", actor="jane")
    both = judged({"h1": seen(latches=[latch(699)], running=False)}, said=[stop])
    assert both["data"]["records"] == ["journal", "latch"] and both["data"]["cause"] == "manual"


def test_a_switch_without_a_reason_is_explained_by_the_limit_before_it_in_the_same_place_only():
    linked = judged({"h1": seen((640, "WARNING error rate exceeded 5%"), (600, "kill switch triggered"))})
    assert linked["data"]["cause"] == "error_rate" and "limit crossed 40 s before it" in linked["data"]["why"] and linked["ok"]
    alone = judged({"h1": seen((600, "kill switch triggered")), "h2": seen((640, "WARNING error rate exceeded 5%"), strategy="meanrev")})
    assert alone["data"]["cause"] == "unknown" and "no record says why" in alone["headline"] and not alone["ok"]
    late = judged({"h1": seen((900, "WARNING error rate exceeded 5%"), (600, "kill switch triggered"))})
    assert late["data"]["cause"] == "unknown"
    two = judged({"h1": seen((640, "error rate exceeded 5%"), (620, "drawdown limit breached"), (600, "kill switch triggered"))})
    assert two["data"]["cause"] == "unknown" and "two limits" in two["data"]["why"]


def test_ties_within_what_the_clocks_know_are_unknown_and_wrong_clocks_are_corrected():
    vague = {"low": -2.0, "high": 2.0, "offset": 0.0, "uncertainty": 2.0}
    hosts = {"h1": seen((600, TRIP), clock=vague), "h2": seen((598, "trading halted: too many errors"), clock=vague, strategy="meanrev")}
    tie = judged(hosts)
    assert tie["data"]["cause"] == "unknown" and "drawdown and error rate were recorded at the same time" in tie["data"]["why"] and not tie["ok"]
    ahead = {"low": 29.9, "high": 30.1, "offset": 30.0, "uncertainty": 0.1}
    hosts["h2"] = seen((590, "trading halted: too many errors"), clock=ahead, strategy="meanrev")
    hosts["h1"] = seen((600, TRIP))
    assert judged(hosts)["data"]["cause"] == "error_rate", "its clock is 30 s ahead, so it was first"


def test_what_was_not_read_may_have_come_first():
    for hosts, missing in (
        ({"h1": seen((600, TRIP)), "h2": "unreachable (no route)"}, ()),
        ({"h1": seen((600, TRIP), gap=NOW - 900)}, ()),
        ({"h1": seen((600, TRIP), (None, "kill switch triggered by operator"))}, ()),
        ({"h1": seen((600, TRIP))}, ("the journal of x: torn",)),
    ):
        report = judged(hosts, missing=missing)
        assert not report["ok"] and report["headline"].startswith("PERHAPS DRAWDOWN") and report["data"]["unknown"], report["headline"]
    assert not judged({"h1": seen((600, TRIP))}, limited="h1")["ok"]
    old = judged({"h1": seen(latches=[latch(WINDOW + 60)], running=False)})
    assert old["headline"].startswith("PERHAPS MANUAL") and "what came before it was not seen" in old["data"]["why"] and not old["ok"]


def test_not_triggered_is_said_only_when_everything_was_read_and_runs():
    calm = judged({"h1": seen((600, "kill switch armed, max drawdown 10%"))}, liveness("no locks"))
    assert calm["ok"] and calm["data"]["cause"] == "none" and calm["headline"].startswith("NOT TRIGGERED in the last 30 min")
    assert not [line for line in calm["next"] if line.startswith("andon stop")]
    for hosts, adapters, words in (
        ({"h1": seen(running=False)}, {}, "mm is exited, and no record says why"),
        ({"h1": seen()}, liveness("x", state="paused"), "says that it is paused"),
        ({"h1": seen()}, liveness("x", outcome="unknown"), "not everything was"),
        ({"h1": seen((600, "drawdown limit breached"))}, {}, "a drawdown limit was crossed"),
        ({"h1": seen((600, "TEST kill switch triggered"))}, {}, "may speak of a trigger"),
        ({"h1": seen(error="hangs")}, {}, "not everything was"),
        ({}, {}, ""),
    ):
        report = judged(hosts, adapters)
        assert not report["ok"] and words in report["data"]["why"], (words, report["data"]["why"])
    breaker = judged({"h1": seen((600, "circuit breaker tripped after 9 errors in 10 s"), component="adapter", strategy="")})
    assert breaker["data"]["cause"] == "unknown" and "no record says that the switch fired" in breaker["data"]["why"]


def test_only_what_came_after_a_resume_counts_and_strategies_are_kept_apart():
    lift = {"at": NOW - 700, "strategy": "", "who": "joe"}
    again = judged({"h1": seen((900, TRIP), (600, "trading halted: too many errors"))}, lifts=[lift])
    assert again["data"]["cause"] == "error_rate" and again["data"]["lifted"] is None
    over = judged({"h1": seen((900, TRIP))}, lifts=[lift])
    assert over["data"]["cause"] == "drawdown" and any(line.startswith("LIFTED") and "joe" in line for line in over["summary"])
    hosts = {"h1": seen((900, TRIP)), "h2": seen((600, "trading halted: too many errors"), strategy="meanrev", latches=[latch(500, "strategy-momentum")])}
    assert judged(hosts)["data"]["cause"] == "drawdown"
    only = judged(hosts, strategy="meanrev")
    assert only["data"]["cause"] == "error_rate" and not [e for e in only["data"]["evidence"] if e["record"] == "latch"]


def trade(ago, pnl, **more):
    one = {"id": "1", "order": "2", "client_id": "", "symbol": "BTC/USDT:USDT", "side": "sell", "amount": 0.5, "price": 101.0, "cost": 50.5}
    return {**one, "fee": {"cost": 0.1, "currency": "USDT"}, "pnl": pnl, "currency": "USDT", "at": NOW - ago, **more}


def test_trades_have_sums_and_a_deepest_fall_per_book_and_signs_decide_nothing():
    pnls = [5.0, -3.0, 1.0, -20.0, None, 2.0]
    rows = [
        {"name": "main", "verdict": "OK", "why": "", "trades": [trade(500 - n, p) for n, p in enumerate(pnls)]},
        {"name": "spot", "verdict": "UNKNOWN", "why": "no answer", "trades": []},
    ]
    adapters = liveness("fine")
    done = {"ref": "7", "symbol": "BTC/USDT:USDT", "side": "long", "qty": 0.5, "pnl": -15.0, "closed_at": NOW - 490, "reason": "stop_loss\x1b[2J"}
    adapters["h1"].append({"component": "mm", "strategy": "momentum", "venue": "main", "act": "trades", "outcome": "ok", "data": [done]})
    report = judged({"h1": seen()}, adapters, venues=rows)
    main, spot, adapter = report["data"]["books"]
    assert main["sum"] == {"USDT": -15.0} and main["fall"] == {"USDT": 22.0} and main["unpriced"] == 1 and main["fees"]["USDT"] == pytest.approx(0.6)
    assert adapter["sum"] == {"USDT": -15.0} and spot["verdict"] == "UNKNOWN"
    text = report["summary"]
    assert any(line.startswith("TRADES   venue main: 6 trades, P&L -15.00 USDT, deepest fall 22.00 USDT") for line in text), text
    assert "UNKNOWN  trades of venue spot: no answer" in text and report["data"]["cause"] == "none", "a loss is a sign, and no record"
    assert any("momentum" in line and "P&L -15.00 USDT" in line and "stop_loss" in line for line in text)
    assert all(line.isprintable() and len(line) <= 80 for line in text)


def test_the_worst_page_is_one_screen():
    lines = [(900 - 10 * n, "kill switch triggered: drawdown %s" % ("x" * n)) for n in range(80)]
    hosts = {"h%d" % n: seen(*lines, latches=[latch(100)], running=False, error="x" if n else "") for n in range(9)}
    rows = [{"name": "v%d" % n, "verdict": "OK", "why": "", "trades": [trade(9, -1.0)] * 50} for n in range(9)]
    report = judged(hosts, liveness("trading halted: drawdown"), venues=rows, lifts=[{"at": NOW - 1700, "strategy": "", "who": "j"}])
    assert 1 + len(report["summary"]) + len(report["detail"]) + len(report["next"]) <= 24
    assert all("will NOT" in line for line in report["next"])


# This bastion's records


def test_stops_and_resumes_are_read_from_the_journals_and_a_changed_journal_is_said():
    incident = incidents.open_incident("x", 1)
    folder = incidents.folder(incident)
    began = "2026-11-22T03:00:00.000Z"

    def ended(verb, **data):
        journal.append(folder, "verb.ended", verb, {"began": began, "check": False, "ok": True, **data}, {"name": "jane\x1b[2J"})

    ended("emergency_stop", variables={"andon_reason": "odd fills"})
    ended("emergency_stop", check=True)
    ended("kill_strategy", variables={"andon_strategy": "momentum"})
    ended("kill_strategy", report={"data": {"hosts": {"h1": {"verdict": "REFUSED"}}}})
    ended("resume", variables={}, ok=True)
    ended("resume", variables={}, ok=False)
    incidents.record(incident, "note", "note", {"text": "Trigger: a person"})
    found, lifts, missing = recorded.journals(0.0)
    assert [(e["strength"], e["words"]) for e in found] == [
        ("trip", "jane typed andon stop: odd fills"),
        ("trip", "jane typed andon kill-strategy momentum"),
        ("mention", "tester noted: Trigger: a person"),
    ]
    assert len(lifts) == 1 and missing == [] and found[0]["at"] == pytest.approx(1795316400.0)
    assert [e["words"] for e in recorded.journals(0.0, "meanrev")[0]][0] == "jane typed andon stop: odd fills"
    assert recorded.journals(time.time() + 60)[0] == []
    path = folder / journal.NAME
    path.write_text(path.read_text().replace("odd fills", "odd pills"))
    assert "not intact" in recorded.journals(0.0)[2][0]


def test_alarms_are_mentions_and_a_torn_file_is_no_error():
    assert recorded.alarms(0.0) == ([], [])
    notifier.alerts_file().parent.mkdir(parents=True, exist_ok=True)
    notifier.alerts_file().write_text(
        '{"at": "2026-11-22T03:00:00.000Z", "kind": "errors", "level": "alarm", "host": "h1", "container": "mm", "words": "90 error lines"}\n[1]\n{"torn'
    )
    (one,) = recorded.alarms(0.0)[0]
    assert (one["strength"], one["cause"], one["where"]) == ("mention", "error_rate", "h1 mm")


# The command


@pytest.mark.parametrize(("typed", "words"), [(["--since", "soon"], "not understood"), (["--strategy", "../x"], "cannot be a strategy's id")])
def test_a_bad_question_is_refused_in_words_before_anything_is_read(typed, words):
    done = CliRunner().invoke(cli.main, ["-i", "hosts,", "why", *typed])
    assert done.exit_code == 2 and words in done.output and "Nothing was looked at" in done.output and "Next: andon why" in done.output


def test_a_host_whose_adapters_gave_no_answer_is_unknown_and_one_without_adapters_is_not():
    spec = importlib.util.spec_from_file_location("why_report_under_test", ROOT / "plugins" / "action" / "why_report.py")
    action = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(action)
    answer = {"component": "mm", "act": "liveness", "outcome": "ok", "data": [], "state": "running"}
    hostvars = {"h1": {"r": {"adapters": [answer]}}, "h2": {"r": {"failed": True, "msg": "no python3"}}, "h3": {}}
    found = action.adapter_rows({"ansible_play_hosts_all": list(hostvars), "hostvars": hostvars}, {"liveness": "r"}, {"h1": True, "h2": True, "h3": False})
    assert set(found) == {"h1", "h2"} and found["h1"] == [answer]
    assert triggers.of_adapters(found, "", TriggerPatterns())[1] == ["h2 adapters: its adapter's liveness is unknown: no python3"]
