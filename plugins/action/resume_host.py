# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The bastion's part of the step that starts: it checks this run's plan, its approvals and its gates itself, for each host."""

from __future__ import annotations

import time
from pathlib import Path

import ansible.module_utils

# Ansible finds module_utils for modules, not for plugins on the bastion.
ansible.module_utils.__path__.append(str(Path(__file__).resolve().parents[1] / "module_utils"))

from ansible.module_utils.andon import adapter_inventory, approvals, resume_adapters, resume_gates, resume_run
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
        if args.get("state") != "started" or args.get("verb", "resume") != "resume":
            return self.module(args, task_vars)
        return self.start(args, resume_run.planned(task_vars), task_vars)

    def module(self, args, task_vars):
        return self._execute_module(module_name="resume_host", module_args=args, task_vars=task_vars)

    # With adapters: the size is put in place and read back, then the containers start, then their software may trade.

    def start(self, args, plan, task_vars):
        """Starts this host's containers; an adapter that does not do its part halts again what was started here."""
        rows = [row for row in args["expected"]["containers"] if row["start"]]
        sized = [row["name"] for row in rows if "sized_by" in row]
        values = {name: {"incident_id": plan["incident"] or "no-incident"} for name in (row["name"] for row in rows)}
        if sized:
            for name in sized:
                values[name]["size"] = plan["size"]
            # The host is what the plan says, and the size is written down, before any of it is put in place.
            noted = self.module(dict(args, state="sized", size=plan["size"]), task_vars)
            if noted.get("failed"):
                return noted
        prepared = self.adapters("prepare", sized, values, task_vars)
        bad = resume_adapters.judge(sized, prepared, proof=True)
        if bad:
            words = "REFUSED the size is not in place: %s" % clean("; ".join(bad), 300)
            return {"failed": True, "changed": False, "msg": words + ". Nothing was started", "andon_progress": words, "adapters": prepared}
        result = self.module(args, task_vars)
        if result.get("failed") or not rows or self._task.check_mode:
            return result
        able = (task_vars.get("__andon_resume_sizes") or {}).get("adapters") or {}
        wanted = [row["name"] for row in rows if able.get(row["name"], {}).get("resumes")]
        released = self.adapters("resume", wanted, values, task_vars)
        bad = resume_adapters.judge(wanted, released, proof=False)
        result["adapters"], result["sizes"] = prepared + released, resume_adapters.told(sized, plan["size"], prepared, released)
        if bad:
            return self.undo(args, bad, result, task_vars)
        if sized:
            result["andon_progress"] = "%s, size %g: %s" % (result.get("andon_progress", "OK"), plan["size"], ", ".join(sized))
        return result

    def adapters(self, act, names, values, task_vars):
        """The rows of one action of the adapters of these components; a component that cannot be asked has a row that says so.

        Args:
            values: {name: values of its templates}; only those with a size have one.
        """
        if not names:
            return []
        plans, secrets, wrong = [], {}, {}
        for name, entry in adapter_inventory.entries(task_vars, self._templar):
            if name in names:
                more, own, why = adapter_inventory.plans([(name, entry)], act, values[name])
                plans += more
                secrets.update(own)
                wrong.update(why)
        rows = [{"component": name, "outcome": "failed", "why": why, "proven": False, "steps": []} for name, why in sorted(wrong.items())]
        if not plans or wrong:
            return rows
        answer = self._execute_module(
            module_name="adapter",
            module_args={
                "act": act,
                "confirm": "all",
                "budget": float(self._templar.template(task_vars.get("andon_resume_adapter_s")) or 180),
                "components": plans,
                "secrets": secrets,
                "under_latch": True,
                **{key: self._task.args[key] for key in ("container_cli", "host_state", "protected") if key in self._task.args},
            },
            task_vars=task_vars,
        )
        if answer.get("failed") or "adapters" not in answer:
            why = clean(answer.get("msg") or "no answer", 200)
            return [{"component": plan["name"], "outcome": "unknown", "why": why, "proven": False, "steps": []} for plan in plans]
        return answer["adapters"]

    def undo(self, args, bad, result, task_vars):
        """Halts again on this host and fails: the latch is still there, and the last play halts the other hosts."""
        again = self.module(dict(args, state="halted"), task_vars)
        words = "an adapter did not let it trade: %s; %s" % (
            clean("; ".join(bad), 240),
            "and could NOT be halted again: %s" % clean(again.get("msg"), 120) if again.get("failed") else "halted again",
        )
        return {**result, "failed": True, "msg": words, "andon_progress": "FAILED %s" % words}

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
            if needed or resume_run.has_adapters(task_vars, hosts):
                why = "%d approvals are required" % needed if needed else "software with an adapter has to be let go, and the gate positions may apply"
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

    def approval(self, plan, document, needed, task_vars, late):
        """The same look at the file and its signatures as the plan had: nothing that a task registered is believed for it.

        Args:
            late: the plan's time counts; a start that was in time may still be finished after it.
        """
        if approvals.digest(document) != plan["digest"]:
            return ["the plan's file is another one than this run's plan"]
        now = time.time() if late else None
        signers = str(self._templar.template(task_vars.get("andon_allowed_signers") or ""))
        return approvals.check(approvals.find(plan["file"]), document, needed, signers, now, expires=late)["why"]
