"""The verbs as a person types them, through the CLI: what they say, what they refuse, their exit codes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import cli
from andon import incidents, journal, state

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def andon():
    """Runs one command line; asserts its exit code; returns everything that it printed."""

    def run(*words, code=0, stdin=None):
        done = CliRunner().invoke(cli.main, [str(word) for word in words], input=stdin)
        assert done.exit_code == code, done.output
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done.output

    return run


def refused(output):
    """The three lines of an error."""
    lines = output.strip().splitlines()[-3:]
    assert lines[0].startswith("Error: ") and lines[1].startswith("  It means: ") and lines[2].startswith("  Next: "), output
    return output


def fill_in(text):
    text = re.sub(r"- \[ \] _TODO: [^_]*_ \(Owner, YYYY-MM-DD\)", "- [ ] Alert on a silent venue (bob, 2020-12-01)", text)
    return re.sub(r"_TODO: [^_]*_", "yes, done by a person", text)


def test_a_whole_life_from_open_to_a_checked_post_mortem(andon, tmp_path):
    out = andon("open", "Exchange down")
    name = incidents.current()
    assert name in out and "SEV1 (unsure, so the higher one)" in out and "within 5 min" in out and "andon stop" in out
    graph = tmp_path / "graph.png"
    graph.write_bytes(b"png")
    assert "SHA-256" in andon("note", "feed is slow", "--attach", graph)
    assert "Acknowledged" in andon("ack") and "already" in andon("ack")
    assert "SEV1 -> SEV2" in andon("sev", "2", "no money at risk")
    assert "bob is commander" in andon("assign", "commander", "bob")
    assert "Noted" in andon("note", "--mitigated", "switched to the other feed")
    screen = andon("clock")
    assert "SEV2 MITIGATED" in screen and "commander: bob" in screen and len(screen.splitlines()) <= 24
    handoff = andon("handoff", "carl")
    for part in ("HANDOFF of " + name, "commander: carl", "feed is slow", "no money at risk", "Overdue", "Next"):
        assert part in handoff
    assert "Resolved" in andon("resolve", "venue is back")
    assert "open again" in andon("resolve", "--undo", "not yet") and "Resolved" in andon("resolve", "now it is")
    path = tmp_path / "pm.md"
    assert "10 blanks" in andon("postmortem", "--output", path)
    assert "blank left" in refused(andon("postmortem", "check", code=2))
    path.write_text(fill_in(path.read_text()))
    andon("postmortem", "--output", path)
    assert andon("postmortem", "check").startswith("OK") and andon("postmortem", "check", path).startswith("OK")
    assert "Wrote" in andon("postmortem", "html") and "<svg" in path.with_suffix(".html").read_text()
    assert "Next" not in andon("close")
    assert "closed" in andon("incidents") and "Handed over to carl" in andon("show")
    assert "OK" in andon("verify")
    assert "OVERDUE" in andon("actions", "--directory", tmp_path) and "Alert on a silent venue" in andon("actions", "--directory", tmp_path)
    refused(andon("note", "too late", code=1))


def test_an_edited_block_ends_with_exit_code_3_and_shows_both(andon, tmp_path):
    andon("open", "Exchange down")
    path = tmp_path / "pm.md"
    andon("postmortem", "--output", path)
    path.write_text(path.read_text().replace("Opened as SEV1", "Opened by me as SEV1"))
    andon("note", "something new")
    out = andon("postmortem", "--output", path, code=3)
    assert "CONFLICT in the block timeline" in out and "something new" in out and "Opened by me" in path.read_text()


@pytest.mark.parametrize(
    "words",
    [
        ("ack",),
        ("note", "x"),
        ("sev", "2"),
        ("assign", "commander", "bob"),
        ("resolve",),
        ("close",),
        ("handoff",),
        ("clock",),
        ("show",),
        ("verify",),
        ("postmortem",),
        ("postmortem", "check"),
        ("postmortem", "html"),
        ("open", ""),
        ("open", "--sev", "lots", "x"),
        ("open", "--detected", "soon", "x"),
        ("open", "--detected", "2099-01-01 00:00", "x"),
        ("ack", "--incident", "../../etc"),
        ("incidents", "--use", "nope"),
    ],
)
def test_without_an_incident_and_with_bad_words_it_says_what_to_type(andon, words):
    refused(andon(*words, code=1))
    assert incidents.ids() == []


def test_what_is_refused_in_an_open_incident(andon, tmp_path):
    andon("open", "--sev", "2", "one")
    for words in (
        ("open", "two"),
        ("note",),
        ("note", "x", "--attach", tmp_path / "none"),
        ("sev", "9"),
        ("assign", "a;b", "bob"),
        ("assign", "scribe", "\x1b[31m"),
        ("close",),
        ("resolve", "--undo"),
        ("postmortem", "--template", tmp_path / "none"),
    ):
        before = len(journal.read(incidents.folder(incidents.current())))
        refused(andon(*words, code=1))
        assert len(journal.read(incidents.folder(incidents.current()))) == before


def test_two_open_incidents(andon):
    andon("open", "--sev", "2", "one")
    first = incidents.current()
    andon("open", "--another", "--sev", "3", "two")
    second = incidents.current()
    andon("note", "to the first", "--incident", first)
    assert "to the first" in andon("show", "--incident", first) and "to the first" not in andon("show")
    listed = andon("incidents", "--open")
    assert f"* {second}" in listed and f"  {first}" in listed
    andon("incidents", "--use", first)
    assert incidents.current() == first
    andon("resolve", "done")
    assert "current incident is " + second in andon("close")
    refused(andon("incidents", "--use", first, code=1))


def test_verify_names_the_first_bad_line_and_fails(andon):
    andon("open", "one")
    andon("note", "two")
    path = incidents.folder(incidents.current()) / journal.NAME
    good = path.read_bytes()
    path.write_bytes(good.replace(b'"text":"two"', b'"text":"2wo"'))
    out = refused(andon("verify", code=2))
    assert "line 2 of the journal is bad" in out and "sed -n 2p" in out
    path.write_bytes(good + b'{"seq":3,"torn')
    assert "torn (14 bytes)" in andon("verify")
    andon("note", "three")
    assert "4 lines" in andon("verify", "--all") and "journal.torn" in andon("show")


def test_an_option_in_front_of_a_subcommand_is_not_dropped_silently(andon):
    assert "stand after" in andon("postmortem", "--incident", "x", "check", code=2)


def test_machines_get_json(andon):
    andon("open", "--sev", "1", "one \x1b[31m")
    name = incidents.current()
    assert json.loads(andon("--json", "incidents"))[0]["incident"] == name
    assert json.loads(andon("--json", "clock"))["overdue"] == []
    assert json.loads(andon("--json", "show"))["journal"][0]["data"]["title"] == "one \x1b[31m"
    assert json.loads(andon("--json", "verify"))[0]["ok"] is True
    assert json.loads(andon("--json", "actions", "--directory", state.state_dir())) == []


def test_detected_earlier_starts_the_clock_earlier(andon):
    andon("open", "--sev", "1", "--detected", "2020-01-01 03:04", "old")
    found = incidents.load(incidents.current())
    assert state.utc(found.detected) == "2020-01-01T03:04:00.000Z"
    assert "OVERDUE" in andon("clock")
    now = state.utc_now()
    andon("open", "--another", "--detected", now[11:16], "today")
    assert state.utc(incidents.load(incidents.current()).detected)[:16] == now[:16]


def test_a_megabyte_from_standard_input_and_hostile_words_come_out_inert(andon, tmp_path):
    hostile = "<script>alert(1)</script> {{ 7*7 }} \x1b]0;x\x07 | **b** \u202e\n- [ ] item\n"
    andon("open", hostile)
    andon("note", "-", stdin=hostile * 20000)
    for words in (("clock",), ("show",), ("incidents",), ("handoff",)):
        out = andon(*words)
        assert "\x1b" not in out and "\u202e" not in out and len(out) < 5000
    path = tmp_path / "pm.md"
    andon("postmortem", "--output", path)
    text = path.read_text()
    assert "<script" not in text and "{{" not in text and "\x1b" not in text and len(text) < 10000
    assert len([line for line in text.splitlines() if line.startswith("- [ ]")]) == 1
    andon("postmortem", "html", "--input", path)
    assert "<script" not in path.with_suffix(".html").read_text()


def test_a_broken_organisation_file_is_a_warning_and_the_clock_goes_on(andon, tmp_path, monkeypatch):
    (tmp_path / "org.yml").write_text("severities: [")
    monkeypatch.setenv("ANDON_ORGANISATION", str(tmp_path / "org.yml"))
    assert "cannot be used" in andon("open", "one") and "target 5 min" in andon("clock")


def test_nothing_heavy_is_imported_where_a_person_waits():
    """What makes a verb slow is what it imports: Ansible, Jinja2, YAML and rich are not needed to write a line."""
    script = (
        "import sys; sys.argv = ['andon', 'open', 'x']; import cli\n"
        "try: cli.main()\nexcept SystemExit: pass\n"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'ansible', 'jinja2', 'yaml', 'rich', 'markdown_it', 'apprise', 'ccxt'}))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr
