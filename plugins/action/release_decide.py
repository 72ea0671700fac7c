# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Decides whether what runs may be recorded as one release, and as which. Runs on the bastion."""

from __future__ import annotations

import secrets
import time
from pathlib import Path

import ansible.module_utils

# Ansible finds module_utils for modules, not for plugins on the bastion.
ansible.module_utils.__path__.append(str(Path(__file__).resolve().parents[1] / "module_utils"))

from ansible.module_utils.andon import skew, state
from ansible.module_utils.andon.catalogue import catalogue, current, state_print
from ansible.module_utils.andon.fleet_report import gather, limited, report, unknown_lines
from ansible.module_utils.andon.text import clean, nearest, plural, valid_id
from ansible.plugins.action import ActionBase


def decide(states, missing, left_out, name, allowed, ignored, reason, now, run_id):
    """The decision.

    Args:
        states: {host: state}. missing: {host: why unknown}. left_out: hosts that --limit left out. name: the id that a person gave, or "".
        allowed, ignored: as in skew.compare. reason: words. now: Unix time in seconds on the bastion. run_id: this run.

    Returns:
        dict with decision, or a failing report.
    """

    def refuse(headline, lines, then, data=None):
        return report("record_release", False, headline, lines, data=data, then=then)

    if name and not valid_id(name):
        return refuse(
            "FAILED: '%s' cannot be a release's id" % clean(name, 40), ["Letters, digits, . _ - and at most 64 of them."], ["andon release record --name r1"]
        )
    if missing or not states:
        return refuse("FAILED: nothing recorded, %s UNKNOWN" % plural(len(missing), "host"), unknown_lines(missing), ["andon status"], {"unknown": missing})
    if left_out:
        return refuse(
            "FAILED: nothing recorded, a release is one on all hosts",
            ["--limit left out: %s" % clean(", ".join(left_out), 60)],
            ["the same command without --limit"],
        )
    found = skew.compare({h: s["services"] for h, s in states.items()}, allowed, ignored)
    open_ones = [d for d in found if not d["allowed"]]
    if open_ones:
        return refuse(
            "FAILED: nothing recorded, the hosts differ in %s" % plural(len(open_ones), "point"),
            skew.lines(open_ones),
            ["deploy to the hosts that differ, then record", "meant to be so? name it: releases_allow_skew: ['%s']" % open_ones[0]["id"]],
            {"differences": found},
        )
    outside = sorted("%s on %s" % (name, host) for host, s in states.items() for name in s["outside"])
    sick = {h: sorted(s["unhealthy"].items()) for h, s in states.items() if s["unhealthy"]}
    releases = catalogue(states)
    here = current(releases)
    if name and any(r["id"] == name and not (r["whole"] and r["current"]) for r in releases):
        return refuse(
            "FAILED: %s is another release already" % clean(name, 40),
            ["A recorded release never changes. Names that are taken: %s" % clean(", ".join(nearest(name, [r["id"] for r in releases])), 40)],
            ["andon release list", "the same command with another --name, or none"],
        )
    ident = name or (here["id"] if here else time.strftime("r-%Y%m%d-%H%M%S", time.gmtime(now)))
    why = "healthy on %s" % plural(len(states), "host")
    if sick:
        host, names = sorted(sick.items())[0]
        why = clean("%s: %s (%s)" % (host, names[0][0], names[0][1]), 160)
    good = next((r["id"] for r in releases if r["good"] and r["id"] != ident), None)
    return {
        "changed": False,
        "decision": {
            "release": ident,
            "known": bool(here and here["id"] == ident),
            "healthy": not sick,
            "why": why,
            "outside": outside,
            "expected": {h: state_print(s["services"]) for h, s in states.items()},
            "never": [r for r in (ident, good, here["id"] if here else None) if r],
            "words": {
                "at": state.utc(now),
                "operator": state.actor()["name"],
                "reason": clean(reason, 400),
                "run": run_id,
                "hosts": sorted(states),
                "allowed": [d["id"] for d in found],
            },
        },
    }


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        args = self._task.args
        results, missing = gather(task_vars, args["register"])
        states = {host: result["state"] for host, result in results.items()}
        return decide(
            states,
            missing,
            limited(task_vars),
            args.get("name") or "",
            args.get("allow") or [],
            args.get("ignore") or [],
            args.get("reason") or "",
            time.time(),
            secrets.token_hex(8),
        )
