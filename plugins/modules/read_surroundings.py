#!/usr/bin/python
# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Says what changed on a host lately and what it can reach, for andon triage; changes nothing."""

from __future__ import annotations

DOCUMENTATION = r"""
module: read_surroundings
short_description: Recent changes of a host, and which endpoints it can reach
version_added: "0.1.0"
description:
  - "Changes: commits of the deploy directories, images, container starts and ends, configuration files, packages, logins, kills for memory."
  - "Endpoints: DNS, TCP, TLS and HTTP, one after the other, from this host, with a deadline."
  - What cannot be known on this host is said in I(notes).
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
    description: Seconds of the window. Changes are looked for in twice that time.
    type: float
    default: 1800
  config_files:
    description: Patterns (glob) of further configuration files.
    type: list
    elements: str
    default: []
  endpoints:
    description: URLs or host:port, or dictionaries with url, name, expect.
    type: list
    elements: raw
    default: []
  endpoint_deadline:
    description: Seconds for one endpoint.
    type: float
    default: 5.0
attributes:
  check_mode:
    support: full
    description: It only reads. The endpoints see a connection and where it is HTTP one GET.
  diff_mode:
    support: none
    description: There is nothing to change.
author: [The Andon maintainers (@andon)]
"""

EXAMPLES = r"""
- name: What changed here, and what can be reached
  read_surroundings:
    endpoints: [https://api.exchange.example/ping]
  register: surroundings
"""

RETURN = r"""
begin:
  description: The host's clock when it began and, in C(end), when it ended (Unix times).
  returned: always
  type: float
events:
  description: "at, kind, where, words of each change, oldest first."
  returned: always
  type: list
  elements: dict
endpoints:
  description: "name, where, ok, layer, words, seconds of each endpoint."
  returned: always
  type: list
  elements: dict
notes:
  description: What is not known on this host, and why.
  returned: always
  type: list
  elements: str
"""

import threading
import time

from ansible.module_utils.andon import changes, measure, reach
from ansible.module_utils.andon.engine import Engine, EngineError
from ansible.module_utils.andon.text import clean
from ansible.module_utils.basic import AnsibleModule


def probe_all(endpoints, deadline):
    """Probes all endpoints at once. Daemon threads: a resolver that hangs must not keep this module from ending."""
    results = [None] * len(endpoints)

    def one(index, endpoint):
        results[index] = reach.probe(endpoint, deadline)

    threads = [threading.Thread(target=one, args=pair, daemon=True) for pair in enumerate(endpoints)]
    for thread in threads:
        thread.start()
    end = time.monotonic() + deadline + 2
    for thread in threads:
        thread.join(max(end - time.monotonic(), 0.01))
    for index, endpoint in enumerate(endpoints):
        if results[index] is None:
            results[index] = {"name": endpoint.name, "where": endpoint.where, "ok": False, "layer": "?", "words": "no result in time", "seconds": {}}
    return results


def read_surroundings(params):
    """Changes and reach of one host.

    Raises:
        reach.EndpointError: an endpoint cannot be understood.
    """
    begin = time.time()
    endpoints = [reach.Endpoint(one) for one in params["endpoints"][:50]]
    probing = {}
    thread = threading.Thread(target=lambda: probing.update(done=probe_all(endpoints, params["endpoint_deadline"])), daemon=True)
    thread.start()
    engine, found, notes = Engine(params["container_cli"], deadline=6.0), [], []
    try:
        found = measure.components(engine, params["selectors"], params["components"])
    except EngineError as error:
        notes.append("containers and images are not known: %s" % clean(error, 160))
    events, more = changes.gather(engine, found, params["config_files"], begin - 2 * params["window"], begin)
    thread.join(params["endpoint_deadline"] + 3)
    return {"begin": begin, "events": events, "notes": notes + more, "endpoints": probing.get("done", []), "end": time.time()}


def main():
    module = AnsibleModule(
        argument_spec={
            "container_cli": {"type": "str", "default": "docker"},
            "selectors": {"type": "list", "elements": "str", "default": ["label=andon.component"]},
            "components": {"type": "list", "elements": "dict", "default": []},
            "since": {"type": "str"},
            "window": {"type": "float", "default": 1800},
            "config_files": {"type": "list", "elements": "str", "default": []},
            "endpoints": {"type": "list", "elements": "raw", "default": []},
            "endpoint_deadline": {"type": "float", "default": 5.0},
        },
        supports_check_mode=True,
    )
    try:
        result = read_surroundings(module.params)
    except reach.EndpointError as error:
        module.fail_json(msg="%s. Nothing was read. Next: correct andon_endpoints in the inventory" % error)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
