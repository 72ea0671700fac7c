# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The verdict of a resume: re-reads every host's own state, never what the start returned. Runs once, on the bastion."""

from __future__ import annotations

from pathlib import Path

import ansible.module_utils

# Ansible finds module_utils for modules, not for plugins on the bastion.
ansible.module_utils.__path__.append(str(Path(__file__).resolve().parents[1] / "module_utils"))

from ansible.module_utils.andon import report, resume, resume_gates, resume_run, text
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        args = self._task.args
        strategy = args.get("strategy") or ""
        scope = resume.scope_of(strategy)
        before, after = report.collect(task_vars, args["before"]), report.collect(task_vars, args["after"])
        rows, good = [], 0
        for host in sorted(after):
            started = task_vars["hostvars"][host].get("andon_start") or {}
            now, was = after[host], before.get(host)
            if now is None:
                rows.append((host, "UNKNOWN", report.reason(task_vars, args["after"], host)))
                continue
            latched = [one for one in now["latches"] if one["scope"] == scope]
            wanted = {c["id"] for one in (was or {}).get("latches", []) if one["scope"] == scope for c in one["containers"] if c.get("was_running")}
            down = [c["name"] for c in now["containers"] if c["id"] in wanted and not c["running"]]
            if started.get("failed"):
                rows.append((host, "FAILED", started.get("msg", "the start failed")))
            elif latched:
                rows.append((host, "HALTED", "latched still: the run stopped before this host" if not started else "halted again with the others"))
            elif down:
                rows.append((host, "FAILED", "latch lifted, but not running: " + ", ".join(down)))
            else:
                good += 1
                up = [c for c in now["containers"] if c["id"] in wanted]
                rows.append((host, "RESUMED", "%s running" % text.plural(len(up), "container")))
        ok = bool(rows) and good == len(rows)
        plan = resume_run.planned(task_vars) or {}
        order = sorted(rows, key=lambda row: (row[1] == "RESUMED", row[0]))
        summary = ["%-14s %-8s %s" % (text.clean(h, 14), v, text.clean(w, 300)) for h, v, w in order]
        head = "%d/%d RESUMED" % (good, len(rows)) + ("" if ok else ": the latch stays, what was started is halted again")
        then = ["andon status"] if ok else ["andon status", "andon resume --check"]
        data = {"hosts": {h: {"verdict": v, "why": w} for h, v, w in rows}}
        data.update({key: plan.get(key) for key in ("gates", "size", "approvals", "digest", "incident")})
        sizes = {h: (task_vars["hostvars"][h].get("andon_start") or {}).get("sizes") or [] for h in sorted(after)}
        data["sizes"] = [dict(one, host=host) for host, some in sizes.items() for one in some]
        said = self.said(plan, data["sizes"])
        return report.ending(
            report.make("resume", ok, head, summary[: 20 - len(said)] + said, summary[20 - len(said) :] + resume_gates.lines(plan.get("gates", [])), data, then)
        )

    @staticmethod
    def said(plan, sizes):
        """What a person decided, in the summary: the size, gates that were passed by name, and who approved."""
        lines = [
            "ACCEPTED by name although it did not pass: gate %s (%s: %s)" % (g["gate"], g["state"], g["words"]) for g in plan.get("gates", []) if g["accepted"]
        ]
        people = (plan.get("approvals") or {}).get("people") or []
        if people:
            lines.append("APPROVED by %s (plan %s)" % (", ".join(text.clean(p, 40) for p, _ in people), plan["approvals"]["plan"]))
        for one in sizes:
            words = (one["size"], text.clean(one["host"], 14), text.clean(one["component"], 24), "proven" if one["proven"] else "NOT PROVEN", one["by"])
            lines.append("SIZE %g  %s %s  %s by %s" % words)
        return lines[:10]
