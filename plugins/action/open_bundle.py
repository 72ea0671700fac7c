# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Checks what a log collection was asked for and opens its folder. Runs once, on the bastion, before any host is asked."""

from __future__ import annotations

import os
import secrets
import shutil
import textwrap
import time
from pathlib import Path

import ansible.module_utils

# Ansible finds module_utils for modules, not for plugins on the bastion.
ansible.module_utils.__path__.append(str(Path(__file__).resolve().parents[1] / "module_utils"))

from ansible.module_utils.andon import bundle, report, text, window
from ansible.module_utils.andon.state import utc
from ansible.plugins.action import ActionBase

# Less than this (bytes) on the bastion's disk is refused before a host is asked.
SMALLEST = 64 << 20


def refusal(words, then):
    """The result of a collection that is not begun."""
    words = text.clean(words, 400)
    summary = textwrap.wrap(words, report.WIDTH)
    return dict(report.ending(report.make("collect_logs", False, "REFUSED: nothing was collected, no host was asked", summary, then=then)), msg=words)


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        args = self._task.args
        name = str(args.get("name") or "") or "incident-" + time.strftime("%Y%m%d", time.gmtime())
        try:
            if not text.valid_id(name):
                raise window.WindowError("'%s' is no name for a bundle: letters, digits, _ . - and no dot at the start, at most 64" % name[:70])
            since, until = window.window(args.get("since") or "1h", args.get("until") or "now")
            place = bundle.shelf()
            existing = next(one for one in (place, *place.parents) if one.exists())
            free = shutil.disk_usage(existing).free
            if free < SMALLEST:
                raise window.WindowError("the bastion's disk has only %s left at %s" % (text.size(free), existing))
        except window.WindowError as error:
            return refusal(str(error), ["andon logs --help"])
        plan = {"run": secrets.token_hex(8), "name": name, "since": since, "until": until, "since_utc": utc(since), "until_utc": utc(until)}
        plan["begun"] = time.time()  # every host's share of the whole collection's time is counted from here
        result = {"changed": False, "plan": dict(plan, part="")}
        if self._task.check_mode:
            return result
        try:
            # The redaction key lives in a file that only this user reads, for as long as the collection runs; it is never in a result.
            part, swept = bundle.open_part(name, dict(plan, key=secrets.token_hex(32)), os.getppid())
        except OSError as error:
            return refusal("the bundle's folder cannot be made: %s" % error, ["df -h", "ANDON_STATE=/another/folder andon logs"])
        result["plan"].update(part=str(part), swept=swept)
        result["changed"] = True
        return result
