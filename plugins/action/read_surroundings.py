# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Runs the module read_surroundings: turns --since into a window on the bastion, and measures how far the host's clock is off."""

from __future__ import annotations

from pathlib import Path

import ansible.module_utils

# Ansible finds module_utils for modules, not for plugins on the bastion.
ansible.module_utils.__path__.append(str(Path(__file__).resolve().parents[1] / "module_utils"))

from ansible.module_utils.andon import gathered
from ansible.plugins.action import ActionBase


class ActionModule(gathered.Timed, ActionBase):
    """One remote step."""

    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        return self.windowed("read_surroundings", task_vars)
