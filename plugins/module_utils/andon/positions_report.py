"""What the actions of `andon positions` and `andon close-orphans` share: both sides gathered, and their reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import closing, reconcile, reconciliations, report, state
from .reconcile import MATCH, ORPHAN, READ, UNCLAIMED, UNKNOWN, Source
from .text import clean, plural
from .venue_stop import plain

SHOWN = 13  # rows on the screen; the rest is in the file


def components_of(task_vars: Mapping[str, Any], host: str, templar: Any) -> list[dict[str, Any]] | str:
    """What of andon_components says who may hold positions, in ordinary types; words where they cannot be read.

    Nothing else of an entry is templated: an adapter's own templates ({{ item }}) and secrets are not ours to fill in.
    """
    found = []
    try:
        raw = task_vars["hostvars"].raw_get(host)
        fill = templar.copy_with_new_env(available_variables=raw).template
        some = raw.get("andon_components") or []
        for one in fill(some) if isinstance(some, str) else some:
            if isinstance(one, Mapping):
                found.append({key: plain(fill(one[key])) for key in ("name", "component", "venue") if key in one})
                if one.get("adapter"):
                    found[-1]["adapter"] = {"venue": plain(fill(one["adapter"].get("venue") or {}))}
    except Exception as error:  # a lookup or a vault that fails
        return "andon_components cannot be read: %s" % clean(error, 120)
    return found


def sources_of(task_vars: Mapping[str, Any], register: str, templar: Any, seen: str = "") -> tuple[list[Source], dict[str, list[str]]]:
    """All components of the whole group that may hold positions, with what they claim, and who could not be asked for want of an adapter.

    Args:
        task_vars, templar: an action's. register: where each host's result of the module `adapter` is. seen: the same of host_state.

    Returns:
        (sources, {venue: names}); see reconcile.gather and reconcile.silent.
    """
    asked = set(task_vars["ansible_play_hosts_all"])
    looks = report.collect(task_vars, seen) if seen else {}
    components, answers, reasons, broken = {}, {}, {}, []
    for host in sorted(set(task_vars["groups"].get("trading", [])) | asked):
        found = components_of(task_vars, host, templar)
        if isinstance(found, str):
            broken.append(Source(host, "its components", why=found))
        components[host] = [] if isinstance(found, str) else found
        one = task_vars["hostvars"][host].get(register) if host in asked else None
        one = one if isinstance(one, Mapping) else {}
        # A module that failed for one component still tells of the others.
        answers[host] = plain(one["adapters"]) if isinstance(one.get("adapters"), (list, tuple)) and not one.get("unreachable") else None
        if host not in asked:
            reasons[host] = "it is not in this run (--limit)"
        elif answers[host] is None:
            reasons[host] = report.reason(task_vars, register, host)
    containers = {host: plain(one["containers"]) if one and isinstance(one.get("containers"), (list, tuple)) else None for host, one in looks.items()}
    return [*broken, *reconcile.gather(components, answers, reasons)], reconcile.silent(components, containers)


def halts(task_vars: Mapping[str, Any], register: str, templar: Any) -> tuple[list[dict[str, Any]], str]:
    """What came of --halt-first: rows {component, host, good, why}, and one line. Every component with an adapter counts."""
    rows = []
    for host in task_vars["ansible_play_hosts_all"]:
        one = task_vars["hostvars"][host].get(register)
        one = one if isinstance(one, Mapping) else {}
        expected, _ = reconcile.configured(components_of(task_vars, host, templar))
        found = [row for row in one.get("adapters") or [] if isinstance(row, Mapping)]
        for row in found:
            # Whether no new order comes is for the venue to say and takes time; what the component itself can prove must be proven.
            open_ = [s for s in row.get("steps") or [] if str(s["step"]).startswith("verify") and s["step"] != "verify venue" and s["outcome"] != "ok"]
            good = row.get("outcome") in READ and not open_
            why = row.get("why") or row.get("outcome")
            rows.append({"host": host, "component": clean(row.get("component"), 40), "good": good, "why": "" if good else clean(why, 160)})
        if expected and not isinstance(one.get("adapters"), (list, tuple)):
            rows.append({"host": host, "component": ", ".join(s.component for s in expected), "good": False, "why": report.reason(task_vars, register, host)})
    good = [row for row in rows if row["good"]]
    if not rows:
        return rows, "NOT HALTED: no component has an adapter. andon stop stops every container"
    line = "%d/%d HALTED before the look" % (len(good), len(rows))
    bad = ["%s: %s" % (row["component"], row["why"]) for row in rows if not row["good"]]
    return rows, line + (", NOT HALTED: %s" % "; ".join(bad) if bad else "")


def document(
    *,
    now: str,
    incident: str | None,
    only: str,
    halted: bool | None,
    sources: Sequence[Source],
    books: Sequence[Mapping[str, Any]],
    rows: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """What is kept of a reconciliation. halted: new orders were stopped before it, with proof; None: that was not asked for."""
    good = all(row["verdict"] == MATCH for row in rows) and all(book["ok"] for book in books)
    return {
        "schema": reconciliations.SCHEMA,
        "id": reconciliations.new_id(now),
        "at": now,
        "incident": incident,
        "operator": state.actor(),
        "venue": only,
        "halted": halted,
        "ok": good,
        "headline": reconcile.headline(rows),
        "rows": [dict(row) for row in rows],
        "venues": {book["name"]: {"ok": book["ok"], "why": book["why"], "looked_at": book["looked_at"], **reconciliations.figures(book)} for book in books},
        "sources": [
            {"host": s.host, "component": s.component, "venue": s.venue, "symbols": list(s.symbols), "ok": s.ok, "why": s.why, "claims": len(s.claims)}
            for s in sources
        ],
    }


def reconciled(found: Mapping[str, Any], halt_line: str, halted: bool | None, kept: str, not_kept: str, money: Sequence[str]) -> dict[str, Any]:
    """The report of `andon positions`.

    Args:
        found: see `document`. halt_line, halted: what came of --halt-first. kept: the file. not_kept: why there is none.
        money: the money clock's lines.
    """
    rows, sources = found["rows"], found["sources"]
    summary = [halt_line] if halt_line else []
    if not_kept:
        summary.append("WARNING    not kept, so that nothing can be closed by it: %s" % not_kept)
    summary += [reconcile.line(row) for row in rows[:SHOWN]]
    if len(rows) > SHOWN:
        summary.append("and %s more: %s" % (len(rows) - SHOWN, kept or "--json"))
    if not sources:
        summary.append("No component has an adapter, so nothing claims a position (docs/positions.md)")
    summary += money
    below = [line for row in rows for line in reconcile.detail(row)]
    below += ["kept as %s: %s" % (found["id"], kept)] if kept else []
    data = {
        "positions": {
            "reconciliation": found["id"],
            "file": kept,
            "rows": [{key: row[key] for key in ("venue", "symbol", "side", "verdict", "local", "actual", "why", "confirm")} for row in rows],
            "venues": found["venues"],
            "sources": sources,
            "halted": halted,
        }
    }
    ok = found["ok"] and halted is not False
    return report.make("reconcile", ok, found["headline"], summary, below, data, _next(rows, halted, bool(sources)))


def _next(rows: Sequence[Mapping[str, Any]], halted: bool | None, adapters: bool) -> list[str]:
    verdicts = {row["verdict"] for row in rows}
    then = []
    if verdicts - {MATCH} and not halted and adapters:
        then.append("andon positions --halt-first   (a fill between two looks is no difference)")
    if UNKNOWN in verdicts:
        then.append("andon venues; andon health   (what could not be read)")
    if ORPHAN in verdicts:
        then.append("andon close-orphans --cap DOLLARS --check")
    elif UNCLAIMED in verdicts:
        then.append("andon close-orphans --unclaimed --cap DOLLARS --check")
    return then


def closed(rows: Sequence[dict[str, Any]], found: Mapping[str, Any], check: bool) -> dict[str, Any]:
    """The report of `andon close-orphans`. rows: closing.blank has the form. found: the reconciliation."""
    ok = all(row["ok"] for row in rows)
    head = closing.headline(list(rows), check) if rows else "0 orphans in reconciliation %s: nothing to close" % found["id"]
    below = []
    for row in rows:
        below.append(closing.line(row))
        sent = "order %s (%s)" % (row["client_id"], row["outcome"]) if row["sent"] else "nothing was sent"
        held = "held %s before, %s after" % (row["before"] or "?", row["after"] or "?") if row["sent"] else "held now: %s" % (row["before"] or "?")
        below.append("  %s %s: %s; %s" % (clean(row["venue"], 30), clean(row["symbol"], 60), held, sent))
    then = []
    if rows and not check:
        then.append("andon positions   (both sides again)")
        then.append("andon cancel-orders --check   (an order that rests could open it again)")
    elif rows and ok:
        then.append("andon close-orphans   (%s to confirm)" % plural(len(rows), "position"))
    data = {"positions": {"reconciliation": found["id"], "closed": list(rows)}}
    return report.make("close_orphans", ok, head, [closing.line(row) for row in rows[:20]], below, data, then)
