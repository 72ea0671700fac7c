# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The bastion's part of the module adapter: reads and checks the adapters' files, fills in secrets, then runs the module on the host."""

from __future__ import annotations

from pathlib import Path

import ansible.module_utils

# Ansible finds module_utils for modules, not for plugins on the bastion.
ansible.module_utils.__path__.append(str(Path(__file__).resolve().parents[1] / "module_utils"))

from ansible.errors import AnsibleActionFail
from ansible.module_utils.andon import adapter_inventory, adapters, incident_id
from ansible.module_utils.andon.text import clean, nearest
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        args = self._task.args
        act, only = str(args.get("act") or ""), str(args.get("only") or "")
        if act not in adapters.ACTIONS:
            near = nearest(act, adapters.ACTIONS)
            raise AnsibleActionFail("act '%s' is not known. %s" % (clean(act, 40), "Did you mean: %s?" % ", ".join(near or adapters.ACTIONS)))
        target = only or "all"
        if act in adapters.CHANGES and not self._task.check_mode and str(args.get("confirm") or "") != target:
            raise AnsibleActionFail("not confirmed: confirm must be %s. Nothing was sent" % clean(target, 80))
        found = adapter_inventory.entries(task_vars, self._templar)
        if only and only not in [name for name, _ in found]:
            near = nearest(only, [name for name, _ in found])
            hint = "Did you mean: %s?" % ", ".join(near) if near else "Next: give it one in andon_components (docs/adapters.md)"
            raise AnsibleActionFail("the component '%s' has no adapter, so nothing was sent. %s" % (clean(only, 60), hint))
        given = {"incident_id": incident_id.active() or "no-incident", **adapter_inventory.plain(args.get("values") or {})}
        plans, secrets, bad = adapter_inventory.plans(found, act, given, only=only)
        # What changes something is sent to all or to none; a look at the others must not be lost to one.
        if bad and (act in adapters.CHANGES or not plans):
            raise AnsibleActionFail("%s. Nothing was sent" % "; ".join(bad.values()))
        result = self._execute_module(
            module_args={
                "act": act,
                "only": only,
                "confirm": str(args.get("confirm") or ""),
                "budget": float(args.get("budget") or 30),
                "components": plans,
                "secrets": secrets,
                "container_cli": self._shared("container_cli", task_vars, "docker"),
                "host_state": self._shared("host_state", task_vars, "/var/lib/andon", "andon_host_state"),
                "protected": self._shared("protected", task_vars, [], "andon_protected"),
            },
            task_vars=task_vars,
        )
        for name, why in bad.items():
            result.setdefault("adapters", []).append(
                {
                    "component": name,
                    "act": act,
                    "outcome": "failed",
                    "why": clean(why, 300),
                    "proven": False,
                    "data": None,
                    "state": "",
                    "steps": [],
                    "needs": [],
                }
                | dict.fromkeys(("kind", "strategy", "venue", "prefix"), "")
                | {"seconds": None, "symbols": []}
            )
        return result

    def _shared(self, option, task_vars, default, name=None):
        """An option of the task, else the fleet's variable, else the default."""
        if self._task.args.get(option) is not None:
            return self._task.args[option]
        value = task_vars.get(name or option)
        return default if value is None else adapter_inventory.plain(self._templar.template(value))
