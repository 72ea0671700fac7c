"""The courier: takes messages from the outbox to their channels. It runs in a process of its own (`andon notify --flush`).

Channels come from ANDON_NOTIFY_URLS (separated by spaces or line breaks) and the file that ANDON_NOTIFY_FILE names:
  any URL that apprise knows          mail, chat and telephone services; everything
  webhook+https://HOST/PATH           our own JSON by POST; everything
  page+https://HOST/PATH              our own JSON by POST; public updates only, for a hosted status page

A channel that fails is tried again, with pauses that double; when it comes back, what waited goes out in order. A success is
written down before the next message is sent, so it is not sent again. What was in the air when a courier was killed may have
arrived or not: it is sent again and says so, because news twice is better than no news.

Bastion only. apprise is imported here, and only when a message is to go through it.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import os
import re
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import incidents, journal, messages, outbox, state
from .text import clean, duration

TIMEOUT = 10.0  # seconds for one answer of a webhook
_WEB = ("webhook+http", "webhook+https", "page+http", "page+https")


class DeliveryError(Exception):
    """Channels cannot be used.

    Attributes:
        means: what that means for the person, one line.
        then: what to type next, one line.
    """

    def __init__(self, what: str, means: str, then: str) -> None:
        super().__init__(what)
        self.means = means
        self.then = then


@dataclass(frozen=True)
class Channel:
    """Where a message can go. C(url) is secret: it is in no message, no file and no repr."""

    number: int
    scheme: str
    digest: str
    url: str = field(repr=False)

    @property
    def key(self) -> str:
        return "%d-%s-%s" % (self.number, self.scheme, self.digest)

    def takes(self, message: dict[str, Any]) -> bool:
        """A hosted page gets public updates and nothing else."""
        return not self.scheme.startswith("page+") or (message["event"] == "update" and message["public"])


@dataclass
class Summary:
    """What a flush did."""

    delivered: int = 0
    failed: int = 0
    waiting: int = 0
    undelivered: int = 0
    channels: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not (self.failed or self.waiting or self.undelivered)


# Channels


def channels(environment: dict[str, str] | None = None) -> list[Channel]:
    """The channels that this process knows of.

    Raises:
        DeliveryError: the file cannot be read or is still encrypted. No message names what is in it.
    """
    env = os.environ if environment is None else environment
    text = env.get("ANDON_NOTIFY_URLS", "")
    path = env.get("ANDON_NOTIFY_FILE")
    if path:
        text += "\n" + _file(Path(path))
    urls = [word for line in text.splitlines() if not line.lstrip().startswith("#") for word in line.split()]
    return [_channel(number, url) for number, url in enumerate(urls, 1)]


def _file(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise DeliveryError("ANDON_NOTIFY_FILE (%s) cannot be read: %s." % (path, reason), "Nobody is told.", "ls -l %s" % path) from error
    if text.startswith("$ANSIBLE_VAULT"):
        raise DeliveryError(
            "ANDON_NOTIFY_FILE (%s) is encrypted." % path,
            "Andon keeps no vault password, so nobody is told.",
            'ANDON_NOTIFY_URLS="$(ansible-vault view %s)" andon notify --flush' % path,
        )
    return text


def _channel(number: int, url: str) -> Channel:
    scheme = re.match(r"[a-z0-9+.-]{1,20}(?=://)", url.lower())
    # Some services carry a token where others have their host: only a short hash of it is ever shown.
    with contextlib.suppress(ValueError):
        host = (urllib.parse.urlsplit(url).hostname or "").encode("utf-8", "replace")
        return Channel(number, scheme[0] if scheme else "unknown", hashlib.sha256(host).hexdigest()[:8], url)
    return Channel(number, "unknown", "0" * 8, url)


def find(key: str, known: list[Channel]) -> Channel | None:
    """The channel that a message names. When the list was reordered since, the only one of the same scheme and host."""
    for channel in known:
        if channel.key == key:
            return channel
    same = [channel for channel in known if channel.key.split("-", 1)[1] == key.split("-", 1)[1]]
    return same[0] if len(same) == 1 else None


def send(channel: Channel, message: dict[str, Any], *, repeat: bool = False) -> str:
    """Sends a message now.

    Returns:
        "" when the other side took it, else why not, in words that hold nothing of the address.
    """
    subject, body = messages.render(message, repeat=repeat)
    if channel.scheme in _WEB:
        return _post(channel, message, subject, body)
    if "+" in channel.scheme and channel.scheme.startswith(("page", "webhook")):
        return "webhook and page go with http and https only"
    return _apprise(channel, subject, body)


def _apprise(channel: Channel, subject: str, body: str) -> str:
    import logging

    import apprise

    log = logging.getLogger("apprise")
    log.setLevel(logging.DEBUG)
    log.propagate = False  # what it says goes into the result; an address must not get onto a terminal or into a system log
    if not log.handlers:
        log.addHandler(logging.NullHandler())
    service = apprise.Apprise(asset=apprise.AppriseAsset(secure_logging=True), log_level=logging.DEBUG)
    if not service.add(channel.url):
        return "the address is none that apprise understands"
    result = service.notify(title=subject, body=body, body_format=apprise.NotifyFormat.TEXT, notify_type=apprise.NotifyType.WARNING)
    if result:
        return ""
    # Its other debug lines hold the message itself, whose words say nothing about the channel.
    said = [str(entry.message) for entry in result.logs() if entry.level != "DEBUG" or str(entry.message).startswith("Socket Exception")]
    return _why(" ".join([*said, result.status.name]))


# Apprise's own words may hold a token, so they are only looked through for these.
_REASONS = (
    (r"(?i)authenticat|credential|unauthori[sz]ed|error[= ]*40[13]\b|\b40[13]\b", "it refused the login or the token"),
    (r"(?i)timed? ?out|TIMEOUT", "it did not answer in time"),
    (r"(?i)certificate|ssl|tls", "its certificate or encryption is not accepted"),
    (r"(?i)connection|refused|unreachable|socket|resolve", "it cannot be reached"),
)


def _why(words: str) -> str:
    code = re.search(r"error[=: ]+([1-5]\d\d)\b", words)
    if code:
        return "it answered HTTP %s" % code[1]
    return next((reason for pattern, reason in _REASONS if re.search(pattern, words)), "it did not take the message")


class _Straight(urllib.request.HTTPRedirectHandler):
    """No redirects: a POST would become a GET, and its success would say nothing."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def _post(channel: Channel, message: dict[str, Any], subject: str, body: str) -> str:
    """POSTs our JSON. ANDON_WEBHOOK_SECRET signs it: X-Andon-Signature is the HMAC-SHA256 of the body, in hex."""
    content = json.dumps(payload(message, subject, body, public_only=channel.scheme.startswith("page+"))).encode()
    parts = urllib.parse.urlsplit(channel.url.split("+", 1)[1])
    headers = {"Content-Type": "application/json", "User-Agent": "andon", "X-Andon-Message": message["id"]}
    if parts.username is not None:
        login = "%s:%s" % (urllib.parse.unquote(parts.username), urllib.parse.unquote(parts.password or ""))
        headers["Authorization"] = "Basic " + base64.b64encode(login.encode()).decode()
    secret = os.environ.get("ANDON_WEBHOOK_SECRET")
    if secret:
        headers["X-Andon-Signature"] = "sha256=" + hmac.new(secret.encode(), content, hashlib.sha256).hexdigest()
    try:
        plain = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        request = urllib.request.Request(plain, data=content, headers=headers, method="POST")  # noqa: S310 (http and https only: _WEB)
        with urllib.request.build_opener(_Straight).open(request, timeout=TIMEOUT) as answer:
            return "" if 200 <= answer.status < 300 else "it answered HTTP %d" % answer.status
    except urllib.error.HTTPError as error:
        error.close()
        return "it answered HTTP %d" % error.code
    except TimeoutError:
        return "it did not answer in time"
    except urllib.error.URLError as error:
        return "it did not answer in time" if isinstance(error.reason, TimeoutError) else _why(clean(error.reason, 200) + " connection")
    except Exception as error:  # noqa: BLE001 (http.client and an odd address have errors of their own)
        return "it did not take the message (%s)" % type(error).__name__


