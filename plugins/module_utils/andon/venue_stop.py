"""The venues' part of a stop: begun with the first host's task, ended after the last host's verdict.

Whether there are venues is seen from the raw variable; it is decrypted in a fork (venue_runner.start), because a lookup that
hangs must not hold the stop, and neither must an Ansible Vault that takes its time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from . import venue_runner
from .text import clean
from .venue_words import NOT_CANCELLED, UNKNOWN, orders

BUDGET = 10.0  # seconds; andon_venue_budget


def _why_not(task_vars: Mapping[str, Any], strategy: Any) -> str:
    """Why this run cancels nothing at the venues, or an empty text."""
    if strategy:
        return "one strategy's orders are not told apart"
    if set(task_vars["groups"].get("trading", [])) - set(task_vars["ansible_play_hosts_all"]):
        return "this run is limited to some hosts"
    return ""


def _budget(task_vars: Mapping[str, Any]) -> float:
    try:
        return max(1.0, min(float(task_vars.get("andon_venue_budget", BUDGET)), 300.0))
    except (TypeError, ValueError):
        return BUDGET


def longest(task_vars: Mapping[str, Any]) -> float:
    """Seconds for which `end` waits at most."""
    return _budget(task_vars) + venue_runner.GRACE


def reader(task_vars: Mapping[str, Any], templar: Any) -> Callable[[], Any]:
    """A function that gives andon_venues, templated and decrypted, in ordinary types."""
    return lambda: plain(templar.template(task_vars["andon_venues"]))


def plain(value: Any) -> Any:
    """Ansible's lazy and tagged values as ordinary ones that JSON can hold."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (bool, int, float)) or value is None:
        return value
    return str(value)


def begin(task_vars: Mapping[str, Any], templar: Any, *, check: bool, strategy: Any) -> None:
    """Starts cancelling at all venues, if this run is to; comes back at once. Raises OSError if no process could be made."""
    if not _why_not(task_vars, strategy):
        venue_runner.start(reader(task_vars, templar), cancel=not check, budget=_budget(task_vars))


def end(task_vars: Mapping[str, Any], templar: Any, *, check: bool, strategy: Any) -> dict[str, Any]:
    """The venues' part of the proof; waits for the last pass, for at most the budget.

    Returns:
        {"verdict", "ok", "line", "venues"}; ok is None if no venue was to be asked.
    """
    why = _why_not(task_vars, strategy)
    if why:
        return {"verdict": NOT_CANCELLED, "ok": None, "line": "ORDERS NOT CANCELLED: %s. Type: andon cancel-orders" % why, "venues": []}
    budget = _budget(task_vars)
    folder = venue_runner.find_folder(venue_runner.run_key())
    if folder is None:  # the first host's task did not get that far (--start-at-task, variables that cannot be read)
        folder = venue_runner.start(reader(task_vars, templar), cancel=not check, budget=budget)
    answer = venue_runner.finish(folder, budget)
    return failed(answer["error"]) if "error" in answer else orders(answer["venues"], check)


def failed(words: str) -> dict[str, Any]:
    """The venues' part when there is no row for any venue."""
    return {"verdict": UNKNOWN, "ok": False, "line": clean("ORDERS UNKNOWN: %s" % words, 300), "venues": []}
