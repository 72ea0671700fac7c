"""Error lines: which they are, which of them say the same, how many per minute, and a line of bars to see it.

Standard library only, Python 3.8: used on the hosts and on the bastion.
"""

from __future__ import annotations

import bisect
import math
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
# ord-8812, clientOrderId=A1b2, 7f3a, 35ms: a word with a letter and a digit in it; then plain numbers.
_MIXED = re.compile(r"\b(?=[A-Za-z0-9_-]*[0-9])(?=[A-Za-z0-9_-]*[A-Za-z])[A-Za-z0-9][A-Za-z0-9_-]*")
_NAMED = re.compile(
    r"(?i)((?:passw(?:or)?d|passwd|passphrase|secret|token|api[_-]?key|private[_-]?key|signature|authorization|credentials?|cookie)"
    r"[a-z0-9_.-]{0,40}[\"']?\s{0,3}(?:=>|[:=])\s{0,3})(?:(?:bearer|basic)\s+)?(?:\"[^\"]*(?:\"|\Z)|'[^']*(?:'|\Z)|[^\s,;&)}\]]+)"
)
_USERINFO = re.compile(r"(://)[^\s/@]+@")
_SCHEME = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}")
_VALUE = re.compile(r"=(?:<n>|<hex>|<uuid>)")
_CRITICAL = re.compile(r"\b(?:CRITICAL|FATAL|critical|crit|fatal)\b")
_DIGITS = re.compile(r"[0-9]+")
_NUMBER = re.compile(r"[-+]?\d+(?:[.,]\d+)*")


class PatternError(ValueError):
    """A pattern of the inventory is no regular expression. C(str()) is one line for a person."""


class Matcher:
    """Says whether a line is an error.

    Args:
        patterns: regular expressions; none: C(PATTERNS).

    Raises:
        PatternError: one of them is no regular expression.
    """

    def __init__(self, patterns=()):
        self.own = not patterns
        self.compiled = []
        for pattern in patterns or PATTERNS:
            try:
                self.compiled.append(re.compile(pattern))
            except (re.error, TypeError, OverflowError, RecursionError) as error:
                raise PatternError("the error pattern %s is no regular expression: %s" % (clean(pattern, 60), error)) from None

    def __call__(self, line):
        return any(one.search(line) for one in self.compiled)

    def maybe(self, raw):
        """False only when no line of these bytes can be an error: every one of C(PATTERNS) needs one of three words."""
        if not self.own:
            return True
        small = raw.lower()
        return b"err" in small or b"crit" in small or b"fatal" in small


def mask(words):
    """Words without what looks like a secret by its name or by its place; a page that goes into a report must not hold one.

    Only for the few lines that are shown: the log bundle has its own, thorough redactor.
    """
    words = _USERINFO.sub(r"\1<secret>@", words)
    words = _NAMED.sub(r"\1<secret>", words)
    return _SCHEME.sub(r"\1 <secret>", words)


def shape(line, limit=160):
    """A message without what differs from one time to the next, inert for a terminal.

    Times, UUIDs, hexadecimal words, quoted ids, ids and numbers become <time>, <uuid>, <hex>, <id>, <n>.
    """
    words = mask(clean(line[:400], 400))
    words = _UUID.sub("<uuid>", words)
    words = _TIME.sub("<time>", words)
    words = _HEX.sub("<hex>", words)
    words = _QUOTED.sub("<id>", words)
    words = _MIXED.sub("<id>", words)
    words = _NUMBER.sub("<n>", words)
    # 9f86d081 and 12345678 may be the same field.
    words = _VALUE.sub("=<id>", words)
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


def level(line):
    """CRITICAL for the two worst words, else ERROR."""
    return "CRITICAL" if _CRITICAL.search(line) else "ERROR"


