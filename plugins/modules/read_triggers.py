#!/usr/bin/python
# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a host knows of a kill switch for andon why: latches, what runs, log lines of it, errors; changes nothing."""

from __future__ import annotations

DOCUMENTATION = r"""
module: read_triggers
short_description: Find what a host's latches and logs say of a kill switch
version_added: "0.1.0"
description:
  - Reads the latches, the state of every component, and the ends of container logs and log files back to a time, bounded in bytes and seconds.
  - Keeps the log lines that speak of a kill switch, of a limit, or of trading being halted, those that say the same as one; counts the errors.
  - What could not be read, or not far enough, is said for each source.
options:
  container_cli:
    description: The container CLI.
    type: str
    default: docker
  host_state:
    description: Andon's own folder on the host.
    type: path
    default: /var/lib/andon
  selectors:
    description: Engine filters that say which containers are components (a union).
    type: list
    elements: str
    default: [label=andon.component]
  components:
    description: "Containers without labels: dictionaries with name, component, strategy, venue, protect."
    type: list
    elements: dict
    default: []
  since:
    description: How far back, such as C(30m), or a time in UTC. Read on the bastion, which turns it into I(window).
    type: str
  window:
    description: Seconds to look back.
    type: float
    default: 1800
  log_files:
    description: Patterns (glob) of log files on the host.
    type: list
    elements: str
    default: [/var/log/trading/*.log]
  trigger_patterns:
    description:
      - "Regular expressions by cause: C(drawdown), C(error_rate), C(manual), and C(trip) for lines that name none."
      - They are looked at before Andon's own, and nothing in the line takes them back.
    type: dict
    default: {}
  error_patterns:
    description: Regular expressions that make a log line an error. Empty means Andon's own.
    type: list
    elements: str
    default: []
  keep:
    description: Bytes of one container's log that are read, at most. Of a file an eighth, which is held in memory.
    type: int
    default: 134217728
  log_deadline:
    description: Seconds for one log.
    type: float
    default: 8.0
  deadline:
    description: Seconds for everything. Logs that were not read by then are said to be unknown.
    type: float
    default: 40.0
attributes:
  check_mode:
    support: full
    description: It only reads.
  diff_mode:
    support: none
    description: There is nothing to change.
author: [The Andon maintainers (@andon)]
"""

EXAMPLES = r"""
- name: Read what this host knows of the kill switch
  read_triggers:
    window: 1800
  register: triggers
"""

RETURN = r"""
begin:
  description: The host's clock when it began and, in C(end), when it ended (Unix times).
  returned: always
  type: float
latches:
  description: One dictionary per latch with scope, incident, operator, reason and at (Unix time or null).
  returned: always
  type: list
  elements: dict
latch_error:
  description: Why a latch could not be read, or an empty string.
  returned: always
  type: str
containers:
  description: One dictionary per component with name, component, strategy, venue, running, status and finished.
  returned: always
  type: list
  elements: dict
sources:
  description: One dictionary per log with kind, name, component, strategy, found, left_out, errors, change, gap, error and note.
  returned: always
  type: list
  elements: dict
engine_error:
  description: Why the containers could not be looked at, or an empty string.
  returned: always
  type: str
"""

import time

from ansible.module_utils.andon import latch, log_ends, shapes, trigger_lines
from ansible.module_utils.andon.engine import VENUE
from ansible.module_utils.andon.state import parse_utc
from ansible.module_utils.andon.text import clean
from ansible.module_utils.basic import AnsibleModule

BINS = 60


def component(one):
    """A component's state in plain data."""
    return {
        "name": one.name,
        "component": clean(one.component, 40),
        "strategy": clean(one.strategy, 64),
        "venue": clean(one.labels.get(VENUE, ""), 64),
        "running": one.running,
        "status": clean(one.status, 20),
    }


def read_latches(host_state):
    """(latches as plain data, why one could not be read or "")."""
    try:
        found = latch.read(host_state)
    except latch.LatchError as error:
        return [], clean(error, 200)
    rows = []
    for one in found:
        rows.append(
            {
                "scope": clean(one.scope, 80),
                "incident": clean(one.incident, 80),
                "operator": clean(one.operator, 80),
                "reason": clean(one.reason, 200),
                "at": parse_utc(one.at),
            }
        )
    return rows, ""


def read_triggers(params):
    """What one host knows.

    Raises:
        shapes.PatternError: a pattern is no regular expression, or is given for an unknown cause.
    """
    begin, stop = time.time(), time.monotonic() + params["deadline"]
    wanted = trigger_lines.Wanted(trigger_lines.TriggerPatterns(params["trigger_patterns"]), shapes.Matcher(params["error_patterns"]))
    start, end = begin - params["window"], begin
    latches, latch_error = read_latches(params["host_state"])

    def about(seen, covered):
        found, left_out = trigger_lines.found_in(seen.lines, wanted.triggers, start, end, max(stop, time.monotonic() + 0.5))
        tally = shapes.Tally(start, end, BINS)
        for at, line in seen.lines:
            if at is not None and start <= at < end + 1 and wanted.errors(line):
                tally.add(at, line)
        errors = tally.result(covered)
        return {"found": found, "left_out": left_out, "errors": errors["count"], "change": errors["change"]}

    ends = log_ends.read(params, start, end, stop, wanted, about)
    return {
        "begin": begin,
        "window": params["window"],
        "latches": latches,
        "latch_error": latch_error,
        "containers": [component(one) for one in ends.containers],
        "sources": ends.sources,
        "engine_error": ends.engine_error,
        "files_left_out": ends.files_left_out,
        "end": time.time(),
    }


def main():
    module = AnsibleModule(
        argument_spec={
            "container_cli": {"type": "str", "default": "docker"},
            "host_state": {"type": "path", "default": "/var/lib/andon"},
            "selectors": {"type": "list", "elements": "str", "default": ["label=andon.component"]},
            "components": {"type": "list", "elements": "dict", "default": []},
            "since": {"type": "str"},
            "window": {"type": "float", "default": 1800},
            "log_files": {"type": "list", "elements": "str", "default": ["/var/log/trading/*.log"]},
            "trigger_patterns": {"type": "dict", "default": {}},
            "error_patterns": {"type": "list", "elements": "str", "default": []},
            "keep": {"type": "int", "default": 134217728},
            "log_deadline": {"type": "float", "default": 8.0},
            "deadline": {"type": "float", "default": 40.0},
        },
        supports_check_mode=True,
    )
    try:
        result = read_triggers(module.params)
    except shapes.PatternError as error:
        module.fail_json(msg="%s. Nothing was read. Next: correct andon_trigger_patterns or eyes_error_patterns in the inventory" % error)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
