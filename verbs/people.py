"""andon notify and andon update: what people are told, and whether it reached them."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click

from andon import delivery, incidents, journal, outbox, state, statuspage
from andon.locks import lock_file
from andon.text import clean, plural
from cli import Failure, Settings, fail

LINGER = 1800.0  # seconds that the courier of a verb stays for a channel that is down; after that the timer or the next verb goes on
POLL = 5.0  # seconds between its looks
_ERRORS = (delivery.DeliveryError, incidents.IncidentError, journal.JournalError)


@click.command("notify")
@click.option("--list", "listing", is_flag=True, help="What was sent, what waits, what failed (also without an option).")
@click.option("--test", is_flag=True, help="Send a test to every channel now.")
@click.option("--flush", is_flag=True, help="Send what waits, and reminders that are due (the timer calls this).")
@click.option("--linger", is_flag=True, hidden=True, help="With --flush: stay a while for a channel that is down.")
@click.pass_obj
def notify_command(settings: Settings, listing: bool, test: bool, flush: bool, linger: bool) -> None:
    """Who is told, and whether it arrived. Exit code 0: every message was delivered.

    Channels come from ANDON_NOTIFY_URLS or the file ANDON_NOTIFY_FILE: apprise's URLs, webhook+https://, page+https://.

    \b
    Examples:
      andon notify
      andon notify --test
      ANDON_NOTIFY_URLS="$(ansible-vault view channels)" andon notify --flush
    """
    if sum((listing, test, flush)) > 1:
        raise click.UsageError("--list, --test and --flush are three different things; give one.")
    try:
        if test:
            _test(settings)
        elif flush:
            _flush(settings, linger)
        else:
            _list(settings)
    except _ERRORS as error:
        raise Failure(str(error), error.means, error.then) from error
    except OSError as error:
        folder = outbox.folder()
        what = f"The outbox could not be used: {error.filename or folder}: {error.strerror}."
        fail(what, "Messages wait, or were not written.", f"df -h {folder}; ls -ld {folder}")


def _test(settings: Settings) -> None:
    known = _known()
    message = outbox.compose("test", None)
    with ThreadPoolExecutor(len(known)) as pool:
        reasons = list(pool.map(lambda channel: delivery.send(channel, message), known))
    bad = sum(1 for reason in reasons if reason)
    if settings.json:
        rows = [{"channel": channel.key, "ok": not reason, "why": reason} for channel, reason in zip(known, reasons, strict=True)]
        click.echo(json.dumps({"ok": not bad, "channels": rows}))
    else:
        for channel, reason in zip(known, reasons, strict=True):
            click.echo(f"{channel.key:32} {'FAILED: ' + reason if reason else 'OK, it was taken'}")
        click.echo(f"{len(known) - bad}/{plural(len(known), 'channel')} took the test. Taken is not read: ask one of the people.")
    raise SystemExit(2 if bad else 0)


def _known() -> list[delivery.Channel]:
    known = delivery.channels()
    if not known:
        fail("No channel is set.", "Nobody can be told.", "export ANDON_NOTIFY_URLS='mailto://...'   (docs/people.md)")
    return known


def _flush(settings: Settings, linger: bool) -> None:
    if linger:
        os.nice(10)  # the stop beside it needs the processor more
    result = delivery.flush()
    if linger and result.channels:
        result = _linger(result)
    if settings.json:
        click.echo(json.dumps(vars(result) | {"ok": result.ok}))
    else:
        for note in result.notes:
            click.echo(clean(note, 200))
        if not result.channels:
            click.echo("No channel is set (ANDON_NOTIFY_URLS): nothing can be sent.")
        click.echo(f"{result.delivered} delivered, {result.failed} failed, {result.waiting} waiting, {result.undelivered} given up.")
    raise SystemExit(0 if result.ok else 2)


def _linger(result: delivery.Summary) -> delivery.Summary:
    """Stays for a channel that is down, one courier at a time."""
    handle = lock_file(outbox.folder() / ".linger.lock")
    try:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            end = time.monotonic() + LINGER
            while result.waiting and time.monotonic() < end:
                time.sleep(POLL)
                result = delivery.flush()
    finally:
        os.close(handle)
    return result


def _list(settings: Settings) -> None:
    box = outbox.Outbox()
    try:
        keys = [channel.key for channel in delivery.channels()]
        trouble = ""
    except delivery.DeliveryError as error:
        keys, trouble = [], str(error)
    sent = box.sent()
    good = not (box.messages or box.bad or trouble or any(_lost(message) for message in sent))
    if settings.json:
        click.echo(json.dumps({"ok": good, "channels": keys, "waiting": box.messages, "settled": sent, "bad": box.bad}))
        raise SystemExit(0 if good else 2)
    click.echo(clean(trouble, 200) if trouble else f"Channels set here: {', '.join(keys) or 'none (ANDON_NOTIFY_URLS)'}")
    for message in sent + box.messages:
        _show(message)
    for name in box.bad:
        click.echo(f"NO MESSAGE: {outbox.folder() / clean(name, 80)} cannot be read; it was left alone.")
    if not (sent or box.messages):
        click.echo("No message was ever written.")
    click.echo("Every message was delivered." if good else "NOT EVERY MESSAGE WAS DELIVERED. To try again now: andon notify --flush")
    raise SystemExit(0 if good else 2)


def _lost(message: dict[str, Any]) -> bool:
    """True for a message of the last day that was given up, unless something newer took its place."""
    recent = time.time() - (state.parse_utc(message["at"]) or 0) < 86400
    states = [channel["state"] for channel in message["channels"].values()] or [outbox.EXPIRED]
    return recent and message["event"] != "reminder" and any(word in (outbox.EXPIRED, outbox.GONE) for word in states)


def _show(message: dict[str, Any]) -> None:
    incident = message["incident"] or {}
    head = f"{message['at'][:19].replace('T', ' ')} {message['event']:10} {clean(incident.get('id', ''), 64)}"
    click.echo(incidents.fit(head.rstrip()))
    click.echo("  " + incidents.fit(outbox.summary(message), 78))
    for key, channel in (message["channels"] or {}).items():
        if channel["state"] != outbox.SENT:
            why = f", {clean(channel['why'], 80)}" if channel["why"] else ""
            click.echo(f"    {clean(key, 40)}: {channel['state']} after {plural(channel['attempts'], 'attempt')}{why}")


@click.command("update")
@click.argument("text")
@click.option("--public", is_flag=True, help="On the public status page and its feeds, too.")
@click.option("--state", "said", type=click.Choice(statuspage.STATES), help="With --public: the state that the page shows.")
@click.option("--title", metavar="TEXT", help="With --public: the title that the page shows; without one, the date.")
@click.option("--incident", metavar="ID", help="Another incident than the current one.")
@click.pass_obj
def update_command(settings: Settings, text: str, public: bool, said: str | None, title: str | None, incident: str | None) -> None:
    """Write an update: for the people on the list, and with --public for everybody.

    \b
    Examples:
      andon update "gateway restarted on both hosts, watching"
      andon update --public --state identified "Trading is halted; orders are safe. Next update 03:40 UTC."
    """
    if not public and (said or title):
        raise click.UsageError("--state and --title are for the public page; give --public as well.")
    if not clean(text):
        raise click.UsageError("The update has no words, so nothing was done.")
    if public and len(text) > statuspage.LENGTH:
        raise click.UsageError(f"A public update has at most {statuspage.LENGTH} characters; this one has {len(text)}. Nothing was done.")
    try:
        name = incidents.require(incident)
        data = {"text": text, "public": public}
        data |= {key: value for key, value in (("state", said), ("title", title)) if value}
        incidents.record(name, "updated", "update", data)
        page = _publish() if public else None
        told = outbox.tell("update", name, text, public=public, **({"state": _state(name)} if public else {}))
    except _ERRORS as error:
        raise Failure(str(error), error.means, error.then) from error
    if settings.json:
        click.echo(json.dumps({"ok": True, "incident": name, "public": public, "page": str(page) if page else None, "told": told}))
        return
    click.echo(f"Recorded in {name}.")
    if page:
        click.echo(f"Published on {page}")
    click.echo(told)


def _publish() -> Path:
    try:
        folder, bad = statuspage.build()
    except Exception as error:
        what = f"The update is recorded, and the status page was NOT written: {clean(error, 160)}."
        fail(what, "The public sees the page of before; nobody was told.", f"mend {statuspage.place()}, then the same command again")
    for reason in bad:
        click.echo(f"WARNING: not on the page: {reason}", err=True)
    return folder / "index.html"


def _state(name: str) -> str:
    public = statuspage.public_view(name, journal.read(incidents.folder(name)))
    return public.state if public else ""
