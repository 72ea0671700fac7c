"""Words from hosts and people are data: cleaned before they are shown, checked before they are used.

This file is used on the bastion (CLI, callback, actions) and on the hosts (modules), so it is standard library only
and runs on Python 3.8.
"""

from __future__ import annotations

import re
import unicodedata

# Container names: the engine's own rule ([a-zA-Z0-9][a-zA-Z0-9_.-]*), which Compose services and image users keep too.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}\Z")
# Strategy, release, incident and venue ids: the same characters, and no dot at the start (they become file names).
ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")

# CSI, OSC (ended by BEL or ST), and the two-byte escapes: whole sequences go, not only the ESC byte.
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[@-Z\\-_]|\x9b[0-?]*[ -/]*[@-~]")

_MUX = re.compile(r"^mux_client_[^\r\n]*[\r\n]+", re.M)


def without_mux(message):
    """What ssh wrote, without what it says of a shared connection that has died: why the new one failed stands behind it."""
    return _MUX.sub("", str(message))


def clean(value, limit=200):
    """One line of plain text from anything.

    Args:
        value: any object; C(str()) of it is used.
        limit: the greatest length in characters; longer text ends in "…".

    Returns:
        str: no escape sequence, no control or bidirectional character, no line break.
    """
    text = _ESCAPES.sub("", str(value))
    # Cc: controls; Cf: bidirectional overrides and zero-width characters, which can make a name look like another.
    text = "".join(" " if c in "\t\r\n\v\f\x85\u2028\u2029" else c for c in text)
    text = "".join(c for c in text if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co"))
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: max(limit - 1, 0)] + "…"


def clean_lines(value, limit=200, lines=50):
    """Several lines of plain text: C(clean) on each line, at most C(lines) of them (the last ones)."""
    return [clean(line, limit) for line in str(value).splitlines()][-lines:]


def valid_name(value):
    """True if the engine would accept this as a container's name."""
    return isinstance(value, str) and NAME.match(value) is not None


def valid_id(value):
    """True for a strategy's, venue's, release's or incident's id (it may become a file's name)."""
    return isinstance(value, str) and ID.match(value) is not None


def nearest(word, known, count=3):
    """The known words that look most like C(word), best first."""
    import difflib

    return difflib.get_close_matches(str(word), [str(k) for k in known], n=count, cutoff=0.5)


def duration(seconds):
    """Seconds as a person says them: 0.4 s, 12 s, 3 min 05 s, 2 h 07 min, 3 d 4 h."""
    if seconds is None:
        return "?"
    sign = "-" if seconds < 0 else ""
    seconds = abs(float(seconds))
    if seconds < 9.95:
        return "%s%.1f s" % (sign, seconds)
    whole = int(round(seconds))
    if whole < 60:
        return "%s%d s" % (sign, whole)
    if whole < 3600:
        return "%s%d min %02d s" % (sign, whole // 60, whole % 60)
    if whole < 86400:
        return "%s%d h %02d min" % (sign, whole // 3600, whole % 3600 // 60)
    return "%s%d d %d h" % (sign, whole // 86400, whole % 86400 // 3600)


def size(count):
    """Bytes as a person says them: 512 B, 3.4 MiB."""
    if count is None:
        return "?"
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(value) < 1024 or unit == "TiB":
            return "%d B" % value if unit == "B" else "%.1f %s" % (value, unit)
        value /= 1024
    return "?"


def plural(count, word):
    """1 host, 2 hosts."""
    return "%d %s%s" % (count, word, "" if count == 1 else "s")
