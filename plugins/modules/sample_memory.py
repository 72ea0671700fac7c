#!/usr/bin/python
# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Samples the memory of every covered container of a host, over some time, in one remote step."""

from __future__ import annotations

DOCUMENTATION = r"""
module: sample_memory
short_description: Sample the memory of all covered containers for a time
description:
  - Finds the covered containers, locates each one's memory group through C(/proc/PID/cgroup) (control groups of version 1 and 2,
    and the hybrid of both) and samples all of them together, for O(duration) seconds.
  - Notices restarts during the sampling, and numbers the runs, because samples of two runs make no trend.
  - Also lists the processes that hold the most memory, and out-of-memory kills from the engine's events, inspect, the groups' counters
    and the kernel's log.
  - It reads only. Nothing on the host is changed, and nothing is left there.
options:
  container_cli:
    description: The container CLI on the host.
    type: str
    default: docker
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
  duration:
    description: For how long samples are taken, as in C(90), C(90s), C(2m) or C(1h); at most 6 hours.
    type: str
    default: 2m
  interval:
    description: Time between two samples, at least 0.1 s. It is stretched so that no container has more than 1200 samples.
    type: str
    default: 1s
  history:
    description: How far back out-of-memory kills are looked for.
    type: str
    default: 24h
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
- name: Sample every component for two minutes
  sample_memory:
    selectors: "{{ andon_selectors }}"
    components: "{{ andon_components | without_adapters }}"
    protected: "{{ andon_protected }}"
    duration: 2m
  register: andon_samples
"""

RETURN = r"""
host:
  description: The host's memory in bytes (I(total), I(available), I(swap_total), I(swap_free)) and I(pressure) (PSI, empty without it).
  returned: success
  type: dict
containers:
  description:
    - One entry per covered container.
    - I(samples) are lists of seconds since the beginning, number of the run, then the values that I(figures) names, in bytes.
    - I(holders) are the processes that hold the most; I(kills) the out-of-memory kills with their sources.
  returned: success
  type: list
  elements: dict
interval:
  description: The interval that was used, in seconds.
  returned: success
  type: float
ended:
  description: The host's own clock at the end, UTC. Clocks of hosts differ.
  returned: success
  type: str
silent:
  description: Sources that could not be read, in words.
  returned: success
  type: list
  elements: str
andon_progress:
  description: One line for the person who waits.
  returned: always
  type: str
"""

import time

from ansible.module_utils.andon.engine import Engine, EngineError
from ansible.module_utils.andon.sampling import Sampler
from ansible.module_utils.andon.spans import seconds
from ansible.module_utils.andon.state import utc_now
from ansible.module_utils.andon.text import plural
from ansible.module_utils.basic import AnsibleModule

LONGEST = 6 * 3600
SHORTEST_INTERVAL = 0.1


def main():
    module = AnsibleModule(
        argument_spec={
            "container_cli": {"type": "str", "default": "docker"},
            "selectors": {"type": "list", "elements": "str", "default": ["label=andon.component"]},
            "components": {"type": "list", "elements": "dict", "default": []},
            "protected": {"type": "list", "elements": "str", "default": []},
            "duration": {"type": "str", "default": "2m"},
            "interval": {"type": "str", "default": "1s"},
            "history": {"type": "str", "default": "24h"},
        },
        supports_check_mode=True,
    )
    options = module.params
    try:
        duration, interval, history = (seconds(options[name]) for name in ("duration", "interval", "history"))
    except ValueError as error:
        module.fail_json(msg="%s. Nothing was sampled." % error)
    if not 0 < duration <= LONGEST:
        module.fail_json(msg="a sampling takes more than 0 s and at most 6 hours, not %g s. Nothing was sampled. Type: --for 2m" % duration)
    if interval < SHORTEST_INTERVAL:
        module.fail_json(msg="the shortest interval is 0.1 s, not %g s. Nothing was sampled. Type: --interval 1s" % interval)
    engine = Engine(options["container_cli"])
    sampler = Sampler(engine, lambda: engine.covered(options["selectors"], options["components"], options["protected"]))
    try:
        interval = sampler.sample(duration, interval)
        result = sampler.result(time.time() - history)
    except EngineError as error:
        module.fail_json(msg=str(error), andon_progress="UNKNOWN  %s" % error)
    if not result["containers"]:
        words = "no container matches %s, running or stopped" % ", ".join(options["selectors"])
        module.fail_json(msg=words, andon_progress="UNKNOWN  %s" % words)
    sampled = sum(1 for one in result["containers"] if one["samples"])
    module.exit_json(
        changed=False,
        interval=interval,
        ended=utc_now(),
        andon_progress="OK  %s of %s sampled for %g s" % (sampled, plural(len(result["containers"]), "container"), duration),
        **result,
    )


if __name__ == "__main__":
    main()
