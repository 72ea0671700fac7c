# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Runs the module read_triggers: turns --since into a window on the bastion, and measures how far the host's clock is off."""

from __future__ import annotations

from pathlib import Path

import ansible.module_utils

# Ansible finds module_utils for modules, not for plugins on the bastion.
ansible.module_utils.__path__.append(str(Path(__file__).resolve().parents[1] / "module_utils"))

from ansible.module_utils.andon import gathered
from ansible.module_utils.andon.text import clean
from ansible.plugins.action import ActionBase


class ActionModule(gathered.Timed, ActionBase):
    """One remote step."""

    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        result = self.windowed("read_triggers", task_vars)
        if "clock" not in result:
            result.setdefault("andon_progress", "UNKNOWN  not read: %s" % clean(result.get("msg", "no answer"), 120))
            return result
        bad = [one["name"] for one in result["sources"] if one["error"]]
        trips = sum(1 for source in result["sources"] for one in source["found"] if one["strength"] == "trip")
        words = "latched %s, log lines of a trip: %d, logs: %d" % ("yes" if result["latches"] else "no", trips, len(result["sources"]))
        if result["latch_error"] or result["engine_error"] or bad:
            words += "; not read: %s" % (result["latch_error"] or result["engine_error"] or ", ".join(bad))
        result["andon_progress"] = "%-8s %s" % ("UNKNOWN" if result["latch_error"] or result["engine_error"] or bad else "OK", clean(words, 200))
        return result
