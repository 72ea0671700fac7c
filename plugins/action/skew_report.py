# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The verdict of check_skew: the matrix over all hosts, and failure on any difference that nobody allowed. Runs on the bastion."""

from __future__ import annotations

from pathlib import Path

import ansible.module_utils

# Ansible finds module_utils for modules, not for plugins on the bastion.
ansible.module_utils.__path__.append(str(Path(__file__).resolve().parents[1] / "module_utils"))

from ansible.module_utils.andon import skew
from ansible.module_utils.andon.fleet_report import gather, limited, report, unknown_lines
from ansible.module_utils.andon.text import clean, plural
from ansible.plugins.action import ActionBase


def judge(states, missing, left_out, allowed, ignored):
    """The report of what the hosts said.

    Args:
        states: {host: release_state's state}. missing: {host: why it is unknown}. left_out: hosts that --limit left out.
        allowed, ignored: as in skew.compare.
    """
    found = skew.compare({h: s["services"] for h, s in states.items()}, allowed, ignored)
    open_ones = [d for d in found if not d["allowed"]]
    total = len(states) + len(missing)
    ok = not open_ones and not missing and bool(states)
    if missing:
        headline = "SKEW UNKNOWN: %d/%d hosts answered, %s" % (len(states), total, plural(len(open_ones), "difference"))
    elif open_ones:
        headline = "SKEW: FAILED, %s between %s" % (plural(len(open_ones), "difference"), plural(total, "host"))
    else:
        headline = "NO SKEW: OK, %d/%d hosts run the same" % (total, total)
    summary = unknown_lines(missing)
    summary += ["%s %-14s %s" % (" ", clean(h, 14), release_words(s)) for h, s in sorted(states.items())]
    if len(states) == 1 and not missing:
        summary.append("  One host only: there is nothing to compare it with.")
    for host, state in sorted(states.items()):
        if state["outside"]:
            summary.append("  %s: outside Compose, not compared: %s" % (clean(host, 14), clean(", ".join(state["outside"]), 60)))
    if left_out:
        summary.append("  --limit left out: %s" % clean(", ".join(left_out), 60))
    summary += skew.lines(open_ones)
    detail = skew.matrix({h: s["services"] for h, s in states.items()}, found) + skew.lines([d for d in found if d["allowed"]])
    then = []
    if open_ones:
        then = [
            "andon rollback   (stops all trading first, then puts every host on the last good release)",
            "meant to be so? name it in the inventory: releases_allow_skew: ['%s']" % open_ones[0]["id"],
        ]
    elif missing:
        then = ["andon status   (which hosts can be reached), then: andon skew"]
    data = {
        "differences": found,
        "unknown": missing,
        "hosts": {h: {"release": s["current"], "outside": s["outside"], "services": s["services"], "unhealthy": s["unhealthy"]} for h, s in states.items()},
    }
    return report("check_skew", ok, headline, summary, detail, data, then)


def release_words(state):
    words = "release " + clean(state["current"], 40) if state["current"] else "not a recorded release"
    if state["unhealthy"]:
        words += ", NOT HEALTHY: " + clean(", ".join(sorted(state["unhealthy"])), 40)
    return words


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        args = self._task.args
        results, missing = gather(task_vars, args["register"])
        states = {host: result["state"] for host, result in results.items()}
        return judge(states, missing, limited(task_vars), args.get("allow") or [], args.get("ignore") or [])
