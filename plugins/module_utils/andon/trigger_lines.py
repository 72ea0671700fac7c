"""Log lines that speak of a kill switch: what they say, and how sure that is. Used on the hosts and on the bastion.

A log that says "max drawdown 10%" has said nothing yet; one that says "kill switch triggered: drawdown 12% > 10%" has. So a line
needs a word for the switch and a word for the act, and words that take it back ("not", "armed") or make it doubtful ("if", "reset")
are heard. The
texts of Freqtrade's protections, of hummingbot's kill switch and of nautilus_trader's risk engine were read in their sources.

Standard library only, Python 3.8.
"""

from __future__ import annotations

import re
import time

from . import shapes
from .text import clean

CAUSES = ("drawdown", "error_rate", "manual")
# What a line says, from strong to weak.
TRIP = "trip"  # the switch fired, or trading was halted
LIMIT = "limit"  # a limit was crossed; of a halt it says nothing
DOUBT = "doubt"  # it may say that the switch fired, and may say that it will or would
MENTION = "mention"  # it only speaks of it, or says that it did not fire, or that it was lifted
STRENGTHS = (TRIP, LIMIT, DOUBT, MENTION)
KEPT = 60  # events of each strength that one log may give
LONGEST = 1500  # characters of a line that are judged
CACHE = 2000  # lines that are remembered
AGAIN = 120.0  # seconds: what is said again later than that is another event

_I = re.IGNORECASE
# Software whose words are known: (rule, cause, pattern). The cause "" means that the line does not name one.
KNOWN = tuple(
    (rule, cause, re.compile(pattern))
    for rule, cause, pattern in (
        ("Freqtrade MaxDrawdown", "drawdown", r"Trading stopped due to Max Drawdown "),
        ("Freqtrade StoplossGuard", "drawdown", r"Trading stopped due to \d+ stoplosses within "),
        ("Freqtrade MaxDrawdown", "drawdown", r"Global pairlock active until .{10,80}reason: -?[\d.]{1,24} passed -?[\d.]{1,24} in "),
        ("Freqtrade StoplossGuard", "drawdown", r"Global pairlock active until .{10,80}reason: \d+ stoplosses in "),
        # The reasons of the locks themselves, as its API gives them.
        ("Freqtrade MaxDrawdown", "drawdown", r"(?<![\d.])[\d.]{1,24} passed -?[\d.]{1,24} in .{1,40}, locking "),
        ("Freqtrade StoplossGuard", "drawdown", r"\b\d+ stoplosses in .{1,30}, locking "),
        ("Freqtrade lock", "", r"Global pairlock active until "),
        ("Freqtrade state", "", r"Changing state from: ?[A-Z]+ to: (?:STOPPED|PAUSED)|Changing state from [A-Z]+ to: (?:STOPPED|PAUSED)"),
        # Its limit is a share of profit or loss: above 0 it takes a profit.
        ("hummingbot P&L threshold", "drawdown", r"Kill switch threshold reached\. Stop"),
        ("nautilus HALTED", "", r"TradingState(?:\.|::| is | to )HALTED"),
    )
)
_SWITCH = re.compile(r"kill[\s_-]?switch|circuit[\s_-]?breaker|emergency[\s_-]?(?:stop|halt|shutdown)|panic[\s_-]?(?:button|stop)|risk[\s_-]?(?:halt|stop)", _I)
# A switch and an act in one word.
_HALT = re.compile(
    r"\btrading (?:is |was |has been |now )?(?:halted|stopped|suspended)\b|\b(?:halting|halted|stopping|suspending) (?:all )?(?:trading|strateg(?:y|ies))\b", _I
)
_ACT = re.compile(
    r"\b(?:trigger(?:ed|ing|s)?|tripped|trips?|tripping|activat(?:ed|ing)|engag(?:ed|ing)|fired|reached|breach(?:ed)?|exceed(?:ed|s)?|hit|crossed|passed|pulled"
    r"|pressed|open(?:ed)?|initiated|invoked|executed)\b",
    _I,
)
_CAUSE = {
    "drawdown": re.compile(
        r"draw[\s_-]?down|\bmax(?:imum)?[\s_-]?(?:(?:daily|session|total)[\s_-]?)?loss|\b(?:daily|session|total|equity)?[\s_-]?(?:loss|p&l|pnl)[\s_-]?(?:limit|threshold|cap)"
        r"|\bconsecutive loss|stop[\s_-]?loss[\s_-]?guard",
        _I,
    ),
    "error_rate": re.compile(
        r"\berror[\s_-]?(?:rate|count|budget|threshold|limit)|\btoo many (?:\w+ ){0,3}(?:error|failure|reject|exception|timeout)"
        r"|\bconsecutive (?:\w+ ){0,2}(?:error|failure|reject|exception|timeout)"
        r"|\b\d+ (?:\w+ ){0,2}(?:errors|failures|rejections|rejects|exceptions) (?:in|within)\b",
        _I,
    ),
    "manual": re.compile(
        r"\bmanual(?:ly)?\b|\bby (?:the |an |a )?(?:operator|user|admin|human|person|hand|trader)\b|\boperator (?:command|request)|\buser request", _I
    ),
}
# It did not happen. Few words between the two: "not responding, kill switch triggered" did happen.
_NOT = re.compile(
    r"\b(?:(?:not|never|isn't|wasn't|hasn't|didn't)(?: \w+)?|no(?: [\w-]+){0,2})"
    r" (?:trigger|tripp|activat|engag|fired|reached|breach|exceed|hit|crossed|pulled|pressed|halt|stopp)"
    r"|\barmed\b|\bwithin (?:the |its )?limits?\b",
    _I,
)
# It may be a rule, a plan, a test, or over again.
_UNSURE = re.compile(
    r"\b(?:if|when|unless|would|whenever|will|may|might|could|should|test(?:ing)?|simulat\w*|dry[\s_-]?run|backtest\w*|config\w*|settings?|drill|example|approaching"
    r"|reset|cleared|released|lifted|resum(?:e|ed|ing)|recovered|no longer)\b",
    _I,
)
_DIGITS = re.compile(r"[0-9]+")
_QUICK = re.compile(r"switch|breaker|halt|trading|draw|loss|limit|error|manual|operator|emergency|panic|pairlock|lock|many|consecutive|pnl|p&l|\bstate\b", _I)


