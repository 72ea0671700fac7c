#!/usr/bin/python
# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action plugin of the same name, which does the work on the bastion."""

from __future__ import annotations

DOCUMENTATION = r"""
module: health_report
short_description: Judge what observe measured on every host
version_added: "0.1.0"
description:
  - Runs on the bastion, once, after C(observe). A host of the play without a result is UNKNOWN and the task fails.
options:
  register:
    description: The variable that C(observe) was registered in.
    type: str
    required: true
  limits:
    description: The limits of a healthy host that differ from Andon's own.
    type: dict
    default: {}
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
- name: Judge
  health_report:
    register: observed
  run_once: true
  delegate_to: localhost
"""

RETURN = r"""
andon_report:
  description: The report (schema andon.report/1). C(ok) is true only when every host is healthy.
  returned: always
  type: dict
"""
