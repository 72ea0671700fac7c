"""The post-mortem: written from the journal, refreshed without ever losing an edit, and checked.

What the journal knows stands between C(<!-- andon:begin NAME sha256=… -->) and C(<!-- andon:end NAME -->). The hash is that of
the lines in between, so an edit shows: an edited block is kept and the new version is a conflict. Nothing outside is touched.

Bastion only; Jinja2 is imported when something is rendered.
"""

from __future__ import annotations

import datetime
import difflib
import hashlib
import os
import re
import urllib.parse
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import incidents, journal, state
from .incidents import Incident, IncidentError, Severity
from .text import clean, duration

SECTIONS = ("Summary", "Timeline", "Root Cause", "Impact", "Resolution", "Lessons Learned", "Action Items")
ANSWERS = ("Monitoring improved", "Runbook updated")
WITHIN = 24 * 3600  # seconds after the resolution (the organisation's runbook: "written within 24 hours")

_BEGIN = re.compile(r"<!-- andon:begin (?P<name>[a-z][a-z0-9-]{0,40}) sha256=(?P<hash>[0-9a-f]{64}) -->\Z")
_END = re.compile(r"<!-- andon:end (?P<name>[a-z][a-z0-9-]{0,40}) -->\Z")
_META = re.compile(r"<!-- andon:postmortem (?P<pairs>[^<>\n]*) -->")
_TITLE = re.compile(r"# Incident: (\d{4}-\d{2}-\d{2}) - \S")
_ITEM = re.compile(r"\s*[-*] \[(?P<done>[ xX])\]\s*(?P<rest>.*)\Z")
_OWNED = re.compile(r"(?P<text>.*\S)\s*\((?P<owner>[^(),]+),\s*(?P<due>[^(),]+)\)\s*\Z")
_ROW = re.compile(r"\s*[-*] (\d{4}-\d{2}-\d{2} \d{2}:\d{2}(?::\d{2})?)\b")
_STEPPED = "(the clock stepped back here)"

# Braces as entities: a backslash would leave "{%" as it is, for whatever renders the Markdown with Jinja or Liquid later on.
_ESCAPES = {ord(c): "\\" + c for c in "\\`*_[]#|~$!@"} | {ord(c): "&#%d;" % ord(c) for c in "{}&<>"}


# Inert text


def md(value: Any, limit: int = 500) -> str:
    """Text of anybody as one inert line of Markdown: no markup, no HTML, no template, no mark of ours.

    It is safe after a list mark, in a table's cell and in a heading.
    """
    text = incidents.brief(value, limit).translate(_ESCAPES)
    # A list's or a heading's mark at the start of the text would count after "- ", too.
    text = re.sub(r"^([-+=:])", r"\\\1", text)
    return re.sub(r"^(\d+)([.)])", r"\1\\\2", text)


def code(value: Any, limit: int = 300) -> str:
    """Text for between two backticks: there nothing but a backtick means anything (and "|" in a table)."""
    text = incidents.brief(value, limit).replace("`", "'").replace("|", "/")
    return text.replace("<", "(").replace(">", ")").replace("{{", "{ {").replace("{%", "{ %") or "-"


def todo(what: str) -> str:
    """A marked blank. Escaped text never looks like one."""
    return "_TODO: %s_" % what


# What a template gets