class TriggerPatterns:
    """The patterns of the inventory, before Andon's own.

    Args:
        own: {cause: [regular expressions]}; the causes are C(CAUSES), and C(trip) for lines that name none.

    Raises:
        shapes.PatternError: an unknown cause, or no regular expression.
    """

    def __init__(self, own=None):
        self.own, self.cache = [], {}
        if not isinstance(own or {}, dict):
            raise shapes.PatternError("andon_trigger_patterns is no mapping of a cause to a list of patterns")
        for cause, patterns in (own or {}).items():
            if cause not in CAUSES and cause != TRIP:
                raise shapes.PatternError("andon_trigger_patterns: '%s' is no cause; write %s or %s" % (clean(cause, 40), ", ".join(CAUSES), TRIP))
            if not isinstance(patterns, (list, tuple)) or not all(isinstance(one, str) and one for one in patterns):
                raise shapes.PatternError("andon_trigger_patterns: %s is no list of patterns" % clean(cause, 40))
            for one in shapes.Matcher(patterns).compiled if patterns else ():
                self.own.append(("" if cause == TRIP else cause, one))

    def classify(self, line):
        """What a line says.

        Returns:
            (strength, cause or "", rule or "") or None when it does not speak of a kill switch at all.
        """
        for cause, pattern in self.own:
            if pattern.search(line):
                return TRIP, cause, "andon_trigger_patterns"
        line = line[:LONGEST]
        if not _QUICK.search(line):
            return None
        # Lines differ mostly in their numbers, and Andon's own patterns do not look at those.
        rough = _DIGITS.sub("0", line)
        said = self.cache.get(rough, self)
        if said is self:
            said = _classify(rough)
            if len(self.cache) >= CACHE:  # several logs are read at the same time: what is returned is never taken out of here
                self.cache.clear()
            self.cache[rough] = said
        return said


