"""The post-mortem as one self-contained page: no script, nothing loaded, the timeline drawn as SVG.

Bastion only; markdown-it-py (rich needs it, too) turns Markdown into HTML, and lets no HTML through.
"""

from __future__ import annotations

import html
import math
import re
from dataclasses import dataclass
from typing import Any

from . import incidents, postmortem
from .incidents import Incident
from .text import clean, duration, size

WIDTH, LEFT, RIGHT = 960, 110, 24
SERIES = (("error_rate", "errors/min"), ("memory", "memory"))

_CSS = """
:root { color-scheme: light dark; --ink: #1a1c20; --paper: #fff; --soft: #5b616e; --line: #d5d9e0; --bad: #b3261e; --blue: #1f5fbf; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8eaee; --paper: #15171b; --soft: #a4abb8; --line: #3a3f49; --bad: #ff8a80; --blue: #8ab4f8; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 1rem; font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
body { color: var(--ink); background: var(--paper); }
h1 { font-size: 1.6rem; line-height: 1.2; } h2 { margin-top: 2rem; border-bottom: 1px solid var(--line); font-size: 1.25rem; } h3 { font-size: 1.05rem; }
table { border-collapse: collapse; display: block; overflow-x: auto; } th, td { border: 1px solid var(--line); padding: .3rem .6rem; text-align: left; }
code { font-size: .9em; } figure { margin: 1rem 0; overflow-x: auto; } figcaption, footer { color: var(--soft); font-size: .9rem; }
svg { width: 100%; min-width: 34rem; height: auto; display: block; } svg text { fill: var(--ink); font: 12px system-ui, sans-serif; }
.axis { stroke: var(--line); } .tick { stroke: var(--blue); stroke-width: 2; } .halt { fill: var(--bad); }
.series { fill: none; stroke: var(--blue); stroke-width: 1.5; } svg .soft { fill: var(--soft); }
@media print { body { max-width: none; } }
"""


@dataclass(frozen=True)
class Scale:
    """Maps Unix times to columns of the drawing."""

    start: float
    end: float

    def x(self, at: float) -> float:
        part = (at - self.start) / (self.end - self.start)
        return round(LEFT + min(max(part, 0.0), 1.0) * (WIDTH - LEFT - RIGHT), 1)


def page(text: str, incident: Incident | None) -> str:
    """The whole page.

    Args:
        text: the post-mortem's Markdown.
        incident: the folded journal for the drawing; None: there is none here, and the page says so.
    """
    first = next((line for line in text.splitlines() if line.startswith("# ")), "# Incident")
    title = html.escape(clean(re.sub(r"\\(.)", r"\1", html.unescape(first[2:])), 160))
    drawing = figure(incident) if incident else "<p>The timeline is not drawn: the incident's journal is not on this machine.</p>"
    body = _body(text)
    head, mark, rest = body.partition("</h1>")
    body = head + mark + drawing + rest if mark else drawing + body
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<title>%s</title>\n<style>%s</style>\n</head>\n<body>\n%s\n<footer>All times are UTC.</footer>\n</body>\n</html>\n" % (title, _CSS, body)
    )


def _body(text: str) -> str:
    from markdown_it import MarkdownIt

    # Comments are marks for machines; what else looks like HTML is shown as text (html=False), and no image is loaded.
    plain = re.sub(r"<!--.*?-->\n?", "", text.replace("\r\n", "\n"), flags=re.DOTALL)
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
    body = markdown.render(plain.encode("utf-8", "replace").decode())
    body = re.sub(r"<li>\s*(<p>)?\[ \] ", lambda m: "<li>%s\u2610 " % (m[1] or ""), body)
    return re.sub(r"<li>\s*(<p>)?\[[xX]\] ", lambda m: "<li>%s\u2611 " % (m[1] or ""), body)


def figure(incident: Incident) -> str:
    """The drawn timeline: halts as bars, events as numbered ticks, error rate and memory as curves when recorded."""
    events = postmortem.rows(incident)
    curves = [(name, unit, points) for name, unit in SERIES if len(points := series(incident, name)) > 1]
    times = [event.at for event in events] + [halt.since for halt in incident.halts]
    times += [halt.until for halt in incident.halts if halt.until is not None]
    times += [at for _, _, points in curves for at, _ in points]
    if not times:
        return "<p>The timeline is not drawn: nothing is recorded.</p>"
    start, end = min(times), max(times)
    scale = Scale(start, end if end - start >= 1 else start + 1)
    parts, y = _axis(scale), 44
    for halt in incident.halts:
        parts += _bar(scale, halt, y)
        y += 24
    parts += _ticks(scale, events, y)
    y += 44
    for name, unit, points in curves:
        parts += _curve(scale, name, unit, points, y)
        y += 84
    missing = [name.replace("_", " ") for name, _ in SERIES if name not in [curve[0] for curve in curves]]
    note = "Red: halted. Blue marks: events, in the order of the list."
    note += " Not recorded: %s." % ", ".join(missing) if missing else ""
    words = "\n".join("<li>%s</li>" % html.escape(_words(event)) for event in events)
    head = '<svg viewBox="0 0 %d %d" role="img" aria-label="Timeline from %s to %s UTC">' % (WIDTH, y + 8, incidents.moment(start), incidents.moment(end))
    legend = "<details>\n<summary>What the numbers are</summary>\n<ol>\n%s\n</ol>\n</details>" % words
    return "<figure>\n%s\n%s\n</svg>\n<figcaption>%s</figcaption>\n%s\n</figure>\n" % (head, "\n".join(parts), note, legend)


