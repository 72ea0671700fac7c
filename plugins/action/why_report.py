# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Puts together what hosts, adapters, journals and venues say of the kill switch, names the cause, and reports."""

from __future__ import annotations

import time
from pathlib import Path

import ansible.module_utils

# Ansible finds module_utils for modules, not for plugins on the bastion.
ansible.module_utils.__path__.append(str(Path(__file__).resolve().parents[1] / "module_utils"))

from ansible.errors import AnsibleActionFail
from ansible.module_utils.andon import adapters, gathered, recorded, shapes, triage, trigger_lines, triggers, venue_runner, venue_stop
from ansible.module_utils.andon.report import ending
from ansible.module_utils.andon.text import clean, valid_id
from ansible.module_utils.andon.venues import ConfigError
from ansible.plugins.action import ActionBase

ACTS = ("liveness", "positions", "trades")


def adapter_rows(task_vars, registers, kinds):
    """{host: what its adapters answered}; a host that has adapters and gave no answer has an entry that is UNKNOWN.

    Args:
        registers: {act: the variable that the step registered}. kinds: {host: does it have adapters?}.
    """
    found = {}
    for act, register in registers.items():
        for host, one in gathered.results(task_vars, register, "adapters").items():
            if isinstance(one, dict):
                found.setdefault(host, []).extend(dict(row, act=row.get("act") or act) for row in one["adapters"] if isinstance(row, dict))
            elif kinds.get(host):
                found.setdefault(host, []).append({"component": "adapters", "act": act, "outcome": "unknown", "why": one, "data": None, "state": ""})
    return found


class ActionModule(ActionBase):
    """Reads the registered results of all hosts of the play, this bastion's records and the venues; changes nothing.

    Arguments: triggers, liveness, positions, trades (the variables that the steps were registered in), since, strategy, patterns
    (andon_trigger_patterns), budget (seconds for the venues).
    Returns andon_report; fails unless a cause was found that nothing unread could change, or it is proven that none triggered.
    """

    _supports_check_mode = True
    _requires_connection = False

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        now, arguments = time.time(), self._task.args
        strategy = str(arguments.get("strategy") or "")
        if strategy and not valid_id(strategy):
            raise AnsibleActionFail("'%s' cannot be a strategy's id (letters, digits, dot, _ and -). Nothing was read" % clean(strategy, 60))
        try:
            window = triage.parse_since(arguments["since"], now)
            patterns = trigger_lines.TriggerPatterns(venue_stop.plain(arguments.get("patterns") or {}))
        except (ValueError, shapes.PatternError) as error:
            raise AnsibleActionFail("%s. Nothing was read" % error) from None
        hosts = gathered.results(task_vars, arguments["triggers"], "sources")
        kinds = {host: self._adapters(task_vars, host) for host in hosts}
        answers = adapter_rows(task_vars, {act: arguments[act] for act in ACTS if arguments.get(act)}, kinds)
        found, lifts, missing = recorded.journals(now - window, strategy)
        alarms, unread = recorded.alarms(now - window)
        report = triggers.report(
            hosts,
            answers,
            (found + alarms, lifts, missing + unread),
            self._trades(task_vars, now - window, arguments.get("budget")),
            now=now,
            window=window,
            since=str(arguments["since"]),
            strategy=strategy,
            limited=str(task_vars.get("ansible_limit") or ""),
            patterns=patterns,
        )
        result.update(ending(report))
        return result

    @staticmethod
    def _adapters(task_vars, host):
        """True if this host has adapters. The variable is looked at as it is written: an adapter's own templates are not Ansible's."""
        raw = task_vars["hostvars"].raw_get(host).get("andon_components") or []
        return isinstance(raw, str) or bool(adapters.with_adapter(raw))

    def _trades(self, task_vars, since, budget):
        """The venues' rows; None where no venue is configured. A configuration that cannot be used is a row that says so."""
        if not task_vars.get("andon_venues"):
            return None
        try:
            # Read here and not passed as an argument: arguments are shown with -vvv, and these are credentials.
            config = venue_stop.reader(task_vars, self._templar)()
            return venue_runner.call({"task": "trades", "config": config, "since": since, "budget": min(max(float(budget or 10), 1.0), 300.0)})
        except (ConfigError, OSError, ValueError) as error:
            row = {"name": "andon_venues", "verdict": "UNKNOWN", "why": clean(error, 200), "trades": [], "foreign": 0}
            return [row]
