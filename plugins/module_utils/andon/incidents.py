"""Incidents: folders with a journal each, and what the journal says when it is read from the first line to the last.

C(fold) is the only place that knows what a line means; it is pure, and nothing but the journal is ever the truth. The files
beside it (C(active), C(closed)) only save a look into every journal; without them the answer is the same.

Bastion only; standard library only (PyYAML for an organisation file in YAML).
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from . import journal, state
from .text import clean, duration, plural, valid_id

JournalError = journal.JournalError

# Verbs that end the bleeding when they are proven; the second set only where trading need not be halted (SEV2, SEV3).
MITIGATING = frozenset({"emergency_stop", "kill_strategy", "rollback"})
MITIGATING_LESSER = frozenset({"restart", "limit_memory"})
HALTING = frozenset({"emergency_stop", "kill_strategy"})
# Verdicts of a stop that did nothing on a host: refused input, no such strategy there, no answer, nothing that it covers.
UNTOUCHED = frozenset({"REFUSED", "NOT HERE", "UNKNOWN", "NOTHING MATCHES", "WOULD HALT"})
# What counts as a word to the others: the next update is due an interval after the last of these.
UPDATES = frozenset({"opened", "updated", "severity", "mitigated", "resolved", "reopened"})
_YEAR_2200 = 7258118400  # Unix time; nothing that is later was ever measured
ROLE = re.compile(r"[a-z][a-z0-9 -]{0,30}\Z")


class IncidentError(Exception):
    """Something cannot be done with this incident.

    Attributes:
        means: what that means for the person, one line.
        then: what to type next, one line.
    """

    def __init__(self, what: str, means: str, then: str) -> None:
        super().__init__(what)
        self.means = means
        self.then = then


@dataclass(frozen=True)
class Severity:
    """One severity and its targets, in seconds; None: no target."""

    level: int
    meaning: str
    acknowledge: float | None
    mitigate: float | None
    resolve: float | None
    update: float | None


# The organisation's runbook gives one response time per severity: the longest time until somebody is on it and the bleeding
# is stopped. Both are measured against it unless the organisation's file tells them apart.
SEVERITIES = {
    1: Severity(1, "Trading halted, money at risk", 300, 300, None, 1200),
    2: Severity(2, "Degraded performance", 1800, 1800, None, None),
    3: Severity(3, "Minor issue", 14400, 14400, None, None),
}


@dataclass(frozen=True)
class Event:
    """One row of the timeline. C(at) is a Unix time in seconds; C(text) is one clean line."""

    at: float
    seq: int
    actor: str
    kind: str
    text: str
    stepped_back: bool = False


@dataclass
class Run:
    """One run of a verb's playbook, as its journal lines say."""

    id: str
    verb: str
    actor: str
    began: float
    seq: int
    ended: float | None = None
    ok: bool = False
    check: bool = False
    interrupted: bool = False
    limit: str = ""
    hosts: dict[str, str] = field(default_factory=dict)
    seconds: float | None = None
    headline: str = ""
    summary: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    variables: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)

    @property
    def strategy(self) -> str:
        """The one strategy that the run was about; "": all."""
        given = (self.variables.get(name) for name in ("andon_strategy", "strategy"))
        return clean(next((one for one in given if one), None) or self.data.get("strategy") or "", 64)

    @property
    def touched(self) -> bool:
        """Something was done on at least one host: by the verb's own verdicts where it has them, else by the results."""
        hosts = self.data.get("hosts")
        verdicts = [one.get("verdict") for one in hosts.values() if isinstance(one, dict)] if isinstance(hosts, dict) else []
        if any(verdicts):
            return any(verdict and verdict not in UNTOUCHED for verdict in verdicts)
        return any(how in ("ok", "changed", "failed") for how in self.hosts.values())

    @property
    def scope(self) -> str:
        what = "strategy " + self.strategy if self.strategy else "all trading"
        return what + (" (only " + clean(self.limit, 60) + ")" if self.limit else "")


@dataclass
class Halt:
    """What was halted, from when to when (Unix times; until None: still halted)."""

    scope: str
    since: float
    until: float | None
    proven: bool
    headline: str


@dataclass(frozen=True)
class Attachment:
    name: str
    file: str
    sha256: str
    size: int
    text: str


