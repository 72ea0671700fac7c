"""Adapters' small languages: what stands for a value in a step (templates), and which part of an answer is meant (selectors).

Own and minimal on purpose: answers come from software that may be broken or hostile, so nothing of theirs is ever a template,
and hosts have neither Jinja nor jmespath. docs/adapters.md describes both. Standard library only, Python 3.8; no sibling is
imported, because the stop sends this file to hosts as it is.
"""

from __future__ import annotations

import datetime
import re
from urllib.parse import quote

_NAME = re.compile(r"\{\{\s*([a-z_][a-z0-9_]*)\s*\}\}")

READS = ("liveness", "positions", "open_orders", "trades")
STATES = ("running", "paused", "stopped")
VERIFIES = ("log", "container_log", "wait", "venue", "manual")

# How deep and how long an answer may be before it is not read any further.
MOST_ITEMS = 5000


class ValueProblem(Exception):
    """A value is missing, or an answer has another form than the adapter says."""


def names(value):
    """The names that a step's templates ask for, as a set."""
    if isinstance(value, str):
        return set(_NAME.findall(value))
    if isinstance(value, dict):
        return set().union(*[names(one) for one in value.values()]) if value else set()
    if isinstance(value, (list, tuple)):
        return set().union(*[names(one) for one in value]) if value else set()
    return set()


