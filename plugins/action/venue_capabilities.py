# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Says what ccxt can do at the configured exchanges, or at one that is named. Nothing is sent."""

from __future__ import annotations

from pathlib import Path

import ansible.module_utils

# Ansible finds module_utils for modules, not for plugins on the bastion.
ansible.module_utils.__path__.append(str(Path(__file__).resolve().parents[1] / "module_utils"))

from ansible.errors import AnsibleActionFail
from ansible.module_utils.andon import report, venue_runner, venue_switch_report
from ansible.module_utils.andon.text import clean
from ansible.module_utils.andon.venue_stop import plain
from ansible.module_utils.andon.venues import ConfigError
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    """Arguments: exchange (an id of ccxt; empty: those in andon_venues)."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _VALID_ARGS = frozenset(("exchange",))

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        # Only the ids: no credential is looked up for this.
        ids = [one.get("ccxt") for one in task_vars.get("andon_venues") or [] if hasattr(one, "get")]
        wanted = [str(self._task.args["exchange"])] if self._task.args.get("exchange") else plain(self._templar.template(ids))
        wanted = list(dict.fromkeys(str(one) for one in wanted if one))
        if not wanted:
            raise AnsibleActionFail("no venue is configured (andon_venues, docs/venues.md). Next: andon venue capabilities EXCHANGE")
        try:
            rows = venue_runner.call({"task": "capabilities", "exchanges": wanted, "config": [], "budget": 20})
        except (ConfigError, OSError) as error:
            raise AnsibleActionFail("%s. Next: correct it and type the same command again" % clean(error, 300)) from error
        return report.ending(venue_switch_report.table(rows))
