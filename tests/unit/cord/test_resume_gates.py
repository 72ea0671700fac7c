"""The gates of a resume, its sizes, and the part of them that no command line gets around."""

from __future__ import annotations

import importlib.util
import json
import types
from pathlib import Path

import pytest

from andon import adapters, reconciliations, resume, resume_adapters, resume_gates, resume_run, venues
from andon.adapter_run import run_all
from andon.resume_gates import FAILED, NOT_APPLICABLE, PASSED, UNKNOWN
from andon.state import utc

NOW = 1_790_000_000.0
POSITION = {"symbol": "BTC/USDT:USDT", "side": "long", "contracts": "0.5", "size": "0.5"}


def venue(name="main", **more):
    row = venues.blank(name)
    row.update(status={"credentials": "OK", "skew": 0.1}, positions=[{"symbol": "BTC/USDT:USDT", "side": "long", "contracts": 0.5}])
    return {**row, **more}


def reconciliation(age=60.0, rows=None, **more):
    match = {"venue": "main", "symbol": "BTC/USDT:USDT", "verdict": "MATCH", "why": "", "position": POSITION}
    document = {
        "schema": reconciliations.SCHEMA,
        "id": "x",
        "at": utc(NOW - age),
        "rows": [match] if rows is None else rows,
        "venues": {"main": {"ok": True, "why": ""}},
    }
    return {**document, **more}


def positions(document, rows=None, applies=True):
    snapshot = resume_gates.reconciled(document, ["main"]) if isinstance(document, dict) else document
    return resume_gates.positions_gate(snapshot, [venue()] if rows is None else rows, 900, NOW, applies)


def test_positions_must_match_be_young_and_still_be_so():
    assert positions(reconciliation())["state"] == PASSED
    assert positions(None, applies=False)["state"] == NOT_APPLICABLE
    orphan = {"venue": "main", "symbol": "ETH/USDT:USDT", "verdict": "ORPHAN", "why": "nobody", "position": {**POSITION, "symbol": "ETH/USDT:USDT"}}
    for document, state, words in (
        (None, UNKNOWN, "no reconciliation"),
        ("it cannot be read", UNKNOWN, "it cannot be read"),
        (reconciliation(901), FAILED, "15 min 01 s old"),
        (reconciliation(-3600), UNKNOWN, "cannot be"),
        (reconciliation(rows=[orphan]), FAILED, "ORPHAN main ETH"),
        (reconciliation(rows=[{"verdict": "UNKNOWN", "venue": "?", "symbol": "*"}]), FAILED, "UNKNOWN"),
        (reconciliation(venues={"other": {"ok": True}}), FAILED, "venue main was not read"),
        (reconciliation(venues={"main": {"ok": False, "why": "down"}}), FAILED, "down"),
        (reconciliation(rows=[{}]), UNKNOWN, "has not the form"),
        (reconciliation(rows=[]), FAILED, "long was 0, is 0.5"),  # nothing was held then, and something is now
    ):
        found = positions(document)
        assert (found["state"], words in found["words"]) == (state, True), found
    for rows, state, words in (
        ([venue(positions=[])], FAILED, "was 0.5, is 0"),
        ([venue(positions=[{"symbol": "BTC/USDT:USDT", "side": "short", "contracts": 0.5}])], FAILED, "short was 0, is 0.5"),
        ([venue(positions=None, positions_why="timeout")], UNKNOWN, "does not show its positions"),
        ([], UNKNOWN, "could not be asked"),
    ):
        found = positions(reconciliation(), rows)
        assert (found["state"], words in found["words"]) == (state, True), found


def test_the_kept_form_of_a_reconciliation_is_what_the_gate_reads(tmp_path):
    """The gate reads what `andon positions` writes: through the real writer's form and reader."""
    from andon import positions_report

    book = {"name": "main", "ok": True, "why": "", "looked_at": [], "at": utc(NOW), "positions": []}
    document = positions_report.document(now=utc(NOW - 5), incident=None, only="", halted=None, sources=[], books=[book], rows=[])
    kept = reconciliations.keep(document, None)
    found = resume_gates.reconciled(reconciliations.read(kept), ["main"])
    assert found["bad"] == [] and found["count"] == 0
    assert resume_gates.positions_gate(found, [venue(positions=[])], 900, NOW, True)["state"] == PASSED