def _classify(line):
    """What Andon's own patterns make of a line."""
    for rule, cause, pattern in KNOWN:
        if pattern.search(line):
            return TRIP, cause, rule
    causes = [name for name in CAUSES if _CAUSE[name].search(line)]
    halt, switch, act = bool(_HALT.search(line)), bool(_SWITCH.search(line)), bool(_ACT.search(line))
    # "circuit breaker open after 12 failures" names a cause; "daily loss within limits" does not cross one.
    cause = causes[0] if len(causes) == 1 else ""
    if not (halt or switch) and (not causes or causes == ["manual"]):
        return None
    if not halt and not act:
        return MENTION, cause, ""
    if _NOT.search(line):
        return MENTION, cause, ""
    if _UNSURE.search(line):
        return DOUBT, cause, ""
    return (TRIP if halt or switch else LIMIT), cause, ""


def telling(words):
    """The part of a line that tells: from the first word of a trigger on, where much stands before it."""
    starts = [found.start() for found in (pattern.search(words) for _, _, pattern in KNOWN) if found]
    starts = starts or [found.start() for found in (p.search(words) for p in (_SWITCH, _HALT, *_CAUSE.values())) if found]
    return "…" + words[min(starts) :] if starts and min(starts) > 12 else words


class Wanted:
    """Tells the reader of a log which lines to keep: those of a trigger, and errors.

    Args:
        triggers: C(TriggerPatterns). errors: C(shapes.Matcher).
    """

    def __init__(self, triggers, errors):
        self.triggers, self.errors = triggers, errors

    def __call__(self, line):
        return self.errors(line) or self.triggers.classify(line) is not None

    def maybe(self, raw):
        """False only when no line of these bytes can be wanted."""
        if self.triggers.own or self.errors.maybe(raw):
            return True
        return _QUICK.search(raw.decode("latin-1")) is not None


def found_in(lines, triggers, start, end, stop=None):
    """The lines of one log that speak of a trigger, those that say the same as one.

    Args:
        lines: (Unix time or None, text). triggers: C(TriggerPatterns). start, end: Unix times; what lies outside is left out.
        stop: when to end (time.monotonic()), None: never; the lines after that are left out.

    Returns:
        (list of {strength, cause, rule, count, first, last, words}, strong ones first, early ones before late ones; how many lines
        that are more than a mention were left out).
    """
    latest, events, left_out = {}, {strength: [] for strength in STRENGTHS}, 0
    for number, (at, line) in enumerate(lines):
        if stop is not None and not number % 64 and time.monotonic() > stop:
            left_out += len(lines) - number
            break
        if at is not None and not start <= at < end + 1:
            continue
        said = triggers.classify(line)
        if said is None:
            continue
        key = said + (shapes.shape(line),)
        one = latest.get(key)
        if one is None or (at is not None and one["last"] is not None and at - one["last"] > AGAIN):
            # Each strength has room of its own, so that a flood of mentions hides no trip.
            if len(events[said[0]]) >= KEPT:
                left_out += said[0] != MENTION
                continue
            one = {"strength": said[0], "cause": said[1], "rule": said[2], "count": 0, "first": at, "last": at, "words": shapes.mask(clean(line, 240))}
            latest[key] = one
            events[said[0]].append(one)
        one["count"] += 1
        if at is not None:
            one["first"] = at if one["first"] is None else min(one["first"], at)
            one["last"] = at if one["last"] is None else max(one["last"], at)
    rows = [one for strength in STRENGTHS for one in sorted(events[strength], key=lambda one: (one["first"] is None, one["first"] or 0.0))]
    return rows, left_out
