# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Fills in who wants the lock and for which run, and takes over the lock of a run that died on this bastion."""

from __future__ import annotations

from pathlib import Path

import ansible.module_utils

# Ansible finds module_utils for modules, not for plugins on the bastion.
ansible.module_utils.__path__.append(str(Path(__file__).resolve().parents[1] / "module_utils"))

from ansible.module_utils.andon.run_id import is_dead, this_run
from ansible.module_utils.andon.state import actor
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        args = dict(self._task.args, owner=actor()["name"], **this_run())
        result = self._execute_module(module_args=args, task_vars=task_vars)
        holder = result.get("holder")
        if result.get("failed") and holder and args.get("state", "present") == "present" and is_dead(holder):
            result = self._execute_module(module_args=dict(args, dead=[holder["run_id"]]), task_vars=task_vars)
        return result
