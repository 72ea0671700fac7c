"""The stop's two ends: what is sent, what an answer proves. Nothing but a complete, consistent answer may be HALTED."""

from __future__ import annotations

import json
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from andon import proof, stop, text

ID = "ab" * 32
TIME = 1_700_000_000.0


def one(**more):
    return {
        "id": ID, "name": "/momentum", "image": "trading:1", "image_id": "sha256:1", "component": "strategy", "strategy": "m", "swarm": "",
        "restart_policy": {"Name": "always", "MaximumRetryCount": 0}, "was_running": True, "status": "running", "exit_code": 0,
        "finished_at": "0001-01-01T00:00:00Z", **more,
    }  # fmt: skip


DOWN = {"was_running": False, "status": "exited", "restart_policy": {"Name": "no"}, "finished_at": "2023-11-14T22:13:21.5Z"}


def answer(*lines, after=DOWN, before=None):
    """A host's answer; extra lines stand before the end."""
    text = [f"A1 begin {TIME} 100.0 0", "A1 before " + json.dumps(one(**(before or {})))]
    text += ["A1 latch new /var/lib/andon/halts/all.json", "A1 step stop 0 100.1 101.0 "]
    text += list(lines)
    if after is not None:
        text += ["A1 after " + json.dumps(one(**after)), "A1 pids "]
    return "\n".join([*text, f"A1 end {TIME + 3} 103.0"])


def verdict(text, **more):
    return stop.judge(stop.parse(text), **more)[0]


def test_a_complete_answer_is_halted():
    assert verdict(answer()) == stop.HALTED


@pytest.mark.parametrize(
    "text,expected",
    [
        ("", stop.UNKNOWN),
        ("Permission denied (publickey).", stop.UNKNOWN),
        (answer().rsplit("\n", 1)[0], stop.UNKNOWN),
        (answer(after=None), stop.UNKNOWN),
        (answer(after={**DOWN, "was_running": True}), stop.RUNNING),
        (answer(after={**DOWN, "status": "paused"}), stop.RUNNING),
        (answer(after={**DOWN, "status": "restarting"}), stop.RUNNING),
        (answer(after={**DOWN, "restart_policy": {"Name": "unless-stopped"}}), stop.POLICY),
        (answer().replace("A1 pids ", "A1 pids 17 18"), stop.RUNNING),
        (answer().replace("latch new", "latch failed"), stop.UNLATCHED),
        (answer().replace("A1 latch", "A1 nolatch"), stop.UNLATCHED),
        (answer("A1 engine silent"), stop.UNKNOWN),
        (answer("A1 engine hung"), stop.POLICY),
        (answer("A1 respawned " + json.dumps(one(id="cd" * 32))), stop.RUNNING),
        (answer(before={"swarm": "trading_momentum"}), stop.RUNNING),
        (answer("A1 nothing no container matches"), stop.NOTHING),
    ],
)
def test_anything_less_is_not(text, expected):
    assert verdict(text) == expected


def test_a_volatile_latch_counts_and_is_warned_of():
    host = stop.parse(answer().replace("latch new", "latch volatile"))
    assert stop.judge(host)[0] == stop.HALTED
    made = document({"a": {"verdict": stop.HALTED, "containers": [], "latch": "volatile"}})
    assert any("only in memory" in line for line in proof.summary(made))


def test_durations_use_the_hosts_clock_only_for_differences():
    # The host's clock is 90 s ahead; the process ended 1.5 s before the script did.
    text = answer(after={**DOWN, "finished_at": "2023-11-14T22:14:51.500000000Z"})
    text = text.replace(f"A1 end {TIME + 3}", f"A1 end {TIME + 93}")
    (row,) = stop.container_rows(stop.parse(text), "graceful", pressed_at=TIME, received_at=TIME + 3)
    assert row["seconds"] == pytest.approx(1.5, abs=0.01)
    assert row["how"] == "graceful" and row["policy_before"] == "always" and row["policy_after"] == "no"


def test_a_kill_after_the_grace_is_told():
    killed = stop.container_rows(stop.parse(answer(after={**DOWN, "exit_code": 137})), "graceful", 0, 1)
    assert killed[0]["how"] == "killed"
    left = stop.container_rows(stop.parse(answer(f"A1 left {ID}")), "graceful", 0, 1)
    assert left[0]["how"] == "killed"


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=300), st.sampled_from(["before", "after", "step", "latch", "pids", "begin", "end", "left", "respawned", "engine", "x"]))
def test_no_line_from_a_host_breaks_the_parser_or_makes_a_success(words, kind):
    host = stop.parse(f"A1 {kind} {words}\n{words}")
    found, why = stop.judge(host)
    assert found not in (stop.HALTED, stop.NOT_HERE, stop.WOULD)
    assert "\x1b" not in json.dumps(stop.container_rows(host, "now")) + why


