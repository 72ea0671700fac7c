"""The verbs of an incident's life: open to close, its record, its post-mortem. Files on the bastion; no host is touched."""

from __future__ import annotations

import datetime
import functools
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from andon import incidents, journal, outbox, state
from andon.incidents import Incident, IncidentError, JournalError
from andon.text import clean, duration, plural
from cli import Settings, fail

UNSURE = " (unsure, so the higher one)"
STDIN_LIMIT = 16 << 20  # bytes of a note from standard input


def in_words(function: Callable[..., Any]) -> Callable[..., Any]:
    """An error of an incident or its journal ends the command in three lines, never in a traceback."""

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except (IncidentError, JournalError) as error:
            fail(str(error), error.means, error.then)

    return wrapped


def incident_option(function: Any) -> Any:
    return click.option("--incident", metavar="ID", help="Another incident than the current one.")(function)


def _say(*lines: str) -> None:
    for line in lines:
        click.echo(line)


def _warn(text: str) -> None:
    if text:
        _red("WARNING: " + clean(text, 400), True, err=True)


def _red(line: str, red: bool, err: bool = False) -> None:
    """A line that is red where that says something, and colours are wanted (NO_COLOR)."""
    click.secho(line, err=err, fg="red" if red and not os.environ.get("NO_COLOR") else None)


def _after_writing() -> None:
    """Said before it is too late: the next entry may not fit any more."""
    _warn(incidents.free_space_warning())


def _pick(wanted: str | None) -> str:
    """The incident to look at: the wanted or current one, else the newest, open or not."""
    found = incidents.current(wanted) or next(iter(incidents.ids()), None)
    if found is None:
        raise IncidentError("There is no incident.", "Nothing is recorded yet.", 'andon open --sev unsure "what is wrong"')
    return found


def _levels() -> dict[int, incidents.Severity]:
    levels, warning = incidents.severities()
    _warn(warning)
    return levels


def _when(text: str | None) -> float | None:
    """A time that a person gave, in UTC: 03:04, 2026-11-22 03:04, or with seconds and Z.

    Raises:
        IncidentError: it is none, or it lies in the future.
    """
    if text is None:
        return None
    now = datetime.datetime.now(datetime.UTC)
    word = text.strip().upper().removesuffix("UTC").removesuffix("Z").strip().replace("T", " ")
    found = None
    for form in ("%H:%M", "%H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S"):
        try:
            found = datetime.datetime.strptime(word, form).replace(tzinfo=datetime.UTC)
        except ValueError:
            continue
        if form.startswith("%H"):
            found = found.replace(year=now.year, month=now.month, day=now.day)
            if found > now:  # shortly after midnight, 23:58 was yesterday
                found -= datetime.timedelta(days=1)
        break
    if found is None or found > now:
        what = "is no time" if found is None else "lies in the future"
        raise IncidentError(f"'{clean(text, 40)}' {what}.", "Nothing was recorded. Times are UTC.", 'the same command with --detected "2026-11-22 03:04"')
    return found.timestamp()


# Life


@click.command("open")
@click.option("--sev", default="unsure", show_default=True, metavar="1|2|3|unsure", help="Severity; 1/2 or unsure: the higher one.")
@click.option("--detected", metavar="TIME", help="When it was noticed, UTC: 03:04 or '2026-11-22 03:04'. Default: now.")
@click.option("--another", is_flag=True, help="Open a second incident while one is open.")
@click.argument("title")
@in_words
def open_command(sev: str, detected: str | None, another: bool, title: str) -> None:
    """Open an incident: its clock and its journal start.

    \b
    andon open --sev 1 "exchange down"
    """
    levels = _levels()
    level, unsure = incidents.parse_severity(sev, levels)
    if not clean(title):
        raise IncidentError("The title is empty.", "Nothing was opened.", 'andon open "what is wrong"')
    name = incidents.open_incident(title, level, unsure=unsure, detected=_when(detected), another=another)
    aim = levels[level].acknowledge
    _say(f"Opened {name} as SEV{level}{UNSURE if unsure else ''}", outbox.tell("opened", name))
    if aim is not None:
        _say(f"{levels[level].meaning}: acknowledge and mitigate within {duration(aim)}.")
    _say("Next: andon ack" + ("; trading must stop now: andon stop" if level == min(levels) else ""))
    _after_writing()


