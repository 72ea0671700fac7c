#!/usr/bin/python
# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One look at a host for the watch."""

from __future__ import annotations

DOCUMENTATION = r"""
module: watch_host
short_description: One look at a host for the watch
description:
  - Reads memory, restarts, health, the number of error lines in the last logs, and the latches of one host, in one remote step.
  - It reads only. Log lines are counted on the host and never leave it.
options:
  container_cli:
    description: The container CLI on the host.
    type: str
    default: docker
  host_state:
    description: Andon's own folder on the host.
    type: path
    default: /var/lib/andon
  selectors:
    description: Engine filters that say which containers are covered (a union).
    type: list
    elements: str
    default: [label=andon.component]
  components:
    description: Containers that the inventory names, with I(name), I(component), I(strategy), I(venue), I(protect).
    type: list
    elements: dict
    default: []
  protected:
    description: Names of containers that are left out.
    type: list
    elements: str
    default: []
  log_window:
    description: How far back log lines are counted.
    type: str
    default: 60s
  error_words:
    description: A log line with one of these words in it, in any case, is an error.
    type: list
    elements: str
    default: [error, critical, fatal, panic, traceback]
attributes:
  check_mode:
    support: full
    description: It never changes anything, so check mode does the same.
  diff_mode:
    support: none
    description: Nothing changes.
author: the Andon maintainers (@andon)
"""

EXAMPLES = r"""
- name: Look at this host
  watch_host:
    selectors: "{{ andon_selectors }}"
    host_state: "{{ andon_host_state }}"
  register: andon_watch
"""

RETURN = r"""
memory:
  description: The host's memory in bytes and its pressure (PSI).
  returned: success
  type: dict
latches:
  description: The latches, each with I(scope), I(words) and the ids of the containers that it covers.
  returned: success
  type: list
  elements: dict
latch_error:
  description: Why a latch that is there cannot be read, else null.
  returned: success
  type: str
containers:
  description: One entry per covered container. I(memory) is empty for one that does not run, I(errors) null where logs cannot be read.
  returned: success
  type: list
  elements: dict
window:
  description: Seconds of logs that were counted.
  returned: success
  type: float
"""

from ansible.module_utils.andon.engine import Engine, EngineError
from ansible.module_utils.andon.spans import seconds
from ansible.module_utils.andon.watch_look import finder, look
from ansible.module_utils.basic import AnsibleModule


def main():
    module = AnsibleModule(
        argument_spec={
            "container_cli": {"type": "str", "default": "docker"},
            "host_state": {"type": "path", "default": "/var/lib/andon"},
            "selectors": {"type": "list", "elements": "str", "default": ["label=andon.component"]},
            "components": {"type": "list", "elements": "dict", "default": []},
            "protected": {"type": "list", "elements": "str", "default": []},
            "log_window": {"type": "str", "default": "60s"},
            "error_words": {"type": "list", "elements": "str", "default": ["error", "critical", "fatal", "panic", "traceback"]},
        },
        supports_check_mode=True,
    )
    options = module.params
    try:
        window = max(seconds(options["log_window"]), 1.0)
    except ValueError as error:
        module.fail_json(msg="%s. Nothing was looked at." % error)
    engine = Engine(options["container_cli"])
    try:
        containers = engine.covered(options["selectors"], options["components"], options["protected"])
        result = look(engine, containers, options["host_state"], finder(options["error_words"]), window)
    except EngineError as error:
        module.fail_json(msg=str(error))
    if not containers:
        module.fail_json(msg="no container matches %s, running or stopped" % ", ".join(options["selectors"]))
    module.exit_json(changed=False, window=window, **result)


if __name__ == "__main__":
    main()
