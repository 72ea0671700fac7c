# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether this run holds the fleet's lock on every host, from the role's registered results. Runs on the bastion."""

from __future__ import annotations

from pathlib import Path

import ansible.module_utils

# Ansible finds module_utils for modules, not for plugins on the bastion.
ansible.module_utils.__path__.append(str(Path(__file__).resolve().parents[1] / "module_utils"))

from ansible.module_utils.andon.text import clean
from ansible.plugins.action import ActionBase


def verdict(first, first_host, others, outside, first_left_out=False):
    """Judges.

    Args:
        first: the result on the fleet's first host, and its name. others: {host: result or None} of the other hosts of this run.
        outside: results (with item) of the hosts that --limit left out; of these an unreachable one is no obstacle.
        first_left_out: --limit left out the first host.

    Returns:
        dict: held (bool), refusals ({host: why}).
    """
    refusals = {}
    if first_left_out and first.get("unreachable"):
        first = {"changed": False}
    for host, one in [(first_host, first)] + sorted(others.items()):
        if not one or one.get("skipped"):
            # Not tried, because the first host refused.
            if not first.get("failed") and not first.get("unreachable"):
                refusals[host] = "not tried"
        elif one.get("unreachable"):
            refusals[host] = "unreachable: " + clean(one.get("msg", ""), 120)
        elif one.get("failed"):
            refusals[host] = clean(one.get("msg") or "failed", 400)
    for one in outside:
        if one.get("failed") and not one.get("unreachable"):
            refusals[str(one.get("item"))] = clean(one.get("msg") or "failed", 400)
    return {"held": not refusals, "refusals": refusals}


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        first_host = sorted(task_vars["groups"]["trading"])[0]
        hosts = [h for h in task_vars["ansible_play_hosts_all"] if h != first_host]
        others = {h: task_vars["hostvars"][h].get("__fleet_lock_taken") for h in hosts}
        outside = task_vars.get("__fleet_lock_outside") or {}
        answer = verdict(
            task_vars.get("__fleet_lock_first") or {}, first_host, others, outside.get("results") or [], first_host not in task_vars["ansible_play_hosts_all"]
        )
        return dict(answer, changed=False)