class Tally:
    """The errors of one source, folded: counts, times, shapes. Bounded, however many lines and shapes there are.

    Args:
        start, end: Unix times of the span that is looked at.
        bins: how many parts the span has.
    """

    SHAPES = 500
    CACHE = 5000

    def __init__(self, start, end, bins):
        self.cache = {}
        self.start, self.end, self.bins = start, end, bins
        self.levels, self.shapes, self.stamps, self.undated = {}, {}, [], 0
        self.first_line = ""

    def add(self, at, line):
        """One error line; C(at) is its Unix time or None."""
        self.levels[level(line)] = self.levels.get(level(line), 0) + 1
        if at is None:
            self.undated += 1
        else:
            self.stamps.append(at)
        key = self.shape_of(line)
        if key not in self.shapes and len(self.shapes) >= self.SHAPES:
            key = "(other messages)"
        if key in self.shapes:
            one = self.shapes[key]
            one["count"] += 1
            if at is not None:
                one["first"] = at if one["first"] is None else min(one["first"], at)
                one["last"] = at if one["last"] is None else max(one["last"], at)
        else:
            self.shapes[key] = {"shape": key, "count": 1, "first": at, "last": at, "example": mask(clean(line, 200))}

    def shape_of(self, line):
        """C(shape), remembered for lines that differ only in their digits: it costs 0.1 ms, and a log may hold 100 000 errors."""
        rough = _DIGITS.sub("0", line[:400])
        if rough not in self.cache:
            if len(self.cache) >= self.CACHE:
                self.cache.clear()
            self.cache[rough] = shape(line)
        return self.cache[rough]

    def result(self, covered):
        """Plain data; C(covered): from when on the source is known."""
        common = sorted(self.shapes.values(), key=lambda one: (-one["count"], one["shape"]))
        return {
            "count": len(self.stamps) + self.undated,
            "undated": self.undated,
            "levels": self.levels,
            "first": min(self.stamps) if self.stamps else None,
            "last": max(self.stamps) if self.stamps else None,
            "buckets": buckets(self.stamps, self.start, self.end, self.bins),
            "change": change(self.stamps, self.start, self.end, covered, self.bins),
            "shapes": common[:8],
            "kinds": len(common),
        }


def change(stamps, start, end, covered, bins):
    """Where the rate of errors changed most.

    Every border between two parts of the span is tried; the one is taken that makes two constant rates (Poisson) most likely
    against one. Below a score of 6 there is no change: about one steady stream in a hundred passes it by chance.

    Args:
        stamps: Unix times of the errors. start, end: the span. covered: from when on the source is known. bins: how many parts.

    Returns:
        dict: at (Unix time of the first error after the border, None when nothing changed), before, after (errors per minute on
        its sides; without a change: in the first and second half; None where nothing is known), score (the log-likelihood ratio,
        below 0 when the rate fell).
    """
    start = max(start, covered)
    inside = sorted(at for at in stamps if start <= at < end)
    middle = (start + end) / 2
    none = {"at": None, "before": per_minute(inside, start, middle, start), "after": per_minute(inside, middle, end, start), "score": 0.0}
    if not inside or end - start < 2.0:
        return none
    counts, borders, seen = buckets(inside, start, end, bins), [], 0
    step = (end - start) / bins
    for index in range(1, bins):
        seen += counts[index - 1]
        borders.append((_score(inside, seen, start + index * step, start, end), seen, start + index * step))
    _, _, coarse = max(borders)
    # A part is a minute of half an hour's window: too coarse to say which of two broke first. So each error near the border is
    # tried as the first one after it.
    low, high = bisect.bisect_left(inside, coarse - step), bisect.bisect_right(inside, coarse + step)
    for index in range(low, high, max((high - low) // 2000, 1)):
        if inside[index] > start:
            borders.append((_score(inside, index, inside[index], start, end), index, inside[index]))
    score, left, border = max(borders)
    if score < 6.0:
        return none
    before, after = 60 * left / (border - start), 60 * (len(inside) - left) / (end - border)
    first = inside[left] if left < len(inside) else border
    return {"at": first if after > before else border, "before": before, "after": after, "score": score if after > before else -score}


def _score(stamps, left, border, start, end):
    """How much likelier two constant rates are than one, when C(left) of the events lie before C(border)."""
    overall = len(stamps) / (end - start)
    return _gain(left, left / (border - start), overall) + _gain(len(stamps) - left, (len(stamps) - left) / (end - border), overall)


def _gain(count, rate, overall):
    return count * math.log(rate / overall) if count else 0.0
