"""Guided runbooks: the data, the state, two people at once, and a person at a real terminal."""

from __future__ import annotations

import copy
import dataclasses
import importlib.util
import json
import multiprocessing
import os
import pty
import re
import select
import signal
import sys
import time

import pytest
import yaml
from click.testing import CliRunner

from andon import guides, incidents, journal
from andon.guides import GuideError, Progress
from cli import COMMANDS, ROOT, main
from verbs.guides import available

# Every line of the organisation's incident-response runbook that asks something of a person, shortened.
RUNBOOK = """
SEV1; SEV2; SEV3
Acknowledge alert; Determine severity; Start incident timer; Quick status check: health_check.sh
Quick status check: tail logs, ERROR and CRITICAL; Update status page; Notify stakeholders
SEV1: stop the bleeding first; SEV1 option A: emergency_stop.sh; SEV1 option B: kill_strategy.sh; SEV1 option C: rollback.sh
SEV2: identify affected component; SEV2: restart specific service
Collect logs; Check metrics; Identify root cause; Export logs: export_logs.sh incident-DATE; Check recent changes: git log -20
Check external factors: exchange status; Check external factors: network issues; Check external factors: market events
Apply fix; Verify fix works; Resume normal operations; Document: post-mortem in docs/incidents
Kill Switch Triggered 1; Kill Switch Triggered 2; Kill Switch Triggered 3; Kill Switch Triggered 4; Kill Switch Triggered 5
Exchange Connection Lost 1; Exchange Connection Lost 2; Exchange Connection Lost 3; Exchange Connection Lost 4; Exchange Connection Lost 5
Position Mismatch 1; Position Mismatch 2; Position Mismatch 3; Position Mismatch 4; Position Mismatch 5
Memory Exhaustion 1; Memory Exhaustion 2; Memory Exhaustion 3; Memory Exhaustion 4
Post-mortem written within 24 hours; Action items assigned; Monitoring improved; Runbook updated if needed
"""
NAMES = ["exchange-lost", "kill-switch", "memory-exhaustion", "position-mismatch", "sev1", "sev2"]

STEP = {"id": "a", "title": "A", "why": "w", "does": "d", "does_not": "n", "verb": "version", "by_hand": "by hand"}
GUIDE = {"name": "g", "title": "G", "when": "w", "severity": 2, "steps": [STEP, {**STEP, "id": "b"}]}


def test_every_line_of_the_runbook_is_a_step():
    assert guides.names() == NAMES
    covered = [line for name in NAMES for step in guides.load(name).steps for line in step.covers]
    lines = {line.strip() for line in RUNBOOK.replace("\n", ";").split(";") if line.strip()}
    assert set(covered) == lines
    for name in NAMES[:4]:  # the common incidents keep the runbook's own order
        own = [int(line.rsplit(" ", 1)[1]) for step in guides.load(name).steps for line in step.covers if re.search(r" \d$", line)]
        assert set(own) == set(range(1, max(own) + 1))
        firsts = [own.index(number) for number in sorted(set(own))]
        assert firsts == sorted(firsts)


def test_the_pages_in_docs_are_made_from_the_data():
    spec = importlib.util.spec_from_file_location("runbooks_build", ROOT / "docs/runbooks/build.py")
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    there = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "docs/runbooks").glob("*.md")}
    assert there == build.pages(), "type: docs/runbooks/build.py"


@pytest.mark.parametrize("name", NAMES)
def test_a_page_never_offers_a_command_that_is_not_there(name):
    guide = guides.load(name)
    with_verb = [step for step in guide.steps if step.verb]
    nothing = guides.markdown(guide, lambda step: False)
    assert "```console" not in nothing and nothing.count("**By hand** (this version has no") == len(with_verb) > 0
    everything = guides.markdown(guide, lambda step: True)
    assert "this version has no" not in everything
    assert all(f"\n{step.command()}\n" in everything for step in with_verb)


# Steps whose verb is there and does not take the step's arguments yet: shown as instructions. Anything else is a slip.
NOT_YET: set[tuple[str, str]] = set()


