# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Gives the module of the same name the fleet's key, which lives on the bastion. A host that fails is a result, not an end."""

from __future__ import annotations

from pathlib import Path

import ansible.module_utils

# Ansible finds module_utils for modules, not for plugins on the bastion.
ansible.module_utils.__path__.append(str(Path(__file__).resolve().parents[1] / "module_utils"))

from ansible.module_utils.andon.fleet_key import fleet_key
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        try:
            key = fleet_key()
        except OSError as error:
            return {"failed": True, "msg": "The bastion's state cannot be written (%s). Set ANDON_STATE to a folder that can." % error}
        return self._execute_module(module_args=dict(self._task.args, key=key), task_vars=task_vars)
