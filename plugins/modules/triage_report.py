#!/usr/bin/python
# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action plugin of the same name, which does the work on the bastion."""

from __future__ import annotations

DOCUMENTATION = r"""
module: triage_report
short_description: What changed, what broke first, where, and which command is safe now
version_added: "0.1.0"
description:
  - Runs on the bastion, once, after C(read_errors) and C(read_surroundings). Asks Prometheus when it is told where it is.
  - Keeps the report with the open incident (not in check mode).
  - Fails when something could not be looked at; what was found does not make it fail.
options:
  errors:
    description: The variable that C(read_errors) was registered in.
    type: str
    required: true
  surroundings:
    description: The variable that C(read_surroundings) was registered in.
    type: str
    required: true
  since:
    description: How far back, such as C(30m), or a time in UTC.
    type: str
    required: true
  prometheus_url:
    description: The Prometheus server. Empty means that there is none. A token is taken from C(ANDON_PROMETHEUS_TOKEN).
    type: str
    default: ""
  prometheus_queries:
    description: Dictionaries with name, query (PromQL) and unit.
    type: list
    elements: dict
    default: []
attributes:
  check_mode:
    support: full
    description: The report is shown and not kept.
  diff_mode:
    support: none
    description: There is nothing to change.
author: [The Andon maintainers (@andon)]
"""

EXAMPLES = r"""
- name: Report
  triage_report:
    errors: errors
    surroundings: surroundings
    since: 30m
  run_once: true
  delegate_to: localhost
"""

RETURN = r"""
andon_report:
  description: The report (schema andon.report/1).
  returned: always
  type: dict
"""