def test_credentials_and_clocks():
    gate = resume_gates.credentials_gate
    assert gate(None)["state"] == NOT_APPLICABLE and gate([venue()])["state"] == PASSED
    bad = gate([venue(), venue("b", status={"credentials": "REJECTED: bad key", "skew": 0}), venue("c", status=None, why="TCP refused")])
    assert bad["state"] == FAILED and "b: REJECTED" in bad["words"] and "c: TCP refused" in bad["words"]
    assert gate([venue(status=None, why="TCP refused")])["state"] == UNKNOWN and gate([], "ccxt is not installed")["state"] == UNKNOWN

    def clock(low, high, rows=(), applies=True):
        one = {"low": low, "high": high, "offset": (low + high) / 2, "uncertainty": (high - low) / 2}
        return resume_gates.clock_gate({"h1": one}, list(rows), 1.0, applies)["state"]

    assert clock(-0.1, 0.2) == PASSED and clock(-90, -89) == FAILED and clock(1.1, 1.3) == FAILED
    assert clock(-0.1, 3.0) == UNKNOWN, "what is known to 1.5 s only is not known to be within 1 s"
    assert clock(-90, -89, applies=False) == NOT_APPLICABLE
    assert clock(0, 0, [venue(status={"credentials": "OK", "skew": -5.0})]) == FAILED
    assert clock(0, 0, [venue(status={"credentials": "OK", "skew": None})]) == PASSED, "a venue without a clock took a signed request"
    assert clock(0, 0, [venue(status=None)]) == UNKNOWN
    assert resume_gates.clock_gate({"h1": None}, [], 1.0, True)["state"] == UNKNOWN


def test_skew_applies_where_releases_are_recorded():
    def state(image):
        return {"services": {"p": {"s": {"image_id": image, "digests": [], "content": "", "environment": {}}}}}

    gate = resume_gates.skew_gate
    assert gate({}, {}, (), ())["state"] == NOT_APPLICABLE
    assert gate({"a": state("1"), "b": state("1")}, {}, (), ())["state"] == PASSED
    found = gate({"a": state("1"), "b": state("2")}, {}, (), ())
    assert found["state"] == FAILED and "p/s:image" in found["words"]
    assert gate({"a": state("1"), "b": state("2")}, {}, ["p/s:image"], ())["state"] == PASSED
    assert gate({"a": state("1")}, {"b": "unreachable"}, (), ())["state"] == UNKNOWN
    assert gate({"a": {"services": {}}, "b": {"services": {}}}, {}, (), ())["state"] == UNKNOWN, "nothing compared is no match"


def test_only_a_gate_that_is_named_is_passed():
    gates = [resume_gates.gate("positions", FAILED, "x"), resume_gates.gate("clock", UNKNOWN, "y"), resume_gates.gate("skew", NOT_APPLICABLE, "z")]
    assert len(resume_gates.refusals(resume_gates.settle(gates, []))) == 2
    (left,) = resume_gates.refusals(resume_gates.settle(gates, ["positions", "skew"]))
    assert left == "gate clock UNKNOWN: y"
    shown = resume_gates.lines(resume_gates.settle(gates, ["positions", "clock"]))
    assert "FAILED, ACCEPTED by name" in shown[0] and "not applicable  z" in shown[2]
    assert resume_gates.accept_errors(["position"]) == ["there is no gate 'position'; did you mean positions? (positions, skew, credentials, clock)"]
    assert resume_gates.accept_errors("all") and resume_gates.accept_errors([1]) and not resume_gates.accept_errors(["skew"])


# Sizes


