"""Which incident a run belongs to: the open one, else the id that a stop without one will open."""

from __future__ import annotations

from .state import state_dir, utc
from .text import valid_id


def active():
    """The open incident's id, or None. Never raises: nothing about incidents may stand in front of a stop."""
    try:
        name = (state_dir() / "active").read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None
    return name if valid_id(name) else None


def free_id(slug, at):
    """<UTC date>-<slug>, with -2, -3 ... while there is such an incident already. at: Unix seconds."""
    base = "%s-%s" % (utc(at)[:10], slug)
    name, number = base, 1
    while (state_dir() / "incidents" / name).exists():
        number += 1
        name = "%s-%d" % (base, number)
    return name


def current_or_new(at):
    """The open incident's id, else the one that a stop pressed at C(at) opens when it is over."""
    return active() or free_id("emergency-stop", at)
