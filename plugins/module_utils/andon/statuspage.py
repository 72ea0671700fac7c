"""The public status page: HTML without JavaScript, a JSON feed and an Atom feed, written from public updates and nothing else.

Titles, ids, severities and internal words never get here: an incident has the public title that an update gave it, else its
date, and an opaque id. The files are static; serve the folder with any web server.

Bastion only. Jinja comes with ansible-core.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import fcntl
import functools
import hashlib
import json
import os
import uuid
import xml.etree.ElementTree as xml  # written only, never parsed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import incidents, journal, state
from .locks import lock_file
from .text import clean, clean_lines

STATES = ("investigating", "identified", "monitoring", "resolved")
TEMPLATE = state.ROOT / "templates" / "status-page.html.j2"
RECENT = 14 * 86400.0  # seconds; what ended before is on the history page
FEED = 50  # newest updates in the feeds
LENGTH = 2000  # characters of a public update
_ATOM = "http://www.w3.org/2005/Atom"


@dataclass(frozen=True)
class Update:
    """One public update: Unix time, a word of STATES, paragraphs of clean text."""

    at: float
    state: str
    text: tuple[str, ...]
    id: str


@dataclass
class Public:
    """What the public knows of an incident."""

    id: str
    title: str
    updates: list[Update] = field(default_factory=list)  # oldest first

    @property
    def state(self) -> str:
        return self.updates[-1].state

    @property
    def over(self) -> bool:
        return self.state == "resolved"


def place() -> Path:
    return Path(os.environ.get("ANDON_STATUS_PAGE") or state.state_dir() / "status-page")


def public_id(incident: str) -> str:
    """An id that says nothing: the incident's own one holds words of its internal title."""
    return hashlib.sha256(b"andon status page " + incident.encode("utf-8", "replace")).hexdigest()[:16]


def public_view(name: str, lines: list[dict[str, Any]]) -> Public | None:
    """What the public knows, from a journal's lines; None when there was no public update. Pure."""
    result: Public | None = None
    for line in lines:
        data, at = line["data"], state.parse_utc(line["at"]) or 0.0
        kind = line["kind"]
        if kind == "incident.updated" and data.get("public") is True:
            if result is None:
                result = Public(public_id(name), "Incident of " + _day(at))
            if clean(data.get("title") or ""):
                result.title = clean(data["title"], 120)
            before = result.updates[-1].state if result.updates else STATES[0]
            said = data.get("state") if data.get("state") in STATES else before
            paragraphs = [text for text in clean_lines(str(data.get("text", ""))[: LENGTH * 2], LENGTH, 40) if text]
            result.updates.append(Update(at, said, tuple(paragraphs) or ("(no words)",), _id(name, line["seq"])))
        elif result and kind == "incident.resolved" and not result.over:
            result.updates.append(Update(at, "resolved", ("This incident is resolved.",), _id(name, line["seq"])))
        elif result and kind == "incident.reopened" and result.over:
            result.updates.append(Update(at, "investigating", ("This incident is not over; we are on it again.",), _id(name, line["seq"])))
    return result


def _id(name: str, seq: int) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, "andon:%s:%d" % (public_id(name), seq)))


def collect() -> tuple[list[Public], list[str]]:
    """All incidents with a public update, the newest first, and the journals that could not be read."""
    found, bad = [], []
    for name in incidents.ids():
        try:
            public = public_view(name, journal.read(incidents.folder(name)))
        except (journal.JournalError, incidents.IncidentError) as error:
            bad.append(clean(error, 160))
            continue
        if public:
            found.append(public)
    return sorted(found, key=lambda item: -item.updates[0].at), bad


def build(now: float | None = None) -> tuple[Path, list[str]]:
    """Writes the page and the feeds anew, each file at once.

    Args:
        now: Unix time in seconds; None: the clock's.

    Returns:
        (the page's folder, journals that could not be read).

    Raises:
        OSError: the folder cannot be written.
    """
    handle = lock_file(state.state_dir() / ".status-page.lock")
    try:
        # Who comes second reads the journals after the first one wrote: the page never goes back.
        fcntl.flock(handle, fcntl.LOCK_EX)
        public, bad = collect()
        moment = datetime.datetime.now(datetime.timezone.utc).timestamp() if now is None else now
        folder = place()
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(PermissionError):  # another member of the group made it
            folder.chmod(folder.stat().st_mode | 0o755)
        for name, content in files(public, moment).items():
            state.write_atomic(folder / name, content, 0o644)
        return folder, bad
    finally:
        os.close(handle)