def row(name, component="strategy", **more):
    return {"id": name, "name": name, "component": component, "start": True, "policy": "no", "tier": 4, **more}


def able(**more):
    return {"kind": "freqtrade", "error": "", "size_error": "", "resumes": True, **more}


def test_what_cannot_have_the_size_is_refused_by_name():
    rows = [row("feed", "data"), row("a"), row("b"), row("c", "unknown kind"), row("off", start=False)]
    said = {"a": able(), "b": able(size_error="needs the value 'base_stake'")}
    found = resume_adapters.refusals("h1", rows, said, 0.25, {})
    assert len(found) == 2 and "b on h1: needs the value" in found[0] and "c on h1 has no adapter" in found[1]
    assert resume_adapters.sizes(rows, said, 0.25) == {"a": "freqtrade"} and resume_adapters.sizes(rows, said, None) == {}
    assert resume_adapters.refusals("h1", rows, {"a": able(error="unknown step")}, None, {}) == ["a on h1: its adapter cannot be used: unknown step"]
    (left,) = resume_adapters.refusals("h1", rows, said, None, {"a": {"size": 0.25, "at": "2026"}, "off": {"size": 0.5}})
    assert left.startswith("a on h1 still has 0.25 of its size"), "a reduced size never becomes the usual one in silence"
    assert resume_adapters.refusals("h1", rows[:2], said, 1.0, {"a": {"size": 0.25}}) == []


def test_an_answer_counts_only_for_the_component_that_gave_it():
    ok = {"component": "a", "outcome": "ok", "why": "", "proven": True, "steps": [{"step": "verify wait", "outcome": "ok", "words": "as wanted"}]}
    assert resume_adapters.judge(["a"], [ok], proof=True) == []
    assert "b: no answer" in resume_adapters.judge(["a", "b"], [ok], proof=True)[0]
    assert "NOT PROVEN" in resume_adapters.judge(["a"], [{**ok, "proven": False}], proof=True)[0]
    for outcome in ("unknown", "failed", "refused", "unsupported"):
        assert resume_adapters.judge(["a"], [{**ok, "outcome": outcome}], proof=False)
    assert resume_adapters.told(["a"], 0.25, [ok], [])[0] == {"component": "a", "size": 0.25, "proven": True, "by": "verify wait: as wanted"}
    assert resume_adapters.told(["a"], 0.25, [ok], [{**ok, "outcome": "failed"}])[0]["proven"] is False


def test_sizes_are_written_down_on_the_host_and_a_damaged_file_is_no_full_size(tmp_path):
    folder = str(tmp_path)
    assert resume.read_sizes(folder) == {}
    resume.keep_sizes(folder, [row("a"), row("b")], 0.25, "inc", "2026")
    resume.keep_sizes(folder, [row("b")], 1.0, "inc", "2026")
    assert resume.read_sizes(folder) == {"a": {"name": "a", "size": 0.25, "at": "2026", "incident": "inc"}}
    for content in ("{", "[]", '{"a": 1}'):
        (tmp_path / resume.SIZES).write_text(content)
        with pytest.raises(OSError, match="sizes.json"):
            resume.read_sizes(folder)


class StoppedContainer:
    """The engine's `cp` of a container that does not run; a program cannot be run in it."""

    def __init__(self):
        self.files, self.lose = {}, False

    def run(self, *args, deadline=None, data=None):
        assert args[0] == "cp", args
        if ":" in args[2]:
            with open(args[1]) as source:
                self.files[args[2]] = "{}" if self.lose else source.read()
            return 0, "", ""
        if args[1] not in self.files:
            return 1, "", "Error response from daemon: Could not find the file %s in container x\n" % args[1]
        with open(args[2], "w") as target:
            target.write(self.files[args[1]])
        return 0, "", ""


def entry(**adapter):
    endpoint = {"base_url": "http://127.0.0.1:1", "auth": {"basic": {"user": "ops", "password": "pw"}}}
    return {"name": "bot", "component": "strategy", "adapter": {"kind": "freqtrade", "endpoint": endpoint, **adapter}}