@dataclass
class Incident:
    """The state of an incident. Times are Unix times in seconds on the bastion's clock; None: not yet."""

    id: str
    title: str = ""
    severity: int = 1
    unsure: bool = False
    opened_by: str = ""
    opened: float | None = None
    detected: float | None = None
    acknowledged: float | None = None
    acknowledged_by: str = ""
    mitigated: float | None = None
    mitigated_by: str = ""
    resolved: float | None = None
    resolution: str = ""
    closed: float | None = None
    last_update: float | None = None
    severities: list[tuple[float, int, str, str]] = field(default_factory=list)  # at, level, actor, reason
    roles: dict[str, str] = field(default_factory=dict)
    halts: list[Halt] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    attachments: list[Attachment] = field(default_factory=list)
    clock_steps: list[int] = field(default_factory=list)  # seq of lines whose time is before the line above
    postmortem: str = ""  # the file it was last written to
    lines: int = 0  # lines of the incident itself: what a post-mortem writes is not one
    head: str = journal.GENESIS  # hash of the last of those lines

    @property
    def state(self) -> str:
        """detected, acknowledged, mitigated, resolved or closed."""
        for word in ("closed", "resolved", "mitigated", "acknowledged"):
            if getattr(self, word) is not None:
                return word
        return "detected"

    @property
    def halted(self) -> list[Halt]:
        """What is halted now."""
        return [halt for halt in self.halts if halt.until is None]


# From lines to a state


def fold(lines: Iterable[dict[str, Any]], incident: str = "") -> Incident:
    """What a journal's lines say, in their order. Pure; never raises on what a line holds.

    Args:
        lines: what C(journal.read) returned.
        incident: the id; without it the one in the first line.
    """
    result = Incident(incident)
    before = None
    for line in lines:
        at = _number(line["at"]) or before or 0.0
        stepped = before is not None and at < before
        before = at
        if stepped:
            result.clock_steps.append(line["seq"])
        if not result.id:
            result.id = clean(line["incident"], 64)
        _fold_line(result, line, at, stepped)
        if not line["kind"].startswith("postmortem."):
            result.lines += 1
            result.head = line["hash"]
    result.events = _in_order(result.events)
    return result


def _fold_line(result: Incident, line: dict[str, Any], at: float, stepped: bool) -> None:
    kind, data = line["kind"], line["data"]
    who = clean(line["actor"].get("name", "?"), 40)
    group, _, what = kind.partition(".")
    moment = at
    if group == "incident" and what in _INCIDENT:
        text = _INCIDENT[what](result, data, who, at)
        if what in UPDATES:
            result.last_update = at
        if what == "opened" and result.detected is not None and result.detected < at:
            result.events.append(Event(result.detected, line["seq"], who, "incident.detected", "Detected", stepped))
            stepped = False
    elif kind == "verb.began":
        text = _began(result, line, who, at)
        moment = _number(data.get("began")) or at
    elif kind == "verb.ended":
        text = _ended(result, line, who, at)
    elif group == "postmortem":
        path = data.get("path")
        result.postmortem = path if isinstance(path, str) else result.postmortem
        return
    elif isinstance(data.get("text"), str):  # a line that brings its own words: a step of a guide, a message that failed
        text = brief(data["text"], 300)
    else:
        text = clean("%s %s" % (kind, json.dumps(data, sort_keys=True)[:400] if data else ""), 300)
    if text:
        result.events.append(Event(moment, line["seq"], who, kind, text, stepped))


def _opened(result: Incident, data: dict[str, Any], who: str, at: float) -> str:
    if result.opened is not None:
        return "Opened again by a second line; the first one counts"
    result.title = clean(data.get("title", ""), 200) or "(no title)"
    result.severity = _level(data.get("severity"), 1)
    result.unsure = data.get("unsure") is True
    result.opened, result.opened_by = at, who
    detected = _number(data.get("detected"))
    # A detection after the opening is a wrong clock or a slip of the hand: the opening is the earliest proof.
    result.detected = min(detected, at) if detected else at
    result.severities.append((at, result.severity, who, "unsure, so the higher one" if result.unsure else ""))
    return "Opened as SEV%d%s: %s" % (result.severity, " (unsure, so the higher one)" if result.unsure else "", result.title)


def _acknowledged(result: Incident, data: dict[str, Any], who: str, at: float) -> str:
    if result.acknowledged is None:
        result.acknowledged, result.acknowledged_by = at, who
    return "Acknowledged by " + who