@click.command("ack")
@incident_option
@in_words
def ack_command(incident: str | None) -> None:
    """Acknowledge: somebody is on it."""
    name = incidents.require(incident)
    found = incidents.load(name)
    if found.acknowledged is not None:
        _say(f"{name} was acknowledged at {incidents.moment(found.acknowledged)} UTC by {found.acknowledged_by} already.")
        return
    incidents.record(name, "acknowledged", "ack")
    after = duration(max(time.time() - (found.detected or time.time()), 0.0))
    _say(f"Acknowledged {name} after {after}.")
    if not found.roles:
        _say("Next: andon assign commander NAME")
    _after_writing()


@click.command("sev")
@incident_option
@click.argument("severity", metavar="1|2|3|unsure")
@click.argument("reason", required=False, default="")
@in_words
def sev_command(incident: str | None, severity: str, reason: str) -> None:
    """Change the severity."""
    name = incidents.require(incident)
    level, unsure = incidents.parse_severity(severity, _levels())
    old = incidents.load(name).severity
    incidents.record(name, "severity", "sev", {"severity": level, "unsure": unsure, "from": old, "reason": reason})
    _say(f"{name}: SEV{old} -> SEV{level}{UNSURE if unsure else ''}", outbox.tell("severity", name, reason, before=old))
    _after_writing()


@click.command("note")
@incident_option
@click.option("--attach", type=click.Path(path_type=Path), metavar="FILE", help="Keep a copy of this file, with its SHA-256.")
@click.option("--mitigated", is_flag=True, help="The bleeding is stopped (proven stops say so by themselves).")
@click.argument("text", required=False, default="")
@in_words
def note_command(incident: str | None, attach: Path | None, mitigated: bool, text: str) -> None:
    """Write a line into the journal; "-" reads it from standard input.

    \b
    andon note "feed is back on host-b" --attach graph.png
    """
    name = incidents.require(incident)
    if text == "-":
        text = sys.stdin.buffer.read(STDIN_LIMIT).decode("utf-8", "replace").rstrip("\n")
    if not text.strip() and attach is None and not mitigated:
        raise IncidentError("The note is empty.", "Nothing was recorded.", 'andon note "what you see"')
    data: dict[str, Any] = {"text": text}
    if attach is not None:
        data["attachment"] = incidents.attach(name, attach)
    line = incidents.record(name, "mitigated" if mitigated else "note", "note", {"text": text} if mitigated else data)
    if mitigated and attach is not None:
        incidents.record(name, "note", "note", {"text": "", "attachment": data["attachment"]})
    _say("Noted in {} at {} UTC.".format(name, line["at"].replace("T", " ")[:19]), *([outbox.tell("mitigated", name, text)] if mitigated else []))
    if attach is not None:
        _say("Attached {}, SHA-256 {}".format(data["attachment"]["file"], data["attachment"]["sha256"]))
    _after_writing()


@click.command("assign")
@incident_option
@click.argument("role")
@click.argument("person")
@in_words
def assign_command(incident: str | None, role: str, person: str) -> None:
    """Say who does what: commander, communications, operations, scribe, or another role."""
    name = incidents.require(incident)
    word = role.strip().lower()
    if not incidents.ROLE.match(word) or not clean(person):
        raise IncidentError(f"'{clean(role, 40)}' cannot be a role.", "Nothing was recorded.", "andon assign commander NAME")
    incidents.record(name, "assigned", "assign", {"role": word, "person": person})
    _say(f"{name}: {clean(person, 60)} is {word}")
    _after_writing()


@click.command("resolve")
@incident_option
@click.option("--undo", is_flag=True, help="It is not over: open again.")
@click.argument("text", required=False, default="")
@in_words
def resolve_command(incident: str | None, undo: bool, text: str) -> None:
    """Normal operations are back; say what ended it."""
    name = incidents.require(incident)
    found = incidents.load(name)
    if undo:
        if found.resolved is None:
            raise IncidentError(f"{name} is not resolved.", "It is open as it was.", "andon clock")
        incidents.reopen(name, text)
        _say(f"{name} is open again.", outbox.tell("reopened", name, text))
        return
    if found.resolved is not None:
        _say(f"{name} was resolved at {incidents.moment(found.resolved)} UTC already.")
        return
    incidents.record(name, "resolved", "resolve", {"text": text})
    _say(f"Resolved {name} after {duration(max(time.time() - (found.detected or time.time()), 0.0))}.", outbox.tell("resolved", name, text))
    for halt in found.halted:
        _warn(f"{halt.scope} is halted still, as far as the journal knows (andon status shows the hosts)")
    _say("Next: andon postmortem   (within 24 h)")
    _after_writing()


