# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Makes the plan of a rollback from what every host said. It refuses in the plan; the report fails the run. Runs on the bastion."""

from __future__ import annotations

from pathlib import Path

import ansible.module_utils

# Ansible finds module_utils for modules, not for plugins on the bastion.
ansible.module_utils.__path__.append(str(Path(__file__).resolve().parents[1] / "module_utils"))

from ansible.module_utils.andon import rollback
from ansible.module_utils.andon.fleet_report import gather
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        args = self._task.args
        results, missing = gather(task_vars, args["register"])
        states = {host: result["state"] for host, result in results.items()}
        if args.get("prepared"):
            # Second look, after every host was made ready: one that is not takes the whole plan back.
            plan = dict(args["plan"])
            _, unready = gather(task_vars, args["prepared"])
            plan["refusals"] = list(plan["refusals"]) + ["%s: %s" % (h, why) for h, why in sorted(unready.items())]
            plan["go"] = plan["go"] and not unready
            return {"changed": False, "plan": plan}
        plan = rollback.plan(
            states,
            missing,
            to=args.get("to") or "",
            confirm=args.get("confirm") or "",
            check=bool(self._task.check_mode),
            lock=args.get("lock") or {},
            allowed=args.get("allow") or [],
            ignored=args.get("ignore") or [],
            disk_reserve=int(args.get("disk_reserve") or 0),
            not_good=bool(args.get("not_good")),
        )
        return {"changed": False, "plan": plan}
