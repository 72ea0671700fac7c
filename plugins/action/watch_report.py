# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Judges one look at the fleet, tells of what is new, reports. Runs once, on the bastion."""

from __future__ import annotations

import time
from pathlib import Path

import ansible.module_utils

# Ansible finds module_utils for modules, not for plugins on the bastion.
ansible.module_utils.__path__.append(str(Path(__file__).resolve().parents[1] / "module_utils"))

from ansible.errors import AnsibleActionFail
from ansible.module_utils.andon import notifier, report, spans, watch_judge
from ansible.plugins.action import ActionBase


def limits(args):
    """The thresholds, from the task's arguments.

    Raises:
        AnsibleActionFail: one of them is no number or no span of time.
    """
    try:
        spans_of = {name: spans.seconds(args[name]) for name in ("horizon", "cooldown")}
        numbers = {name: float(args[name]) for name in ("memory_share", "host_share", "errors", "stalled")}
    except (KeyError, TypeError, ValueError) as error:
        raise AnsibleActionFail("a threshold of the watch is not understood: %s. Next: look at the variables watch_*" % error) from error
    return watch_judge.Limits(**spans_of, **numbers)


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        register = self._task.args["register"]
        found = report.collect(task_vars, register)
        looks = {host: one for host, one in found.items() if one is not None}
        unknown = {host: report.reason(task_vars, register, host) for host, one in found.items() if one is None}
        bounds, now = limits(self._task.args), time.time()
        past = watch_judge.Past()
        sent, failed = [], []
        try:
            with past.locked():
                problems, after = watch_judge.judge(looks, unknown, past.load().data["hosts"], now, bounds)
                if not self._task.check_mode:
                    sent, failed = watch_judge.tell(problems, past, set(looks), now, bounds, notifier.notify)
                    past.data["hosts"] = after
                    past.save(now, bounds.cooldown)
        except OSError as error:
            # Blind to what was before, but not blind: the look itself is still worth a report, and it is not a good one.
            problems, after = watch_judge.judge(looks, unknown, {}, now, bounds)
            failed.append("the watch cannot keep its memory in %s: %s" % (past.path, error))
        return report.ending(watch_judge.report(looks, unknown, problems, after, sent, failed))
