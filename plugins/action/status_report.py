# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is halted and what runs, per host, from one look at each. Runs once, on the bastion."""

from __future__ import annotations

import time
from pathlib import Path

import ansible.module_utils

# Ansible finds module_utils for modules, not for plugins on the bastion.
ansible.module_utils.__path__.append(str(Path(__file__).resolve().parents[1] / "module_utils"))

from ansible.module_utils.andon import reconciliations, report, text
from ansible.plugins.action import ActionBase


def judge(state):
    """(word, one line) for one host's state: HALTED, PARTLY HALTED, RUNNING, MIXED, EMPTY."""
    containers = state["containers"]
    up = [c for c in containers if c["running"]]
    scopes = [one["scope"] for one in state["latches"]]
    counts = "%d of %d running" % (len(up), len(containers))
    sick = [c["name"] for c in up if c["health"] == "unhealthy" or c["status"] == "restarting"]
    if sick:
        counts += ", unhealthy: " + ", ".join(sick)
    if "all" in scopes:
        return ("HALTED", counts) if not up else ("LATCHED, RUNNING", counts + ": started in spite of the latch")
    if scopes:
        return "PARTLY HALTED", counts + "; halted: " + ", ".join(s[len("strategy-") :] for s in scopes)
    if not containers:
        return "EMPTY", "no container matches andon_selectors"
    return ("OK" if len(up) == len(containers) and not sick else "DEGRADED"), counts


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        states = report.collect(task_vars, self._task.args["register"])
        summary, detail, data = [], [], {}
        for host, one in sorted(states.items()):
            word, words = judge(one) if one is not None else ("UNKNOWN", report.reason(task_vars, self._task.args["register"], host))
            summary.append("%-14s %-16s %s" % (text.clean(host, 14), word, text.clean(words, 120)))
            data[host] = {"verdict": word, "why": words}
            if one is None:
                continue
            data[host].update(containers=one["containers"], latches=[{k: v for k, v in x.items() if k != "containers"} for x in one["latches"]])
            for latch in one["latches"]:
                detail.append("%-14s LATCH %s" % (text.clean(host, 14), text.clean(latch["words"], 200)))
            for c in one["containers"]:
                detail.append(
                    "%-14s %-10s %-24s %-10s %-10s policy %s"
                    % (
                        text.clean(host, 14),
                        text.clean(c["component"] or "-", 10),
                        text.clean(c["name"], 24),
                        text.clean(c["status"], 10),
                        text.clean((c["health"] if c["running"] else "") or "-", 10),
                        text.clean(c["policy"], 20),
                    )
                )
        known = [h for h in data if data[h]["verdict"] != "UNKNOWN"]
        halted = [h for h in data if data[h]["verdict"] == "HALTED"]
        ok = bool(data) and len(known) == len(data)
        head = "%d/%d hosts answer, %d HALTED" % (len(known), len(data), len(halted))
        if not ok:
            head += ", %d UNKNOWN (%s)" % (len(data) - len(known), ", ".join(sorted(set(data) - set(known))))
        # Files only: no venue is asked here, and figures that are missing or broken take no host's state away.
        money, below, figures = reconciliations.status_part(time.time(), bool(task_vars.get("andon_venues")))
        summary = [*summary[: 20 - len(money)], *money]
        then = ["andon resume --check"] if halted else ["andon stop   (if trading must stop now)"]
        return report.ending(report.make("status", ok, head, summary, [*detail, *below], {"hosts": data, **figures}, then))
