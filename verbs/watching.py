"""The loop of `andon watch`: one look after the other, and how they are shown."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import click
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from andon.text import clean, size
from cli import Settings, capture_playbook

Report = Mapping[str, Any]
Show = Callable[[int, Report], None]
ALARMS_SHOWN = 12
BLIND = {"ok": False, "headline": "the look itself failed; the fleet is not being watched", "data": {}}


def run(settings: Settings, extra: Mapping[str, Any], limit: str | None, every: float) -> None:
    """Looks until somebody ends it (Ctrl-C, SIGTERM).

    Args:
        extra: extra vars of the playbook; limit: as --limit; every: seconds from one look's beginning to the next.
    """
    try:
        if settings.json:
            _loop(settings, extra, limit, every, _line_of_json)
        elif sys.stdout.isatty():
            console = Console()
            with Live(Text("Looking at the fleet ..."), console=console, screen=True, auto_refresh=False) as live:
                _loop(settings, extra, limit, every, lambda code, report: live.update(dashboard(report, every, console.height), refresh=True))
        else:
            _loop(settings, extra, limit, every, _line)
    except KeyboardInterrupt:
        click.echo("The watch is ended.", err=True)


def _loop(settings: Settings, extra: Mapping[str, Any], limit: str | None, every: float, show: Show) -> None:
    while True:
        begun = time.monotonic()
        code, report = capture_playbook(settings, "watch", extra, limit=limit)
        show(code, report if report.get("verb") == "watch" else BLIND)
        # A look that takes longer than `every` is followed by the next one at once, never by two.
        time.sleep(max(every - (time.monotonic() - begun), 0.0))


def _line_of_json(code: int, report: Report) -> None:
    click.echo(json.dumps(dict(report, exit=code), sort_keys=True, ensure_ascii=False))


def _line(code: int, report: Report) -> None:
    data = report.get("data", {})
    click.echo(f"{_clock()} {'OK' if report.get('ok') else 'ALARM'} {clean(report.get('headline', ''), 120)}")
    # Only what was told at this look, so that a long alarm is not a long log.
    for event in data.get("told", []):
        click.echo(f"  {'OVER' if event['over'] else event['level'].upper()} {_where(event)}: {clean(event['words'], 200)}")
    for words in data.get("not_told", []):
        click.echo(f"  WARNING {clean(words, 200)}")


def _clock() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _where(problem: Mapping[str, Any]) -> str:
    return clean(" ".join(part for part in (problem["host"], problem["container"]) if part), 60)


def dashboard(report: Report, every: float, height: int) -> Group:
    """What a look says, as high as the terminal at most.

    Args:
        report: of the playbook watch.yml, or BLIND; every: seconds; height: lines of the terminal.
    """
    ok = bool(report.get("ok"))
    data = report.get("data", {})
    head = Text(clean(report.get("headline", ""), 120), style="bold green" if ok else "bold red")
    foot = Text(f"{_clock()}   every {every:g} s   Ctrl-C ends it   trading is wrong? andon stop", style="dim")
    problems = sorted(data.get("problems", []), key=lambda one: one["level"] != "alarm")
    lines = [
        Text(f"{one['level'].upper():6} {_where(one)}: {clean(one['words'], 200)}", style="red" if one["level"] == "alarm" else "yellow")
        for one in problems[:ALARMS_SHOWN]
    ]
    if len(problems) > ALARMS_SHOWN:
        lines.append(Text(f"and {len(problems) - ALARMS_SHOWN} more: andon watch --once"))
    lines += [Text("WARNING " + clean(words, 200), style="bold red") for words in data.get("not_told", [])]
    rows = data.get("rows", [])
    room = max(height - len(lines) - 6, 3)
    if len(rows) > room:
        lines.append(Text(f"and {len(rows) - room} containers more, none of them with an alarm of its own above: andon watch --once", style="dim"))
    return Group(head, _table(rows[:room]), *lines, foot)


def _table(rows: list[Mapping[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, expand=True)
    for name, justify in (("HOST", "left"), ("CONTAINER", "left"), ("STATE", "left"), ("HELD", "right"), ("LIMIT", "right"), ("RESTARTS", "right")):
        table.add_column(name, justify=justify, no_wrap=True, overflow="ellipsis")
    table.add_column("ERRORS/min", justify="right", no_wrap=True)
    table.add_column("COURSE", no_wrap=True)
    for row in rows:
        cells = [
            clean(row["host"], 30),
            clean(row["name"], 40),
            clean(row["state"], 12),
            "-" if row["held"] is None else size(row["held"]),
            size(row["limit"]) if row["limit"] else "-",
            str(row["restarts"]),
            "-" if row["errors"] is None else f"{row['errors']:.0f}",
            row["course"],
        ]
        # Text, not str: a name with brackets in it is no markup.
        table.add_row(*(Text(cell) for cell in cells), style="red" if row["bad"] else "")
    return table
