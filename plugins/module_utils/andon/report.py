"""What the reporting actions share: every host's result with a denominator, and the form of a report."""

from __future__ import annotations

from .text import clean

SCHEMA = "andon.report/1"
WIDTH = 80


def collect(task_vars, register):
    """{host: its registered result as a dict, or None}: None for a host that gave no result, failed or was unreachable.

    Args:
        task_vars: an action's task_vars. register: the name of the registered variable.
    """
    results = {}
    for host in task_vars["ansible_play_hosts_all"]:
        one = task_vars["hostvars"][host].get(register)
        good = isinstance(one, dict) and not one.get("failed") and not one.get("unreachable") and not one.get("skipped")
        results[host] = dict(one) if good else None
    return results


def reason(task_vars, register, host):
    """Why a host has no good result, in one line."""
    one = task_vars["hostvars"][host].get(register)
    if not isinstance(one, dict):
        return "no result came back"
    return clean(str(one.get("msg") or "no result").replace("Failed to connect to the host via ssh: ", "unreachable: "), 200)


def make(verb, ok, headline, summary=(), detail=(), data=None, then=()):
    """An `andon_report`: the callback shows it, --json prints it (docs/cli.md has the form)."""
    return {
        "schema": SCHEMA,
        "verb": verb,
        "ok": bool(ok),
        "headline": clean(headline, WIDTH),
        "summary": [str(line)[:WIDTH] for line in list(summary)[:20]],
        "detail": [str(line) for line in detail],
        "data": data or {},
        "next": list(then),
    }


def ending(report):
    """The result of an action that ends a verb: fails unless the report is good."""
    return {"changed": False, "failed": not report["ok"], "msg": report["headline"], "andon_report": report}