def test_the_size_is_in_the_stopped_container_and_read_back():
    plan, _ = adapters.plan(entry(vars={"base_stake": 100}), "prepare", {"size": 0.25})
    engine = StoppedContainer()
    (found,) = run_all([plan], "prepare", engine, {}, 2.0)
    assert found["outcome"] == "ok" and found["proven"], found
    assert json.loads(engine.files["bot:/freqtrade/user_data/andon_size.json"]) == {"stake_amount": 25.0, "max_open_trades": 1, "initial_state": "paused"}
    (again,) = run_all([plan], "prepare", engine, {}, 2.0)
    assert again["outcome"] == "already" and again["proven"]
    engine = StoppedContainer()
    engine.lose = True
    (found,) = run_all([plan], "prepare", engine, {}, 1.0)
    assert found["outcome"] == "failed" and "does not read back" in found["why"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (entry(), "needs the value 'base_stake'"),
        (entry(kind="nautilus"), "cannot put a smaller size in place before the start"),
        (entry(kind="custom", override={"prepare": {"do": [{"http": {"path": "/size"}}], "verify": [{"manual": "x"}]}}), "only file, redis and command"),
        (entry(kind="custom", override={"prepare": {"do": [{"file": {"path": "/x", "touch": True}}], "verify": [{"manual": "x"}]}}), "writes no size"),
    ],
)
def test_an_adapter_without_a_size_before_the_start_is_refused(given, words):
    with pytest.raises(adapters.AdapterError, match=words):
        adapters.plan(given, "prepare", {"size": 0.25})


# What a command line cannot change


def test_what_decides_cannot_be_given_with_e(monkeypatch):
    monkeypatch.setattr(resume_run, "load_extra_vars", lambda loader: {"confirm": "all", "andon_resume_approvals": 0, "__andon_resume_planned": {}})
    (found,) = resume_run.forbidden(None)
    assert "__andon_resume_planned, andon_resume_approvals cannot be given with -e" in found
    monkeypatch.setattr(resume_run, "load_extra_vars", lambda loader: {"confirm": "all", "andon_resume_accept": ["clock"]})
    assert resume_run.forbidden(None) == []


def test_a_plan_of_another_run_is_none_and_the_most_approvals_count():
    plan = {"run": resume_run.this_run()["run_id"], "go": True}
    assert resume_run.planned({resume_run.PLANNED: plan}) is plan
    for other in (None, "x", {**plan, "run": "bastion-1-1"}, {**plan, "failed": True}):
        assert resume_run.planned({resume_run.PLANNED: other}) is None
    task_vars = {"hostvars": {"a": {}, "b": {"andon_resume_approvals": "2"}, "c": {"andon_resume_approvals": 1}}}
    assert resume_run.needed(task_vars, ["a"]) == 0 and resume_run.needed(task_vars, ["a", "b", "c"]) == 2
    with pytest.raises(ValueError, match="whole number"):
        resume_run.needed({"hostvars": {"a": {"andon_resume_approvals": "-1"}}}, ["a"])
    for size, good in (("0.25", 0.25), ("", None), (None, None), (1, 1.0)):
        assert resume_run.size_of(size) == good
    for size in ("0", "-1", "1.5", "nan", "x", "inf"):
        with pytest.raises(ValueError, match="above 0 and at most 1"):
            resume_run.size_of(size)


# The step on one host


def load_action(name):
    """An action plugin's file, and its class without Ansible's own set-up."""
    path = Path(resume.__file__).parents[2] / "action" / (name + ".py")
    spec = importlib.util.spec_from_file_location(name + "_action", path)
    plugin = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(plugin)
    return plugin, object.__new__(plugin.ActionModule)


