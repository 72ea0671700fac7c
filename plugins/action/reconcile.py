# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Compares what the components claim with what the venues show, and keeps it. Runs once, on the bastion, after every host was asked."""

from __future__ import annotations

import time
from pathlib import Path

import ansible.module_utils

# Ansible finds module_utils for modules, not for plugins on the bastion.
ansible.module_utils.__path__.append(str(Path(__file__).resolve().parents[1] / "module_utils"))

from ansible.errors import AnsibleActionFail
from ansible.module_utils.andon import positions_report, reconcile, reconciliations, report, state, venue_runner, venue_stop
from ansible.module_utils.andon.text import clean
from ansible.module_utils.andon.venues import ConfigError
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        args, check = self._task.args, bool(self._task.check_mode)
        only = str(args.get("venue") or "")
        # Read here and not passed as an argument: arguments are shown with -vvv, and these are credentials.
        config = venue_stop.reader(task_vars, self._templar)() if task_vars.get("andon_venues") else []
        if not config:
            raise AnsibleActionFail("no venue is configured, so there is nothing to compare with. Set andon_venues in the inventory (docs/venues.md)")
        sources, bare = positions_report.sources_of(task_vars, args["register"], self._templar, args["seen"])
        books = self._books(config, only, reconcile.claimed_symbols(sources), args.get("budget"))
        rows = reconcile.judge(sources, books, bare, only=only)
        halted, words = None, ""
        if args.get("halt_first"):
            halts, words = positions_report.halts(task_vars, args["halted"], self._templar)
            halted = None if check else bool(halts) and all(one["good"] for one in halts)
        incident = reconciliations.current_incident()
        now = state.utc_now()
        found = positions_report.document(now=now, incident=incident, only=only, halted=halted, sources=sources, books=books, rows=rows)
        kept, not_kept = "", "--check writes nothing"
        if not check:
            try:
                kept, not_kept = str(reconciliations.keep(found, incident)), ""
            except OSError as error:
                not_kept = "%s: %s" % (clean(error.filename or state.state_dir(), 200), error.strerror or clean(error, 120))
        money, below, _ = reconciliations.status_part(time.time(), False)
        made = positions_report.reconciled(found, words, halted, kept, not_kept, money)
        made["detail"] += below
        return report.ending(made)

    @staticmethod
    def _books(config, only, claimed, budget):
        try:
            seconds = min(max(float(budget or 10), 1.0), 300.0)
        except ValueError:
            raise AnsibleActionFail("andon_venue_budget must be a number of seconds. Nothing was compared") from None
        try:
            return venue_runner.call({"task": "positions", "config": config, "only": only, "claimed": claimed, "budget": seconds})
        except (ConfigError, OSError) as error:
            raise AnsibleActionFail("%s. Next: correct it and type the same command again" % clean(error, 300)) from error