def _words(event: incidents.Event) -> str:
    return clean("%s UTC %s: %s" % (incidents.moment(event.at), event.actor, event.text), 300)


def _axis(scale: Scale) -> list[str]:
    parts = []
    for step in range(5):
        at = scale.start + (scale.end - scale.start) * step / 4
        x = scale.x(at)
        anchor = "start" if step == 0 else "end" if step == 4 else "middle"
        # Dates, not only times: an incident may go over midnight.
        day, _, clock = incidents.moment(at).partition(" ")
        parts.append('<text x="%s" y="14" text-anchor="%s">%s</text>' % (x, anchor, clock))
        parts.append('<text x="%s" y="28" text-anchor="%s" class="soft">%s</text>' % (x, anchor, day))
        parts.append('<line x1="%s" y1="32" x2="%s" y2="38" class="axis"/>' % (x, x))
    parts.append('<line x1="%d" y1="38" x2="%d" y2="38" class="axis"/>' % (LEFT, WIDTH - RIGHT))
    return parts


def _bar(scale: Scale, halt: incidents.Halt, y: int) -> list[str]:
    until = halt.until if halt.until is not None else scale.end
    x = scale.x(halt.since)
    wide = max(scale.x(until) - x, 3)
    words = "%s halted for %s" % (halt.scope, duration(max(until - halt.since, 0))) if halt.until is not None else halt.scope + " still halted"
    return [
        '<text x="0" y="%d">halted</text>' % (y + 13),
        '<rect x="%s" y="%d" width="%s" height="16" rx="2" class="halt"><title>%s</title></rect>' % (x, y, round(wide, 1), html.escape(clean(words, 200))),
    ]


def _ticks(scale: Scale, events: list[incidents.Event], y: int) -> list[str]:
    parts = ['<text x="0" y="%d">events</text>' % (y + 14)]
    row_ends = [-100.0, -100.0]
    for number, event in enumerate(events, 1):
        x = scale.x(event.at)
        words = html.escape("%d. %s" % (number, _words(event)))
        parts.append('<line x1="%s" y1="%d" x2="%s" y2="%d" class="tick"><title>%s</title></line>' % (x, y, x, y + 14, words))
        # Numbers that would lie on each other go to the second row, or are left out: the tick has its words.
        for row in (0, 1):
            if x - row_ends[row] > 8 + 7 * len(str(number)):
                row_ends[row] = x
                parts.append('<text x="%s" y="%d" text-anchor="middle">%d</text>' % (x, y + 26 + 12 * row, number))
                break
    return parts


def _curve(scale: Scale, name: str, unit: str, points: list[tuple[float, float]], y: int) -> list[str]:
    top = max(value for _, value in points) or 1.0
    path = " ".join("%s,%s" % (scale.x(at), round(y + 64 - 56 * value / top, 1)) for at, value in points)
    most = size(top) if name == "memory" else "%.6g %s" % (top, unit)
    return [
        '<text x="0" y="%d">%s</text>' % (y + 20, name.replace("_", " ")),
        '<text x="0" y="%d" class="soft">max %s</text>' % (y + 36, html.escape(most)),
        '<line x1="%d" y1="%d" x2="%d" y2="%d" class="axis"/>' % (LEFT, y + 64, WIDTH - RIGHT, y + 64),
        '<polyline points="%s" class="series"/>' % path,
    ]


def series(incident: Incident, name: str) -> list[tuple[float, float]]:
    """Samples that verbs reported as C(data[name]): [[Unix time in seconds, value >= 0], …], at most 2000, in time's order."""
    points: dict[float, float] = {}
    for run in incident.runs:
        samples: Any = run.data.get(name)
        for sample in samples if isinstance(samples, list) else []:
            if isinstance(sample, list) and len(sample) == 2 and all(_is_number(part) for part in sample) and 0 < sample[0] < 7e9 and sample[1] >= 0:
                points[float(sample[0])] = float(sample[1])
    return sorted(points.items())[:2000]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
