# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Judges what every host measured, and reports it. A host without a result is UNKNOWN."""

from __future__ import annotations

from ansible.errors import AnsibleActionFail
from ansible.module_utils.andon import gathered, health
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    """Reads the registered results of all hosts of the play; touches no host."""

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
