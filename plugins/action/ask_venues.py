# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Cancels at the venues, or looks at them, and reports. Runs once, on the bastion; no host is asked for anything."""

from __future__ import annotations

import time
from pathlib import Path

import ansible.module_utils

# Ansible finds module_utils for modules, not for plugins on the bastion.
ansible.module_utils.__path__.append(str(Path(__file__).resolve().parents[1] / "module_utils"))

from ansible.errors import AnsibleActionFail
from ansible.module_utils.andon import report, venue_report, venue_runner, venue_stop, venue_switch
from ansible.module_utils.andon.text import clean, nearest, valid_id
from ansible.module_utils.andon.venues import ConfigError
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        args, check = self._task.args, bool(self._task.check_mode)
        act, only = args.get("act"), str(args.get("venue") or "")
        if act not in ("cancel", "status"):
            raise AnsibleActionFail("act must be cancel or status")
        cancel = act == "cancel" and not check
        # Read here and not passed as an argument: arguments are shown with -vvv, and these are credentials.
        config = venue_stop.reader(task_vars, self._templar)() if task_vars.get("andon_venues") else []
        if not config:
            raise AnsibleActionFail("no venue is configured, so nothing was done. Set andon_venues in the inventory (docs/venues.md)")
        target = only or "all"
        # The acting step compares it itself: no --tags or --start-at-task gets around it.
        if cancel and str(args.get("confirm") or "") != target:
            near = nearest(str(args.get("confirm") or ""), [target])
            given = "confirm is '%s'" % clean(args["confirm"], 40) if args.get("confirm") else "confirm is missing"
            raise AnsibleActionFail("not confirmed: %s and must be %s%s. Nothing was cancelled" % (given, clean(target, 64), " (a typo?)" if near else ""))
        try:
            budget = min(max(float(args.get("budget") or 10), 1.0), 300.0)
        except ValueError:
            raise AnsibleActionFail("andon_venue_budget must be a number of seconds. Nothing was done") from None
        try:
            rows = venue_runner.ask(config, cancel=cancel, status=act == "status", budget=budget, only=only)
        except (ConfigError, OSError) as error:
            raise AnsibleActionFail("%s. Next: correct it and type the same command again" % clean(error, 300)) from error
        for row in rows:
            row["switch"] = venue_switch.last_words(row["name"], time.time()) if act == "status" and valid_id(row["name"]) else ""
        result = report.ending(venue_report.make(act, rows, check))
        result["changed"] = cancel and any(row["gone"] for row in rows)
        return result
