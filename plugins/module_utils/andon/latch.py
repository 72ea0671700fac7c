"""The latch: the files on a host that say "halted, by whom, why". Read here; the stop's shell script writes them.

Two folders: the lasting one (C(andon_host_state)/halts) and one in memory, which the stop uses when the disk is full
or read-only. Whatever starts a covered container asks C(refusal) first and refuses while it answers.
"""

from __future__ import annotations

import json
import os

VOLATILE = "/run/andon/halts"


class LatchError(Exception):
    """A latch is there and cannot be read: it counts as latched (gates fail closed)."""


class Latch:
    """One latch file.

    Attributes:
        scope: "all" or "strategy-<id>"; path; incident, operator, reason, at (UTC text);
        containers: dicts {id, name, image, restart_policy, was_running, component, strategy}.
    """

    def __init__(self, path, data):
        self.path = path
        self.scope = os.path.basename(path)[: -len(".json")]
        self.incident = str(data.get("incident", ""))
        self.operator = str(data.get("operator", ""))
        self.reason = str(data.get("reason", ""))
        self.at = str(data.get("at", ""))
        self.containers = list(data.get("containers", []))

    def covers(self, container):
        """True if this latch forbids starting C(container) (an engine.Container)."""
        return self.scope == "all" or self.scope == "strategy-" + container.strategy or any(one.get("id") == container.id for one in self.containers)

    def words(self):
        return "%s since %s by %s%s%s" % (
            "everything is halted" if self.scope == "all" else self.scope.replace("strategy-", "strategy ", 1) + " is halted",
            self.at,
            self.operator or "?",
            ": " + self.reason if self.reason else "",
            " (incident %s)" % self.incident if self.incident else "",
        )


def folders(host_state):
    return [os.path.join(host_state, "halts"), VOLATILE]


def read(host_state="/var/lib/andon"):
    """All latches of this host, "all" first.

    Raises:
        LatchError: one is there and cannot be read or understood.
    """
    latches = []
    for folder in folders(host_state):
        try:
            names = sorted(os.listdir(folder))
        except FileNotFoundError:
            continue
        except OSError as error:
            raise LatchError("%s cannot be read: %s" % (folder, error.strerror)) from error
        for name in names:
            if not name.endswith(".json") or name.startswith("."):
                continue
            path = os.path.join(folder, name)
            try:
                with open(path, encoding="utf-8", errors="replace") as source:
                    data = json.load(source)
                if not isinstance(data, dict):
                    raise ValueError("not an object")
            except (OSError, ValueError) as error:
                raise LatchError("the latch %s is there and cannot be read (%s)" % (path, error)) from error
            latches.append(Latch(path, data))
    return sorted(latches, key=lambda latch: latch.scope != "all")


def refusal(container, host_state="/var/lib/andon"):
    """Why C(container) must not be started now, or None. A latch that cannot be read is a reason."""
    try:
        for latch in read(host_state):
            if latch.covers(container):
                return "%s. Lift it first: andon resume%s" % (
                    latch.words(),
                    "" if latch.scope == "all" else " --strategy " + latch.scope[len("strategy-") :],
                )
    except LatchError as error:
        return "%s. It counts as halted. Next: look at that file on the host" % error
    return None
