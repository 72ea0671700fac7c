# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Fills in the run that must hold the lock, and stops the roll: a host whose turn comes after a failure is left as it is."""

from __future__ import annotations

from pathlib import Path

import ansible.module_utils

# Ansible finds module_utils for modules, not for plugins on the bastion.
ansible.module_utils.__path__.append(str(Path(__file__).resolve().parents[1] / "module_utils"))

from ansible.module_utils.andon.run_id import this_run
from ansible.module_utils.andon.state import actor
from ansible.module_utils.andon.text import clean
from ansible.plugins.action import ActionBase


def failed_before(hostvars, hosts, register):
    """The first host that failed or could not be reached so far, or ""."""
    for host in hosts:
        one = hostvars[host].get(register) or {}
        if one.get("failed") or one.get("unreachable"):
            return host
    return ""


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        args = dict(self._task.args)
        register = args.pop("register")
        failed = failed_before(task_vars["hostvars"], task_vars["ansible_play_hosts_all"], register)
        if failed:
            return {"skipped": True, "changed": False, "skip_reason": "not reached: %s failed before" % clean(failed, 40)}
        args.update(run=this_run()["run_id"], operator=actor()["name"])
        return self._execute_module(module_args=args, task_vars=task_vars)
