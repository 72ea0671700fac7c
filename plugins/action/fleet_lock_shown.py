# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The report of fleet_lock.yml. Runs on the bastion."""

from __future__ import annotations

import textwrap
from pathlib import Path

import ansible.module_utils

# Ansible finds module_utils for modules, not for plugins on the bastion.
ansible.module_utils.__path__.append(str(Path(__file__).resolve().parents[1] / "module_utils"))

from ansible.module_utils.andon.fleet_report import report
from ansible.module_utils.andon.lock import words
from ansible.module_utils.andon.text import clean, plural
from ansible.plugins.action import ActionBase


def judge(results, force):
    """The report.

    Args:
        results: {host: fleet_lock's result, or None}. force: it was to be taken away.
    """
    held, unknown, gone = {}, {}, []
    for host, one in sorted(results.items()):
        if not one or one.get("unreachable"):
            unknown[host] = clean((one or {}).get("msg") or "no answer", 120)
        elif one.get("failed"):
            held[host] = one.get("holder") or {}
            if not one.get("holder"):
                unknown[host] = clean(one.get("msg"), 200)
        elif one.get("changed"):
            gone.append(host)
    ok = not unknown and not (force and held)
    if unknown:
        headline = "LOCK UNKNOWN on %s" % plural(len(unknown), "host")
    elif gone:
        headline = "LOCK RELEASED: OK, on %s" % plural(len(gone), "host")
    elif held:
        headline = "LOCK HELD on %d/%d hosts" % (len(held), len(results))
    else:
        headline = "LOCK FREE: OK, on %d/%d hosts" % (len(results), len(results))
    summary = ["%-14s UNKNOWN  %s" % (clean(h, 14), why) for h, why in unknown.items()]
    for host, holder in held.items():
        summary += ["%-14s %s" % (clean(host, 14) if number == 0 else "", line) for number, line in enumerate(textwrap.wrap(words(holder), 64)) if holder]
    then = ["when you know that this run is dead: andon lock release --force"] if held else []
    return report("fleet_lock", ok, headline, summary, [], {"held": held, "unknown": unknown, "released": gone}, then)


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        results = {h: task_vars["hostvars"][h].get("__fleet_lock_shown") for h in task_vars["ansible_play_hosts_all"]}
        return judge(results, bool(self._task.args.get("force")))