@click.command("close")
@incident_option
@in_words
def close_command(incident: str | None) -> None:
    """Close a resolved incident: nothing more is recorded by itself."""
    name = incidents.require(incident)
    incidents.close(name)
    _say(f"Closed {name}.")
    rest = incidents.current() if not incident else None
    if rest:
        _say(f"The current incident is {rest} now.")
    if not incidents.load(name).postmortem:
        _say(f"Next: andon postmortem --incident {name}")


# Looking


@click.command("incidents")
@click.option("--use", metavar="ID", help="Make this incident the current one.")
@click.option("--open", "only_open", is_flag=True, help="Only those that are not closed.")
@click.pass_obj
@in_words
def incidents_command(settings: Settings | None, use: str | None, only_open: bool) -> None:
    """List incidents, the newest first; * is the current one."""
    if use:
        found = incidents.load(use)
        if found.closed is not None:
            raise IncidentError(f"{use} is closed.", "The current incident is the same as before.", f"andon resolve --undo --incident {use}")
        incidents.set_active(use)
    names = incidents.open_ids() if only_open else incidents.ids()
    current, rows = incidents.current(), []
    for name in names:
        try:
            rows.append(incidents.load(name))
        except JournalError as error:
            _warn(str(error))
    if settings and settings.json:
        _json([_summary(found, current) for found in rows])
        return
    if not rows:
        _say("There is no %sincident." % ("open " if only_open else ""))
    for found in rows:
        mark = "*" if found.id == current else " "
        _say(incidents.fit(f"{mark} {found.id:<40} SEV{found.severity} {found.state:<12} {incidents.moment(found.detected)[:16]}  {found.title}", 160))


@click.command("clock")
@incident_option
@click.pass_obj
@in_words
def clock_command(settings: Settings | None, incident: str | None) -> None:
    """The incident on one screen: its clock, what is halted, what is overdue, what to type."""
    found = incidents.load(_pick(incident))
    levels = _levels()
    now = time.time()
    if settings and settings.json:
        late = [{"what": item.what, "due": state.utc(item.due), "late_seconds": round(item.late, 1)} for item in incidents.overdue(found, now, levels)]
        _json({**_summary(found, found.id), "overdue": late})
        return
    for line in incidents.incident_screen(found, now, levels):
        _red(line, line.startswith(("HALTED", "OVERDUE")) or "NOT YET, OVERDUE" in line)


@click.command("show")
@incident_option
@click.pass_obj
@in_words
def show_command(settings: Settings | None, incident: str | None) -> None:
    """Everything that is recorded of an incident; --json before the verb gives the whole lines."""
    name = _pick(incident)
    lines = journal.read(incidents.folder(name))
    found = incidents.fold(lines, name)
    if settings and settings.json:
        _json({**_summary(found, incidents.current()), "journal": lines})
        return
    _say(*incidents.incident_screen(found, time.time(), _levels())[:8], "Timeline (UTC)")
    for event in found.events:
        stepped = " (the clock stepped back here)" if event.stepped_back else ""
        _say(f"  {incidents.moment(event.at)} {event.actor}: {event.text}{stepped}")
    for item in found.attachments:
        _say(f"Attached {item.file} ({item.size} bytes, SHA-256 {item.sha256})")


@click.command("handoff")
@incident_option
@click.argument("person", required=False, default="")
@click.pass_obj
@in_words
def handoff_command(settings: Settings | None, incident: str | None, person: str) -> None:
    """What the next one must know; with PERSON: they are commander from now on, and the journal says so."""
    name = incidents.require(incident)
    if person:
        if not clean(person):
            raise IncidentError("That is no name.", "Nothing was recorded.", "andon handoff NAME")
        incidents.record(name, "handoff", "handoff", {"to": person})
    found, levels = incidents.load(name), _levels()
    now = time.time()
    _say("HANDOFF of {}, {} UTC, by {}".format(name, incidents.moment(now), clean(state.actor()["name"], 40)), "")
    _say(*incidents.incident_screen(found, now, levels)[:9])
    changes = [f"  {incidents.moment(at)} UTC SEV{level} {why}" for at, level, _, why in found.severities[-4:]]
    _say("", "Severity", *changes)
    runs = [f"  {incidents.moment(run.began)} UTC {run.verb} by {run.actor}: {incidents.outcome(run)}" for run in found.runs[-8:]]
    _say("What was run", *(runs or ["  nothing"]))
    notes = [event for event in found.events if event.kind == "incident.note"][-8:]
    _say("Last notes", *([f"  {incidents.moment(e.at)} UTC {e.actor}: {e.text}" for e in notes] or ["  none"]))
    late = incidents.overdue(found, now, levels)
    _say("Overdue", *([f"  {item.what} by {duration(item.late)}" for item in late] or ["  nothing"]))
    _say("Next", *["  " + command for command in incidents.next_commands(found, late)])
    _say(f"The files: {incidents.folder(name)}")


