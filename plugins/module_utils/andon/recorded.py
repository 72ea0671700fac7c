"""What this bastion's own records say of stops and alarms: the journals of incidents, and what andon watch told. Reads only.

Another bastion's records are not seen here; the latches on the hosts are.
"""

from __future__ import annotations

import json
import os
from typing import Any

from . import incidents, journal, notifier
from .state import parse_utc
from .text import clean

STOPS = ("emergency_stop", "kill_strategy")
ALERTS = 1 << 20  # bytes of the alerts' file that are read, from its end


def evidence(at: float | None, strength: str, cause: str, record: str, where: str, words: str, **more: Any) -> dict[str, Any]:
    """One piece of evidence (triggers.py has the form). Its time is the bastion's, so there is no doubt about it."""
    return {
        "at": at,
        "doubt": 0.0,
        "strength": strength,
        "cause": cause,
        "rule": "",
        "record": record,
        "host": "",
        "where": clean(where, 80),
        "strategy": "",
        "component": "",
        "count": 1,
        "words": clean(words, 240),
        **more,
    }


def journals(since: float, strategy: str = "") -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[str]]:
    """Stops that people made, and what was lifted, in all journals of this bastion.

    Args:
        since: Unix time. strategy: only what concerns this one (and everything).

    Returns:
        (evidence, lifts as {at, strategy}, what could not be read, in words).
    """
    found: list[dict[str, Any]] = []
    lifts: list[dict[str, Any]] = []
    missing: list[str] = []
    for name in incidents.ids():
        try:
            folder = incidents.folder(name)
            if (folder / journal.NAME).stat().st_mtime < since:
                continue
            lines = journal.read(folder)
            verdict = journal.verify(folder)
        except (OSError, journal.JournalError, incidents.IncidentError) as error:
            missing.append("the journal of %s: %s" % (name, clean(error, 120)))
            continue
        before = len(found) + len(lifts)
        for line in lines:
            _read(line, since, strategy, found, lifts)
        if not verdict.ok and len(found) + len(lifts) > before:
            missing.append("the journal of %s is not intact from line %s on: %s" % (name, verdict.bad_line, clean(verdict.why, 80)))
    return found, lifts, missing


def _read(line: dict[str, Any], since: float, strategy: str, found: list[dict[str, Any]], lifts: list[dict[str, Any]]) -> None:
    data, kind, verb = line["data"], line["kind"], line["verb"]
    at = parse_utc(data.get("began") if kind == "verb.ended" and verb in STOPS else line["at"])
    if at is None or at < since:
        return
    variables = data.get("variables") if isinstance(data.get("variables"), dict) else {}
    of = str(variables.get("andon_strategy") or variables.get("strategy") or "")
    if strategy and of and of != strategy:
        return
    who = clean(line["actor"].get("name", "?"), 40)
    if kind == "verb.ended" and verb in STOPS and not data.get("check") and not _refused(data):
        reason = clean(variables.get("andon_reason") or variables.get("reason") or "", 120)
        typed = "andon stop" if verb == "emergency_stop" else "andon kill-strategy %s" % clean(of, 40)
        words = "%s typed %s%s" % (who, typed, ": %s" % reason if reason else "")
        found.append(evidence(at, "trip", "manual", "journal", line["incident"], words, strategy=clean(of, 64), actor=who))
    elif kind == "verb.ended" and verb == "resume" and data.get("ok") is True and not data.get("check"):
        lifts.append({"at": at, "strategy": of, "who": who})
    elif kind == "incident.note" and str(data.get("text", "")).lower().lstrip().startswith("trigger"):
        found.append(evidence(at, "mention", "", "note", line["incident"], "%s noted: %s" % (who, data["text"]), actor=who))


def _refused(data: dict[str, Any]) -> bool:
    """True for a stop that was never sent: a typo in a strategy's id."""
    report = data.get("report") if isinstance(data.get("report"), dict) else {}
    hosts = report.get("data", {}).get("hosts") if isinstance(report.get("data"), dict) else None
    verdicts = [one.get("verdict") for one in hosts.values() if isinstance(one, dict)] if isinstance(hosts, dict) else []
    return bool(verdicts) and all(one in ("REFUSED", "NOT HERE") for one in verdicts)


def alarms(since: float) -> tuple[list[dict[str, Any]], list[str]]:
    """What andon watch told since a Unix time: (evidence, what could not be read). An alarm stops nothing: it is a mention."""
    path = notifier.alerts_file()
    try:
        with open(path, "rb") as source:
            source.seek(max(os.fstat(source.fileno()).st_size - ALERTS, 0))
            lines = source.read().decode("utf-8", "replace").splitlines()
    except FileNotFoundError:
        return [], []
    except OSError as error:
        return [], ["the watch's alarms: %s" % error.strerror]
    found = []
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue  # the first line may be cut, the last one torn
        at = parse_utc(event.get("at")) if isinstance(event, dict) else None
        if at is None or at < since or event.get("over") or event.get("level") != "alarm":
            continue
        cause = "error_rate" if event.get("kind") == "errors" else ""
        where = "%s %s" % (event.get("host", ""), event.get("container", ""))
        found.append(evidence(at, "mention", cause, "alarm", where.strip(), event.get("words", ""), host=clean(event.get("host", ""), 60)))
    return found, []
