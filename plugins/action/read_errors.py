# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Runs the module read_errors: turns --since into a window on the bastion, and measures how far the host's clock is off."""

from __future__ import annotations

from pathlib import Path

import ansible.module_utils

# Ansible finds module_utils for modules, not for plugins on the bastion.
ansible.module_utils.__path__.append(str(Path(__file__).resolve().parents[1] / "module_utils"))

from ansible.module_utils.andon import gathered
from ansible.module_utils.andon.text import clean, plural
from ansible.plugins.action import ActionBase


class ActionModule(gathered.Timed, ActionBase):
    """One remote step."""

    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        result = self.windowed("read_errors", task_vars)
        if "clock" not in result:
            result.setdefault("andon_progress", "UNKNOWN  logs not read: %s" % clean(result.get("msg", "no answer"), 120))
            return result
        bad = [one for one in result["sources"] if one["error"]]
        words = "%s in %s" % (plural(sum(one["count"] for one in result["sources"]), "error line"), plural(len(result["sources"]), "log"))
        if result["engine_error"] or bad:
            words += "; not read: %s" % (result["engine_error"] or ", ".join(one["name"] for one in bad))
        result["andon_progress"] = "%-8s %s" % ("UNKNOWN" if result["engine_error"] or bad else "OK", words)
        return result
