"""Messages on their way: real mail and web servers, channels that are down, couriers that are killed, hostile words."""

from __future__ import annotations

import base64
import email
import email.policy
import hashlib
import hmac
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import unicodedata
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from andon import delivery, incidents, journal, messages, outbox, state
from cli import ROOT, main

HOSTILE = "down\r\nBcc: everybody@example.org\n\n<script>alert(1)</script> {{ 7*7 }} **b** \x1b[2J\u202e @everyone <!channel>"


def cli(*args, **environment):
    """The command, in this process; its exit code and output."""
    done = CliRunner().invoke(main, args, env=environment)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def later(seconds):
    return lambda: time.time() + seconds


def mails(got):
    return [email.message_from_bytes(envelope.content, policy=email.policy.default) for envelope in got]


def no_secret_in_state():
    """Nothing that was in a channel's address is in any file that Andon keeps."""
    files = [path for path in state.state_dir().rglob("*") if path.is_file()]
    assert files
    for path in files:
        content = path.read_bytes()
        for word in (b"s3cr3t", b"t0ken", b"127.0.0.1", b"hook:", b"bot:"):
            assert word not in content, path


def test_mail_webhook_and_hosted_page_get_what_is_theirs(mail, webhook, monkeypatch):
    got, url = mail
    monkeypatch.setenv("ANDON_NOTIFY_URLS", f"{url}\n{webhook.url()} {webhook.url('page')}")
    monkeypatch.setenv("ANDON_WEBHOOK_SECRET", "s3cr3t-sign")
    incident = incidents.open_incident(HOSTILE, 1)
    assert "are being told" in outbox.tell("opened", incident, courier=False)
    assert "are being told" in outbox.tell("update", incident, HOSTILE, public=True, courier=False, state="identified")
    result = delivery.flush()
    assert (result.delivered, result.failed, result.waiting, result.ok) == (5, 0, 0, True)

    opened, update = mails(got)
    assert opened["Bcc"] is None and [envelope.rcpt_tos for envelope in got] == [["desk@example.org"]] * 2
    assert opened["Subject"].startswith("[SEV1] OPEN: down Bcc: everybody@example.org <script>") and "{{ 7*7 }}" in opened["Subject"]
    body = update.get_content()
    assert "{{ 7*7 }}" in body and "\x1b" not in body and "\u202e" not in body and "@everyone" not in body and "<!" not in body
    assert f"Incident: {incident}" in body and update.get_content_type() == "text/plain"

    hooks = [(headers, json.loads(body)) for path, headers, body in webhook.got if json.loads(body).get("incident", "") and "subject" in json.loads(body)]
    pages = [json.loads(body) for _, _, body in webhook.got if "subject" not in json.loads(body)]
    assert [content["event"] for _, content in hooks] == ["opened", "update"]
    headers = hooks[0][0]
    assert base64.b64decode(headers["Authorization"].split()[1]) == b"hook:s3cr3t-hook"
    raw = next(body for _, head, body in webhook.got if head == headers)
    assert headers["X-Andon-Signature"] == "sha256=" + hmac.new(b"s3cr3t-sign", raw, hashlib.sha256).hexdigest()
    assert len(pages) == 1 and pages[0]["event"] == "update" and pages[0]["state"] == "identified"
    assert incident not in json.dumps(pages) and set(pages[0]) == {"schema", "id", "at", "event", "public", "text", "state", "incident"}
    no_secret_in_state()
    code, out = cli("notify", "--list")
    assert code == 0 and "Every message was delivered." in out and "s3cr3t" not in out


