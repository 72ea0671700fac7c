"""Range queries to a Prometheus, from the bastion: numbers, bounded in bytes and seconds. Python 3.11, standard library."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.parse
import urllib.request

from .text import clean

POINTS = 60
SERIES = 20  # of one query
ANSWER = 8 << 20  # bytes of one answer


class PrometheusError(Exception):
    """No numbers, and why. C(str()) is one line for a person."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the token to another host."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        return None


def query_range(url, query, start, end, deadline=5.0):
    """One query over a span, at 60 points.

    Args:
        url: the server, such as http://prometheus:9090. query: PromQL. start, end: Unix times. deadline: seconds for each wait.

    Returns:
        list of {labels: str, values: [60 floats or None]}, at most 20, in Prometheus's order.

    Raises:
        PrometheusError: no answer, an error of the query, or no matrix.
    """
    parts = urllib.parse.urlsplit(str(url))
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise PrometheusError("andon_prometheus_url is no http or https URL")
    step = max((end - start) / POINTS, 1.0)
    # The last point is the end itself; Prometheus counts both ends.
    first = end - step * (POINTS - 1)
    words = urllib.parse.urlencode({"query": query, "start": "%.3f" % first, "end": "%.3f" % end, "step": "%.3f" % step})
    request = urllib.request.Request(str(url).rstrip("/") + "/api/v1/query_range?" + words, headers={"Accept": "application/json"})  # noqa: S310 (the scheme is checked above)
    token = os.environ.get("ANDON_PROMETHEUS_TOKEN")
    if token:
        request.add_unredirected_header("Authorization", "Bearer " + token)
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=deadline) as answer:
            body = answer.read(ANSWER + 1)
    except urllib.error.HTTPError as error:
        raise PrometheusError("Prometheus answers %d: %s" % (error.code, _reason(error))) from None
    except (OSError, ValueError) as error:
        raise PrometheusError("Prometheus does not answer: %s" % clean(getattr(error, "reason", None) or error, 120)) from None
    if len(body) > ANSWER:
        raise PrometheusError("the answer is larger than 8 MiB: aggregate in the query")
    try:
        document = json.loads(body)
        if document["status"] != "success" or document["data"]["resultType"] != "matrix":
            raise ValueError(document.get("error") or "no matrix")
        return [{"labels": labels_of(one["metric"]), "values": grid(one["values"], first, step)} for one in document["data"]["result"][:SERIES]]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise PrometheusError("Prometheus's answer is not understood: %s" % clean(error, 120)) from None


def _reason(error):
    try:
        return clean(json.loads(error.read(65536))["error"], 160)
    except (OSError, ValueError, KeyError, TypeError):
        return clean(error.reason, 80)


def labels_of(metric):
    """A series' labels as a person reads them: without the name's field, {} left out."""
    name = metric.get("__name__", "")
    rest = ", ".join("%s=%s" % (key, metric[key]) for key in sorted(metric) if key != "__name__")
    return clean("%s{%s}" % (name, rest) if rest else name, 120)


def grid(values, first, step):
    """Prometheus's pairs on the 60 points of the span; what it leaves out, NaN and infinity are None."""
    points = [None] * POINTS
    for at, value in values:
        index = round((float(at) - first) / step)
        number = float(value)
        if 0 <= index < POINTS and number == number and abs(number) != float("inf"):
            points[index] = number
    return points


def summary(values):
    """min, max, last, before and after: the means of the first and of the second half (the window); None where there is nothing."""
    known = [v for v in values if v is not None]

    def mean(part):
        part = [v for v in part if v is not None]
        return sum(part) / len(part) if part else None

    half = len(values) // 2
    return {
        "min": min(known) if known else None,
        "max": max(known) if known else None,
        "last": known[-1] if known else None,
        "before": mean(values[:half]),
        "after": mean(values[half:]),
    }