def test_commands_in_guides_are_what_the_verbs_accept():
    steps = [(name, step) for name in NAMES for step in guides.load(name).steps if step.verb in COMMANDS]
    assert len(steps) > 20
    assert {(name, step.id) for name, step in steps if not available(step)} == NOT_YET
    one = steps[0][1]
    assert not available(dataclasses.replace(one, args=("--no-such-option",)))
    assert not available(dataclasses.replace(one, verb="no-such-verb"))
    with_group = dataclasses.replace(one, verb="postmortem", args=("check",))
    assert available(with_group) and not available(dataclasses.replace(with_group, args=("no-such-part",)))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda g: g.pop("title"), "has no field 'title'"),
        (lambda g: g.update(severity="1"), "'severity' must be a number"),
        (lambda g: g.update(severity=7), "must be 1, 2 or 3"),
        (lambda g: g.update(name="../x"), "is no id"),
        (lambda g: g.update(steps=[]), "no steps"),
        (lambda g: g.update(stesp=1), "did you mean 'steps'"),
        (lambda g: g["steps"][0].pop("does_not"), "step 1 (a) has no field 'does_not'"),
        (lambda g: g["steps"][0].update(by_hnad="x"), "did you mean 'by_hand'"),
        (lambda g: g["steps"][1].update(id="a"), "two steps have the id 'a'"),
        (lambda g: g["steps"][0].pop("verb"), "it needs a verb, a check"),
        (lambda g: g["steps"][0].update(instruction="x"), "it needs a verb, a check"),
        (lambda g: g["steps"][0].pop("by_hand"), "needs by_hand"),
        (lambda g: g["steps"][0].update(args=["--sev", 1]), "quote numbers"),
        (lambda g: g["steps"][0].update(args=["{x}"]), "args need ['x'] and asks name []"),
        (lambda g: g["steps"][0].update(args=["{x}"], asks={"x": {"prompt": "p", "kind": "shell"}}), "kind 'shell' is not one of"),
        (lambda g: g["steps"][0].update(either=True), "either belongs to a check"),
        (lambda g: g["steps"][0].update(check="x", either="yes"), "'either' must be true or false"),
        (lambda g: g.update(steps="x"), "'steps' must be a list"),
        (lambda g: g["steps"].append("x"), "step 3 must be a table"),
    ],
)
def test_a_wrong_guide_is_refused_with_the_place_and_the_reason(tmp_path, change, reason):
    data = copy.deepcopy(GUIDE)
    change(data)
    (tmp_path / "g.yml").write_text(yaml.safe_dump(data), encoding="utf-8")
    with pytest.raises(GuideError) as caught:
        guides.load("g", tmp_path)
    assert reason in str(caught.value)
    assert "nothing was done" in caught.value.means


def test_unknown_and_unreadable_guides(tmp_path):
    with pytest.raises(GuideError) as caught:
        guides.load("kill-swich")
    assert "kill-switch" in caught.value.then
    with pytest.raises(GuideError):
        guides.load("../../etc/passwd")
    (tmp_path / "g.yml").write_text("a: [", encoding="utf-8")
    with pytest.raises(GuideError, match="cannot be read"):
        guides.load("g", tmp_path)


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("id", ["momentum-1"], ["-x", "a b", "; rm -rf /", "", "../x", "{{ 1 }}"]),
        ("name", ["trading-adapter-1"], ["--help", "a/b", "$(x)"]),
        ("memory", ["512m", "2g", "1048576"], ["lots", "-1m", "0", "1t; x"]),
        ("share", ["0.25", "1", ".5"], ["0", "2", "-1", "nan", "1e3"]),
        ("text", ["Trading is slow; we are on it"], ["", "  ", "--public", "x" * 501]),
    ],
)
def test_what_is_typed_cannot_become_an_option_or_a_command(kind, good, bad):
    ask = guides.Ask("x", "X", kind)
    assert [ask.fault(value) for value in good] == [""] * len(good)
    assert all(ask.fault(value) for value in bad)


def _guide():
    return guides.parse(copy.deepcopy(GUIDE), "g.yml")


def test_progress_resumes_and_keeps_everything():
    progress = Progress(_guide(), None)
    first, second = progress.guide.steps
    assert progress.next_step() == first
    progress.record(first, guides.FAILED, code=2)
    assert Progress(_guide(), None).next_step() == first, "a failed step stays in front"
    progress.record(first, guides.BY_HAND)
    assert progress.next_step() == second
    progress.record(second, guides.SKIPPED)
    assert progress.next_step() is None
    assert [entry.outcome for entry in progress.entries()] == ["failed", "by-hand", "skipped"]
    asks = dataclasses.replace(second, verb="", check="Is it?", either=True)
    assert asks.settled(guides.NO) and not asks.settled(guides.FAILED), "not to have found out is no answer"
    assert not dataclasses.replace(asks, either=False).settled(guides.NO)
    kept = progress.restart()
    assert progress.next_step() == first and len(json.loads(kept.read_text())["entries"]) == 3
    progress.path.write_text("{torn")
    with pytest.raises(GuideError) as caught:
        progress.next_step()
    assert "--restart" in caught.value.then
    assert progress.restart() != kept and progress.next_step() == first