PARAMETERS = {
    "cli": "docker", "mode": "graceful", "grace": 5, "state": "/var/lib/andon", "selectors": ["label=andon.component"], "components": [],
    "protected": [], "strategy": "", "latch_header": "", "check": False, "settle": 1,
}  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(st.text(st.characters(blacklist_characters="\n\r\0", blacklist_categories=["Cs"]), min_size=1, max_size=40))
def test_hostile_values_reach_the_shell_as_data(word):
    text = stop.script(
        'printf "%s|%s|%s" "$A_SELECTORS" "$A_STATE" "$A_HEADER"',
        **PARAMETERS | {"selectors": ["label=" + word], "state": word, "latch_header": stop.header(word, word, word, "now")},
    )
    done = subprocess.run(["/bin/sh", "-c", text], capture_output=True, check=True)
    selector, state, header = done.stdout.decode().split("|", 2) if "|" not in word else (None, None, None)
    if selector is not None:
        assert selector == "label=" + word and state == word
        assert "\n" not in header and json.loads("{" + header + "}")["schema"] == 1


@pytest.mark.parametrize(
    "bad", [{"mode": "gently"}, {"selectors": ["a\nb"]}, {"selectors": []}, {"protected": ["x\0y"]}, {"components": [{"name": ""}]}], ids=str
)
def test_impossible_values_are_refused(bad):
    with pytest.raises(ValueError):
        stop.script("", **PARAMETERS | bad)


def test_the_inventory_wins_over_labels():
    text = stop.script("", **PARAMETERS | {"components": [{"name": "old.bot", "component": "strategy"}, {"name": "db", "protect": True}]})
    assert "A_ADD='name=^/?old\\.bot$'" in text and "A_DROP='name=^/?db$'" in text
    other = stop.script("", **PARAMETERS | {"strategy": "m", "components": [{"name": "x", "component": "strategy", "strategy": "n"}]})
    assert "A_DROP='name=^/?x$'" in other and "A_STRATEGY=label=andon.strategy=m" in other


def document(results, **more):
    values = {
        "verb": "emergency_stop", "asked": list(results), "fleet": list(results), "results": results, "mode": "graceful", "strategy": "",
        "incident": "2026-11-22-x", "operator": {"name": "t", "bastion": "b"}, "reason": "r", "pressed_at": "2026-11-22T03:00:00.000Z",
        "finished_at": "2026-11-22T03:00:02.000Z", "check": False,
    }  # fmt: skip
    return proof.document(**values | more)


def test_the_denominator_and_the_screen():
    results = {f"host-{n:02d}": {"verdict": stop.HALTED, "containers": []} for n in range(40)}
    results["host-99"] = {"verdict": stop.UNKNOWN, "why": "unreachable \x1b[31m" + "x" * 300}
    made = document(results | {"host-98": {}})
    assert made["ok"] is False and made["proven"] == 40 and made["asked"] == 42
    report = proof.report(made, "/somewhere/proof.json")
    lines = [report["headline"], *report["summary"]]
    assert len(lines) <= 23 and max(map(len, lines)) <= 80
    assert lines[0].startswith("40/42 HALTED, 2 UNKNOWN") and "host-98" in lines[1] and "host-99" in lines[2], "worst first"
    assert "\x1b" not in json.dumps(report)


def test_ok_only_when_all_are_proven():
    good = {"verdict": stop.HALTED, "containers": []}
    assert document({"a": good})["ok"]
    assert not document({})["ok"]
    assert not document({"a": good, "b": {}})["ok"]
    assert not document({"a": {"verdict": stop.NOT_HERE}}, strategy="m")["ok"], "a strategy that is nowhere was not stopped"
    assert document({"a": good, "b": {"verdict": stop.NOT_HERE}}, strategy="m")["ok"]
    assert not document({"a": good | {"changed_others": ["ledger"]}}, strategy="m")["ok"]
    assert not document({"a": good}, check=True)["ok"]


def test_the_proof_keeps_its_schema():
    import jsonschema

    from andon.state import ROOT

    schema = json.loads((ROOT / "docs" / "proof.schema.json").read_text())
    host = stop.parse(answer())
    rows = stop.container_rows(host, "graceful", TIME, TIME + 3)
    result = {"verdict": "HALTED", "why": "", "containers": rows, "latch": "new", "route": "inventory", "attempts": 1, "seconds": 3.2, "steps": host.steps}
    jsonschema.validate(document({"a": result, "b": {}}), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document({"a": result | {"verdict": "FINE"}}), schema)


def test_others_that_change_are_noticed():
    lines = ["A1 other " + json.dumps(one(id="cd" * 32, name="/ledger", started_at="t1"))]
    same = stop.parse(answer(*lines, "A1 other_after " + json.dumps(one(id="cd" * 32, name="/ledger", started_at="t1"))))
    assert stop.untouched(same) == []
    assert stop.untouched(stop.parse(answer(*lines, "A1 other_after " + json.dumps(one(id="cd" * 32, name="/ledger", started_at="t2"))))) == ["ledger"]
    assert stop.untouched(stop.parse(answer(*lines))) == ["ledger"]


def test_why_a_host_cannot_be_reached_comes_before_what_ssh_says_of_a_dead_shared_connection():
    wrote = "mux_client_request_session: read from master failed: Broken pipe\r\nConnection timed out during banner exchange\r\n"
    assert text.without_mux(wrote) == "Connection timed out during banner exchange\r\n"
    assert text.without_mux("mux_client_hello_exchange: write packet: Broken pipe") == "mux_client_hello_exchange: write packet: Broken pipe"
