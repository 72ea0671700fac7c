"""The verbs of an incident's life, and runs on hosts, tell people what they changed: each thing once."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from andon import delivery, incidents, journal, outbox
from cli import main


@pytest.fixture
def told(webhook, monkeypatch):
    """Sends what waits; returns the events that arrived since the last call, with their texts."""
    monkeypatch.setenv("ANDON_NOTIFY_URLS", webhook.url())
    monkeypatch.setattr(outbox, "start_courier", lambda: True)  # a detached one would race with the test's own

    def flush():
        webhook.got.clear()
        delivery.flush()
        return [(message["event"], message["subject"], message["text"]) for message in (json.loads(body) for _, _, body in webhook.got)]

    return flush


def run(*args):
    done = CliRunner().invoke(main, args)
    assert done.exit_code == 0, done.output
    return done.output


def test_each_verb_tells_what_it_changed(told):
    assert "are being told" in run("open", "--sev", "2", "gateway slow")
    run("ack")
    run("note", "only a note")
    assert told() == [("opened", "[SEV2] OPEN: gateway slow", "")]
    run("sev", "1", "orders are stuck")
    run("note", "--mitigated", "stopped by hand")
    assert told() == [
        ("severity", "[SEV1] SEVERITY CHANGED: gateway slow", "orders are stuck"),
        ("mitigated", "[SEV1] MITIGATED: gateway slow", "stopped by hand"),
    ]
    run("update", "all quiet")
    run("resolve", "a new gateway")
    run("resolve", "--undo", "it is back")
    assert [event for event, _, _ in told()] == ["update", "resolved", "reopened"]
    run("resolve", "a newer gateway")
    run("resolve", "a newer gateway")
    run("close")
    assert [event for event, _, _ in told()] == ["resolved"]


def stop(incident, ok):
    data = {"run": "r", "ok": ok, "hosts": {"host-a": "changed" if ok else "failed"}, "seconds": 2.0}
    journal.append(incidents.folder(incident), "verb.ended", "emergency_stop", data)


def test_a_run_tells_what_it_changed_and_nothing_else(told):
    incident = incidents.open_incident("x", 1)
    before = incidents.load(incident)
    stop(incident, False)
    assert outbox.announce(incident, before) == [] == told(), "a stop that is not proven mitigates nothing"
    stop(incident, True)
    assert len(outbox.announce(incident, before)) == 1
    assert [event for event, _, _ in told()] == ["mitigated"]
    before = incidents.load(incident)
    stop(incident, True)
    assert outbox.announce(incident, before) == [] == told()
    incidents.record(incident, "resolved", "resolve", {"text": "y"})
    before = incidents.load(incident)
    incidents.reopen(incident, "stopped again")
    outbox.announce(incident, before)
    assert [event for event, _, _ in told()] == ["reopened"]
    other = incidents.open_incident("Emergency stop", 1)
    stop(other, True)
    outbox.announce(other, None)
    assert [event for event, _, _ in told()] == ["opened", "mitigated"]