def view(incident: Incident, levels: dict[int, Severity], output: Path) -> dict[str, Any]:
    """The names a template gets. Every string of a person, a host or a log is inert already.

    Args:
        incident: the folded journal.
        levels: the organisation's severities.
        output: the file that is written; links are relative to it.
    """
    severity = levels.get(incident.severity) or Severity(incident.severity, "", None, None, None, None)
    runs = [run for run in incident.runs if not run.check]
    return {
        "incident": {
            "id": incident.id,
            "title": md(incident.title, 160),
            "date": incidents.moment(incident.detected)[:10],
            "severity": incident.severity,
            "meaning": md(severity.meaning),
            "state": incident.state,
        },
        "severities": [
            {"at": incidents.moment(at), "level": level, "actor": md(who, 40), "reason": md(why, 200)} for at, level, who, why in incident.severities
        ],
        "people": ["%s: %s" % (md(role), md(person)) for role, person in sorted(incident.roles.items())],
        "journal": {"lines": incident.lines, "head": incident.head if re.fullmatch("[0-9a-f]{64}", incident.head) else "-"},
        "timeline": [_row(event) for event in rows(incident)],
        "duration": _whole(incident),
        "durations": durations(incident, severity),
        "halts": [_halt(halt) for halt in incident.halts],
        "hosts": [md(host, 60) for host in sorted({host for run in runs for host in run.hosts} - {"localhost"})],
        "containers": [md(name, 128) for name in containers(incident)],
        "orders": [md("%s: %s" % (run.verb, line), 200) for run in runs for line in run.summary if re.search(r"\border", line, re.IGNORECASE)],
        "resolution": md(incident.resolution, 500),
        "runs": [{"command": code(" ".join(run.command) or run.verb), "outcome": md(incidents.outcome(run))} for run in runs],
        "evidence": evidence(incident, output),
    }


def rows(incident: Incident) -> list[incidents.Event]:
    """The timeline's events.

    A run's beginning is left out when its end stands right behind it; so is the closing, which comes after the writing.
    """
    events, result = incident.events, []
    finished = {run.seq for run in incident.runs if run.ended is not None and (run.seconds or 0) < 60}
    for event in events:
        if event.kind == "incident.closed" or (event.kind == "verb.began" and event.seq in finished and not event.stepped_back):
            continue
        result.append(event)
    return result


def _row(event: incidents.Event) -> dict[str, Any]:
    return {"at": incidents.moment(event.at), "text": md(event.text, 600), "actor": md(event.actor, 40), "stepped_back": event.stepped_back}


def _halt(halt: incidents.Halt) -> dict[str, str]:
    until = incidents.moment(halt.until) + " UTC" if halt.until is not None else "still halted"
    return {"scope": md(halt.scope, 160), "since": incidents.moment(halt.since) + " UTC", "until": until, "headline": md(halt.headline, 160)}


def _whole(incident: Incident) -> str:
    if incident.detected is None:
        return "not known"
    head = "%s UTC" % incidents.moment(incident.detected)
    if incident.resolved is None:
        return "from %s, not resolved yet" % head
    return "%s, from %s to %s UTC" % (duration(max(incident.resolved - incident.detected, 0.0)), head, incidents.moment(incident.resolved))


def durations(incident: Incident, severity: Severity) -> list[dict[str, str]]:
    """To acknowledge, to mitigate, to resolve: how long, the target, and whether it was met."""
    rows = []
    for name, at, target in (
        ("acknowledge", incident.acknowledged, severity.acknowledge),
        ("mitigate", incident.mitigated, severity.mitigate),
        ("resolve", incident.resolved, severity.resolve),
    ):
        took = max(at - incident.detected, 0.0) if at is not None and incident.detected is not None else None
        met = "-" if target is None else "NO" if took is None or took > target else "yes"
        if at is not None and incident.detected is not None and at < incident.detected:
            met += " (the clock stepped back)"
        aim = ("under " if target is not None else "") + incidents.target_words(target)
        rows.append({"name": name, "took": duration(took) if took is not None else "not recorded", "target": aim, "met": met})
    return rows


def containers(incident: Incident) -> list[str]:
    """Names of the containers that the verbs' reports list, at most 200."""
    names: set[str] = set()
    for run in incident.runs:
        if not run.check:
            _named(run.data, names, 0)
    return sorted(names)[:200]


