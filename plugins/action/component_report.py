# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The verdict of one act on trading software: asks the venues for what only they can prove. Runs once, on the bastion."""

from __future__ import annotations

import os
import time
from pathlib import Path

import ansible.module_utils

# Ansible finds module_utils for modules, not for plugins on the bastion.
ansible.module_utils.__path__.append(str(Path(__file__).resolve().parents[1] / "module_utils"))

from ansible.module_utils.andon import adapter_report, report
from ansible.module_utils.andon.text import clean
from ansible.plugins.action import ActionBase

BUDGET = 10.0


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        args, check = self._task.args, bool(self._task.check_mode)
        results = report.collect(task_vars, args["register"])
        hosts = {host: one["adapters"] if one and "adapters" in one else None for host, one in results.items()}
        why = {host: report.reason(task_vars, args["register"], host) for host, rows in hosts.items() if rows is None}
        if not check:
            self._prove([row for rows in hosts.values() for row in rows or []], task_vars)
        return report.ending(adapter_report.make(str(args["act"]), hosts, why, str(args.get("only") or "all"), check))

    def _prove(self, rows, task_vars):
        """Fills in C(proven) and C(why) of the rows that need a venue, from lists that are newer than the act."""
        open_ = [row for row in rows if row.get("needs") and row["outcome"] in adapter_report.GOOD and self._rest_is_proven(row)]
        if not open_:
            return
        first, trouble = self._look(open_, task_vars)
        seconds = adapter_report.pause(open_)
        second = first
        if seconds and first:
            if not os.environ.get("ANDON_JSON"):
                self._display.display("looking at the venues again in %g s" % seconds)
            time.sleep(seconds)
            second, trouble = self._look(open_, task_vars)
        for row in open_:
            row["proven"], words = adapter_report.proof(row, first.get(row["venue"]), second.get(row["venue"]))
            row["why"] = "" if row["proven"] else words if not trouble else clean(trouble, 200)

    @staticmethod
    def _rest_is_proven(row):
        """Whether only the venue's word is missing."""
        return all(step["outcome"] == "ok" for step in row["steps"] if step["step"].startswith("verify") and step["step"] != "verify venue")

    def _look(self, rows, task_vars):
        """({venue: row}, trouble in words): one look at each venue that is needed. It only reads."""
        if not task_vars.get("andon_venues"):
            return {}, "needs the venue, and andon_venues is not set (docs/venues.md)"
        from ansible.module_utils.andon import venue_runner, venue_stop
        from ansible.module_utils.andon.venues import ConfigError

        try:
            config = venue_stop.reader(task_vars, self._templar)()
            wanted = {row["venue"] for row in rows}
            found = venue_runner.ask([one for one in config if one.get("name") in wanted], cancel=False, status=False, budget=BUDGET)
        except (ConfigError, OSError) as error:
            return {}, "the venue cannot be asked: %s" % clean(error, 160)
        return {one["name"]: one for one in found}, ""