def test_a_channel_goes_down_and_what_waited_comes_in_order_and_once(mail, webhook, monkeypatch):
    got, url = mail
    monkeypatch.setenv("ANDON_NOTIFY_URLS", f"{webhook.url()} {url}")
    incident = incidents.open_incident("x", 2)
    webhook.down()
    outbox.tell("opened", incident, courier=False)
    outbox.tell("mitigated", incident, courier=False)
    first = delivery.flush()
    assert (first.delivered, first.failed, first.waiting) == (2, 1, 2), "one dead channel does not hold up the other"
    code, out = cli("notify", "--list")
    assert code == 2 and "it cannot be reached" in out and "WAITING for 1 channel" in out and "andon notify --flush" in out

    assert delivery.flush().failed == 1, "the second message has its first attempt"
    assert delivery.flush().failed == 0, "nothing is tried again before its pause is over"
    webhook.up()
    webhook.status = 503
    assert delivery.flush(later(20)).failed == 1
    webhook.status = 302
    assert delivery.flush(later(3600)).failed == 1, "a redirect is no delivery"
    assert webhook.got == []
    webhook.status = 200
    outbox.tell("resolved", incident, courier=False)
    last = delivery.flush(later(3700 + 900))
    assert (last.delivered, last.failed, last.waiting) == (4, 0, 0), "what was in a pause goes out as soon as the channel works"
    assert [json.loads(body)["event"] for _, _, body in webhook.got] == ["opened", "mitigated", "resolved"]
    assert len(got) == 3, "what the mail server took was not sent again"
    assert delivery.flush(later(9999)).delivered == 0 and len(webhook.got) == 3
    kinds = [line["kind"] for line in journal.read(incidents.folder(incident))]
    assert kinds.count("message.failed") == 2 and kinds.count("message.delivered") == 2
    assert journal.verify(incidents.folder(incident)).ok
    no_secret_in_state()


def test_a_courier_killed_in_the_middle_loses_nothing(mail, webhook, monkeypatch):
    got, url = mail
    monkeypatch.setenv("ANDON_NOTIFY_URLS", f"{url} {webhook.url()}")
    outbox.tell("opened", incidents.open_incident("x", 1), courier=False)
    webhook.go_on.clear()
    courier = subprocess.Popen([sys.executable, str(ROOT / "cli.py"), "notify", "--flush"], stdout=subprocess.DEVNULL)
    assert webhook.asked.wait(30)
    deadline = time.monotonic() + 30
    while not got and time.monotonic() < deadline:
        time.sleep(0.02)
    [message] = outbox.Outbox().messages
    while message["channels"][next(iter(message["channels"]))]["state"] != "sent" and time.monotonic() < deadline:
        time.sleep(0.02)
        [message] = outbox.Outbox().messages
    os.kill(courier.pid, signal.SIGKILL)
    courier.wait(30)
    [message] = outbox.Outbox().messages
    assert sorted(channel["state"] for channel in message["channels"].values()) == ["sending", "sent"]
    webhook.status = 500  # what the killed courier sent gets no success
    webhook.go_on.set()
    while not webhook.answered and time.monotonic() < deadline:
        time.sleep(0.02)
    webhook.status = 200
    assert delivery.flush().delivered == 1
    assert len(got) == 1 and len(webhook.got) == 1
    assert "You may have this message already" in json.loads(webhook.got[0][2])["body"]
    assert outbox.Outbox().messages == [] and len(outbox.Outbox().sent()) == 1


def _flush_many(times):
    for _ in range(times):
        delivery.flush()


def _tell_many(incident):
    for number in range(5):
        outbox.tell("update", incident, f"{os.getpid()}-{number}", courier=False)


def test_many_couriers_and_writers_at_once_deliver_each_message_once(webhook, monkeypatch):
    monkeypatch.setenv("ANDON_NOTIFY_URLS", webhook.url())
    incident = incidents.open_incident("x", 1)
    context = multiprocessing.get_context("fork")
    people = [context.Process(target=_tell_many, args=(incident,)) for _ in range(3)]
    people += [context.Process(target=_flush_many, args=(4,)) for _ in range(3)]
    for process in people:
        process.start()
    for process in people:
        process.join(60)
        assert process.exitcode == 0
    delivery.flush()
    ids = [json.loads(body)["id"] for _, _, body in webhook.got]
    assert len(ids) == len(set(ids)) == 15 and outbox.Outbox().messages == []


def test_telling_never_waits_and_a_detached_courier_does_the_rest(webhook, monkeypatch):
    monkeypatch.setenv("ANDON_NOTIFY_URLS", webhook.url())
    webhook.go_on.clear()
    incident = incidents.open_incident("x", 1)
    code, out = cli("update", "gateway is back")  # ends while the channel hangs: its own time limit is 60 s
    assert code == 0 and "are being told" in out
    assert webhook.asked.wait(30) and webhook.got == []
    webhook.go_on.set()
    deadline = time.monotonic() + 30
    while outbox.Outbox().messages and time.monotonic() < deadline:
        time.sleep(0.02)
    assert [json.loads(body)["text"] for _, _, body in webhook.got] == ["gateway is back"]
    assert incidents.load(incident).last_update is not None