def _named(value: Any, names: set[str], depth: int) -> None:
    """Collects the names under every key C(containers), wherever a report has it."""
    if depth > 8 or len(names) > 1000:
        return
    if isinstance(value, dict):
        for key, item in value.items():
            if key == "containers" and isinstance(item, (list, dict)):
                for one in item:
                    name = one.get("name") if isinstance(one, dict) else one
                    if isinstance(name, str):
                        names.add(clean(name, 128))
            _named(item, names, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _named(item, names, depth + 1)


def evidence(incident: Incident, output: Path) -> list[dict[str, str]]:
    """The files kept with the incident (not the journal itself), as links from the post-mortem's folder."""
    base = incidents.incidents_dir() / incident.id
    sums = {item.file: item.sha256 for item in incident.attachments if re.fullmatch("[0-9a-f]{64}", item.sha256)}
    rows = []
    for path in sorted(base.rglob("*"))[:2000] if base.is_dir() else []:
        name = path.relative_to(base).as_posix()
        if not path.is_file() or path.is_symlink() or path.name.startswith(".") or name in (journal.NAME, "closed"):
            continue
        link = urllib.parse.quote(os.path.relpath(path, output.parent))
        rows.append({"name": md(name, 200), "link": link, "sha256": sums.get(name, "")})
    return rows[:60]


# Rendering and refreshing


def render(incident: Incident, levels: dict[int, Severity], output: Path, template: Path | None = None) -> str:
    """The whole post-mortem, new.

    Raises:
        IncidentError: the template cannot be read or has a mistake; the line is named.
    """
    import jinja2
    from jinja2.sandbox import SandboxedEnvironment

    path = template or state.ROOT / "templates" / "postmortem.md.j2"
    # No autoescape: it is for HTML. What comes in is escaped for Markdown in `view`.
    environment = SandboxedEnvironment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)  # noqa: S701

    def block(name: str, caller: Any = None) -> str:
        content = _normal(str(caller()) if caller else "")
        return "<!-- andon:begin %s sha256=%s -->\n%s\n<!-- andon:end %s -->\n" % (name, digest(content), content, name)

    try:
        source = path.read_text(encoding="utf-8")
        text = environment.from_string(source).render(block=block, todo=todo, **view(incident, levels, output))
    except (OSError, UnicodeDecodeError) as error:
        raise IncidentError("The template %s cannot be read." % clean(path, 200), clean(error, 200), "ls -l %s" % clean(path, 200)) from error
    except jinja2.TemplateError as error:
        line = getattr(error, "lineno", None)
        where = " in line %d" % line if line else ""
        raise IncidentError(
            "The template %s has a mistake%s: %s." % (clean(path, 200), where, clean(error, 200)),
            "Nothing was written.",
            "andon postmortem   (without --template: the built-in one)",
        ) from error
    return _with_meta(text, {"incident": incident.id, **_times(incident)})


def _times(incident: Incident) -> dict[str, str]:
    pairs = {"detected": incident.detected, "resolved": incident.resolved}
    return {name: state.utc(at) for name, at in pairs.items() if at is not None}


def meta(text: str) -> dict[str, str]:
    """What the comment under the title says: incident, detected, resolved, finished (times in UTC)."""
    found = _META.search(text)
    if not found:
        return {}
    return dict(pair.split("=", 1) for pair in found["pairs"].split() if "=" in pair)


def _with_meta(text: str, pairs: dict[str, str]) -> str:
    comment = "<!-- andon:postmortem %s -->" % " ".join("%s=%s" % item for item in pairs.items())
    if _META.search(text):
        return _META.sub(lambda _: comment, text, count=1)
    head, _, rest = text.partition("\n")
    return head + "\n" + comment + "\n" + rest


@dataclass(frozen=True)
class Block:
    name: str
    recorded: str
    first: int  # the line of the begin mark
    last: int  # the line of the end mark
    content: str


def _normal(content: str) -> str:
    """Line ends and blanks at a line's end are an editor's business, not an edit."""
    return "\n".join(line.rstrip() for line in content.replace("\r\n", "\n").split("\n")).strip("\n")


def digest(content: str) -> str:
    return hashlib.sha256(_normal(content).encode("utf-8", "surrogateescape")).hexdigest()


