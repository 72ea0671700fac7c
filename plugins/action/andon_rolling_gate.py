# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The gate of one batch of a rolling verb, and the report at its end.

When a batch fails, Ansible runs no later play. So the gate, the last task inside the batch, gives the report itself and
fails; when all batches passed, the same action in the last play (C(final: true)) reports on all hosts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ansible.module_utils

# Ansible finds module_utils for modules, not for plugins on the bastion.
ansible.module_utils.__path__.append(str(Path(__file__).resolve().parents[1] / "module_utils"))

from ansible.module_utils.andon import rolling
from ansible.module_utils.andon.text import plural
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _requires_connection = False
    _VALID_ARGS = frozenset(("verb", "target", "memory", "undo", "confirm", "acted", "plan", "final"))

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        task_vars = task_vars or {}
        args = self._task.args
        ask = rolling.ask_of(args, bool(self._task.check_mode))
        final = args.get("final") in (True, "true", "True", "yes")
        hostvars = task_vars["hostvars"]
        planned = self._planned(hostvars, task_vars, str(args["plan"]))
        if planned is None:
            report = rolling.report(ask, False, "UNKNOWN  there is no plan, so nothing was done", [], [], {}, [ask.command()])
            result.update(failed=True, msg=report["headline"], andon_report=report)
            return result
        plan = planned["plan"]
        everything = {host: hostvars[host].get(args["acted"]) for host in [*plan["acting"], *(h for h in plan["same"] if h not in plan["acting"])]}
        # A host of this batch without a result has not passed; at the end that goes for all.
        due = list(everything) if final else task_vars["ansible_play_batch"]
        batch = {host: one for host, one in everything.items() if host in due or one is not None}
        report = rolling.judge_act(ask, batch, everything, plan, planned["evidence"])
        result.update(changed=False)
        if not report["ok"]:
            result.update(failed=True, msg=report["headline"], andon_report=report)
        elif final:
            result["andon_report"] = report
        else:
            left = len(everything) - len(batch)
            result["msg"] = f"{plural(len(batch), 'host')} passed, {left} to go"
        return result

    @staticmethod
    def _planned(hostvars: Any, task_vars: dict[str, Any], name: str) -> Any:
        """The plan, which run_once registered on every host of its play."""
        for host in [task_vars["inventory_hostname"], *task_vars["ansible_play_hosts_all"]]:
            found = hostvars[host].get(name)
            if found and found.get("plan"):
                return found
        return None
