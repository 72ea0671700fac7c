# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Runs the module observe and adds what only the bastion can know: how far the host's clock is off."""

from __future__ import annotations

from pathlib import Path

import ansible.module_utils

# Ansible finds module_utils for modules, not for plugins on the bastion.
ansible.module_utils.__path__.append(str(Path(__file__).resolve().parents[1] / "module_utils"))

from ansible.errors import AnsibleActionFail
from ansible.module_utils.andon import gathered, health
from ansible.plugins.action import ActionBase


class ActionModule(gathered.Timed, ActionBase):
    """One remote step; the four times of the clock come from it."""

    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        try:
            limits = health.limits_of(self._task.args.get("limits"))
        except ValueError as error:
            raise AnsibleActionFail(str(error)) from None
        result, before, after = self.timed("observe", self._task.args, task_vars)
        if result.get("failed") or "begin" not in result:
            result.setdefault("andon_progress", "UNKNOWN  not measured: %s" % health.clean(result.get("msg", "no answer"), 120))
            return result
        result["clock"] = health.clock(before, result["begin"], result["end"], after)
        found = health.judge_host("", result, limits)
        result["andon_progress"] = "%-8s %s" % (health.worst(found), health.host_words(result))
        return result
