# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The plan of a resume over all hosts, or every reason why there is none. Runs once, on the bastion."""

from __future__ import annotations

import hashlib
from pathlib import Path

import ansible.module_utils

# Ansible finds module_utils for modules, not for plugins on the bastion.
ansible.module_utils.__path__.append(str(Path(__file__).resolve().parents[1] / "module_utils"))

from ansible.module_utils.andon import report, resume, text
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        args, check = self._task.args, bool(self._task.check_mode)
        strategy = args.get("strategy") or ""
        states = report.collect(task_vars, args["register"])
        target = strategy or "all"
        confirm = target if check else args.get("confirm")
        fleet = list(task_vars["groups"].get("trading", []))
        reasons = resume.refusals(states, strategy, args.get("incident") or "", fleet, confirm)
        lines = resume.plan_lines(states, strategy)
        digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
        if args.get("plan") and args["plan"] != digest and not check:
            reasons.append("the plan is another one than was confirmed: something changed in between. Look at it again")
        unknown = [h for h, s in states.items() if s is None]
        details = ["%-14s %s" % (text.clean(h, 14), report.reason(task_vars, args["register"], h)) for h in unknown]
        incidents = sorted({one["incident"] for s in states.values() if s for one in s["latches"] if one["scope"] == resume.scope_of(strategy)})
        data = {"plan": lines, "digest": digest, "incidents": incidents, "refusals": reasons, "target": target}
        if reasons:
            summary = ["REFUSED  " + text.clean(one, 300) for one in reasons]
            # A refusal must be read whole: it is wrapped, not cut.
            summary = [line[i : i + 80] for line in summary for i in range(0, len(line), 80)]
            then = ["andon status"] + (["andon resume   (asks for the target's name)"] if any("not confirmed" in r for r in reasons) else [])
            return report.ending(report.make("resume", False, "NOTHING WAS STARTED", summary, details, data, then))
        result = {"changed": False, "incident": incidents[0] if incidents else "", "digest": digest}
        if check:
            head = "would start on %s, in this order (canary host first):" % text.plural(len(states), "host")
            result["andon_report"] = report.make("resume", True, head, [], lines, data, ["andon resume"])
        return result
