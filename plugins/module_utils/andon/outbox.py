"""Messages that are to leave: one file each in the state's outbox, written at once and sent later by another process.

C(tell) is all that a verb calls: one atomic write and the start of a courier (`andon notify --flush`) that it does not wait
for. No channel, no template and no network is looked at here, so nothing of them can be in the way of a stop.

A file holds facts and, per channel, what became of it. A channel is named by its place in the list, its scheme and a hash of
its host: addresses, tokens and passwords are never written down.

Bastion only; standard library only.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import incidents, journal, state
from .locks import lock_file
from .text import clean, clean_lines, plural

SCHEMA = "andon.message/1"
EVENTS = frozenset({"opened", "severity", "mitigated", "resolved", "reopened", "update", "reminder", "alert", "test"})
# States of a channel within a message; the last four need nothing more.
WAITING, SENDING, SENT, EXPIRED, GONE = "waiting", "sending", "sent", "expired", "gone"
SETTLED = frozenset({SENT, EXPIRED, GONE})
KEEP_TRYING = 3 * 86400.0  # seconds; news older than this helps nobody, it is shown as not delivered
LOOK_FOR_CHANNEL = 86400.0  # seconds; a channel that no courier knew for so long is gone, not only unset in one shell
FIRST_PAUSE, LONGEST_PAUSE = 15.0, 900.0  # seconds between attempts: doubled each time, up to the longest
_last = 0.0
_NAME = re.compile(r"[0-9]{8}T[0-9]{9}-[0-9a-f]{8}\Z")


def folder() -> Path:
    return state.state_dir() / "outbox"


def configured() -> bool:
    """True when this process knows of a channel."""
    return bool(os.environ.get("ANDON_NOTIFY_URLS", "").strip() or os.environ.get("ANDON_NOTIFY_FILE"))


def tell(event: str, incident: incidents.Incident | str | None, text: str = "", *, public: bool = False, courier: bool = True, **facts: Any) -> str:
    """Tells the people on the list what happened. Never raises, never waits for a network.

    Args:
        event: one of EVENTS.
        incident: an incident or its id; None for what belongs to none.
        text: a person's words about it.
        public: the words may leave the organisation.
        courier: start the process that sends it.
        facts: more for the templates, e.g. C(before=2) on a change of severity.

    Returns:
        one line for the person at the keyboard.
    """
    try:
        message = compose(event, incident, text, public=public, **facts)
        enqueue(message)
        if event in ("resolved", "reopened"):
            _refresh_page()
    except Exception as error:  # whatever it is: telling people must not take the verb that does the work down with it
        return "WARNING: NOBODY IS TOLD, the message could not be written (%s). Call them by telephone." % clean(error, 120)
    if not configured():
        return "Nobody is told by this process: no channel is set here (ANDON_NOTIFY_URLS). Waiting: andon notify --list"
    if courier and not start_courier():
        return "WARNING: the courier could not be started. To send it, type: andon notify --flush"
    return "The people on the list are being told; who was reached: andon notify --list"


def announce(name: str, before: incidents.Incident | None) -> list[str]:
    """Tells what a run changed in an incident.

    Args:
        name: the incident's id.
        before: the incident as it was; None: the run opened it.

    Returns:
        what to show, each line once; nothing where no channel is set: a stop's report is no place for that.

    Raises:
        IncidentError, JournalError: the incident cannot be read.
    """
    after = incidents.load(name)
    events = [] if before else ["opened"]
    if before and before.resolved is not None and after.resolved is None:
        events.append("reopened")
    if after.mitigated is not None and (before is None or before.mitigated is None):
        events.append("mitigated")
    lines = dict.fromkeys(tell(event, after, after.mitigated_by if event == "mitigated" else "") for event in events)
    return [line for line in lines if configured() or line.startswith("WARNING")]


def compose(event: str, incident: incidents.Incident | str | None, text: str = "", *, public: bool = False, **facts: Any) -> dict[str, Any]:
    """A message: facts, not yet words.

    Raises:
        ValueError: an unknown event.
        IncidentError, JournalError: the incident cannot be read.
    """
    if event not in EVENTS:
        raise ValueError("event %s" % event)
    if isinstance(incident, str):
        incident = incidents.load(incident)
    now = _moment()
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now)) + "%03d" % (now % 1 * 1000)
    return {
        "schema": SCHEMA,
        "id": "%s-%s" % (stamp, secrets.token_hex(4)),
        "at": state.utc(now),
        "event": event,
        "public": public,
        "actor": state.actor(),
        "text": "\n".join(clean_lines(text, 500, 40)),
        "facts": {key: value if isinstance(value, (int, float, bool)) else clean(value, 300) for key, value in facts.items()},
        "incident": _facts(incident) if incident else None,
        "channels": None,
    }


def _moment() -> float:
    """The time, at least a millisecond after the last one: messages are sent in the order of their ids."""
    global _last
    _last = max(time.time(), _last + 0.001)
    return _last


def _facts(incident: incidents.Incident) -> dict[str, Any]:
    moments = ("detected", "opened", "acknowledged", "mitigated", "resolved", "closed")
    return {
        "id": clean(incident.id, 64),
        "title": clean(incident.title, 200),
        "severity": incident.severity,
        "state": incident.state,
        "commander": clean(incident.roles.get("commander", ""), 60),
        "halted": ["%s%s" % (clean(halt.scope, 100), "" if halt.proven else " (NOT PROVEN)") for halt in incident.halted],
        **{name: state.utc(getattr(incident, name)) if getattr(incident, name) is not None else None for name in moments},
    }


def enqueue(message: dict[str, Any]) -> Path:
    """Writes a new message.

    Raises:
        OSError: the disk is full or read-only.
    """
    journal.make_folder(folder())
    path = folder() / (message["id"] + ".json")
    state.write_atomic(path, message, journal.file_mode(folder()))
    return path


def start_courier() -> bool:
    """Starts `andon notify --flush` as a process of its own session; whoever presses Ctrl-C here does not stop it."""
    argv = [sys.executable, str(state.ROOT / "cli.py"), "notify", "--flush", "--linger"]
    try:
        subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, cwd="/")
    except OSError:
        return False
    return True


def _refresh_page() -> None:
    from . import statuspage

    if statuspage.place().exists():
        statuspage.build()


class Outbox:
    """All messages that still have somewhere to go. Only the courier that holds the lock changes them."""

    def __init__(self) -> None:
        self.folder = folder()
        self.bad: list[str] = []
        self._turn = threading.Lock()  # channels are served in parallel, and two may record in one message
        self.messages = sorted(self._read(self.folder), key=lambda message: message["id"])

    def _read(self, where: Path) -> Iterator[dict[str, Any]]:
        for path in where.glob("*.json"):
            if not _NAME.match(path.stem):
                continue
            try:
                message = json.loads(path.read_text(encoding="utf-8"))
                _check(message, path.stem)
            except FileNotFoundError:
                continue  # another courier has just filed it
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                self.bad.append(path.name)
            else:
                yield message

    def sent(self, count: int = 20) -> list[dict[str, Any]]:
        """The newest messages that are settled, oldest first."""
        return sorted(self._read(self.folder / "sent"), key=lambda message: message["id"])[-count:]

    def address(self, message: dict[str, Any], keys: list[str]) -> None:
        """Writes down once and for all which channels a message goes to."""
        with self._turn:
            message["channels"] = {key: {"state": WAITING, "attempts": 0, "next": 0.0, "at": None, "why": ""} for key in keys}
            self._write(message)

    def mark(self, message: dict[str, Any], key: str, **changes: Any) -> dict[str, Any]:
        """Writes down what became of a message on a channel; a settled message moves to sent/.

        Returns:
            the channel's new state.
        """
        with self._turn:
            message["channels"][key] |= {"at": state.utc_now(), **changes}
            self._write(message)
            self._file_away(message)
            return dict(message["channels"][key])

    def settle_empty(self, message: dict[str, Any]) -> None:
        with self._turn:
            self._file_away(message)

    def _write(self, message: dict[str, Any]) -> None:
        state.write_atomic(self.folder / (message["id"] + ".json"), message, journal.file_mode(self.folder))

    def _file_away(self, message: dict[str, Any]) -> None:
        if all(channel["state"] in SETTLED for channel in message["channels"].values()):
            journal.make_folder(self.folder / "sent")
            name = message["id"] + ".json"
            os.replace(self.folder / name, self.folder / "sent" / name)


def _check(message: dict[str, Any], name: str) -> None:
    if message["schema"] != SCHEMA or message["id"] != name or message["event"] not in EVENTS or state.parse_utc(message["at"]) is None:
        raise ValueError("not a message")
    for channel in (message["channels"] or {}).values():
        if channel["state"] not in SETTLED | {WAITING, SENDING}:
            raise ValueError("not a state")
        float(channel["next"]), int(channel["attempts"])
    if not isinstance(message["text"], str) or not isinstance(message["facts"], dict) or not isinstance(message["actor"], dict):
        raise ValueError("not a message")
    if not (message["incident"] is None or isinstance(message["incident"], dict)):
        raise ValueError("not a message")


@contextlib.contextmanager
def alone() -> Iterator[bool]:
    """One courier at a time, and one that waits for its turn.

    Yields:
        True: it is this one's turn. False: another one waits already and will see every message that is there by now.
    """
    waiting = lock_file(folder() / ".waiting.lock")
    try:
        try:
            fcntl.flock(waiting, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        turn = lock_file(folder() / ".courier.lock")
        try:
            fcntl.flock(turn, fcntl.LOCK_EX)
            fcntl.flock(waiting, fcntl.LOCK_UN)  # before the messages are read: whoever comes now waits for the next turn
            yield True
        finally:
            os.close(turn)
    finally:
        os.close(waiting)


def pause(attempts: int) -> float:
    """Seconds until the next attempt, after so many that failed."""
    return min(FIRST_PAUSE * 2 ** max(min(attempts, 20) - 1, 0), LONGEST_PAUSE)


def due(channel: dict[str, Any], now: float) -> bool:
    """True when a channel may be tried. A clock that jumped back must not make it wait for hours."""
    return channel["state"] in (WAITING, SENDING) and not now < channel["next"] <= now + LONGEST_PAUSE


def summary(message: dict[str, Any]) -> str:
    """What became of a message, in a few words."""
    channels = message["channels"]
    if channels is None:
        return "WAITING: no courier with a channel has seen it"
    if not channels:
        return "NOT DELIVERED: no channel takes this kind, or none was set in time"
    counts: dict[str, int] = {}
    for channel in channels.values():
        counts[channel["state"]] = counts.get(channel["state"], 0) + 1
    words = {
        SENT: "delivered on",
        WAITING: "WAITING for",
        SENDING: "being sent on",
        EXPIRED: "NOT DELIVERED, too old, on",
        GONE: "NOT DELIVERED, no longer set:",
    }
    return "; ".join("%s %s" % (words[name], plural(counts[name], "channel")) for name in words if name in counts)