def _severity(result: Incident, data: dict[str, Any], who: str, at: float) -> str:
    old = result.severity
    result.severity = _level(data.get("severity"), old)
    result.unsure = data.get("unsure") is True
    reason = clean(data.get("reason", ""), 200)
    result.severities.append((at, result.severity, who, reason))
    return "Severity SEV%d -> SEV%d%s" % (old, result.severity, ": " + reason if reason else "")


def _note(result: Incident, data: dict[str, Any], who: str, at: float) -> str:
    text = brief(data.get("text", ""), 500)
    attached = data.get("attachment")
    if isinstance(attached, dict):
        item = Attachment(
            clean(attached.get("name", ""), 120),
            clean(attached.get("file", ""), 200),
            clean(attached.get("sha256", ""), 64),
            int(_number(attached.get("size")) or 0),
            text,
        )
        result.attachments.append(item)
        text = (text + " " if text else "") + "[attached: %s]" % item.name
    return text


def _assigned(result: Incident, data: dict[str, Any], who: str, at: float) -> str:
    role, person = clean(data.get("role", ""), 31), clean(data.get("person", ""), 60)
    result.roles[role] = person
    return "%s is %s" % (person, role)


def _mitigated(result: Incident, data: dict[str, Any], who: str, at: float) -> str:
    text = brief(data.get("text", ""), 500)
    if result.mitigated is None:
        result.mitigated, result.mitigated_by = at, who
    return "Mitigated" + (": " + text if text else "")


def _resolved(result: Incident, data: dict[str, Any], who: str, at: float) -> str:
    text = brief(data.get("text", ""), 500)
    if result.resolved is None:
        result.resolved, result.resolution = at, text
    if result.mitigated is None:
        result.mitigated, result.mitigated_by = at, who + " (with the resolution)"
    return "Resolved" + (": " + text if text else "")


def _reopened(result: Incident, data: dict[str, Any], who: str, at: float) -> str:
    if result.mitigated == result.resolved:  # nothing but the resolution said so
        result.mitigated, result.mitigated_by = None, ""
    result.resolved, result.resolution, result.closed = None, "", None
    text = brief(data.get("text", ""), 500)
    return "Open again" + (": " + text if text else "")


def _closed(result: Incident, data: dict[str, Any], who: str, at: float) -> str:
    result.closed = result.closed or at
    return "Closed"


def _handoff(result: Incident, data: dict[str, Any], who: str, at: float) -> str:
    person = clean(data.get("to", ""), 60)
    result.roles["commander"] = person
    return "Handed over to %s, who is commander now" % person


def _updated(result: Incident, data: dict[str, Any], who: str, at: float) -> str:
    return "Update: " + brief(data.get("text", data.get("public", "")), 500)


_INCIDENT = {
    "opened": _opened,
    "acknowledged": _acknowledged,
    "severity": _severity,
    "note": _note,
    "assigned": _assigned,
    "mitigated": _mitigated,
    "resolved": _resolved,
    "reopened": _reopened,
    "closed": _closed,
    "handoff": _handoff,
    "updated": _updated,
}


def _began(result: Incident, line: dict[str, Any], who: str, at: float) -> str:
    data = line["data"]
    run = Run(clean(data.get("run", ""), 64), clean(line["verb"], 60), who, _number(data.get("began")) or at, line["seq"])
    _run_fields(run, data)
    result.runs.append(run)
    return "%s began%s" % (run.verb, " (check only)" if run.check else "")


def _run_fields(run: Run, data: dict[str, Any]) -> None:
    run.check = data.get("check") is True
    run.limit = clean(data.get("limit") or "", 100)
    run.command = [clean(word, 200) for word in _list(data.get("command"))][:60]
    if isinstance(data.get("variables"), dict):
        run.variables = data["variables"]


def _ended(result: Incident, line: dict[str, Any], who: str, at: float) -> str:
    data, verb = line["data"], clean(line["verb"], 60)
    key = clean(data.get("run", ""), 64)
    run = next((run for run in reversed(result.runs) if key and run.id == key and run.ended is None), None)
    if run is None:
        run = Run(key, verb, who, at - (_number(data.get("seconds")) or 0.0), line["seq"])
        result.runs.append(run)
    _run_fields(run, data)
    run.ended = _number(data.get("ended")) or at
    run.ok = data.get("ok") is True
    run.interrupted = data.get("interrupted") is True
    run.seconds = _number(data.get("seconds"))
    hosts = data.get("hosts")
    run.hosts = {clean(host, 60): clean(how, 20) for host, how in hosts.items()} if isinstance(hosts, dict) else {}
    report = data.get("report") if isinstance(data.get("report"), dict) else {}
    run.headline = clean(report.get("headline", ""), 160)
    run.summary = [clean(text, 200) for text in _list(report.get("summary"))][:30]
    run.data = report.get("data") if isinstance(report.get("data"), dict) else {}
    _effects(result, run)
    return "%s%s: %s" % (run.verb, " (check only)" if run.check else "", outcome(run))