def blocks(text: str) -> tuple[dict[str, Block], list[str]]:
    """The marked blocks of a post-mortem, and what is wrong with marks (such blocks are left out, so never touched)."""
    lines = text.split("\n")
    found: dict[str, Block] = {}
    wrong: list[str] = []
    doubled: set[str] = set()
    begun: tuple[re.Match[str], int] | None = None
    for number, line in enumerate(lines):
        if start := _BEGIN.match(line.strip()):
            if begun:
                wrong.append("line %d: the block %s has no end mark" % (begun[1] + 1, begun[0]["name"]))
            begun = (start, number)
        elif end := _END.match(line.strip()):
            if begun is None or begun[0]["name"] != end["name"]:
                wrong.append("line %d: an end mark of %s without its begin mark" % (number + 1, end["name"]))
            elif end["name"] in found:
                doubled.add(end["name"])
                wrong.append("line %d: the block %s is there twice" % (number + 1, end["name"]))
            else:
                content = "\n".join(lines[begun[1] + 1 : number])
                found[end["name"]] = Block(end["name"], begun[0]["hash"], begun[1], number, content)
            begun = None
    if begun:
        wrong.append("line %d: the block %s has no end mark" % (begun[1] + 1, begun[0]["name"]))
    return {name: item for name, item in found.items() if name not in doubled}, wrong


