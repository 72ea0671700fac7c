"""The verdict of find_leak: who leaks, how fast, how long it lasts. Pure; used on the bastion."""

from __future__ import annotations

import time
from statistics import median

from .curves import point
from .report import make
from .slope import analyse, pressure_alarm, seconds_left, sparkline
from .state import parse_utc
from .text import clean, duration, plural, size, valid_name

# A container younger than this may still be filling its caches: its growth is told, with that remark.
YOUNG = 600.0
SHOWN = 14
KILLS_SHOWN = 3
ORDER = {"leaking": 0, "unsteady": 1, "too short": 2, "sawtooth": 3, "shrinking": 4, "steady": 5}


def series(container, name="held"):
    """(seconds, bytes) of the container's last run."""
    column = 2 + container["figures"].index(name)
    last = container["runs"]
    return [(row[0], row[column]) for row in container["samples"] if row[1] == last]


def latest(container, name):
    """The middle of the last five samples, in bytes; None without samples."""
    values = [value for _, value in series(container, name)[-5:]]
    return median(values) if values else None


class Finding:
    """One container of one host, judged.

    Attributes:
        host, name, container (sample_memory's dict), trend (slope.Trend or None), left (slope.seconds_left's dict with C(to):
        "limit" or "host", or None), share (held over the host's memory, or None), unknown (why nothing is known, or None), remarks (lines).
    """

    def __init__(self, host, container, total=0):
        self.host = host
        self.container = container
        held = latest(container, "held")
        self.share = held / total if held is not None and total else None
        self.name = container["name"]
        self.unknown = None
        self.trend = None
        self.left = None
        self.remarks = []
        if container["error"]:
            self.unknown = container["error"]
        elif container["running"] and not container["samples"]:
            self.unknown = "it runs, and no sample could be taken"
        elif container["samples"]:
            self.trend = analyse(series(container))

    @property
    def leaking(self):
        return self.trend is not None and self.trend.leaking

    @property
    def state(self):
        if self.unknown:
            return "UNKNOWN"
        if self.trend is None:
            return self.container["status"]
        return "LEAKING" if self.leaking else self.trend.verdict

    def rank(self):
        """Leaks first, the fastest before the others; then what is unclear; then the greatest."""
        if self.trend is None:
            return (-1 if self.unknown else 9, 0, self.host, self.name)
        speed = self.trend.slope if self.leaking else (latest(self.container, "held") or 0)
        return (ORDER[self.trend.verdict], -speed, self.host, self.name)

    def data(self):
        """As JSON, without the samples (they have their own file)."""
        kept = ("id", "name", "component", "strategy", "status", "started_at", "restarts", "runs", "version", "limit", "hits", "pressure", "holders", "kills")
        figures = {name: latest(self.container, name) for name in self.container["figures"]}
        return dict(
            {key: self.container[key] for key in kept},
            host=self.host,
            state=self.state,
            unknown=self.unknown,
            trend=self.trend.data() if self.trend else None,
            left=self.left,
            host_share=self.share,
            remarks=self.remarks,
            **figures,
        )


def judge_host(host, result):
    """The findings of one host; the time left takes all its leaks together, since they share the host's memory.

    Args:
        result: what sample_memory returned.
    """
    findings = [Finding(host, one, result["host"]["total"]) for one in result["containers"]]
    together = sum(one.trend.slope for one in findings if one.leaking)
    available = result["host"]["available"]
    for one in findings:
        container = one.container
        if container["runs"] > 1:
            one.remarks.append("restarted %d times during the sampling; only the last run counts" % (container["runs"] - 1))
        if not one.leaking:
            continue
        ends = []
        if container["limit"]:
            ends.append(dict(seconds_left(container["limit"] - latest(container, "firm"), one.trend), to="limit"))
        # This leak's part of what the host has left, as long as all of them go on as they do.
        ends.append(dict(seconds_left(available * one.trend.slope / together, one.trend), to="host"))
        one.left = min(ends, key=lambda end: end["seconds"])
        started, ended = parse_utc(container["started_at"]), parse_utc(result["ended"])
        if started and ended and ended - started < YOUNG:
            one.remarks.append("started only %s before the end: it may still be filling up" % duration(ended - started))
    return findings