@click.command("verify")
@incident_option
@click.option("--all", "everything", is_flag=True, help="All incidents.")
@click.pass_obj
@in_words
def verify_command(settings: Settings | None, incident: str | None, everything: bool) -> None:
    """Check a journal's hash chain; names the first bad line and fails."""
    names = incidents.ids() if everything else [_pick(incident)]
    bad, documents = [], []
    for name in names:
        verdict = journal.verify(incidents.folder(name))
        documents.append(
            {
                "incident": name,
                "ok": verdict.ok,
                "lines": verdict.lines,
                "head": verdict.head,
                "bad_line": verdict.bad_line,
                "why": verdict.why,
                "torn": verdict.torn,
            }
        )
        if not verdict.ok:
            bad.append((name, verdict))
        if settings and settings.json:
            continue
        if verdict.ok:
            _say("OK  {}: {}, the last one's hash {}".format(name, plural(verdict.lines, "line"), verdict.head))
        if verdict.torn:
            _say(f"    the last line is torn ({verdict.torn} bytes): the next entry keeps it aside and says so")
        for number in verdict.clock_steps:
            _say(f"    line {number}: the bastion's clock stepped back before it; the order of the lines is right")
    if settings and settings.json:
        _json(documents)
    if bad:
        name, verdict = bad[0]
        fail(
            f"{name}: line {verdict.bad_line} of the journal is bad: {verdict.why}.",
            f"The {(verdict.bad_line or 1) - 1} lines before it are as they were written; from there on the journal proves nothing.",
            f"sed -n {verdict.bad_line}p {incidents.folder(name) / journal.NAME} | cat -v",
            2,
        )


# The post-mortem


def _written(name: str) -> Path:
    """Where an incident's post-mortem was last written, else where it would be."""
    from andon import postmortem

    return Path(incidents.load(name).postmortem or postmortem.default_path(name))


@click.group("postmortem", invoke_without_command=True)
@incident_option
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Default: docs/incidents/ID.md.")
@click.option("--template", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="A Jinja template of your own.")
@click.pass_context
@in_words
def postmortem_command(context: click.Context, incident: str | None, output: Path | None, template: Path | None) -> None:
    """Write the post-mortem, or refresh what the journal knows in it; edits are kept.

    Exit code 3: an edited block was kept although the journal says something new; both versions are shown.
    """
    if context.invoked_subcommand:
        if incident or output or template:
            raise click.UsageError(f"Options stand after the last word: andon postmortem {context.invoked_subcommand} --incident ID", context)
        return
    from andon import postmortem

    done = postmortem.write(_pick(incident), output=output, template=template)
    refreshed = done.merge.refreshed
    _say("{} {}".format("Wrote" if done.created else "Refreshed" if refreshed else "Nothing new for", done.path))
    if refreshed and not done.created:
        _say("Refreshed: " + ", ".join(sorted(refreshed)))
    if done.merge.kept:
        _say("Kept as you edited them: " + ", ".join(sorted(done.merge.kept)))
    for words in done.merge.wrong:
        _warn(f"{done.path.name}: {words}; it was not touched")
    for name, lines in done.merge.conflicts.items():
        _say("", f"CONFLICT in the block {name}: your edit was kept. The journal's version:")
        _say(*["  " + clean(line, 300) for line in lines])
    if done.blanks:
        _say("{} to fill in:".format(plural(len(done.blanks), "blank")), *["  " + blank for blank in done.blanks])
    if done.merge.conflicts or done.merge.wrong:
        _say("Next: take over what is new by hand, or empty the block between its marks and type andon postmortem again")
        context.exit(3)
    _say("Next: %s" % ("fill in the blanks, then andon postmortem check" if done.blanks else "andon postmortem check"))