def payload(message: dict[str, Any], subject: str, body: str, *, public_only: bool) -> dict[str, Any]:
    """What a webhook gets. A hosted page gets the public words, the time and an opaque id: titles and ids are internal."""
    content = {"schema": message["schema"], "id": message["id"], "at": message["at"], "event": message["event"], "public": message["public"]}
    if public_only:
        from . import statuspage

        name = (message["incident"] or {}).get("id", "")
        return content | {"text": message["text"], "state": message["facts"].get("state", ""), "incident": statuspage.public_id(name)}
    return content | {"subject": subject, "body": body, "text": message["text"], "facts": message["facts"], "incident": message["incident"]}


# Flushing


def flush(now: Callable[[], float] = time.time) -> Summary:
    """Sends everything that is due, each channel by itself and all at once.

    Args:
        now: the clock, Unix time in seconds.

    Raises:
        DeliveryError: the channels cannot be read.
        OSError: the outbox cannot be written.
    """
    known = channels()
    with outbox.alone() as mine:
        if not mine:
            return Summary(channels=len(known), notes=["Another courier is about to send everything that waits."])
        notes = _remind(now()) if known else []
        box = outbox.Outbox()
        result = Summary(channels=len(known), notes=notes + ["%s is no message; it was left alone" % name for name in box.bad])
        for message in box.messages:
            _settle(box, message, known, now(), result)
        errors: list[Exception] = []
        workers = [threading.Thread(target=_serve, args=(box, channel, known, now, result, errors), daemon=True) for channel in known]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        if errors:
            raise errors[0]
        result.waiting = sum(_unsettled(message) for message in outbox.Outbox().messages)
        return result