@dataclass
class Merge:
    """What a refresh did.

    Attributes:
        text: the file's new content.
        refreshed: names of the blocks that got new content.
        kept: names of edited blocks for which the journal says nothing new.
        conflicts: name -> the difference between the kept edit and the new version, as lines.
        wrong: marks that do not fit together; what they enclose was not touched.
    """

    text: str
    refreshed: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    conflicts: dict[str, list[str]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


def merge(existing: str, fresh: str) -> Merge:
    """Refreshes the unedited blocks of a post-mortem; everything else stays byte for byte.

    An edited block is kept; it is a conflict when the journal's version is another one than the one that was edited.
    An emptied block is filled anew. A block whose marks were removed is a person's text now and does not come back.
    """
    lines = existing.split("\n")
    have, wrong = blocks(existing)
    result = Merge("", wrong=wrong)
    crlf = "\r" if lines and lines[0].endswith("\r") else ""
    new_blocks = blocks(fresh)[0]
    for old in sorted(have.values(), key=lambda item: -item.first):
        new = new_blocks.get(old.name)
        if new is None:
            continue
        now = digest(old.content)
        edited = now != old.recorded and _normal(old.content) != ""
        if edited and now != new.recorded:
            if new.recorded == old.recorded:
                result.kept.append(old.name)
            else:
                result.conflicts[old.name] = list(
                    difflib.unified_diff(_normal(old.content).split("\n"), new.content.split("\n"), "kept: " + old.name, "new: " + old.name, lineterm="", n=1)
                )
            continue
        if now == new.recorded and old.recorded == new.recorded:
            continue
        begin = "<!-- andon:begin %s sha256=%s -->" % (old.name, new.recorded)
        lines[old.first : old.last] = [line + crlf for line in [begin, *new.content.split("\n")]]
        result.refreshed.append(old.name)
    result.text = "\n".join(lines)
    return result


@dataclass
class Written:
    """Where the post-mortem is, and what a person should know about it."""

    path: Path
    created: bool
    merge: Merge
    blanks: list[str]


def default_path(incident: str) -> Path:
    return state.ROOT / "docs" / "incidents" / (incident + ".md")


def write(name: str, *, output: Path | None = None, template: Path | None = None, now: float | None = None) -> Written:
    """Writes or refreshes an incident's post-mortem and notes it in the journal.

    Args:
        name: the incident's id.
        output: the file; None: docs/incidents/<id>.md.
        template: a template of one's own.
        now: Unix time in seconds; None: now.

    Raises:
        IncidentError: no such incident, a template with a mistake, or the file is another one's.
        JournalError: the journal cannot be read or written.
    """
    incident = incidents.load(name)
    levels, _ = incidents.severities()
    path = (output or default_path(name)).resolve()
    fresh = render(incident, levels, path, template)
    old = _read(path) if path.exists() else None
    if old is None:
        result = Merge(fresh, refreshed=sorted(blocks(fresh)[0]))
    else:
        _own(path, old, name)
        result = merge(old, fresh)
    pairs = {"incident": name, **_times(incident)}
    finished = meta(old or "").get("finished")
    moment = now if now is not None else datetime.datetime.now(datetime.timezone.utc).timestamp()
    text = _with_meta(result.text, pairs)
    if not finished and incident.resolved is not None and not _unfinished(text):
        finished = state.utc(moment)
    if finished:
        text = _with_meta(result.text, {**pairs, "finished": finished})
    result.text = text
    if text != old:
        _replace(path, old, text)
    found = blanks(text)
    journal.append(incidents.folder(name), "postmortem.written", "postmortem", {"path": str(path), "blanks": len(found), "conflicts": sorted(result.conflicts)})
    return Written(path, old is None, result, found)


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8", "surrogateescape")
    except OSError as error:
        raise IncidentError("%s cannot be read: %s." % (path, error.strerror), "Nothing was written.", "ls -l %s" % path) from error


def _own(path: Path, text: str, name: str) -> None:
    """Refuses a file that is not this incident's post-mortem."""
    whose = meta(text).get("incident")
    if whose == name or (whose is None and blocks(text)[0]):
        return
    what = "the post-mortem of %s" % clean(whose, 64) if whose else "no post-mortem that Andon wrote"
    raise IncidentError("%s is %s." % (path, what), "It was not touched.", "andon postmortem --incident %s --output PATH" % name)


def _replace(path: Path, old: str | None, text: str) -> None:
    """Writes the file, unless somebody saved it since it was read."""
    try:
        if old is not None and _read(path) != old:
            raise IncidentError("%s was saved by somebody else right now." % path, "It was not touched.", "the same command again")
        mode = path.stat().st_mode & 0o777 if old is not None else 0o644
        state.write_atomic(path, text, mode)
    except OSError as error:
        raise IncidentError(
            "%s cannot be written: %s." % (path, error.strerror), "The journal has everything; nothing is lost.", "df -h %s" % path.parent
        ) from error


# Checking


def _sections(text: str) -> dict[str, tuple[int, list[str]]]:
    """Heading -> (number of its first line, its lines without marks)."""
    result: dict[str, tuple[int, list[str]]] = {}
    name = None
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        if line.startswith("## "):
            name = line[3:].strip()
            result.setdefault(name, (number + 1, []))
        elif name:
            result[name][1].append("" if _BEGIN.match(line.strip()) or _END.match(line.strip()) else line)
    return result


def blanks(text: str) -> list[str]:
    """The marked blanks that nobody has filled in, each with its line."""
    return ["line %d: %s" % (number, clean(line.strip(), 120)) for number, line in enumerate(text.split("\n"), 1) if re.search(r"(?<!\\)_TODO:", line)]


def _unfinished(text: str) -> list[str]:
    """Everything that is missing from a post-mortem, but for its lateness."""
    sections = _sections(text)
    missing = []
    if not _TITLE.match(text.lstrip("\ufeff")):
        missing.append("line 1: the title is not '# Incident: YYYY-MM-DD - Brief Description'")
    names = [name for name in sections if name in SECTIONS]
    missing += ["the section '%s' is missing" % name for name in SECTIONS if name not in sections]
    if names != [name for name in SECTIONS if name in sections]:
        missing.append("the sections are not in the order: " + ", ".join(SECTIONS))
    missing += ["blank left, " + blank for blank in blanks(text)]
    for name in SECTIONS:
        if name in sections and not any(line.strip() for line in _written_by_people(text, name)):
            missing.append("the section '%s' is empty" % name)
    missing += _timeline_faults(sections.get("Timeline", (0, [])))
    missing += _item_faults(sections.get("Action Items", (0, [])))
    plain = [line.strip().lstrip("-* ").strip() for line in text.split("\n")]
    for question in ANSWERS:
        answers = [line[len(question) + 1 :].strip() for line in plain if line.lower().startswith(question.lower() + ":")]
        if not any(answers):
            missing.append("not answered: '%s: yes or no, and what or why'" % question)
    return missing


def _written_by_people(text: str, section: str) -> list[str]:
    """A section's lines outside the blocks; the timeline may stand in its block alone."""
    if section in ("Timeline", "Impact"):
        return _sections(text)[section][1]
    lines = text.replace("\r\n", "\n").split("\n")
    for item in blocks("\n".join(lines))[0].values():
        for number in range(item.first, item.last + 1):
            lines[number] = ""
    return [line for line in _sections("\n".join(lines))[section][1] if not line.startswith("#")]


def _timeline_faults(section: tuple[int, list[str]]) -> list[str]:
    start, lines = section
    faults, before, rows = [], "", 0
    for number, line in enumerate(lines, start):
        found = _ROW.match(line)
        if not found:
            continue
        rows += 1
        # A row of minutes stands for the whole minute: it may come after 03:04:59.
        at = found[1] if len(found[1]) > 16 else found[1] + ":59"
        if _STEPPED not in line and at < before:
            faults.append("line %d: the timeline is not in order: %s after %s" % (number, found[1], before))
        before = found[1]
    if start and not rows:
        faults.append("the timeline has no row '- YYYY-MM-DD HH:MM:SS - what happened'")
    return faults


def _item_faults(section: tuple[int, list[str]]) -> list[str]:
    start, lines = section
    faults, items = [], 0
    for number, line in enumerate(lines, start):
        found = _ITEM.match(line)
        if not found:
            continue
        items += 1
        owned = _OWNED.match(found["rest"])
        if not owned or owned["owner"].strip().lower() in ("owner", "todo", "tbd", "?"):
            faults.append("line %d: the action item has no owner: %s" % (number, clean(found["rest"], 80)))
        if not owned or _date(owned["due"]) is None:
            faults.append("line %d: the action item has no due date (YYYY-MM-DD): %s" % (number, clean(found["rest"], 80)))
    if start and not items and not any(line.strip().lower().lstrip("-* ").startswith("none") for line in lines):
        faults.append("there is no action item; if there is nothing to do, write 'None: why'")
    return faults


def _date(text: str) -> datetime.date | None:
    try:
        return datetime.date.fromisoformat(text.strip()) if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text.strip()) else None
    except ValueError:
        return None