def files(public: list[Public], now: float) -> dict[str, str]:
    """File name -> content. Pure but for the template."""
    recent = [item for item in public if not item.over or now - item.updates[-1].at < RECENT]
    title = clean(os.environ.get("ANDON_STATUS_TITLE") or "Trading status", 80)
    base = _base()
    return {
        "index.html": _html(title, recent, now, history=False, more=len(recent) < len(public)),
        "history.html": _html(title, public, now, history=True, more=False),
        "feed.json": json.dumps(_json_feed(title, public, base), indent=1, ensure_ascii=False) + "\n",
        "feed.xml": _atom(title, public, base, now),
    }


def _base() -> str:
    """Where the page is to be seen, with a slash at its end; "" when nobody said so."""
    base = os.environ.get("ANDON_STATUS_URL", "").strip()
    if not base.startswith(("https://", "http://")):
        return ""
    return clean(base, 300).rstrip("/") + "/"


def _html(title: str, public: list[Public], now: float, *, history: bool, more: bool) -> str:
    template = _compiled(TEMPLATE.read_text(encoding="utf-8"))
    style = (TEMPLATE.parent / "status-page.css").read_text(encoding="utf-8")
    # The policy names the one style by its hash: whatever else got into the page would not be run, loaded or drawn.
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    values = {"title": title, "history": history, "more": more, "now": now, "style": style, "digest": digest, "incidents": public}
    return template.render(values, open=[item for item in public if not item.over], over=[item for item in public if item.over]) + "\n"


@functools.lru_cache(maxsize=2)
def _compiled(source: str) -> Any:
    import jinja2

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"stamp": _stamp, "iso": _iso}
    return environment.from_string(source)


def _newest(public: list[Public]) -> list[tuple[Public, Update]]:
    return sorted(((item, update) for item in public for update in item.updates), key=lambda pair: -pair[1].at)[:FEED]


def _json_feed(title: str, public: list[Public], base: str) -> dict[str, Any]:
    items = [
        {
            "id": "urn:uuid:" + update.id,
            "title": "%s: %s" % (item.title, update.state),
            "content_text": "\n\n".join(update.text),
            "date_published": _iso(update.at),
            "tags": [update.state],
            **({"url": "%shistory.html#%s" % (base, item.id)} if base else {}),
        }
        for item, update in _newest(public)
    ]
    links = {"home_page_url": base, "feed_url": base + "feed.json"} if base else {}
    return {"version": "https://jsonfeed.org/version/1.1", "title": title, "language": "en", **links, "items": items}


def _atom(title: str, public: list[Public], base: str, now: float) -> str:
    xml.register_namespace("", _ATOM)
    feed = xml.Element("{%s}feed" % _ATOM)

    def add(parent: xml.Element, tag: str, text: str = "", **attributes: str) -> xml.Element:
        child = xml.SubElement(parent, "{%s}%s" % (_ATOM, tag), attributes)
        child.text = text or None
        return child

    pairs = _newest(public)
    add(feed, "id", "urn:uuid:%s" % uuid.uuid5(uuid.NAMESPACE_URL, base or "andon:status-page"))
    add(feed, "title", title)
    add(feed, "updated", _iso(pairs[0][1].at if pairs else now))
    add(add(feed, "author"), "name", title)
    if base:
        add(feed, "link", rel="self", href=base + "feed.xml")
        add(feed, "link", rel="alternate", href=base)
    for item, update in pairs:
        entry = add(feed, "entry")
        add(entry, "id", "urn:uuid:" + update.id)
        add(entry, "title", "%s: %s" % (item.title, update.state), type="text")
        add(entry, "updated", _iso(update.at))
        add(entry, "content", "\n\n".join(update.text), type="text")
        if base:
            add(entry, "link", rel="alternate", href="%shistory.html#%s" % (base, item.id))
    return '<?xml version="1.0" encoding="utf-8"?>\n' + xml.tostring(feed, encoding="unicode") + "\n"


def _utc(at: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(at, datetime.timezone.utc)


def _iso(at: float) -> str:
    return _utc(at).strftime("%Y-%m-%dT%H:%M:%SZ")


def _stamp(at: float) -> str:
    return _utc(at).strftime("%Y-%m-%d %H:%M UTC")


def _day(at: float) -> str:
    return _utc(at).strftime("%Y-%m-%d")