def alarms(host, result):
    """Lines about memory pressure that hurts on this host, by the rule in C(slope.pressure_alarm)."""
    lines = []
    memory = result["host"]
    share = memory["available"] / memory["total"] if memory["total"] else None
    full = (memory["pressure"].get("full") or {}).get("avg60")
    if pressure_alarm(full, share):
        lines.append("WARNING %s: all tasks stood still %.0f %% of the last minute, %.0f %% of its memory is available" % (host, full, 100 * share))
    for one in result["containers"]:
        full = (one["pressure"].get("full") or {}).get("avg60")
        firm = latest(one, "firm")
        if one["limit"] and firm is not None and pressure_alarm(full, 1 - firm / one["limit"]):
            lines.append("WARNING %s %s: stood still %.0f %% of the last minute, at its limit" % (host, clean(one["name"], 40), full))
    return lines


def _fit(text, width):
    text = clean(text, 200)
    return text if len(text) <= width else text[: width - 1] + "…"


TABLE = "%-10s %-18s %-9s %9s %11s %9s %s"


def _row(one):
    trend, limit = one.trend, one.container["limit"]
    held = latest(one.container, "held")
    values = [value for _, value in series(one.container)]
    return (
        TABLE
        % (
            _fit(one.host, 10),
            _fit(one.name, 18),
            _fit(one.state, 9),
            size(held) if held is not None else "-",
            size(trend.slope * 3600) + "/h" if one.leaking else "-",
            duration(one.left["seconds"]) if one.left else ("%.0f %% full" % (100.0 * latest(one.container, "firm") / limit) if limit and values else "-"),
            sparkline(values, 7),
        )
    ).rstrip()


def _words(one):
    """The lines under the table for one leak."""
    trend, container = one.trend, one.container
    per_hour = [size(value * 3600) for value in (trend.slope, trend.low, trend.high)]
    lines = [
        "LEAKING %s on %s: %s/h (95 %% sure of %s to %s; %d samples, %s)"
        % (clean(one.name, 60), clean(one.host, 40), per_hour[0], per_hour[1], per_hour[2], trend.count, duration(trend.span)),
        "    %s" % trend.why,
    ]
    left = one.left
    lines.append(
        "    %s in about %s (%s to %s); limit %s, held %s (%.0f %% of the host), working set %s"
        % (
            "limit reached" if left["to"] == "limit" else "host exhausted",
            duration(left["seconds"]),
            duration(left["soonest"]),
            duration(left["latest"]),
            size(container["limit"]) if container["limit"] else "none",
            size(latest(container, "held")),
            100.0 * (one.share or 0),
            size(latest(container, "working")),
        )
    )
    for process in container["holders"][:2]:
        gained = "" if process["gained"] is None else ", %s%s since the first sample" % ("+" if process["gained"] >= 0 else "", size(process["gained"]))
        inner = "" if process["inner"] is None else " (pid %d inside)" % process["inner"]
        lines.append("    held by %s%s: %s%s" % (clean(process["name"], 60), inner, size(process["held"]), gained))
    return lines + ["    " + remark for remark in one.remarks]


def _kill_words(one):
    lines = []
    kills = one.container["kills"]
    for kill in kills[-KILLS_SHOWN:]:
        who = "%d processes" % kill["count"] if kill["count"] > 1 else clean(kill["process"] or "a process", 40)
        if kill["child"]:
            whose = "a child process: the container lives on and OOMKilled may say false"
        elif kill["child"] is False:
            whose = "the container ended with it"
        else:
            whose = "whether the container ended with it is not known"
        held = " holding %s" % size(kill["held"]) if kill["held"] else ""
        host = "; the whole host was short" if kill["host"] else ""
        lines.append(
            "OOM %s %s: %s%s killed, %s (%s; from: %s%s)"
            % (clean(one.host, 30), clean(one.name, 40), who, held, kill["at"] or "time unknown", whose, ", ".join(kill["sources"]), host)
        )
    if len(kills) > KILLS_SHOWN:
        lines.append("    and %d more before; --json has them all" % (len(kills) - KILLS_SHOWN))
    return lines


