# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Runs one action of trading software's own control interface on every component of this host that has an adapter."""

from __future__ import annotations

DOCUMENTATION = r"""
module: adapter
short_description: Halt, cancel, flatten, resume or read trading software through its own interface
description:
  - Runs one action of C(adapters/<kind>.yml) on each component of this host that has an C(adapter) in C(andon_components), all at once.
  - The action plugin of the same name reads and checks the files on the bastion, fills in secrets from the environment, and
    passes I(components) and I(secrets). What the software answers is no proof; I(proven) says whether the effect was seen elsewhere.
  - What may have happened is C(unknown) and is never sent again.
options:
  act:
    description: The action.
    type: str
    required: true
    choices: [halt, cancel_orders, flatten, prepare, resume, liveness, positions, open_orders, trades]
  only:
    description: One component's name; empty, all of them.
    type: str
    default: ''
  confirm:
    description: The component's name again, or C(all), for an action that changes something. Compared here, so no flag gets around it.
    type: str
    default: ''
  budget:
    description: Seconds for the whole action.
    type: float
    default: 30
  components:
    description: What the action plugin made of the inventory and the adapters' files. No secret is in it.
    type: list
    elements: dict
    required: true
  secrets:
    description: The secrets that I(components) refers to.
    type: dict
    default: {}
  under_latch:
    description: The step of C(resume) itself, which lifts the latch when every host is good; the latch does not refuse it then.
    type: bool
    default: false
  container_cli:
    description: The container CLI on the host.
    type: str
    default: docker
  host_state:
    description: Andon's own folder on the host; while its latch covers a component, C(resume) is refused.
    type: path
    default: /var/lib/andon
  protected:
    description: Names of containers that are never touched.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    support: full
    description: Reads are done, and the steps that would be sent are listed; nothing that changes is sent.
  diff_mode:
    support: none
    description: The software's own state has no before and after.
author: the Andon maintainers (@andon)
"""

EXAMPLES = r"""
- name: What does the trading software say that it holds?
  adapter:
    act: positions
  register: andon_claims

- name: Halt one component through its own interface
  adapter:
    act: halt
    only: ft-momentum
    confirm: ft-momentum
"""

RETURN = r"""
adapters:
  description:
    - One entry per component on this host, with I(component), I(kind), I(strategy), I(venue), I(symbols), I(prefix), I(act), I(outcome), I(why),
      I(proven), I(data), I(state), I(seconds), I(steps) (each I(step), I(outcome), I(words)) and I(needs).
    - I(outcome) is ok, already, unknown, failed, refused or unsupported. I(needs) lists what only the venue can prove.
  returned: success
  type: list
  elements: dict
andon_progress:
  description: One line for the person who waits.
  returned: always
  type: str
"""

from ansible.module_utils.andon import latch
from ansible.module_utils.andon.adapter_run import Action, run_all
from ansible.module_utils.andon.adapter_values import fill
from ansible.module_utils.andon.engine import STRATEGY, Engine, EngineError
from ansible.module_utils.andon.text import plural
from ansible.module_utils.basic import AnsibleModule

CHANGES = ("halt", "cancel_orders", "flatten", "prepare", "resume")
NEXT = {
    "cancel_orders": "cancel at the venue: andon cancel-orders",
    "flatten": "look at the venue: andon venues",
    "resume": "start it first: andon resume",
}


def gate(plan, container, act, protected, host_state, under_latch=False):
    """(outcome, why) if nothing may be sent to this component now, else None."""
    if act in CHANGES and (container.protected or container.name in protected):
        return "refused", "it is protected; nothing was sent"
    if act == "prepare":
        return before_start(plan, container)
    if container.status == "paused":
        return "refused", "its container is frozen (paused) and cannot answer; nothing was sent"
    if not container.running:
        if act == "halt":
            return "already", "its container does not run"
        return "refused", "its container does not run; nothing was sent" + ("; " + NEXT[act] if act in NEXT else "")
    if act == "resume" and not under_latch:
        if plan["strategy"]:
            container.labels[STRATEGY] = plan["strategy"]
        words = latch.refusal(container, host_state)
        if words:
            return "refused", words
    return None


