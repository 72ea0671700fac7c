"""The curves that the post-mortem's page draws: points that the verbs leave in the journal with their reports.

A curve is a list of [Unix seconds, value]: C(error_rate) in errors per minute, C(memory) in bytes.
"""

from __future__ import annotations


def point(now, values):
    """One point: the sum of those values that are known; no point when none is.

    Args:
        now: Unix seconds. values: numbers or None.
    """
    known = [value for value in values if value is not None]
    return [[round(now), sum(known)]] if known else []


def error_rate(sources, start, end):
    """Errors per minute over a window, all sources together.

    Args:
        sources: dicts with C(buckets), the counts of equal parts of the window.
        start, end: the window, Unix seconds.
    """
    bins = max([len(one["buckets"]) for one in sources] or [0])
    if not bins or end <= start:
        return []
    width = (end - start) / bins
    totals = [sum(one["buckets"][index] for one in sources if index < len(one["buckets"])) for index in range(bins)]
    return [[round(start + (index + 0.5) * width), round(60.0 * total / width, 3)] for index, total in enumerate(totals)]
