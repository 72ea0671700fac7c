# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How far a host's clock is off: a few looks through the open connection, the narrowest counts. Changes nothing."""

from __future__ import annotations

import re
import time
from pathlib import Path

import ansible.module_utils

# Ansible finds module_utils for modules, not for plugins on the bastion.
ansible.module_utils.__path__.append(str(Path(__file__).resolve().parents[1] / "module_utils"))

from ansible.module_utils.andon import health
from ansible.plugins.action import ActionBase

LOOKS = 10
NARROW = 0.2  # seconds: known well enough, so no further look is needed


class ActionModule(ActionBase):
    """`date` and not a module: Python's own start on the host would be all of the uncertainty."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        best = None
        for _ in range(LOOKS):
            before = time.time()
            answer = self._low_level_execute_command("date +%s.%N")
            after = time.time()
            # BusyBox knows no %N: then only the second is known.
            found = re.match(r"\s*(\d{9,11})(?:\.(\d{9}))?", str(answer.get("stdout", "")))
            if answer.get("rc") or not found:
                continue
            theirs = float("%s.%s" % (found.group(1), found.group(2) or "0"))
            one = health.clock(before, theirs + (0 if found.group(2) else 1), theirs, after)
            if best is None or one["uncertainty"] < best["uncertainty"]:
                best = one
            if best["uncertainty"] < NARROW:
                break
        if best is None:
            return {"failed": True, "msg": "the clock could not be read: date gave no time"}
        return {"changed": False, "clock": best}
