"""What a resume's actions on the bastion share: which variables no command line may change, and what this run has planned.

The plan is made once; the step on every host asks for it again and refuses without it, so that no --tags, --limit or
--start-at-task gets around a gate, and a person with -e does not, either.
"""

from __future__ import annotations

from ansible.utils.vars import load_extra_vars

from .run_id import this_run
from .text import clean

PLANNED = "__andon_resume_planned"
# Extra vars win over everything, also over what a task registered. What decides on approvals and gates belongs into the inventory;
# past a gate one gets by its name (andon_resume_accept).
RESERVED = (
    *(PLANNED, "__andon_resume_clock", "__andon_resume_sizes", "__releases_state", "andon_state", "andon_state_before"),
    *("andon_resume_approvals", "andon_allowed_signers", "andon_resume_plan_ttl", "andon_resume_reconciled_s", "andon_resume_clock_s"),
    *("andon_venues", "andon_components", "andon_protected", "releases_allow_skew", "releases_ignore_environment"),
)


def forbidden(loader):
    """Why this command line may not resume, [] if it may. loader: an action's C(_loader)."""
    given = sorted(set(load_extra_vars(loader)) & set(RESERVED))
    return ["%s cannot be given with -e: it belongs into the inventory" % ", ".join(given)] if given else []


def planned(task_vars):
    """What this run's plan says, or None: no plan, one that refused, or one from another run."""
    found = task_vars.get(PLANNED)
    if not isinstance(found, dict) or found.get("failed") or found.get("run") != this_run()["run_id"]:
        return None
    return found


def needed(task_vars, hosts):
    """How many approvals the inventory asks for: the most that any of these hosts asks for.

    Raises:
        ValueError: it is no whole number from 0.
    """
    most = 0
    for host in hosts:
        value = task_vars["hostvars"][host].get("andon_resume_approvals", 0)
        try:
            count = int(str(value))
        except ValueError:
            count = -1
        if count < 0:
            raise ValueError("andon_resume_approvals of %s must be a whole number from 0" % host)
        most = max(most, count)
    return most


def size_of(value):
    """The factor of --size; None for full size, without a word on it.

    Raises:
        ValueError: it is no number above 0 and at most 1.
    """
    if value is None or value == "":
        return None
    try:
        size = float(value)
    except (TypeError, ValueError):
        size = 0.0
    if not 0 < size <= 1:
        raise ValueError("andon_resume_size must be above 0 and at most 1, not '%s'" % clean(value, 20))
    return size


def has_adapters(task_vars, hosts):
    """True if a component of one of these hosts has an adapter."""
    return any(isinstance(one, dict) and one.get("adapter") for host in hosts for one in task_vars["hostvars"][host].get("andon_components") or [])