def test_a_disk_that_cannot_be_written_stops_no_step():
    progress = Progress(_guide(), None)
    progress.folder.parent.mkdir(parents=True)
    progress.folder.write_text("a file where the folder should be")
    first, second = progress.guide.steps
    with progress.running(first):
        progress.record(first, guides.DONE, code=0)
    assert progress.next_step() == second and "Not a directory" in progress.trouble
    progress.folder.unlink()
    progress.record(second, guides.SKIPPED)
    assert progress.trouble == "" and Progress(_guide(), None).next_step() is None, "what was kept in memory is written later"


def _many(number):
    progress = Progress(_guide(), None)
    for _ in range(10):
        progress.record(progress.guide.steps[number % 2], guides.FAILED, code=number)


def _hold(ready, release):
    progress = Progress(_guide(), None)
    with progress.running(progress.guide.steps[0]):
        ready.set()
        release.wait(30)


def test_two_people_at_once_and_one_killed():
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_many, args=(number,)) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(30)
    progress = Progress(_guide(), None)
    assert sorted(entry.exit for entry in progress.entries()) == sorted(list(range(4)) * 10), "an entry was lost"

    first = progress.guide.steps[0]
    ready, release = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(ready, release))
    other.start()
    assert ready.wait(30)
    assert progress.outcomes()["a"].outcome == guides.STARTED
    with pytest.raises(GuideError, match="is running: tester started it"), progress.running(first):
        pytest.fail("it was run twice")
    with pytest.raises(GuideError, match="is running step a"):
        progress.restart()
    other.kill()
    other.join(30)
    assert progress.outcomes()["a"].outcome == guides.UNKNOWN, "killed in the middle is never done"
    assert progress.next_step() == first


def test_the_state_moves_into_the_incident_that_a_step_opens():
    progress = Progress(_guide(), None)
    progress.record(progress.guide.steps[0], guides.DONE)
    incident = incidents.open_incident("x", 1)
    moved = progress.adopt(incident)
    assert moved.next_step().id == "b" and not progress.path.exists()
    again = Progress(_guide(), None)
    again.record(again.guide.steps[0], guides.SKIPPED)
    assert [entry.outcome for entry in again.adopt(incident).entries()] == ["done"], "what the incident has is left alone"


class Person:
    """A person at a terminal of 80 columns."""

    def __init__(self, *args, program=ROOT / "cli.py"):
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.execve(sys.executable, [sys.executable, str(program), *args], {**os.environ, "TERM": "xterm", "NO_COLOR": "1"})
        self.seen = ""

    def sees(self, text):
        """Reads until the text comes; returns what came before it."""
        deadline = time.monotonic() + 30
        while text not in self.seen:
            assert time.monotonic() < deadline, f"never saw {text!r} in {self.seen!r}"
            if select.select([self.terminal], [], [], 0.2)[0]:
                try:
                    self.seen += os.read(self.terminal, 65536).decode()
                except OSError:  # the other end is closed
                    assert text in self.seen, f"ended before {text!r}: {self.seen!r}"
        before, self.seen = self.seen.split(text, 1)
        return before

    def types(self, keys):
        os.write(self.terminal, keys.encode())

    def ends(self):
        deadline = time.monotonic() + 30
        while True:
            if not select.select([self.terminal], [], [], 0.2)[0]:
                if time.monotonic() > deadline:
                    os.kill(self.pid, signal.SIGKILL)
                continue
            try:
                chunk = os.read(self.terminal, 65536).decode()
            except OSError:
                break
            if not chunk:
                break
            self.seen += chunk
        os.close(self.terminal)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def test_a_person_is_led_leaves_and_comes_back():
    incident = incidents.open_incident("exchange down", 1)
    there = set(COMMANDS)
    missing = next(step for name in NAMES for step in guides.load(name).steps if step.verb == "why")
    person = Person("guide", "kill-switch")
    person.sees("[Enter] run  [s] skip  [q] leave")
    person.types("d")  # not offered here: nothing happens
    person.types("\x1b[S")  # an arrow key ends in a letter
    person.types("s")
    if missing.verb not in there:
        shown = person.sees("[d] done by hand  [s] skip  [q] leave")
        assert "This version has no `andon why`" in shown and "Runs" not in shown
        person.types("d")
    else:
        person.sees("[q] leave")
        person.types("s")
    person.sees("3/10")
    person.sees("[q] leave")
    person.types("q")
    assert person.ends() == 0
    assert "To go on from here: andon guide kill-switch" in person.seen

    lines = [line for line in journal.read(incidents.folder(incident)) if line["kind"] == "guide.step"]
    second = "by-hand" if missing.verb not in there else "skipped"
    assert [(line["data"]["step"], line["data"]["outcome"]) for line in lines] == [("stop-and-assess", "skipped"), ("what-triggered", second)]
    person = Person("guide", "kill-switch")
    assert "[-]  1. Stop, and assess" in person.sees("3/10")
    person.sees("[q] leave")
    person.types("\x03")
    assert person.ends() == 0 and "Left." in person.seen
    assert journal.verify(incidents.folder(incident)).ok