def test_an_outbox_that_cannot_be_written_is_a_warning_and_no_error(monkeypatch):
    incident = incidents.open_incident("x", 1)
    outbox.folder().write_text("a file where the folder should be")
    assert outbox.tell("opened", incident).startswith("WARNING: NOBODY IS TOLD")
    assert outbox.tell("nonsense", incident).startswith("WARNING: NOBODY IS TOLD")
    code, out = cli("notify", "--flush")
    assert code == 1 and "It means: Messages wait" in out and "Next: " in out


def test_without_a_channel_messages_wait_for_a_process_that_has_one(webhook, monkeypatch):
    incident = incidents.open_incident("x", 1)
    assert "no channel is set here" in outbox.tell("opened", incident)
    assert delivery.flush().waiting == 1 and len(outbox.Outbox().messages) == 1
    code, out = cli("notify")
    assert code == 2 and "Channels set here: none" in out
    outbox.tell("mitigated", incident)
    monkeypatch.setenv("ANDON_NOTIFY_URLS", webhook.url())
    assert delivery.flush().delivered == 2
    monkeypatch.delenv("ANDON_NOTIFY_URLS")
    outbox.tell("resolved", incident)
    assert delivery.flush(later(outbox.LOOK_FOR_CHANNEL + 60)).undelivered == 1 and outbox.Outbox().messages == []
    assert "NOT DELIVERED: no channel takes" in cli("notify")[1]


def test_lists_that_change_and_news_that_is_old(webhook, monkeypatch):
    incident = incidents.open_incident("x", 2)
    webhook.down()
    monkeypatch.setenv("ANDON_NOTIFY_URLS", f"json://127.0.0.1:1/x {webhook.url()}")
    outbox.tell("opened", incident, courier=False)
    delivery.flush()
    webhook.up()
    monkeypatch.setenv("ANDON_NOTIFY_URLS", webhook.url())  # the first is gone, the second has another number now
    result = delivery.flush(later(60))
    assert (result.delivered, result.undelivered, result.waiting) == (1, 0, 1), "this shell may know fewer channels than the timer"
    assert delivery.flush(later(outbox.LOOK_FOR_CHANNEL + 60)).undelivered == 1
    [message] = outbox.Outbox().sent()
    assert sorted(channel["state"] for channel in message["channels"].values()) == ["gone", "sent"]
    assert cli("notify")[0] == 2
    webhook.down()
    outbox.tell("mitigated", incident, courier=False)
    assert delivery.flush().failed == 1
    webhook.up()
    delivery.flush(later(outbox.KEEP_TRYING + 60))
    assert "mitigated" not in [json.loads(body)["event"] for _, _, body in webhook.got], "news of three days ago"
    assert [entry["channels"].popitem()[1]["state"] for entry in outbox.Outbox().sent() if entry["event"] == "mitigated"] == ["expired"]


def test_files_in_the_outbox_that_are_none_of_ours_are_named_and_left_alone(webhook, monkeypatch):
    monkeypatch.setenv("ANDON_NOTIFY_URLS", webhook.url())
    outbox.tell("opened", incidents.open_incident("x", 1), courier=False)
    bad = outbox.folder() / "20261122T030405678-0123abcd.json"
    for content in ("{", "[]", '{"schema": "andon.message/1"}', '{"a": {"b": 1}}'):
        bad.write_text(content)
        result = delivery.flush()
        assert any(bad.name in note for note in result.notes) and bad.read_text() == content
    assert len(webhook.got) == 1
    assert cli("notify")[0] == 2


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("nonsense://s3cr3t", "none that apprise understands"),
        ("s3cr3t", "none that apprise understands"),
        ("webhook+ftp://s3cr3t/x", "http and https only"),
        ("webhook+http://[s3cr3t/x", "none that"),
        ("webhook+http://127.0.0.1:1/s3cr3t", "cannot be reached"),
        ("mailto://bot:s3cr3t@127.0.0.1:1?mode=insecure&from=a@example.org&to=b@example.org", "cannot be reached"),
    ],
)
def test_an_address_that_does_not_work_says_why_and_never_shows_itself(url, reason, monkeypatch):
    [channel] = delivery.channels({"ANDON_NOTIFY_URLS": url})
    why = delivery.send(channel, outbox.compose("test", None))
    assert reason in why and "s3cr3t" not in why + repr(channel) + channel.key


def test_a_wrong_password_is_named_as_such(mail):
    got, url = mail
    [channel] = delivery.channels({"ANDON_NOTIFY_URLS": url.replace("s3cr3t-mail", "wr0ng")})
    assert "login" in delivery.send(channel, outbox.compose("test", None)) and got == []


