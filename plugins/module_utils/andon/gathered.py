"""What every host of a play registered; a host that registered nothing is a reason, never left out. Used on the bastion."""

from __future__ import annotations

from .text import clean


def results(task_vars, register, proof):
    """One entry per host of the play.

    Args:
        task_vars: the variables of the judging task.
        register: the acting task's register.
        proof: a key that only a result of the acting module has.

    Returns:
        dict {host: its result (dict), or why there is none (str)}.
    """
    found = {}
    for host in task_vars.get("ansible_play_hosts_all") or []:
        one = task_vars["hostvars"][host].get(register)
        if not isinstance(one, dict):
            found[str(host)] = "nothing was heard of it"
        elif one.get("unreachable"):
            found[str(host)] = "unreachable (%s)" % ssh_words(one.get("msg", ""))
        elif one.get("failed") or proof not in one:
            found[str(host)] = "not measured: %s" % clean(one.get("msg", "its result is not complete"), 160)
        else:
            found[str(host)] = one
    return found


def ssh_words(message):
    """The part of Ansible's message on an unreachable host that says why: what ssh itself wrote."""
    words = clean(message, 600)
    return clean(words.rpartition("ssh: ")[2] or words, 120)