def fill(value, given, in_url=False):
    """C(value) with every C({{ name }}) replaced; given values are never read as templates themselves.

    Args:
        value: anything that JSON can hold. given: {name: value}.
        in_url: values are quoted for a URL's path or query.

    A text that is one template alone becomes the value itself, so that a number stays a number in JSON.

    Raises:
        ValueProblem: a name is not given.
    """
    if isinstance(value, dict):
        return {key: fill(one, given, in_url) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [fill(one, given, in_url) for one in value]
    if not isinstance(value, str):
        return value
    alone = _NAME.fullmatch(value.strip())
    if alone and not in_url:
        return _given(alone.group(1), given)
    return _NAME.sub(lambda m: quote(str(_given(m.group(1), given)), safe="") if in_url else str(_given(m.group(1), given)), value)


def _given(name, given):
    if name not in given or given[name] is None:
        raise ValueProblem("the value '%s' is missing" % name)
    return given[name]


def at(document, path):
    """What is at a dotted path (C(a.b.0)) in an answer; None where there is nothing."""
    for part in [p for p in str(path).split(".") if p]:
        if isinstance(document, dict):
            document = document.get(part)
        elif isinstance(document, (list, tuple)) and part.isdigit() and int(part) < len(document):
            document = document[int(part)]
        else:
            return None
    return document


def same(found, wanted):
    """Equal as an operator means it: 100 and 100.0 are, true and 1 are not; a text answer may stand for a number."""
    if isinstance(found, bool) or isinstance(wanted, bool):
        return found is wanted or (isinstance(found, str) and isinstance(wanted, bool) and found.lower() == str(wanted).lower())
    if isinstance(wanted, (int, float)) and isinstance(found, (int, float, str)):
        try:
            return abs(float(found) - float(wanted)) <= 1e-9 * max(1.0, abs(float(wanted)))
        except ValueError:
            return False
    return found == wanted


def equals(answer, wanted):
    """True if an answer has the wanted values: {path: value}, or one value for the whole answer."""
    if isinstance(wanted, dict):
        return all(same(at(answer, path), value) for path, value in wanted.items())
    if isinstance(answer, str):
        return same(answer.strip(), wanted)
    return same(answer, wanted)


def _holds(item, condition):
    """One entry of C(where): {path: value or {gt|ge|lt|ne|in|starts|exists: value}}."""
    for path, wanted in condition.items():
        found = at(item, path)
        if not isinstance(wanted, dict):
            if not same(found, wanted):
                return False
            continue
        for word, value in wanted.items():
            if word in ("gt", "ge", "lt"):
                try:
                    number = float(found)
                except (TypeError, ValueError):
                    # Left out in silence it would look like one that is not there.
                    raise ValueProblem("'%s' is no number: %r" % (path, str(found)[:40])) from None
                good = number > value if word == "gt" else number >= value if word == "ge" else number < value
            elif word == "ne":
                good = not same(found, value)
            elif word == "in":
                good = any(same(found, one) for one in value)
            elif word == "starts":
                good = isinstance(found, str) and found.startswith(value)
            else:  # exists
                good = (found not in (None, "", [], {})) is bool(value)
            if not good:
                return False
    return True


WHERE_WORDS = ("gt", "ge", "lt", "ne", "in", "starts", "exists")
KINDS = ("text", "number", "abs", "utc_s", "utc_ms")


def _as(value, kind):
    if value is None or kind is None:
        return value
    try:
        if kind == "text":
            return str(value)
        if kind in ("number", "abs"):
            return abs(float(value)) if kind == "abs" else float(value)
        seconds = float(value) / (1000.0 if kind == "utc_ms" else 1.0)
        return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
    except (TypeError, ValueError, OverflowError, OSError):
        raise ValueProblem("%r is no %s" % (str(value)[:40], "time" if kind.startswith("utc") else kind)) from None


def select(document, how):
    """The part of an answer that a selector means.

    Args:
        document: the answer (JSON, or text).
        how: a path as text, or a mapping: C(path) (one value) or C(each) (a list's path; of a mapping its values), C(where) (keep
            only items that hold), C(fields) (per item: {name: selector}, or one selector for a list of plain values), C(value) (a
            constant), C(map) (found, as text -> value), C(as) (text | number | abs | utc_s | utc_ms), C(default).

    Raises:
        ValueProblem: C(each) finds no list, or a value is not of the kind that C(as) says.
    """
    if not isinstance(how, dict):
        return at(document, how)
    if "each" in how:
        items = at(document, how["each"])
        if isinstance(items, dict):
            items = list(items.values())
        if items is None and how.get("default") is not None:
            items = how["default"]
        if not isinstance(items, (list, tuple)):
            raise ValueProblem("there is no list at '%s' in the answer" % how["each"])
        if len(items) > MOST_ITEMS:
            raise ValueProblem("more than %d items at '%s'" % (MOST_ITEMS, how["each"]))
        kept = [one for one in items if _holds(one, how.get("where") or {})]
        fields = how.get("fields")
        if fields is None:
            return kept
        return [_fields(one, fields) for one in kept]
    value = how["value"] if "value" in how else at(document, how.get("path", ""))
    if "map" in how:
        key = str(value).lower() if isinstance(value, bool) else str(value)
        value = how["map"].get(key, how.get("default", None if value is None else value))
    if value is None:
        value = how.get("default")
    return _as(value, how.get("as"))


def _fields(item, fields):
    """One item of C(each): a mapping is {name: selector} unless it is a selector itself."""
    if isinstance(fields, dict) and not set(fields) & {"path", "each", "value"}:
        return {name: select(item, how) for name, how in fields.items()}
    return select(item, fields)


# The form of what the reading actions give (docs/adapters.md); `None` may be missing.
ROWS = {
    "positions": {"ref": str, "symbol": str, "side": ("long", "short"), "qty": float, "entry": None, "as_of": None},
    "open_orders": {"ref": str, "symbol": str, "ids": list},
    "trades": {"ref": str, "symbol": str, "side": None, "qty": None, "pnl": None, "closed_at": None, "reason": None},
}


def rows(act, found, now):
    """What a reading action found, in the schema of all adapters.

    Args:
        act: positions, open_orders or trades. found: the selector's list. now: UTC text for C(as_of).

    Raises:
        ValueProblem: a row has not that form; a wrong position must never look like none.
    """
    if not isinstance(found, list):
        raise ValueProblem("the adapter's selector gives no list")
    result = []
    for one in found:
        if not isinstance(one, dict):
            raise ValueProblem("the adapter's selector gives no rows with names (fields)")
        row = {name: one.get(name) for name in ROWS[act]}
        for name, kind in ROWS[act].items():
            value = row[name]
            if kind is str and (value is None or value == "" or isinstance(value, (dict, list))):
                raise ValueProblem("a row has no %s" % name)
            if kind is str:
                row[name] = str(value)[:200]
            elif kind is list:
                row[name] = [str(v)[:200] for v in value] if isinstance(value, list) else []
            elif isinstance(kind, tuple) and value not in kind:
                raise ValueProblem("%s must be %s, not %r" % (name, " or ".join(kind), str(value)[:40]))
            elif kind is float:
                if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
                    raise ValueProblem("%s must be a number above 0, not %r" % (name, str(value)[:40]))
                row[name] = float(value)
        if act == "positions":
            row["as_of"] = row["as_of"] or now
        result.append(row)
    return result
