"""The adapters' part of a stop: the program that a host runs beside it, and what its answers mean. On the bastion.

The program goes to the host through the script's standard input, and so do the secrets: the script itself is an argument of the
host's shell, which every user there can read. It needs python3; without it, or when it is late, the stop goes on all the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import adapter_inventory
from .text import clean, plural

BUDGET = 2.0  # seconds; andon_adapter_budget
LEAST, MOST = 0.5, 30.0
OUTCOMES = ("ok", "already", "unknown", "failed", "refused", "unsupported", "skipped", "would")
# What the program consists of, in the order of its imports.
FILES = ("text", "engine", "adapter_values", "adapter_steps", "adapter_run")

_PROGRAM = """
import json, sys, types
SOURCES, ORDER = %(sources)r, %(order)r
package = types.ModuleType("andon"); package.__path__ = []; sys.modules["andon"] = package
for name in ORDER:
    module = types.ModuleType("andon." + name); module.__package__ = "andon"
    sys.modules["andon." + name] = module; setattr(package, name, module)
    exec(compile(SOURCES[name], "andon/%%s.py" %% name, "exec"), module.__dict__)
given = json.loads(%(given)r)
here = set(sys.argv[1:])
def tell(row):
    row = {key: row[key] for key in ("component", "kind", "outcome", "why", "proven", "seconds", "steps")}
    row["steps"] = row["steps"][:12]
    line = "A1 adapter " + json.dumps(row)
    sys.stdout.write((line if len(line) < 4000 else "A1 adapter " + json.dumps(dict(row, steps=[]))) + "\\n"); sys.stdout.flush()
sys.modules["andon.adapter_run"].run_all(
    [one for one in given["plans"] if one["name"] in here], "halt", sys.modules["andon.engine"].Engine(given["cli"]), given["secrets"],
    given["budget"], in_stop=True, tell=tell)
import os
os._exit(0)
"""


def budget_of(value: Any) -> float:
    """andon_adapter_budget as seconds; what cannot be one is the default: a typo must not hold a stop."""
    try:
        return min(max(float(value), LEAST), MOST)
    except (TypeError, ValueError):
        return BUDGET


class Prepared:
    """What goes to a host.

    Attributes:
        names: containers whose adapter is to be asked. program: standard input for the script. bad: {name: why} of those that cannot be
        asked. kinds: {name: kind}. budget: seconds.
    """

    def __init__(self, names: list[str], program: bytes, bad: dict[str, str], kinds: dict[str, str], budget: float) -> None:
        self.names, self.program, self.bad, self.kinds, self.budget = names, program, bad, kinds, budget


def prepare(task_vars: Mapping[str, Any], templar: Any, *, incident: str, budget: float, cli: str) -> Prepared:
    """Reads and checks the adapters, and makes the program. Raises whatever a lookup or Vault raises."""
    found = adapter_inventory.entries(task_vars, templar)
    plans, secrets, bad = adapter_inventory.plans(found, "halt", {"incident_id": incident})
    given = {"plans": plans, "secrets": secrets, "cli": cli, "budget": max(budget - 0.3, 0.2)}
    folder = Path(__file__).parent
    sources = {name: (folder / (name + ".py")).read_text(encoding="utf-8") for name in FILES}
    program = _PROGRAM % {"sources": sources, "order": FILES, "given": json.dumps(given)}
    return Prepared([plan["name"] for plan in plans], program.encode(), bad, {plan["name"]: plan["kind"] for plan in plans}, budget)


def not_asked(components: Any) -> Prepared:
    """The components with an adapter, when none is to be asked: nothing is read for them."""
    pairs = {
        clean(one.get("name"), 128): clean((one["adapter"] or {}).get("kind", ""), 40) for one in components if isinstance(one, dict) and one.get("adapter")
    }
    return Prepared(list(pairs), b"", {}, pairs, BUDGET)


def row(name: str, outcome: str, why: str, kind: str = "") -> dict[str, Any]:
    """One component's row in the proof."""
    return {"component": name, "kind": kind, "outcome": outcome, "why": clean(why, 200), "proven": False, "seconds": None, "steps": []}


def parse(text: str) -> dict[str, Any]:
    """A row from a host. Raises ValueError if it is none; everything in it is cleaned."""
    given = json.loads(text)
    if not isinstance(given, dict) or given.get("outcome") not in OUTCOMES:
        raise ValueError("no row")
    result = row(clean(given.get("component"), 128), given["outcome"], given.get("why") or "", clean(given.get("kind"), 40))
    result["proven"] = given.get("proven") is True
    seconds = given.get("seconds")
    result["seconds"] = float(seconds) if isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and 0 <= seconds < 3600 else None
    for step in given.get("steps") or []:
        if isinstance(step, dict):
            result["steps"].append({key: clean(step.get(key, ""), 200) for key in ("step", "outcome", "words")})
    return result


def rows(prepared: Prepared, answers: list[str], outcome: str, why: str, here: Mapping[str, str]) -> list[dict[str, Any]]:
    """One row for each component with an adapter that ran on the host.

    Args:
        prepared: what was sent. answers: the host's lines about adapters. outcome, why: of those without an answer. here: {name: status}
            of the containers that ran.
    """
    found = {}
    for text in answers:
        try:
            one = parse(text)
        except ValueError:
            continue
        found[one["component"]] = one
    result = []
    for name in sorted(set(prepared.names) | set(prepared.bad)):
        if name not in here:
            continue
        if here[name] == "paused":
            result.append(row(name, "skipped", "its container was frozen (paused) and cannot answer", prepared.kinds.get(name, "")))
        elif name in prepared.bad:
            result.append(row(name, "failed", prepared.bad[name]))
        else:
            result.append(found.get(name) or row(name, outcome, why, prepared.kinds[name]))
    return result


def line(hosts: Mapping[str, Any], width: int) -> str:
    """One line over all hosts: ADAPTERS 1/2 halted, not: ft-b skipped: no python3. Empty where there is no adapter."""
    every = [one for host in hosts.values() for one in host.get("adapters") or []]
    if not every:
        return ""
    if all(one["outcome"] == "would" for one in every):
        return "ADAPTERS would be asked first: %s" % ", ".join(one["component"] for one in every)
    bad = [one for one in every if one["outcome"] not in ("ok", "already")]
    text = "ADAPTERS %d/%s halted first" % (len(every) - len(bad), plural(len(every), "component"))
    if bad:
        text += ", not: " + "; ".join("%s %s: %s" % (one["component"], one["outcome"], one["why"]) for one in bad)
    return clean(text, width)