@pytest.mark.parametrize(
    ("answer", "delays", "low", "high"),
    [
        ("%.9f\n", [3.0, 0.1], 9.9, 10.1),  # the narrowest of the looks counts
        ("%d\n", [0.1], 8.9, 11.1),  # BusyBox: only the second is known
    ],
)
def test_a_clock_is_known_as_well_as_the_quickest_look_was(monkeypatch, answer, delays, low, high):
    plugin, action = load_action("resume_clock")
    now = [1_790_000_000.0]
    left = list(delays)

    def command(words):
        now[0] += left.pop(0) if len(left) > 1 else left[0]
        return {"rc": 0, "stdout": answer % (now[0] + 10)}

    monkeypatch.setattr(plugin, "time", types.SimpleNamespace(time=lambda: now[0]))
    monkeypatch.setattr(plugin.ActionBase, "run", lambda *args, **more: {})
    monkeypatch.setattr(action, "_low_level_execute_command", command, raising=False)
    found = action.run()["clock"]
    assert low - 0.01 <= found["low"] <= 10 <= found["high"] <= high + 0.01
    monkeypatch.setattr(action, "_low_level_execute_command", lambda words: {"rc": 0, "stdout": "date: bad"}, raising=False)
    assert action.run()["failed"]


def step(monkeypatch, answers, *, size=0.25):
    """The action's start() with the module and the adapters replaced: (its result, what was called in which order)."""
    _, action = load_action("resume_host")
    action._task = types.SimpleNamespace(check_mode=False)
    calls = []

    def module(args, task_vars):
        calls.append((args["state"], args.get("size")))
        return {"changed": True, "andon_progress": "OK started 2 of 2, healthy", **answers.get(args["state"], {})}

    def adapter(act, names, values, task_vars):
        calls.append((act, {name: values[name].get("size") for name in names}))
        good = {"outcome": "ok", "why": "", "proven": True, "steps": []}
        return [{**good, "component": name, **answers.get(act, {})} for name in names]

    monkeypatch.setattr(action, "module", module, raising=False)
    monkeypatch.setattr(action, "adapters", adapter, raising=False)
    rows = [row("feed", "data"), row("bot", **({"sized_by": "freqtrade"} if size else {})), row("gate", "gateway"), row("off", start=False)]
    known = {"adapters": {"bot": able(), "gate": able(), "feed": able(resumes=False), "off": able()}}
    args = {"state": "started", "expected": {"containers": rows}}
    return action.start(args, {"incident": "inc", "size": size}, {"__andon_resume_sizes": known}), calls


def test_the_size_is_noted_and_in_place_before_the_start_and_the_software_is_let_go_after_it(monkeypatch):
    result, calls = step(monkeypatch, {})
    assert calls == [("sized", 0.25), ("prepare", {"bot": 0.25}), ("started", None), ("resume", {"bot": 0.25, "gate": None})]
    assert not result.get("failed") and result["sizes"][0]["proven"] and result["andon_progress"].endswith("size 0.25: bot")
    result, calls = step(monkeypatch, {}, size=None)
    assert calls == [("prepare", {}), ("started", None), ("resume", {"bot": None, "gate": None})] and result["sizes"] == []


@pytest.mark.parametrize(
    ("answers", "last", "words"),
    [
        ({"sized": {"failed": True, "msg": "the plan no longer matches this host"}}, "sized", "no longer matches"),
        ({"prepare": {"proven": False}}, "prepare", "the size is not in place: bot NOT PROVEN"),
        ({"prepare": {"outcome": "unknown"}}, "prepare", "UNKNOWN"),
        ({"started": {"failed": True, "msg": "bot is not healthy"}}, "started", "bot is not healthy"),
        ({"resume": {"outcome": "unknown", "why": "no answer"}}, "halted", "bot UNKNOWN: no answer"),
        ({"resume": {"outcome": "unsupported"}, "halted": {"failed": True, "msg": "engine down"}}, "halted", "could NOT be halted again: engine down"),
    ],
)
def test_a_part_that_fails_ends_the_start_and_what_runs_is_halted_again(monkeypatch, answers, last, words):
    result, calls = step(monkeypatch, answers)
    assert result["failed"] and words in result["msg"] and calls[-1][0] == last, (result, calls)