def test_the_test_message_and_the_channels_file(mail, webhook, tmp_path):
    got, url = mail
    path = tmp_path / "channels"
    path.write_text(f"# the desk\n{url}\n\n{webhook.url()}\n")
    code, out = cli("notify", "--test", ANDON_NOTIFY_FILE=str(path))
    assert code == 0 and "2/2 channels took the test" in out and "s3cr3t" not in out
    assert mails(got)[0]["Subject"] == "Andon: this is a test"
    webhook.status = 401
    code, out = cli("notify", "--test", ANDON_NOTIFY_FILE=str(path))
    assert code == 2 and "FAILED: it answered HTTP 401" in out and "1/2 channels" in out
    path.write_text("$ANSIBLE_VAULT;1.1;AES256\n3162\n")
    code, out = cli("notify", "--test", ANDON_NOTIFY_FILE=str(path))
    assert code == 1 and "ansible-vault view" in out
    code, out = cli("notify", "--test")
    assert code == 1 and "No channel is set" in out


def test_reminders_come_once_per_interval_and_end_with_the_incident(webhook, monkeypatch):
    monkeypatch.setenv("ANDON_NOTIFY_URLS", webhook.url())
    incident = incidents.open_incident("x", 1)

    def reminded(minutes):
        webhook.got.clear()
        delivery.flush(later(minutes * 60))
        return [json.loads(body)["event"] for _, _, body in webhook.got]

    assert reminded(19) == []
    assert reminded(21) == ["reminder"]
    assert "a SEV1 has one every 20 min 00 s" in json.loads(webhook.got[0][2])["body"] if webhook.got else False
    assert reminded(30) == []
    assert reminded(42) == ["reminder"]
    assert reminded(25) == ["reminder"], "a clock that jumped back does not silence them"
    webhook.down()
    reminded(70)
    incidents.record(incident, "resolved", "resolve", {"text": "over"})
    outbox.tell("resolved", incident, courier=False)
    webhook.up()
    assert reminded(200) == ["resolved"], "a reminder that waited is not sent when there is something newer"


def test_pauses_double_and_a_clock_that_jumps_back_does_not_stretch_them():
    assert [outbox.pause(n) for n in (1, 2, 3, 8, 10**9)] == [15, 30, 60, 900, 900]
    waiting = {"state": outbox.WAITING, "next": 1000.0}
    assert not outbox.due(waiting, 999) and outbox.due(waiting, 1000)
    assert outbox.due(waiting, 1000 - 7200), "the clock went back two hours"


def test_every_event_has_words_and_a_broken_template_costs_only_its_style(tmp_path, monkeypatch):
    incident = incidents.load(incidents.open_incident("gateway down", 2))
    for event in sorted(outbox.EVENTS):
        message = outbox.compose(event, incident, "words", before=3, silent="21 min", every="20 min")
        subject, body = messages.render(message, time.time() + 600)
        assert "failed" not in body and message["id"] in body, (event, body)
        assert "comes 10 min 00 s late" in body
        assert event == "test" or "gateway down" in subject or event == "alert"
    (tmp_path / "opened.j2").write_text("{{ nothing }}")
    monkeypatch.setenv("ANDON_MESSAGES", str(tmp_path))
    subject, body = messages.render(outbox.compose("opened", incident, "words"))
    assert subject == "SEV2 opened: gateway down" and "words" in body and "opened.j2 failed" in body
    (tmp_path / "opened.j2").write_text("OURS {{ incident.title }}\n\n{{ text }}")
    assert messages.render(outbox.compose("opened", incident, "words")) == ("OURS gateway down", "words")


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=300), st.text(max_size=300))
def test_no_words_break_out_of_a_message(title, text):
    incident = incidents.Incident("2026-11-22-x", title=title, opened=1.8e9, detected=1.8e9)
    subject, body = messages.render(outbox.compose("opened", incident, text))
    assert subject.startswith("[SEV1] OPEN:") and len(subject) <= 140
    # Controls, bidirectional and invisible characters, line and paragraph separators.
    assert not {unicodedata.category(c) for c in subject + body.replace("\n", "")} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert "opened.j2 failed" not in body


def test_units_for_the_timer_name_what_exists():
    service = (ROOT / "docs/systemd/andon-notify.service").read_text()
    assert "andon notify --flush\n" in service and "ANDON_NOTIFY_URLS" in service
    assert Path(ROOT / "docs/systemd/andon-notify.timer").read_text().count("[Timer]") == 1
