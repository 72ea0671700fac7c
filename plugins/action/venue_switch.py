# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Arms, refreshes or disarms the dead man's switch of one venue, reads back what can be read, and reports. Runs once, on the bastion."""

from __future__ import annotations

from pathlib import Path

import ansible.module_utils

# Ansible finds module_utils for modules, not for plugins on the bastion.
ansible.module_utils.__path__.append(str(Path(__file__).resolve().parents[1] / "module_utils"))

from ansible.errors import AnsibleActionFail
from ansible.module_utils.andon import report, venue_runner, venue_stop, venue_switch, venue_switch_report
from ansible.module_utils.andon.text import clean, nearest
from ansible.module_utils.andon.venues import ConfigError
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    """Arguments: act (arm, refresh, disarm), venue, timeout (seconds; refresh without one takes the last), budget (seconds), confirm (the venue again)."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _VALID_ARGS = frozenset(("act", "venue", "timeout", "budget", "confirm"))

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        args, check = self._task.args, bool(self._task.check_mode)
        act, venue = str(args.get("act") or ""), str(args.get("venue") or "")
        if act not in venue_switch.ACTS:
            raise AnsibleActionFail("andon_switch_act must be one of %s. Nothing was sent" % ", ".join(venue_switch.ACTS))
        config = venue_stop.reader(task_vars, self._templar)() if task_vars.get("andon_venues") else []
        if not config or not venue:
            raise AnsibleActionFail("name one venue of andon_venues (docs/venues.md): -e andon_venue=NAME. Nothing was sent")
        # The acting step compares it itself: no --tags or --start-at-task gets around it.
        if not check and str(args.get("confirm") or "") != venue:
            near = " (a typo?)" if nearest(str(args.get("confirm") or ""), [venue]) else ""
            given = "confirm is '%s'" % clean(args["confirm"], 40) if args.get("confirm") else "confirm is missing"
            raise AnsibleActionFail("not confirmed: %s and must be %s%s. Nothing was sent" % (given, clean(venue, 64), near))
        timeout, budget = self._numbers(args, act, venue)
        job = {"task": "switch", "config": config, "only": venue, "act": act, "timeout": timeout, "check": check, "budget": budget}
        try:
            (row,) = venue_runner.call(job)
        except (ConfigError, OSError) as error:
            raise AnsibleActionFail("%s. Next: correct it and type the same command again" % clean(error, 300)) from error
        warning = venue_switch.remember(row) if row["sent_at"] else ""
        result = report.ending(venue_switch_report.make(row, warning))
        result["changed"] = bool(row["sent_at"])
        return result

    @staticmethod
    def _numbers(args, act, venue):
        """(timeout, budget) in seconds."""
        given = args.get("timeout")
        before = venue_switch.last(venue) or {}
        if given in (None, "") and act == "refresh":
            given = before.get("timeout")
        if given in (None, "") and act == "arm":
            raise AnsibleActionFail("andon_switch_timeout_s is missing: the seconds after which the venue cancels. Nothing was sent")
        try:
            return float(given or 0), min(max(float(args.get("budget") or 10), 1.0), 300.0)
        except ValueError:
            raise AnsibleActionFail("andon_switch_timeout_s and andon_venue_budget must be numbers of seconds. Nothing was sent") from None
