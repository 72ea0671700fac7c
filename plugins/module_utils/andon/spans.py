"""Spans of time as a person types them: 90, 90s, 2m, 1.5h. Standard library only, Python 3.8."""

from __future__ import annotations

import re

_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|d|)\Z", re.ASCII)
_UNITS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


def seconds(text):
    """Seconds of a span.

    Args:
        text: a number (seconds) or a number with s, m, min, h or d behind it.

    Raises:
        ValueError: it is none; C(str()) says what is.
    """
    found = _SPAN.match(str(text).strip().lower())
    if not found or len(str(text)) > 20:
        raise ValueError("'%s' is no span of time; type for example 30s, 2m or 1h" % str(text)[:40])
    return float(found.group(1)) * _UNITS[found.group(2)]
