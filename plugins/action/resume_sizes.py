# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What this host's adapters can do for a resume: put a size in place before the start, and let the software trade. Asks nobody."""

from __future__ import annotations

from pathlib import Path

import ansible.module_utils

# Ansible finds module_utils for modules, not for plugins on the bastion.
ansible.module_utils.__path__.append(str(Path(__file__).resolve().parents[1] / "module_utils"))

from ansible.module_utils.andon import adapter_inventory, adapters, resume_run
from ansible.module_utils.andon.text import clean
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        try:
            size = resume_run.size_of(self._task.args.get("size"))
        except ValueError as error:
            return {"failed": True, "msg": clean(error, 200)}
        found = {}
        for name, entry in adapter_inventory.entries(task_vars, self._templar):
            found[name] = {"kind": "", "error": "", "size_error": "", "resumes": False}
            found[name].update(self.able(entry, size))
        return {"changed": False, "adapters": found}

    @staticmethod
    def able(entry, size):
        """kind, error (it cannot be used at all), size_error (no size before the start), resumes (it has something to release)."""
        if isinstance(entry, adapters.AdapterError):
            return {"error": clean(entry, 300)}
        kind = clean(entry["adapter"].get("kind", ""), 40)
        given = {"incident_id": "no-incident"}
        try:
            plan, _ = adapters.plan(entry, "resume", given)
        except adapters.AdapterError as error:
            return {"kind": kind, "error": clean(error, 300)}
        resumes, words = "resume" in plan["definition"], ""
        if size is not None:
            try:
                for act in ("prepare", "resume"):
                    adapters.plan(entry, act, {**given, "size": size})
            except adapters.AdapterError as error:
                words = clean(error, 300)
        return {"kind": kind, "resumes": resumes, "size_error": words}