def _unsettled(message: dict[str, Any]) -> int:
    """Deliveries that a message still waits for; one that no courier has addressed yet counts as one."""
    if message["channels"] is None:
        return 1
    return sum(1 for channel in message["channels"].values() if channel["state"] not in outbox.SETTLED)


def _settle(box: outbox.Outbox, message: dict[str, Any], known: list[Channel], now: float, result: Summary) -> None:
    """Addresses a new message, and ends what can no longer be delivered."""
    age = now - (state.parse_utc(message["at"]) or now)
    if message["channels"] is None:
        if age > outbox.LOOK_FOR_CHANNEL:
            box.address(message, [])
            result.undelivered += 1
        elif known:
            box.address(message, [channel.key for channel in known if channel.takes(message)])
        else:
            return  # another process may know of a channel; the message waits
        box.settle_empty(message)
    stale = message["event"] == "reminder" and _superseded(box, message)
    for key, channel in list(message["channels"].items()):
        if channel["state"] in outbox.SETTLED:
            continue
        if stale:
            box.mark(message, key, state=outbox.EXPIRED, why="something newer took its place")
        elif age > outbox.KEEP_TRYING:
            box.mark(message, key, state=outbox.EXPIRED, why="too old to be of use")
            result.undelivered += 1
        elif age > outbox.LOOK_FOR_CHANNEL and known and find(key, known) is None:
            box.mark(message, key, state=outbox.GONE, why="the channel is no longer set")
            result.undelivered += 1


def _superseded(box: outbox.Outbox, message: dict[str, Any]) -> bool:
    """True for a reminder that waits while something newer about its incident waits, too."""
    name = (message["incident"] or {}).get("id")
    return any(other["id"] > message["id"] and (other["incident"] or {}).get("id") == name and other["event"] != "alert" for other in box.messages)


def _serve(box: outbox.Outbox, channel: Channel, known: list[Channel], now: Callable[[], float], result: Summary, errors: list[Exception]) -> None:
    """Everything of one channel, in order, until its first failure; after a success, what was in a pause as well."""
    try:
        mine = []
        for message in box.messages:
            key = next((key for key in message["channels"] or {} if find(key, known) is channel), None)
            if key and message["channels"][key]["state"] not in outbox.SETTLED:
                mine.append((message, key))
        works = False
        for message, key in mine + mine:
            entry = message["channels"][key]
            if entry["state"] in outbox.SETTLED or not (works or outbox.due(entry, now())):
                continue
            if not _deliver(box, channel, message, key, now, result):
                return
            works = True
    except Exception as error:
        errors.append(error)


def _deliver(box: outbox.Outbox, channel: Channel, message: dict[str, Any], key: str, now: Callable[[], float], result: Summary) -> bool:
    before = dict(message["channels"][key])
    box.mark(message, key, state=outbox.SENDING, attempts=before["attempts"] + 1)
    why = send(channel, message, repeat=before["state"] == outbox.SENDING)
    if why:
        entry = box.mark(message, key, state=outbox.WAITING, next=now() + outbox.pause(before["attempts"] + 1), why=why)
        result.failed += 1
        if entry["attempts"] == 1:
            _journal(message, "message.failed", "Not delivered on channel %s, %s; tried again" % (key, why), key)
        return False
    box.mark(message, key, state=outbox.SENT, why="")
    result.delivered += 1
    if before["attempts"]:
        _journal(message, "message.delivered", "Delivered late on channel %s" % key, key)
    return True


def _journal(message: dict[str, Any], kind: str, words: str, key: str) -> None:
    """That people were not reached, and when they were at last, belongs to the incident. The message itself is in sent/."""
    name = (message["incident"] or {}).get("id")
    if name:
        data = {"text": "%s: %s" % (words, message["event"]), "message": message["id"], "channel": key}
        with contextlib.suppress(journal.JournalError, incidents.IncidentError):  # the outbox holds the same
            journal.append(incidents.folder(name), kind, "notify", data)


def _remind(now: float) -> list[str]:
    """Writes a reminder for each incident whose next update is due; one per interval."""
    levels, _ = incidents.severities()
    path = outbox.folder() / "reminders"
    try:
        last = {str(key): float(value) for key, value in json.loads(path.read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        last = {}
    notes = []
    for name in incidents.open_ids():
        with contextlib.suppress(journal.JournalError, incidents.IncidentError):
            incident = incidents.load(name)
            every = getattr(levels.get(incident.severity), "update", None)
            late = [item for item in incidents.overdue(incident, now, levels) if item.what == "update"]
            # A time of the future is from before the clock jumped back; it must not silence the reminders.
            if every is None or not late or 0 <= now - last.get(name, -every) < every:
                continue
            silent = duration(late[0].late + every)
            outbox.enqueue(outbox.compose("reminder", incident, silent=silent, every=duration(every)))
            last[name] = now
            notes.append("Reminder: an update of %s is due." % name)
    if notes:
        state.write_atomic(path, last)
    return notes
