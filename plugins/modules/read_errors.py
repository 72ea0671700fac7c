#!/usr/bin/python
# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Finds the error lines in the ends of a host's logs for andon triage; changes nothing."""

from __future__ import annotations

DOCUMENTATION = r"""
module: read_errors
short_description: Count the errors in container logs and log files, back to a time
version_added: "0.1.0"
description:
  - Reads every component's log and every matching file from its end, back to twice the window, bounded in bytes and seconds.
  - Counts the error lines, folds their messages by shape, and finds where their rate changed.
  - What could not be read, or not far enough, is said for each source.
options:
  container_cli:
    description: The container CLI.
    type: str
    default: docker
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
    description: How far back the window goes, such as C(30m), or a time in UTC. Read on the bastion, which turns it into I(window).
    type: str
  window:
    description: Seconds of the window. As long a time before it is read to compare with.
    type: float
    default: 1800
  log_files:
    description: Patterns (glob) of log files on the host.
    type: list
    elements: str
    default: [/var/log/trading/*.log]
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
- name: Read the errors of the last half hour
  read_errors:
    window: 1800
  register: errors
"""

RETURN = r"""
begin:
  description: The host's clock when it began and, in C(end), when it ended (Unix times).
  returned: always
  type: float
sources:
  description: One dictionary per log with kind, name, component, count, levels, first, last, buckets, change, shapes, gap, error and note.
  returned: always
  type: list
  elements: dict
engine_error:
  description: Why the containers' logs could not be read, or an empty string.
  returned: always
  type: str
"""

import time

from ansible.module_utils.andon import log_ends, shapes
from ansible.module_utils.basic import AnsibleModule

BINS = 60


def read_errors(params):
    """The errors of one host.

    Raises:
        shapes.PatternError: a pattern is no regular expression.
    """
    begin, stop = time.time(), time.monotonic() + params["deadline"]
    is_error = shapes.Matcher(params["error_patterns"])
    start, end = begin - 2 * params["window"], begin

    def about(seen, covered):
        tally = shapes.Tally(start, end, BINS)
        for at, line in seen.lines:
            if (at is None or start <= at < end + 1) and is_error(line):
                tally.add(at, line)
        return dict(tally.result(covered), lines=seen.count, bytes=seen.bytes)

    ends = log_ends.read(params, start, end, stop, is_error, about)
    return {
        "begin": begin,
        "window": params["window"],
        "sources": ends.sources,
        "engine_error": ends.engine_error,
        "files_left_out": ends.files_left_out,
        "end": time.time(),
    }


def main():
    module = AnsibleModule(
        argument_spec={
            "container_cli": {"type": "str", "default": "docker"},
            "selectors": {"type": "list", "elements": "str", "default": ["label=andon.component"]},
            "components": {"type": "list", "elements": "dict", "default": []},
            "since": {"type": "str"},
            "window": {"type": "float", "default": 1800},
            "log_files": {"type": "list", "elements": "str", "default": ["/var/log/trading/*.log"]},
            "error_patterns": {"type": "list", "elements": "str", "default": []},
            "keep": {"type": "int", "default": 134217728},
            "log_deadline": {"type": "float", "default": 8.0},
            "deadline": {"type": "float", "default": 40.0},
        },
        supports_check_mode=True,
    )
    try:
        result = read_errors(module.params)
    except shapes.PatternError as error:
        module.fail_json(msg="%s. Nothing was read. Next: correct eyes_error_patterns in the inventory" % error)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