def _effects(result: Incident, run: Run) -> None:
    """What a finished run means for the incident: a halt, its end, a mitigation."""
    if run.check or run.ended is None:
        return
    if run.verb in HALTING and run.touched:
        same = next((halt for halt in result.halted if halt.scope == run.scope), None)
        if same:  # pressed again: halted since the first time
            same.proven, same.headline = same.proven or run.ok, run.headline or same.headline
        else:
            result.halts.append(Halt(run.scope, run.began, None, run.ok, run.headline))
    if run.interrupted:  # what was halted until then is halted; nothing else is known
        return
    if run.verb == "resume" and run.ok and not run.limit:
        for halt in result.halted:
            if not run.strategy or halt.scope.startswith(run.scope):
                halt.until = run.ended
    verbs = MITIGATING if result.severity == 1 else MITIGATING | MITIGATING_LESSER
    if run.ok and run.touched and run.verb in verbs and result.mitigated is None:
        result.mitigated, result.mitigated_by = run.ended, "%s, %s" % (run.verb, run.actor)


def outcome(run: Run) -> str:
    """How a run ended, in one line."""
    if run.ended is None:
        return "no end is recorded (killed, or still running)"
    words = run.headline or ("done" if run.ok else "FAILED")
    bad = sorted(host for host, how in run.hosts.items() if how not in ("ok", "changed"))
    if run.interrupted:
        words = "INTERRUPTED, how far it came is not known here"
    elif not run.headline:
        words += " on " + plural(len(run.hosts), "host") if run.hosts else ", no host was touched"
    if bad and not run.headline:
        words += " (not on %s)" % clean(", ".join(bad), 100)
    return words + (", took " + duration(run.seconds) if run.seconds is not None else "")


def _in_order(events: list[Event]) -> list[Event]:
    """By time between two steps of the clock back: there the order of the journal rules."""
    result: list[Event] = []
    part: list[Event] = []
    for event in events:
        if event.stepped_back:
            result += sorted(part, key=lambda e: (e.at, e.seq))
            part = []
        part.append(event)
    return result + sorted(part, key=lambda e: (e.at, e.seq))


def brief(value: Any, limit: int) -> str:
    """One clean line of what may be very long (C(clean) looks at each character), and how long it was."""
    text = str(value)
    if len(text) <= limit * 4:
        return clean(text, limit)
    return clean(text[: limit * 4], limit - 40) + " (%d characters, all in the journal)" % len(text)


