"""What the reports over a fleet share. Runs on the bastion."""

from __future__ import annotations

from .text import clean, plural

WIDTH = 80
SUMMARY = 20


def gather(task_vars, register):
    """Each host's registered result of one task.

    Args:
        task_vars: the action's own. register: the variable's name.

    Returns:
        ({host: result}, {host: why there is none}); an unreachable, failed or missing one is never a result.
    """
    found, missing = {}, {}
    for host in task_vars["ansible_play_hosts_all"]:
        result = (task_vars["hostvars"][host] or {}).get(register)
        if not result:
            missing[host] = "no answer"
        elif result.get("unreachable"):
            missing[host] = "unreachable: " + clean(result.get("msg", ""), 120)
        elif result.get("failed"):
            missing[host] = clean(result.get("msg") or "failed", 300)
        elif result.get("skipped"):
            missing[host] = clean(result.get("skip_reason") or result.get("msg") or "not reached", 200)
        else:
            found[host] = result
    return found, missing


def limited(task_vars):
    """Hosts of the fleet that --limit left out."""
    return sorted(set(task_vars["groups"].get("trading", ())) - set(task_vars["ansible_play_hosts_all"]))


def report(verb, ok, headline, summary=(), detail=(), data=None, then=()):
    """An andon.report/1 as a task's result: lines cut to size, what does not fit in the summary goes to the detail.

    Returns:
        dict with andon_report, failed, msg.
    """
    summary, detail = [cut(line) for line in summary], [cut(line) for line in detail]
    if len(summary) > SUMMARY:
        rest = summary[SUMMARY - 1 :]
        summary = summary[: SUMMARY - 1] + ["… %s below" % plural(len(rest), "more line")]
        detail = rest + detail
    document = {
        "schema": "andon.report/1",
        "verb": verb,
        "ok": bool(ok),
        "headline": clean(headline, WIDTH),
        "summary": summary,
        "detail": detail,
        "data": data or {},
        "next": [clean(line, 300) for line in then],
    }
    result = {"changed": False, "andon_report": document}
    if not ok:
        result.update(failed=True, msg=document["headline"])
    return result


def cut(line):
    """A line that is at most 80 characters; blanks inside stay, because they make tables."""
    line = "".join(c for c in str(line) if c.isprintable())
    return line if len(line) <= WIDTH else line[: WIDTH - 1] + "…"


def unknown_lines(missing):
    return ["%-14s UNKNOWN  %s" % (clean(host, 14), clean(why, 55)) for host, why in sorted(missing.items())]
