"""Error lines: which they are, which of them say the same, how many per minute, and a line of bars to see it.

Standard library only, Python 3.8: used on the hosts and on the bastion.
"""

from __future__ import annotations

import re

from .text import clean

# What counts as an error when the inventory does not say otherwise: the level as a word of its own in capitals (Python,
# Java, most loggers), and as a field of JSON or logfmt in any case.
PATTERNS = (
    r"\b(?:ERROR|CRITICAL|FATAL)\b",
    r"(?i)[\"'](?:level|levelname|severity)[\"']\s*:\s*[\"'](?:err|error|critical|crit|fatal)[\"']",
    r"(?i)\b(?:level|lvl|severity)=\"?(?:err|error|critical|crit|fatal)\b",
)
BARS = " ▁▂▃▄▅▆▇█"

_UUID = re.compile(r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b")
_TIME = re.compile(r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d)?(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?)?|\b\d\d:\d\d:\d\d(?:[.,]\d+)?\b")
_HEX = re.compile(r"\b(?:0x[0-9a-fA-F]+|(?=[0-9a-fA-F]*\d)(?=[0-9a-fA-F]*[a-fA-F])[0-9a-fA-F]{8,})\b")
# A quoted word that holds a digit is an id; a quoted word without one is part of the message.
_QUOTED = re.compile(r"\"[^\"\s]{0,200}\d[^\"\s]{0,200}\"|'[^'\s]{0,200}\d[^'\s]{0,200}'")
# ord-8812, clientOrderId=A1b2: a word with a digit inside it; then plain numbers.
_MIXED = re.compile(r"\b[A-Za-z]+[-_]?\d[A-Za-z0-9_-]*\b")
_NUMBER = re.compile(r"[-+]?\d+(?:[.,]\d+)*")


class PatternError(ValueError):
    """A pattern of the inventory is no regular expression. C(str()) is one line for a person."""


def matcher(patterns=()):
    """A function that says whether a line is an error.

    Args:
        patterns: regular expressions; none: C(PATTERNS).

    Raises:
        PatternError: one of them is no regular expression.
    """
    compiled = []
    for pattern in patterns or PATTERNS:
        try:
            compiled.append(re.compile(pattern))
        except (re.error, TypeError, OverflowError, RecursionError) as error:
            raise PatternError("the error pattern %s is no regular expression: %s" % (clean(pattern, 60), error)) from None
    return lambda line: any(one.search(line) for one in compiled)


def shape(line, limit=160):
    """A message without what differs from one time to the next, inert for a terminal.

    Times, UUIDs, hexadecimal words, quoted ids, ids and numbers become <time>, <uuid>, <hex>, <id>, <n>.
    """
    words = clean(line, 1000)
    words = _UUID.sub("<uuid>", words)
    words = _TIME.sub("<time>", words)
    words = _HEX.sub("<hex>", words)
    words = _QUOTED.sub("<id>", words)
    words = _MIXED.sub("<id>", words)
    words = _NUMBER.sub("<n>", words)
    while words.startswith(("<time> ", "[<time>] ")):
        words = words.partition(" ")[2]
    return words if len(words) <= limit else words[: limit - 1] + "…"


def spark(values, width=0):
    """A line of bars for numbers; None is a blank, and so is 0. C(width) folds them by their greatest."""
    values = list(values)
    if width and len(values) > width:
        folded = []
        for index in range(width):
            part = values[index * len(values) // width : (index + 1) * len(values) // width]
            known = [v for v in part if v is not None]
            folded.append(max(known) if known else None)
        values = folded
    top = max([v for v in values if v is not None and v == v and v != float("inf")] or [0])
    bars = []
    for value in values:
        if value is None or value != value or value <= 0 or top <= 0:
            bars.append(BARS[0])
        else:
            bars.append(BARS[max(1, min(8, int(8 * value / top + 0.5) if value != float("inf") else 8))])
    return "".join(bars)


def per_minute(stamps, start, end, covered):
    """Events per minute between two times, over the part of it that the log covers.

    Args:
        stamps: Unix times of the events.
        start, end: Unix times.
        covered: from when on the log is known.

    Returns:
        float, or None when the log covers nothing of it.
    """
    start = max(start, covered)
    if end - start < 1.0:
        return None
    return 60.0 * len([at for at in stamps if start <= at < end]) / (end - start)


def buckets(stamps, start, end, count):
    """How many of the times fall into each of C(count) equal parts of [start, end)."""
    result = [0] * count
    if end <= start:
        return result
    for at in stamps:
        if start <= at < end:
            result[min(int((at - start) * count / (end - start)), count - 1)] += 1
    return result
