# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The bastion's part of the step that starts: it checks this run's plan, its approvals and its gates itself, for each host."""

from __future__ import annotations

import time
from pathlib import Path

import ansible.module_utils

# Ansible finds module_utils for modules, not for plugins on the bastion.
ansible.module_utils.__path__.append(str(Path(__file__).resolve().parents[1] / "module_utils"))

from ansible.module_utils.andon import approvals, resume_gates, resume_run
from ansible.module_utils.andon.text import clean
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    """Halting again is never refused here: it is the safe direction."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        args = dict(self._task.args)
        if args.get("state") != "halted":
            try:
                reasons = self.reasons(args, task_vars)
            except ValueError as error:
                reasons = [str(error)]
            if reasons:
                words = "REFUSED %s" % clean("; ".join(reasons), 400)
                return {"failed": True, "changed": False, "msg": words + ". Nothing was started", "andon_progress": words}
        return self._execute_module(module_name="resume_host", module_args=args, task_vars=task_vars)

    def reasons(self, args, task_vars):
        """Why nothing may be started on this host, [] if it may; puts this host's part of the plan into C(args).

        Raises:
            ValueError: the inventory or the plan is wrong, in words.
        """
        found = resume_run.forbidden(self._loader)
        hosts = list(task_vars["groups"].get("trading", []))
        host = task_vars["inventory_hostname"]
        needed = resume_run.needed(task_vars, {host, *(set(hosts) & set(task_vars["ansible_play_hosts_all"]))})
        if args.get("verb", "resume") != "resume":
            guarded = bool(task_vars.get("andon_venues")) and resume_run.has_adapters(task_vars, hosts)
            if needed or guarded:
                why = "%d approvals are required" % needed if needed else "the gate positions applies"
                found.append("a %s does not start trading where %s. Next: andon resume" % (args["verb"], why))
            return found
        plan = resume_run.planned(task_vars)
        if plan is None or not plan["go"] or host not in plan["hosts"]:
            return [*found, "this run has no plan for this host"]
        args["expected"] = plan["hosts"][host]
        if plan["file"]:
            # What was approved, not what this run made of it.
            document = approvals.load(approvals.find(plan["file"]))
            args["expected"] = document["hosts"].get(host) or {}
            found += self.approval(plan, document, needed, task_vars, late=args["state"] == "started")
        found += resume_gates.refusals(plan["gates"])
        if needed and not plan["file"]:
            found.append("%d approvals are required and no plan is named" % needed)
        return found

    @staticmethod
    def approval(plan, document, needed, task_vars, late):
        """The same look at the file and its signatures as the plan had: nothing that a task registered is believed for it.

        Args:
            late: the plan's time counts; a start that was in time may still be finished after it.
        """
        if approvals.digest(document) != plan["digest"]:
            return ["the plan's file is another one than this run's plan"]
        now = time.time() if late else None
        return approvals.check(approvals.find(plan["file"]), document, needed, str(task_vars.get("andon_allowed_signers") or ""), now, expires=late)["why"]
