# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Looks at the venues from the bastion, layer by layer. Runs once; its result is judged together with the hosts' by check_venue."""

from __future__ import annotations

from pathlib import Path

import ansible.module_utils

# Ansible finds module_utils for modules, not for plugins on the bastion.
ansible.module_utils.__path__.append(str(Path(__file__).resolve().parents[1] / "module_utils"))

from ansible.errors import AnsibleActionFail
from ansible.module_utils.andon import venue_runner, venue_stop
from ansible.module_utils.andon.text import clean
from ansible.module_utils.andon.venues import ConfigError
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    """Arguments: venue (one of andon_venues, or empty), budget (seconds). Returns venues (venue_probe.rows has the form)."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _VALID_ARGS = frozenset(("venue", "budget"))

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        # Read here and not passed as an argument: arguments are shown with -vvv, and these are credentials.
        config = venue_stop.reader(task_vars, self._templar)() if task_vars.get("andon_venues") else []
        if not config:
            raise AnsibleActionFail("no venue is configured, so nothing was looked at. Set andon_venues in the inventory (docs/venues.md)")
        try:
            budget = min(max(float(self._task.args.get("budget") or 10), 1.0), 300.0)
        except ValueError:
            raise AnsibleActionFail("andon_venue_budget must be a number of seconds. Nothing was done") from None
        job = {"task": "probe", "config": config, "budget": budget, "only": str(self._task.args.get("venue") or "")}
        try:
            result["venues"] = venue_runner.call(job)
        except (ConfigError, OSError) as error:
            raise AnsibleActionFail("%s. Next: correct it and type the same command again" % clean(error, 300)) from error
        result["changed"] = False
        return result
