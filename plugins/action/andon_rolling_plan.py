# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The plan of a rolling verb: judges what every host found, keeps the evidence, and fails before anything is touched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ansible.module_utils

# Ansible finds module_utils for modules, not for plugins on the bastion.
ansible.module_utils.__path__.append(str(Path(__file__).resolve().parents[1] / "module_utils"))

from ansible.module_utils.andon import evidence, rolling, targets
from ansible.module_utils.andon.state import actor
from ansible.module_utils.andon.text import clean
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _requires_connection = False
    _VALID_ARGS = frozenset(("verb", "target", "memory", "undo", "confirm", "found"))

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        task_vars = task_vars or {}
        check = bool(self._task.check_mode)
        ask = rolling.ask_of(self._task.args, check)
        hostvars = task_vars["hostvars"]
        results = {host: hostvars[host].get(self._task.args["found"]) for host in task_vars["ansible_play_hosts_all"]}
        report = rolling.judge_plan(ask, results)
        result.update(changed=False, plan=report["data"], evidence="")
        if report["ok"] and not check:
            try:
                result["evidence"] = self._keep(ask, results)
            except OSError as error:
                report["ok"] = False
                report["headline"] = "NOT DONE  the evidence from before cannot be kept on this bastion"
                report["summary"] = [clean(str(error), 300), "Nothing was touched on any host."]
                report["next"] = ["ANDON_STATE=/dev/shm/andon " + ask.command()]
        if not report["ok"]:
            result.update(failed=True, msg=report["headline"], andon_report=report)
        return result

    def _keep(self, ask: rolling.Ask, results: dict[str, Any]) -> str:
        folder = evidence.run_folder(ask.verb, ask.target)
        about = {"verb": ask.verb, "target": ask.target, "actor": actor()}
        for host, found in results.items():
            if found.get("evidence"):
                items = targets.unpack(str(found["evidence"]))
                if items:
                    evidence.keep(folder, host, items, about)
        return str(folder) if folder.exists() else ""