def test_enter_runs_the_verb_and_its_exit_code_is_the_outcome(tmp_path):
    """The real command loop over a guide of our own: a verb that works, one that fails, a check, an impatient person."""
    steps = [
        {**STEP, "id": "good"},
        {**STEP, "id": "bad", "verb": "guide", "args": ["{which}"], "asks": {"which": {"prompt": "Which", "kind": "id", "default": "no-such"}}},
        {**STEP, "id": "holds", "check": "Is it so?", "verb": "guide", "args": ["--print", "no-such"]},
        {"id": "you", "title": "You", "why": "w", "does": "d", "does_not": "n", "instruction": "Look out of the window."},
    ]
    (tmp_path / "g.yml").write_text(yaml.safe_dump({**GUIDE, "steps": steps}), encoding="utf-8")
    program = tmp_path / "run.py"
    program.write_text(
        f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'plugins/module_utils')!r}]\n"
        f"import pathlib, cli; from andon import guides\n"
        f"here = pathlib.Path({str(tmp_path)!r}); load = guides.load\n"
        f"guides.names = lambda folder=here: ['g']; guides.load = lambda name: load(name, here)\n"
        f"import verbs.guides as v; v.ROOT = here; v.guide_command(['g'], obj=cli.Settings((), 0, False))\n"
    )
    # The verbs that the guide calls: a program of our own in the CLI's place, so that no verb of another group is needed.
    (tmp_path / "cli.py").write_text("import sys; print('RAN', *sys.argv[1:]); sys.exit(0 if sys.argv[1] == 'version' else 2)\n")
    person = Person(program=program)
    person.sees("[Enter] run")
    person.types("\r\r\r\r")  # impatient: the presses after the first answered nothing that was shown
    assert "RAN version" in person.sees("2/4")
    person.sees("[Enter] run")
    person.types("\r")
    person.sees("Which [no-such]")
    person.types("-x\n")
    person.sees("That cannot be used")
    person.types("other\n")
    assert "RAN guide other" in person.sees("FAILED (exit code 2)")
    person.sees("By hand")
    person.sees("[Enter] run again  [d] done by hand")
    person.types("d")
    person.sees("Check    Is it so?")
    person.sees("[Enter] run")
    person.types("\r")
    person.sees("answered NO (exit code 2)")
    person.sees("[y] yes, it holds now")
    person.types("y")
    person.sees("Look out of the window.")
    person.sees("[d] done")
    person.types("d")
    assert person.ends() == 0
    assert "The guide is through: 3 done, 1 done by hand." in person.seen
    record = [(e.step, e.outcome, e.exit) for e in Progress(guides.load("g", tmp_path), None).entries()]
    assert record == [
        ("good", "started", None),
        ("good", "done", 0),
        ("bad", "started", None),
        ("bad", "failed", 2),
        ("bad", "by-hand", None),
        ("holds", "started", None),
        ("holds", "no", 2),
        ("holds", "done", None),
        ("you", "done", None),
    ]


def test_without_a_terminal_it_refuses_and_points_to_print():
    done = CliRunner().invoke(main, ["guide", "sev1"])
    assert done.exit_code == 1 and "andon guide sev1 --print" in done.output and "Nothing was done" in done.output
    done = CliRunner().invoke(main, ["guide", "sev1", "--print"])
    assert done.exit_code == 0 and done.output == (ROOT / "docs/runbooks/sev1.md").read_text()
    done = CliRunner().invoke(main, ["--json", "guide", "sev1"])
    assert [step["id"] for step in json.loads(done.output)["steps"]] == [step.id for step in guides.load("sev1").steps]
    done = CliRunner().invoke(main, ["guide", "nonsense"])
    assert done.exit_code == 1 and isinstance(done.exception, SystemExit) and "kill-switch" in done.output