def _number(value: Any) -> float | None:
    """A Unix time or seconds from a line: a number, or a time in text; None when no clock could have said it."""
    if isinstance(value, str):
        value = state.parse_utc(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if 0 <= value < _YEAR_2200 else None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _level(value: Any, default: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 9 else default


# Severities and the clock


def parse_severity(text: str, known: Iterable[int] = (1, 2, 3)) -> tuple[int, bool]:
    """What a person says: "2", "SEV2", "unsure" or "?" (the highest), "2/3" or "2?" (unsure: the higher one).

    Returns:
        (level, unsure)

    Raises:
        IncidentError: it is none of them.
    """
    levels = sorted(known)
    word = text.strip().lower()
    if word in ("unsure", "?", "unknown"):
        return levels[0], True
    numbers = [int(n) for n in re.findall(r"\d", word)]
    if re.fullmatch(r"(sev)?\s*\d(\s*[/-]\s*(sev)?\s*\d)?\??", word) and all(n in levels for n in numbers):
        return min(numbers), len(numbers) > 1 or word.endswith("?")
    raise IncidentError(
        "'%s' is not a severity." % clean(text, 40),
        "Nothing was recorded. Severities: %s; not sure between two: 1/2; not sure at all: unsure." % ", ".join(map(str, levels)),
        "the same command with --sev unsure",
    )


def severities() -> tuple[dict[int, Severity], str]:
    """The organisation's severities.

    They come from $ANDON_ORGANISATION, else organisation.yml or organisation.json in the state, else andon.yml in the
    checkout: C({severities: {1: {meaning, response_minutes, mitigate_minutes, resolve_minutes, update_minutes}}}).

    Returns:
        (level -> Severity, a warning: "" or why the file was not used; the defaults hold then).
    """
    named = os.environ.get("ANDON_ORGANISATION")
    base = state.state_dir()
    places = [Path(named)] if named else [base / "organisation.yml", base / "organisation.json", state.ROOT / "andon.yml"]
    path = next((place for place in places if place.exists()), None)
    if path is None:
        return dict(SEVERITIES), "%s does not exist: the default response times hold" % clean(named, 120) if named else ""
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            content = json.loads(text)
        else:
            import yaml  # ansible-core needs it, too

            content = yaml.safe_load(text)
        given = (content or {}).get("severities") or {}
        levels = {int(level): _one_severity(int(level), item) for level, item in given.items()}
    except Exception as error:  # a typo in a file must not keep the clock from being shown at 3 a.m.
        return dict(SEVERITIES), "%s cannot be used (%s): the default response times hold" % (path, clean(error, 120))
    return (levels or dict(SEVERITIES)), ""


def _one_severity(level: int, item: dict[str, Any]) -> Severity:
    default = SEVERITIES.get(level)
    if not 1 <= level <= 9:
        raise ValueError("severity %d is not between 1 and 9" % level)

    def seconds(name: str, otherwise: float | None) -> float | None:
        value = item.get(name + "_minutes", ...)
        if value is ...:
            return otherwise
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value <= 0:
            raise ValueError("%s_minutes of severity %d is not a number of minutes" % (name, level))
        return value * 60.0

    response = seconds("response", default.acknowledge if default else None)
    return Severity(
        level,
        clean(item.get("meaning", default.meaning if default else ""), 60),
        response,
        seconds("mitigate", response),
        seconds("resolve", default.resolve if default else None),
        seconds("update", default.update if default else None),
    )


@dataclass(frozen=True)
class Overdue:
    """Something that is late: what, since when it was due (Unix time), and by how many seconds."""

    what: str
    due: float
    late: float


def overdue(incident: Incident, now: float, levels: dict[int, Severity] | None = None) -> list[Overdue]:
    """What is late at a moment (Unix time in seconds), the latest first.

    A clock that jumped back makes things less late, never negative.
    """
    if incident.resolved is not None or incident.closed is not None or incident.detected is None:
        return []
    severity = (levels or SEVERITIES).get(incident.severity)
    if severity is None:
        return []
    due: list[tuple[str, float]] = []
    if incident.acknowledged is None and severity.acknowledge is not None:
        due.append(("acknowledgement", incident.detected + severity.acknowledge))
    if incident.mitigated is None and severity.mitigate is not None:
        due.append(("mitigation", incident.detected + severity.mitigate))
    if severity.update is not None:
        due.append(("update", (incident.last_update or incident.detected) + severity.update))
    late = [Overdue(what, when, now - when) for what, when in due if now > when]
    return sorted(late, key=lambda item: -item.late)


# Where they are kept


def incidents_dir() -> Path:
    return state.state_dir() / "incidents"


def folder(incident: str) -> Path:
    """The folder of an incident's id.

    Raises:
        IncidentError: that is no id, or there is no such incident; the nearest ids are named.
    """
    path = incidents_dir() / incident
    if valid_id(incident) and (path / journal.NAME).is_file():
        return path
    from .text import nearest

    near = nearest(incident, ids())
    raise IncidentError(
        "There is no incident '%s'." % clean(incident, 64),
        "Nothing was recorded." + (" The nearest: %s." % ", ".join(near) if near else ""),
        "andon incidents",
    )


def ids() -> list[str]:
    """All incidents' ids, the newest first (by id: the date comes first)."""
    try:
        names = [path.parent.name for path in incidents_dir().glob("*/" + journal.NAME)]
    except OSError:
        names = []
    return sorted((name for name in names if valid_id(name)), reverse=True)


def load(incident: str) -> Incident:
    """The state of one incident.

    Raises:
        IncidentError, JournalError: there is none, or it cannot be read.
    """
    return fold(journal.read(folder(incident)), incident)


def open_ids() -> list[str]:
    """Ids of the incidents that are not closed, the newest first."""
    result = []
    for name in ids():
        if (incidents_dir() / name / "closed").exists():
            continue
        with contextlib.suppress(JournalError, IncidentError):
            if load(name).closed is None:
                result.append(name)
    return result


def current(wanted: str | None = None) -> str | None:
    """The id of the incident that is meant: the wanted one, else $ANDON_INCIDENT, else the active one that is not closed.

    Raises:
        IncidentError: the wanted one does not exist.
    """
    wanted = wanted or os.environ.get("ANDON_INCIDENT")
    if wanted:
        folder(wanted)
        return wanted
    try:
        name = (state.state_dir() / "active").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        name = ""
    if name and valid_id(name):
        with contextlib.suppress(JournalError, IncidentError):
            if load(name).closed is None:
                return name
    return next(iter(open_ids()), None)


def require(wanted: str | None = None) -> str:
    """As C(current), but an error in words when no incident is open."""
    found = current(wanted)
    if found is None:
        raise IncidentError("No incident is open.", "Nothing was recorded.", 'andon open --sev unsure "what is wrong"')
    return found


def set_active(incident: str | None) -> None:
    """Makes an incident the current one; None: none is."""
    path = state.state_dir() / "active"  # incident_id.active reads it for the latch
    if incident is None:
        path.unlink(missing_ok=True)
    else:
        state.write_atomic(path, incident + "\n", journal.file_mode(path.parent))


def slug(title: str, limit: int = 40) -> str:
    """A title as a part of a file's name: letters, digits and "-"."""
    plain = unicodedata.normalize("NFKD", title[:400]).encode("ascii", "ignore").decode()
    words = re.findall(r"[a-z0-9]+", plain.lower())
    result = ""
    for word in words:
        if len(result) + len(word) + 1 > limit:
            break
        result += ("-" if result else "") + word
    return result or "-".join(words)[:limit] or "incident"


# What people do with them


def open_incident(
    title: str,
    severity: int,
    *,
    unsure: bool = False,
    detected: float | None = None,
    another: bool = True,
    verb: str = "open",
    wanted: str | None = None,
    join: bool = False,
    actor: dict[str, Any] | None = None,
    wait: float = journal.LOCK_WAIT,
) -> str:
    """Opens an incident and makes it the current one.

    Args:
        title: a person's words.
        severity: 1, 2, 3.
        unsure: the person was not sure; the severity is the higher one.
        detected: when it was noticed (Unix time in seconds); None: now.
        another: open it even though one is open (one that is resolved does not count).
        verb, actor: as in C(journal.append).
        join: if one is open by now, take that one (two stops that end at the same time).
        wanted: the id, if it is one and free (a stop's latch names it before the incident is opened).
        wait: longest wait for another writer, in seconds.

    Returns:
        its id.

    Raises:
        IncidentError: one is open and C(another) is false.
        JournalError: it could not be written.
    """
    base = incidents_dir()
    try:
        journal.make_folder(base)
        handle = os.open(base / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660)
    except OSError as error:
        raise journal.unwritable(base, error) from error
    try:
        # Two people who open one at the same time: the second one is told about the first.
        journal.lock(handle, base / ".lock", wait)
        if join and (name := current()):
            return name
        if not another:
            for name in open_ids():
                found = load(name)
                if found.resolved is None:
                    raise IncidentError(
                        "An incident is open already: %s (SEV%d, %s)." % (name, found.severity, found.title),
                        "Nothing was opened. It may be the same one.",
                        'andon note "..."   or, for a second incident, the same command with --another',
                    )
        name = _new_folder(base, title, wanted)
        data = {"title": title, "severity": severity, "unsure": unsure, "detected": state.utc(detected) if detected else state.utc_now()}
        journal.append(base / name, "incident.opened", verb, data, actor, wait=wait)
        set_active(name)
        return name
    except OSError as error:
        raise journal.unwritable(base, error) from error
    finally:
        fcntl.flock(handle, fcntl.LOCK_UN)
        os.close(handle)


def _new_folder(base: Path, title: str, wanted: str | None) -> str:
    """Makes the folder of a new incident; one that only has a proof in it is taken over.

    A folder without a journal under the wanted id is a stop's own, which writes its proof before the incident is opened.
    """
    if valid_id(wanted) and not (base / str(wanted) / journal.NAME).exists():
        journal.make_folder(base / str(wanted))
        return str(wanted)
    stem = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d-") + slug(title)
    number = 1
    while True:
        name = stem if number == 1 else "%s-%d" % (stem, number)
        if not (base / name).exists():
            journal.make_folder(base / name)
            return name
        number += 1


def record(incident: str, what: str, verb: str, data: dict[str, Any] | None = None) -> dict[str, Any]:
    """Appends a line C(incident.<what>) to an incident that exists."""
    return journal.append(folder(incident), "incident." + what, verb, data)


def attach(incident: str, source: Path) -> dict[str, Any]:
    """Copies a file into the incident's folder.

    Returns:
        dict for a note's data: name, file (relative to the incident's folder), sha256, size in bytes.

    Raises:
        IncidentError: it is no file or cannot be read.
        JournalError: the copy could not be written.
    """
    try:
        if not source.is_file():
            raise IncidentError("%s is not a file." % clean(source, 200), "Nothing was recorded.", "the same command with another --attach")
        reader = source.open("rb")
    except OSError as error:
        raise IncidentError("%s cannot be read: %s." % (clean(source, 200), error.strerror), "Nothing was recorded.", "ls -l FILE") from error
    place = folder(incident) / "attachments"
    with reader:
        try:
            return _copy(reader, place, source.name)
        except OSError as error:
            raise journal.unwritable(place, error) from error


def _copy(reader: BinaryIO, place: Path, name: str) -> dict[str, Any]:
    journal.make_folder(place)
    handle, temporary = tempfile.mkstemp(prefix=".attach.", dir=place)
    try:
        digest, size = hashlib.sha256(), 0
        with os.fdopen(handle, "wb") as writer:
            for block in iter(lambda: reader.read(1 << 20), b""):
                writer.write(block)
                digest.update(block)
                size += len(block)
            writer.flush()
            os.fsync(writer.fileno())
        safe = re.sub(r"[^A-Za-z0-9._-]+", "_", name).lstrip(".")[-80:] or "file"
        target = place / ("%s-%s" % (digest.hexdigest()[:12], safe))
        os.chmod(temporary, journal.file_mode(place))
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    journal.sync_folder(place)
    return {"name": name, "file": "attachments/" + target.name, "sha256": digest.hexdigest(), "size": size}


def close(incident: str) -> None:
    """Closes a resolved incident; another open one becomes the current one.

    Raises:
        IncidentError: it is not resolved.
    """
    found = load(incident)
    if found.resolved is None:
        raise IncidentError("%s is not resolved." % incident, "It stays open.", 'andon resolve "what ended it"')
    record(incident, "closed", "close")
    with contextlib.suppress(OSError):  # it only saves a look into the journal
        state.write_atomic(folder(incident) / "closed", "")
    rest = open_ids()
    try:
        set_active(rest[0] if rest else None)
    except OSError as error:
        raise journal.unwritable(incidents_dir(), error) from error


def reopen(incident: str, text: str) -> None:
    """A resolution that was too early is taken back."""
    record(incident, "reopened", "resolve", {"text": text})
    (folder(incident) / "closed").unlink(missing_ok=True)
    set_active(incident)


def free_space_warning() -> str:
    """A warning when the journal's disk is nearly full (under 50 MiB), else ""."""
    try:
        free = shutil.disk_usage(state.state_dir()).free
    except OSError:
        return ""
    return "only %d MiB are left where the journal is kept (%s)" % (free >> 20, state.state_dir()) if free < 50 << 20 else ""


# The screen


def moment(at: float | None) -> str:
    """A Unix time as 2026-11-22 03:04:05 (UTC), "" for None."""
    return datetime.datetime.fromtimestamp(at, datetime.timezone.utc).strftime("%Y-%m-%d %H:%M:%S") if at is not None else ""


def width(text: str) -> int:
    """Columns that a text takes on a terminal."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def fit(text: str, columns: int = 80) -> str:
    """The text cut to a number of columns, with "…" where it was cut."""
    if width(text) <= columns:
        return text
    result, used = "", 0
    for c in text:
        used += width(c)
        if used > columns - 1:
            break
        result += c
    return result + "…"


def target_words(seconds: float | None) -> str:
    """A target as a person says it: 5 min, 4 h."""
    return "none set" if seconds is None else duration(seconds).removesuffix(" 00 s").removesuffix(" 00 min")


def _clock_line(name: str, at: float | None, by: str, since: float | None, target: float | None, now: float, over: bool) -> str:
    head = "%-13s" % name
    aim = " (target %s)" % target_words(target) if target is not None else ""
    if at is not None:
        took = " after " + duration(max(at - since, 0.0)) if since is not None else ""
        return head + moment(at)[5:] + took + aim + (", " + by if by else "")
    if over or since is None:
        return head + "-"
    left = target - (now - since) if target is not None else None
    if left is None:
        return head + "not yet"
    return head + ("not yet, %s left%s" % (duration(left), aim) if left >= 0 else "NOT YET, OVERDUE by %s%s" % (duration(-left), aim))


def incident_screen(incident: Incident, now: float, levels: dict[int, Severity] | None = None) -> list[str]:
    """One screen: what it is, how long, who, what is halted, what is late, what to type.

    Args:
        incident: the folded journal.
        now: Unix time in seconds.
        levels: the organisation's severities; None: the defaults.

    Returns:
        At most 23 lines of at most 80 columns: a line is left for the prompt.
    """
    severity = (levels or SEVERITIES).get(incident.severity) or Severity(incident.severity, "", None, None, None, None)
    over = incident.resolved is not None or incident.closed is not None
    label = "SEV%d %s" % (incident.severity, incident.state.upper())
    unsure = " (unsure, so the higher one)" if incident.unsure else ""
    lines = [
        fit(incident.id, 79 - len(label)).ljust(80 - len(label)) + label,
        fit(incident.title),
        "SEV%d: %s%s" % (incident.severity, severity.meaning, unsure) if severity.meaning else "SEV%d%s" % (incident.severity, unsure),
    ]
    if incident.detected is not None:
        age = duration(max(now - incident.detected, 0.0)) if now >= incident.detected else "the clock stepped back"
        lines.append("%-13s%s UTC%s" % ("Detected", moment(incident.detected), "" if over else ", %s ago" % age if now >= incident.detected else ", " + age))
    since = incident.detected
    lines += [
        _clock_line("Acknowledged", incident.acknowledged, incident.acknowledged_by, since, severity.acknowledge, now, over),
        _clock_line("Mitigated", incident.mitigated, incident.mitigated_by, since, severity.mitigate, now, over),
        _clock_line("Resolved", incident.resolved, "", since, severity.resolve, now, over),
    ]
    roles = ", ".join("%s: %s" % (role, person) for role, person in sorted(incident.roles.items()))
    lines.append("%-13s%s" % ("Roles", roles or "nobody is assigned"))
    halted = incident.halted
    for halt in halted[:2]:
        proof = halt.headline or ("proven" if halt.proven else "NOT PROVEN")
        lines.append("%-13s%s since %s UTC: %s" % ("HALTED", halt.scope, moment(halt.since), proof))
    if len(halted) > 2:
        lines[-1] += " (and %d more)" % (len(halted) - 2)
    if not halted:
        lines.append("%-13snothing, as far as this journal knows" % "Halted")
    late = overdue(incident, now, levels)
    if late:
        lines.append("%-13s%s" % ("OVERDUE", "; ".join("%s by %s" % (item.what, duration(item.late)) for item in late)))
    lines.append("Last events")
    lines += ["  %s %s: %s" % (moment(event.at)[5:], event.actor, event.text) for event in incident.events[-5:]]
    lines.append("Next")
    lines += ["  " + command for command in next_commands(incident, late)[:4]]
    return [fit(line) for line in lines[:23]]


def next_commands(incident: Incident, late: list[Overdue] | None = None) -> list[str]:
    """Commands that are safe in this state, the most urgent first. None of them starts trading again."""
    if incident.state == "closed":
        return ["andon postmortem check --incident %s" % incident.id, "andon actions"]
    if incident.state == "resolved":
        return [
            "andon postmortem             write it up, within 24 h",
            "andon close                  when nothing is left to do",
            "andon resolve --undo         it is not over",
        ]
    commands = []
    if incident.acknowledged is None:
        commands.append("andon ack                    say that somebody is on it")
    if incident.mitigated is None and not incident.halted:
        if incident.severity == 1:
            commands.append("andon stop                   pull the cord: halts all trading, with proof")
        else:
            commands.append('andon note --mitigated "..." the bleeding is stopped')
    if any(item.what == "update" for item in late or []):
        commands.append('andon update "..."           tell people what is known now: it is due')
    commands.append("andon status                 what is halted, what runs, per host")
    if incident.halted:
        commands.append("andon resume --check         what a resume would start; changes nothing")
    if not incident.roles:
        commands.append("andon assign commander NAME")
    if incident.mitigated is not None:
        commands.append('andon resolve "..."          when normal operations are back')
    return commands
