"""The inventory's adapters as ordinary values, and the plans made of them. On the bastion, for action plugins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import adapters
from .text import clean
from .venue_stop import plain


def entries(task_vars: Mapping[str, Any], templar: Any) -> list[tuple[str, Any]]:
    """The entries of andon_components that have an adapter.

    Returns:
        list of (name, entry, or an AdapterError where the entry cannot be read).

    C(override) is taken as it is written: its C({{ item }}) is the adapter's own template and not Ansible's.
    """
    raw = task_vars.get("andon_components") or []
    if isinstance(raw, str):
        raw = templar.template(raw)
    found = []
    for one in adapters.with_adapter(raw):
        name = clean(one.get("name", "?"), 80)
        try:
            adapter = one["adapter"]
            if not isinstance(adapter, Mapping):
                raise adapters.AdapterError("component %s: adapter must be a mapping (kind, endpoint, venue, vars, override)" % name)
            kept = {key: adapter[key] for key in adapter if key != "override"}
            entry = plain(templar.template({"adapter": kept, **{key: one[key] for key in one if key != "adapter"}}))
            if "override" in adapter:
                entry["adapter"]["override"] = plain(adapter["override"])
            found.append((name, entry))
        except adapters.AdapterError as error:
            found.append((name, error))
        except Exception as error:  # an undefined variable, a Vault without its password: one entry must not hide the others
            found.append((name, adapters.AdapterError("component %s: its adapter cannot be read: %s" % (name, clean(error, 200)))))
    return found


def plans(found: list[tuple[str, Any]], act: str, given: Mapping[str, Any], *, only: str = "") -> tuple[list[dict[str, Any]], dict[str, str], dict[str, str]]:
    """The plans of one action.

    Args:
        found: what `entries` gave. act: the action. given: this run's values. only: one component's name.

    Returns:
        (plans, secrets of all, {name: why} of those that cannot be used).
    """
    good, secrets, bad = [], {}, {}
    for name, entry in found:
        if only and name != only:
            continue
        if isinstance(entry, adapters.AdapterError):
            bad[name] = str(entry)
        else:
            try:
                plan, own = adapters.plan(entry, act, given)
                good.append(plan)
                secrets.update(own)
            except adapters.AdapterError as error:
                bad[name] = str(error)
    return good, secrets, bad