def proposal(one):
    """The command that this leak calls for, None when its name cannot be typed."""
    if not valid_name(one.name):
        return None
    if one.container["limit"]:
        return "andon restart %s" % one.name
    # Room to run, and an end before the host's: twice what it holds, in steps of 64 MiB.
    step = 64 << 20
    limit = -(-int(2 * (latest(one.container, "held") or step)) // step) * 64
    return "andon restart %s --memory %dm" % (one.name, limit)


def report(results, unknown, span, clock=time.time):
    """The report of find_leak.

    Args:
        results: {host: what sample_memory returned}.
        unknown: {host: why nothing is known of it}.
        span: seconds that were sampled.
        clock: Unix time in seconds.

    Returns:
        andon.report/1, without the samples' file.
    """
    findings = sorted((one for host in sorted(results) for one in judge_host(host, results[host])), key=Finding.rank)
    leaks = [one for one in findings if one.leaking]
    lost = [one for one in findings if one.unknown]
    hosts = len(results) + len(unknown)
    known = sum(1 for one in findings if one.trend)
    words = "%d LEAKING" % len(leaks) if leaks else "no leak"
    headline = "%s of %s on %d/%d hosts, %s sampled" % (words, plural(known, "container"), len(results), hosts, duration(span))
    if unknown or lost:
        headline += ", %d UNKNOWN" % (len(unknown) + len(lost))
    summary = [TABLE % ("HOST", "CONTAINER", "TREND", "HELD", "GROWTH", "LEFT", "COURSE")]
    shown = [one for one in findings if one.trend or one.unknown]
    summary += [_row(one) for one in shown[:SHOWN]]
    if len(shown) > SHOWN:
        summary.append("and %d more, all of them calmer; --json has them" % (len(shown) - SHOWN))
    detail = [line for host in sorted(results) for line in alarms(host, results[host])]
    detail += ["UNKNOWN %s: %s" % (clean(host, 40), clean(why, 200)) for host, why in sorted(unknown.items())]
    detail += ["UNKNOWN %s on %s: %s" % (clean(one.name, 60), clean(one.host, 40), clean(one.unknown, 200)) for one in lost]
    for one in leaks:
        detail += _words(one)
    for one in findings:
        if one.trend and not one.leaking and one.trend.verdict in ("unsteady", "too short"):
            detail.append("%s on %s: %s" % (clean(one.name, 60), clean(one.host, 40), one.trend.why))
            detail += ["    " + remark for remark in one.remarks]
    for one in findings:
        detail += _kill_words(one)
    detail += ["NOT READ on %s: %s" % (clean(host, 40), clean(line, 200)) for host in sorted(results) for line in results[host]["silent"]]
    floors = [one.trend.detectable * 3600 for one in findings if one.trend and one.trend.detectable]
    if floors and not leaks:
        detail.append("A leak slower than %s/h cannot be seen in %s; sample longer: andon leaks --for 30m" % (size(max(floors)), duration(span)))
    data = {
        "seconds": span,
        "hosts": {host: result["host"] for host, result in results.items()},
        "unknown": dict(unknown),
        "containers": [one.data() for one in findings],
        "memory": point(clock(), [latest(one.container, "held") for one in findings]),
        "leaks": [{"host": one.host, "name": one.name, "bytes_per_second": one.trend.slope} for one in leaks],
    }
    ok = bool(results) and not unknown and not lost
    return make("find_leak", ok, headline, summary, detail, data, [command for command in (proposal(one) for one in leaks[:3]) if command])
