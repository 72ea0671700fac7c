"""The window of time that a person asks for: --since and --until, in absolute UTC. Bastion only: Python 3.11."""

from __future__ import annotations

import datetime
import re
import time
import zoneinfo

from .state import utc

UTC = datetime.timezone.utc
_AGO = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)\s?(s|sec|m|min|h|d|w)\Z")
_UNITS = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}
_CLOCK = re.compile(r"(\d{1,2}):(\d\d)(?::(\d\d))?\Z")
HOW = "Write 30m, 2h or 1d (before now), 2026-11-22T03:00Z, 2026-11-22T04:00+01:00, '2026-11-22 04:00 Europe/Berlin' or 03:00 (the last one, UTC)"


class WindowError(Exception):
    """The window makes no sense; C(str()) says why and how to write it."""


def moment(text, now=None):
    """The Unix time that a person means.

    Args:
        text: see C(HOW); a time without a zone is UTC.
        now: Unix time; the bastion's clock without it.

    Raises:
        WindowError: it cannot be read, the zone is unknown, or the zone's clock showed that time twice or never.
    """
    now = time.time() if now is None else now
    text = str(text).strip()
    if text == "now":
        return now
    ago = _AGO.match(text)
    if ago:
        return now - float(ago.group(1)) * _UNITS[ago.group(2)]
    clock = _CLOCK.match(text)
    if clock:
        today = datetime.datetime.fromtimestamp(now, UTC)
        try:
            found = today.replace(hour=int(clock.group(1)), minute=int(clock.group(2)), second=int(clock.group(3) or 0), microsecond=0)
        except ValueError:
            raise WindowError("'%s' is no time of day. %s" % (text, HOW)) from None
        return (found if found.timestamp() <= now else found - datetime.timedelta(days=1)).timestamp()
    head, _, zone = text.partition(" ") if "T" in text else (" ".join(text.split(" ")[:2]), "", " ".join(text.split(" ")[2:]))
    try:
        found = datetime.datetime.fromisoformat(head)
    except ValueError:
        raise WindowError("'%s' is no time. %s" % (text[:60], HOW)) from None
    if zone:
        if found.tzinfo is not None:
            raise WindowError("'%s' names two zones. %s" % (text[:60], HOW))
        found = in_zone(found, zone.strip(), text)
    elif found.tzinfo is None:
        found = found.replace(tzinfo=UTC)
    return found.timestamp()


def in_zone(naive, zone, text):
    """A time of a named zone; refuses one that its clock showed twice or never."""
    try:
        place = zoneinfo.ZoneInfo(zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise WindowError("'%s' is no time zone that this bastion knows. %s" % (zone[:40], HOW)) from None
    first, second = naive.replace(tzinfo=place, fold=0), naive.replace(tzinfo=place, fold=1)
    if first.utcoffset() != second.utcoffset():
        raise WindowError("'%s': the clocks of %s were changed then, so that time is not exact. Write it in UTC: 2026-11-22T03:00Z" % (text[:60], zone))
    return first


def window(since, until, now=None):
    """The window, checked.

    Args:
        since, until: text as C(moment) takes it.
        now: Unix time.

    Returns:
        (since, until) as Unix times; an end in the future becomes now.

    Raises:
        WindowError: unreadable, since in the future, or until before since.
    """
    now = time.time() if now is None else now
    begin, end = moment(since, now), moment(until, now)
    if begin > now:
        raise WindowError("--since %s is in the future (it is %s)" % (utc(begin), utc(now)))
    if begin < 0:
        raise WindowError("--since %s is before 1970" % since)
    if end <= begin:
        raise WindowError("--until %s is not after --since %s" % (utc(end), utc(begin)))
    return begin, min(end, now)
