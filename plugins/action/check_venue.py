# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Compares the bastion's look at the venues with the hosts', and reports; before that, it is the gate of --restart-adapter."""

from __future__ import annotations

from pathlib import Path

import ansible.module_utils

# Ansible finds module_utils for modules, not for plugins on the bastion.
ansible.module_utils.__path__.append(str(Path(__file__).resolve().parents[1] / "module_utils"))

from ansible.errors import AnsibleActionFail
from ansible.module_utils.andon import fleet_report, gathered, report, venue_verdict
from ansible.module_utils.andon.text import clean, nearest
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    """Arguments: look and reach (registers of venue_probe and venue_reach), live (register of the module adapter with act liveness, where
    a component has one), acted (register of the restart), adapter (to restart, or empty), confirm, gate (true: only
    say whether this adapter may be restarted)."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _VALID_ARGS = frozenset(("look", "reach", "live", "acted", "adapter", "confirm", "gate"))

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        args, check = self._task.args, bool(self._task.check_mode)
        look = task_vars["hostvars"][task_vars["inventory_hostname"]].get(args["look"])
        facts = list(look["venues"]) if look and look.get("venues") else []
        hosts = gathered.results(task_vars, args["reach"], "begin")
        for host, one in hosts.items():
            live = task_vars["hostvars"][host].get(str(args.get("live") or "")) or {}
            if not isinstance(one, str) and live.get("adapters"):
                hosts[host] = {**one, "liveness": {str(row["component"]): dict(row) for row in live["adapters"]}}
        adapter = str(args.get("adapter") or "")
        if args.get("gate") in (True, "true", "True"):
            self._gate(facts, hosts, adapter, str(args.get("confirm") or ""), check)
            result["changed"] = False
            return result
        done = self._done(task_vars, str(args.get("acted") or ""), adapter, hosts) if adapter else []
        return report.ending(venue_verdict.report(facts, hosts, done, fleet_report.limited(task_vars)))

    @staticmethod
    def _gate(facts, hosts, adapter, confirm, check):
        """Raises AnsibleActionFail unless the name is an adapter of these venues and is confirmed."""
        known = sorted({name for one in facts for name in venue_verdict.judge(one, hosts)["adapters"]})
        if adapter not in known:
            near = nearest(adapter, known)
            hint = "did you mean %s?" % near[0] if near else "adapters there: %s" % (", ".join(known) or "none (label andon.component=adapter)")
            raise AnsibleActionFail("%s is no adapter of this venue; %s Nothing was restarted" % (clean(adapter, 60), clean(hint, 200)))
        if confirm != adapter and not check:
            raise AnsibleActionFail("not confirmed: confirm must be %s. Nothing was restarted" % clean(adapter, 60))

    @staticmethod
    def _done(task_vars, register, adapter, hosts):
        """One line on the restart: where, and whether it reconnected."""
        words = []
        for host in task_vars["ansible_play_hosts_all"]:
            acted = task_vars["hostvars"][host].get(register) or {}
            for one in acted.get("containers") or []:
                rows = [] if isinstance(hosts.get(host), str) else hosts[host]["components"]
                row = next((row for row in rows if row["name"] == one["name"]), {})
                state = {True: "reconnected", False: "NOT reconnected"}.get(row.get("reconnected"), "no connection seen")
                words.append("%s on %s: %s, %s" % (clean(one["name"], 40), clean(host, 30), clean(one["words"], 60), state))
        return ["Restarted " + line for line in words] or ["%s was not restarted" % clean(adapter, 60)]
