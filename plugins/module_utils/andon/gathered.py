"""What every host of a play registered; a host that registered nothing is a reason, never left out. Used on the bastion."""

from __future__ import annotations

import time

from ansible.errors import AnsibleActionFail

from .report import collect, reason
from .text import clean, without_mux


def results(task_vars, register, proof):
    """One entry per host of the play.

    Args:
        task_vars: the variables of the judging task.
        register: the acting task's register.
        proof: a key that only a whole result of the acting module has.

    Returns:
        dict {host: its result (dict), or why there is none (str)}.
    """
    found = {}
    for host, one in collect(task_vars, register).items():
        found[str(host)] = one if one is not None and proof in one else ssh_words(reason(task_vars, register, host))
    return found


def ssh_words(message):
    """The part of a message on an unreachable host that says why: what ssh itself wrote."""
    words = clean(without_mux(message), 600)
    return "unreachable (%s)" % clean(words.rpartition("ssh: ")[2], 120) if "ssh: " in words else clean(words, 120)


class Timed:
    """For action plugins: the bastion's clock just before and just after the one call that ran the module on the host.

    Building the module takes longer than the way to the host, so the times are taken around the call itself. The module
    returns its own C(begin) and C(end).
    """

    times = None

    def _low_level_execute_command(self, *args, **kwargs):
        before = time.time()
        answer = super()._low_level_execute_command(*args, **kwargs)
        if '"begin"' in str(answer.get("stdout", "")):
            self.times = (before, time.time())
        return answer

    def windowed(self, name, task_vars):
        """The result of a module that looks back: the task's C(since) becomes C(window) here; C(clock) is there if the module answered whole."""
        from .health import clock
        from .triage import parse_since

        arguments = dict(self._task.args)
        try:
            arguments["window"] = parse_since(arguments.pop("since"), time.time())
        except ValueError as error:
            raise AnsibleActionFail("%s. Nothing was read" % error) from None
        result, before, after = self.timed(name, arguments, task_vars)
        if "begin" in result and not result.get("failed"):
            result["clock"] = clock(before, result["begin"], result["end"], after)
        return result

    def timed(self, name, arguments, task_vars):
        """(the module's result, time before, time after)."""
        before = time.time()
        result = self._execute_module(module_name=name, module_args=arguments, task_vars=task_vars)
        before, after = self.times or (before, time.time())
        return result, before, after
