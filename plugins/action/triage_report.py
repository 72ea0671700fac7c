# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Puts together what every host said, asks Prometheus, reports, and keeps the numbers with the open incident."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import ansible.module_utils

# Ansible finds module_utils for modules, not for plugins on the bastion.
ansible.module_utils.__path__.append(str(Path(__file__).resolve().parents[1] / "module_utils"))

from ansible.errors import AnsibleActionFail
from ansible.module_utils.andon import gathered, incidents, journal, prometheus, triage
from ansible.module_utils.andon.report import ending
from ansible.module_utils.andon.state import state_dir, utc, write_atomic
from ansible.module_utils.andon.text import clean
from ansible.plugins.action import ActionBase

DEADLINE = 10.0  # seconds for all queries together


def ask(url, queries, start, end):
    """All queries at once.

    Returns:
        list of {name, query, unit, error, series}, in the order of C(queries).
    """
    results = []
    for one in queries:
        results.append(
            {"name": clean(one.get("name") or one["query"], 60), "query": one["query"], "unit": clean(one.get("unit", ""), 12), "error": "", "series": []}
        )

    def fill(one):
        try:
            series = prometheus.query_range(url, one["query"], start, end)
            one["series"] = [dict(item, summary=prometheus.summary(item["values"])) for item in series]
            one["error"] = ""
        except prometheus.PrometheusError as error:
            one["error"] = str(error)

    threads = [threading.Thread(target=fill, args=(one,), daemon=True) for one in results]
    for one in results:
        one["error"] = "no answer within %g s" % DEADLINE
    for thread in threads:
        thread.start()
    until = time.monotonic() + DEADLINE
    for thread in threads:
        thread.join(max(until - time.monotonic(), 0.01))
    # A copy: a thread that is late must not write into what is being shown.
    return json.loads(json.dumps(results))


def keep(report, now):
    """Writes the report beside the open incident's journal.

    Returns:
        one line that says where, or why not.
    """
    try:
        incident = incidents.current()
    except (incidents.IncidentError, journal.JournalError) as error:
        return "WARNING  not kept with the incident: %s" % clean(error, 120)
    if incident is None:
        return "Not kept: no incident is open (andon open)."
    path = state_dir() / "incidents" / incident / ("triage-%s.json" % utc(now)[:19].replace(":", "").replace("-", ""))
    try:
        if path.exists():
            path = path.with_name(path.stem + "-%d.json" % os.getpid())
        write_atomic(path, report)
    except OSError as error:
        return "WARNING  not kept with the incident: %s: %s" % (path, error.strerror)
    return "Kept with incident %s: %s" % (incident, path)


class ActionModule(ActionBase):
    """Reads the registered results of all hosts of the play; touches no host.

    Arguments: errors, surroundings and running (the variables that read_errors, read_surroundings and release_state were registered
    in), since, allow_skew and ignore_environment (as in check_skew), prometheus_url ("": none), prometheus_queries ({name, query, unit}).
    Returns andon_report; fails when something could not be looked at, never because of what was found.
    """

    _supports_check_mode = True
    _requires_connection = False

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        now, arguments = time.time(), self._task.args
        try:
            window = triage.parse_since(arguments["since"], now)
        except ValueError as error:
            raise AnsibleActionFail("%s. Nothing was read" % error) from None
        errors = gathered.results(task_vars, arguments["errors"], "sources")
        surroundings = gathered.results(task_vars, arguments["surroundings"], "events")
        running = gathered.results(task_vars, arguments["running"], "state")
        queries = [one for one in arguments.get("prometheus_queries") or [] if isinstance(one, dict) and one.get("query")]
        metrics = ask(arguments["prometheus_url"], queries, now - 2 * window, now) if arguments.get("prometheus_url") else []
        report = triage.report(
            errors,
            surroundings,
            running,
            metrics,
            now,
            window,
            arguments["since"],
            limited=str(task_vars.get("ansible_limit") or ""),
            allowed=arguments.get("allow_skew") or [],
            ignored=arguments.get("ignore_environment") or [],
        )
        if not self._task.check_mode:
            report["detail"].append(keep(report, now))
        result.update(ending(report))
        return result
