# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Judges what every host measured, and reports it. A host without a result is UNKNOWN."""

from __future__ import annotations

from pathlib import Path

import ansible.module_utils

# Ansible finds module_utils for modules, not for plugins on the bastion.
ansible.module_utils.__path__.append(str(Path(__file__).resolve().parents[1] / "module_utils"))

from ansible.errors import AnsibleActionFail
from ansible.module_utils.andon import gathered, health
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    """Reads the registered results of all hosts of the play; touches no host.

    Arguments: register (the variable that observe was registered in), limits (of a healthy host, where they differ from health.LIMITS).
    Returns andon_report; fails unless every host is healthy.
    """

    _supports_check_mode = True
    _requires_connection = False

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        try:
            limits = health.limits_of(self._task.args.get("limits"))
        except ValueError as error:
            raise AnsibleActionFail(str(error)) from None
        seen = gathered.results(task_vars, self._task.args["register"], "begin")
        report = health.report(seen, limits, str(task_vars.get("ansible_limit") or ""))
        result.update(changed=False, andon_report=report)
        if not report["ok"]:
            result.update(failed=True, msg=report["headline"])
        return result