def before_start(plan, container):
    """What is put in place before the start is worth nothing if the software runs already, or if its command does not read it."""
    if container.running:
        return "refused", "its container runs already; nothing was sent"
    needs = plan["definition"]["prepare"].get("needs_argument")
    if needs:
        words = str(fill(needs, plan["values"]))
        config = container.raw.get("Config") or {}
        given = [container.raw.get("Path") or ""] + [str(one) for key in ("Entrypoint", "Cmd") for one in config.get(key) or []]
        given += [str(one) for one in container.raw.get("Args") or []]
        if not any(words in one for one in given):
            return "refused", "its command does not name %s, so it would not read it and begin at its full size; nothing was sent" % words
    return None


def main():
    module = AnsibleModule(
        argument_spec={
            "act": {
                "type": "str",
                "required": True,
                "choices": ["halt", "cancel_orders", "flatten", "prepare", "resume", "liveness", "positions", "open_orders", "trades"],
            },
            "only": {"type": "str", "default": ""},
            "confirm": {"type": "str", "default": ""},
            "budget": {"type": "float", "default": 30},
            "components": {"type": "list", "elements": "dict", "required": True},
            "secrets": {"type": "dict", "default": {}, "no_log": True},
            "under_latch": {"type": "bool", "default": False},
            "container_cli": {"type": "str", "default": "docker"},
            "host_state": {"type": "path", "default": "/var/lib/andon"},
            "protected": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    options = module.params
    act, target = options["act"], options["only"] or "all"
    if act in CHANGES and not module.check_mode and options["confirm"] != target:
        module.fail_json(msg="not confirmed: confirm must be %s. Nothing was sent" % target, andon_progress="REFUSED  not confirmed")
    budget = min(max(options["budget"], 0.5), 600.0)
    engine = Engine(options["container_cli"])
    wanted = [plan for plan in options["components"] if not options["only"] or plan["name"] == options["only"]]
    try:
        here = {one.name: one for one in engine.inspect([plan["name"] for plan in wanted])}
    except EngineError as error:
        module.fail_json(msg="%s. Nothing was sent" % error, andon_progress="UNKNOWN  %s" % error)
    rows, free = [], []
    for plan in wanted:
        if plan["name"] not in here:
            continue
        closed = gate(plan, here[plan["name"]], act, options["protected"], options["host_state"], options["under_latch"])
        if closed:
            row = Action(plan, act, engine, {}, budget).row
            # What does not run is halted: the engine says so, not the software.
            row.update(outcome=closed[0], why=closed[1], seconds=0.0, proven=closed[0] == "already", state="stopped" if closed[0] == "already" else "")
            rows.append(row)
        else:
            free.append(plan)
    rows += run_all(free, act, engine, options["secrets"] or {}, budget, check=module.check_mode)
    rows.sort(key=lambda row: row["component"])
    sent = any(step["outcome"] == "ok" and not step["step"].startswith("verify") for row in rows for step in row["steps"])
    module.exit_json(changed=act in CHANGES and not module.check_mode and sent, adapters=rows, andon_progress=progress(act, rows))


def progress(act, rows):
    """One line: OK 2 components, or what is not."""
    if not rows:
        return "OK  no component with an adapter here"
    bad = [row for row in rows if row["outcome"] not in ("ok", "already")]
    if bad:
        worst = bad[0]
        return "%s  %s of %s: %s: %s" % (worst["outcome"].upper(), act, plural(len(rows), "component"), worst["component"], worst["why"])
    return "OK  %s of %s" % (act, plural(len(rows), "component"))


if __name__ == "__main__":
    main()
