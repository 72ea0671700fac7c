# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Judges every host's samples, keeps them and reports. Runs once, on the bastion."""

from __future__ import annotations

from pathlib import Path

import ansible.module_utils

# Ansible finds module_utils for modules, not for plugins on the bastion.
ansible.module_utils.__path__.append(str(Path(__file__).resolve().parents[1] / "module_utils"))

from ansible.module_utils.andon import incident_id, leaks, report, spans, state
from ansible.plugins.action import ActionBase


def keep(results, span):
    """Writes all samples to one file: with the open incident, else in the bastion's state.

    Returns:
        the file's path, as text.

    Raises:
        OSError: it cannot be written.
    """
    incident = incident_id.active()
    folder = state.state_dir() / "incidents" / incident if incident else state.state_dir()
    at = state.utc_now()
    path = folder / "samples" / ("%s-find_leak.json" % at.replace(":", "").replace(".", ""))
    hosts = {host: {key: one[key] for key in ("ended", "interval", "host", "containers", "silent")} for host, one in results.items()}
    state.write_atomic(path, {"schema": "andon.samples/1", "at": at, "seconds": span, "hosts": hosts})
    return str(path)


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        register = self._task.args["register"]
        found = report.collect(task_vars, register)
        results = {host: one for host, one in found.items() if one is not None}
        unknown = {host: report.reason(task_vars, register, host) for host, one in found.items() if one is None}
        try:
            span = spans.seconds(self._task.args["span"])
        except ValueError as error:
            span, unknown = 0.0, dict.fromkeys(found, str(error))
        result = leaks.report(results, unknown, span)
        if results:
            try:
                result["data"]["samples"] = keep(results, span)
                result["detail"].append("Samples: %s" % result["data"]["samples"])
            except OSError as error:
                # The verdict stands without its file; what is lost is only the look at it afterwards.
                result["detail"].append("WARNING the samples were not kept: %s" % error)
        return report.ending(result)
