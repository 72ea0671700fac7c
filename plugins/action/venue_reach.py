# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Runs the module venue_reach: gives it the addresses that the bastion found, and of andon_components only what it needs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import ansible.module_utils

# Ansible finds module_utils for modules, not for plugins on the bastion.
ansible.module_utils.__path__.append(str(Path(__file__).resolve().parents[1] / "module_utils"))

from ansible.errors import AnsibleActionFail
from ansible.module_utils.andon import gathered, health
from ansible.module_utils.andon.venue_stop import plain
from ansible.plugins.action import ActionBase

KEYS = ("name", "component", "strategy", "venue", "protect")


def needed(components):
    """Entries of andon_components without what they say of adapters (which may hold a secret), still with the venue that is named there."""
    found = []
    for one in components or ():
        if isinstance(one, Mapping) and one.get("name"):
            few = {key: one[key] for key in KEYS if key in one}
            adapter = one.get("adapter")
            venue = adapter.get("venue") if isinstance(adapter, Mapping) else None
            if isinstance(venue, Mapping) and venue.get("name"):
                few.setdefault("venue", venue["name"])
            found.append(few)
    return found


class ActionModule(gathered.Timed, ActionBase):
    """One remote step. Arguments: as the module's, less components; venues are what venue_probe returned."""

    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        facts = arguments.get("venues")
        if not isinstance(facts, (list, tuple)):
            raise AnsibleActionFail("the bastion's look at the venues is missing, so there is nothing to compare with. Nothing was looked at")
        arguments["venues"] = [
            {"name": str(one["name"]), "url": str(one["url"]), "exact": bool(one["exact"]), "streams": [str(s) for s in one.get("streams") or []]}
            for one in facts
            if one["url"]
        ]
        arguments["components"] = plain(self._templar.template(needed(task_vars.get("andon_components"))))
        result, before, after = self.timed("venue_reach", arguments, task_vars)
        if "begin" in result and not result.get("failed"):
            result["clock"] = health.clock(before, result["begin"], result["end"], after)
        return result