@postmortem_command.command("html")
@incident_option
@click.option("--input", "source", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Default: docs/incidents/ID.md.")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Default: beside it, .html.")
@in_words
def html_command(incident: str | None, source: Path | None, output: Path | None) -> None:
    """Make one self-contained page of it, with the timeline drawn."""
    from andon import postmortem, postmortem_page

    name = _pick(incident)
    path = source or _written(name)
    if not path.is_file():
        raise IncidentError(f"{path} is not there.", "No page was made.", f"andon postmortem --incident {name}")
    text = path.read_bytes().decode("utf-8", "replace")
    whose = postmortem.meta(text).get("incident", name)
    found: Incident | None = incidents.load(whose) if whose in incidents.ids() else None
    target = output or path.with_suffix(".html")
    try:
        state.write_atomic(target, postmortem_page.page(text, found), 0o644)
    except OSError as error:
        raise IncidentError(f"{target} cannot be written: {error.strerror}.", "No page was made.", f"df -h {target.parent}") from error
    _say(f"Wrote {target}")


@postmortem_command.command("check")
@incident_option
@click.option("--all", "everything", is_flag=True, help="All post-mortems in docs/incidents.")
@click.option("--late-ok", is_flag=True, help="Do not mind one that came later than 24 h after the resolution.")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, dir_okay=False))
@in_words
def check_command(incident: str | None, everything: bool, late_ok: bool, files: tuple[Path, ...]) -> None:
    """Say what is missing from a post-mortem and fail; it needs the file alone (for CI)."""
    from andon import postmortem

    paths = list(files)
    if everything:
        paths += [p for p in sorted((state.ROOT / "docs" / "incidents").glob("*.md")) if p.name != "README.md"]
    elif not paths:
        paths = [_written(_pick(incident))]
    missing_in = 0
    for path in paths:
        if not path.is_file():
            raise IncidentError(f"{path} is not there.", "The post-mortem is not written yet.", "andon postmortem")
        missing = postmortem.check(path.read_bytes().decode("utf-8", "replace"), time.time(), late_ok=late_ok)
        missing_in += bool(missing)
        _say("{} {}".format("MISSING" if missing else "OK     ", path), *["  " + clean(line, 300) for line in missing])
    if missing_in:
        fail("{} not finished.".format(plural(missing_in, "post-mortem")), "What is missing is listed above.", "fill it in, then andon postmortem check", 2)


@click.command("actions")
@click.option("--directory", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Default: docs/incidents.")
@click.pass_obj
@in_words
def actions_command(settings: Settings | None, directory: Path | None) -> None:
    """Open action items over all post-mortems, overdue first."""
    from andon import postmortem

    today = datetime.datetime.now(datetime.UTC).date()
    found = postmortem.actions(directory or state.ROOT / "docs" / "incidents", today)
    if settings and settings.json:
        _json(
            [
                {"incident": a.incident, "text": a.text, "owner": a.owner, "due": str(a.due or ""), "overdue": bool(a.due and a.due < today), "line": a.line}
                for a in found
            ]
        )
        return
    if not found:
        _say("No action item is open.")
    for item in found:
        late = (today - item.due).days if item.due else 0
        due = str(item.due or "no date") + (f" OVERDUE by {plural(late, 'day')}" if late > 0 else "")
        _red(f"{due:<34} {item.owner or 'no owner':<16} {item.text}  ({item.incident}:{item.line})", late > 0)


# For machines


def _summary(found: Incident, current: str | None) -> dict[str, Any]:
    def at(moment: float | None) -> str | None:
        return state.utc(moment) if moment is not None else None

    return {
        "incident": found.id,
        "current": found.id == current,
        "title": found.title,
        "severity": found.severity,
        "state": found.state,
        "detected": at(found.detected),
        "acknowledged": at(found.acknowledged),
        "mitigated": at(found.mitigated),
        "resolved": at(found.resolved),
        "closed": at(found.closed),
        "roles": found.roles,
        "halted": [{"scope": halt.scope, "since": at(halt.since), "proven": halt.proven} for halt in found.halted],
        "events": len(found.events),
    }


def _json(document: Any) -> None:
    click.echo(json.dumps(document, indent=2, sort_keys=True, ensure_ascii=True))