def check(text: str, now: float, *, late_ok: bool = False) -> list[str]:
    """What is missing from a post-mortem; nothing: it is done.

    It needs the file alone, so that CI can run it without the bastion's state.

    Args:
        text: the file.
        now: Unix time in seconds.
        late_ok: do not mind that it came late.
    """
    missing = _unfinished(text)
    times = meta(text)
    resolved = state.parse_utc(times.get("resolved"))
    finished = state.parse_utc(times.get("finished")) or now
    if not times:
        missing.append("the comment under the title is gone: type andon postmortem once to put it back")
    elif resolved is None:
        missing.append("the incident was not resolved when this was written: andon resolve, then andon postmortem")
    elif finished - resolved > WITHIN and not late_ok:
        words = "was finished" if times.get("finished") else "is not finished"
        missing.append("it %s %s after the resolution: 24 h are given (resolved %s)" % (words, duration(finished - resolved), incidents.moment(resolved)))
    return missing


# Action items over all post-mortems


@dataclass(frozen=True)
class Action:
    """One open action item."""

    incident: str
    text: str
    owner: str
    due: datetime.date | None
    line: int


def actions(directory: Path, today: datetime.date) -> list[Action]:
    """Open action items of all post-mortems in a folder: overdue first, then by due date, then those without one.

    Raises:
        IncidentError: a post-mortem cannot be read.
    """
    found = []
    for path in sorted(directory.glob("*.md")):
        text = _read(path)
        if not _TITLE.match(text.lstrip("\ufeff")):
            continue
        start, lines = _sections(text).get("Action Items", (0, []))
        for number, line in enumerate(lines, start):
            item = _ITEM.match(line)
            if item and item["done"] == " ":
                owned = _OWNED.match(item["rest"])
                words = owned["text"] if owned else item["rest"]
                owner = clean(owned["owner"], 40) if owned else ""
                found.append(Action(path.stem, clean(words, 200), owner, _date(owned["due"]) if owned else None, number))
    far = datetime.date.max
    return sorted(found, key=lambda a: (a.due is None, not (a.due or far) < today, a.due or far, a.incident, a.line))
