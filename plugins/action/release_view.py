# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The reports of releases.yml: the list, one release, or the difference between two. Runs on the bastion."""

from __future__ import annotations

from pathlib import Path

import ansible.module_utils

# Ansible finds module_utils for modules, not for plugins on the bastion.
ansible.module_utils.__path__.append(str(Path(__file__).resolve().parents[1] / "module_utils"))

from ansible.module_utils.andon import skew
from ansible.module_utils.andon.catalogue import catalogue, change_lines
from ansible.module_utils.andon.fleet_report import gather, report, unknown_lines
from ansible.module_utils.andon.releases import differences
from ansible.module_utils.andon.text import clean, nearest, plural
from ansible.plugins.action import ActionBase


def word(release):
    """good, or why not, in few words."""
    return "OK good" if release["good"] else "NOT GOOD %s" % clean(release["why"], 40)


def list_view(releases, states, missing):
    summary = unknown_lines(missing)
    for one in releases:
        runs = "runs" if one["current"] else ("runs on %d/%d" % (len(one["running_on"]), len(states)) if one["running_on"] else "")
        summary.append("%-24s %-16s %-11s %s" % (clean(one["id"], 24), (one["at"] or "")[:16].replace("T", " "), runs, word(one)))
    for host, state in sorted(states.items()):
        if not state["current"]:
            summary.append("  %s: what runs is NOT recorded" % clean(host, 20))
    headline = "%s%s" % (plural(len(releases), "release"), ", %s UNKNOWN" % plural(len(missing), "host") if missing else "")
    then = ["andon release show ID", "andon release diff ID"] if releases else ["andon release record   (after each deploy)"]
    return report("releases", not missing, headline, summary, data={"releases": releases, "unknown": missing}, then=then)


def find(releases, ident):
    """The release, or a failing report that names what there is."""
    one = next((r for r in releases if r["id"] == ident), None)
    if one:
        return one, None
    near = nearest(ident, [r["id"] for r in releases]) or [r["id"] for r in releases[:3]]
    lines = ["Did you mean: %s" % clean(", ".join(near), 60)] if near else ["Nothing is recorded on any host yet."]
    return None, report("releases", False, "FAILED: there is no release '%s'" % clean(ident, 40), lines, then=["andon release list"])


def of_host(states, ident):
    """{host: that release as the host has it}."""
    found = {h: next((r for r in s["releases"] if r["id"] == ident), None) for h, s in states.items()}
    return {h: r for h, r in found.items() if r and not r["problem"]}


def show_view(releases, states, missing, ident):
    one, failed = find(releases, ident)
    if failed:
        return failed
    summary = unknown_lines(missing)
    summary.append("recorded  %s by %s%s" % (clean(one["at"], 24), clean(one["operator"], 30), ": " + clean(one["reason"], 40) if one["reason"] else ""))
    summary += ["commit    %s %s" % (clean(p, 30), clean(c, 40)) for p, c in sorted((one["commits"] or {}).items())]
    summary += ["%-14s %s" % (clean(h, 14), "FAILED " + clean(w, 50) if w else "OK") for h, w in sorted(one["hosts"].items())]
    hosts = of_host(states, ident)
    detail = skew.matrix({h: r["shown"] for h, r in hosts.items()}, [])
    for host, r in sorted(hosts.items()):
        detail += [
            "  %-14s %s %s %s" % (clean(host, 14), clean(p["at"], 20), "healthy" if p["healthy"] else "NOT HEALTHY", clean(p["why"], 40)) for p in r["proofs"]
        ]
    data = {"release": one, "hosts": {h: {"services": r["shown"], "proofs": r["proofs"]} for h, r in hosts.items()}, "unknown": missing}
    return report(
        "releases", one["whole"] and not missing, "%s: %s" % (clean(ident, 40), word(one)), summary, detail, data, ["andon release diff " + one["id"]]
    )


def diff_view(releases, states, missing, ident, other):
    """From what runs to C(ident), or from C(ident) to C(other)."""
    for name in [ident] + ([other] if other else []):
        _, failed = find(releases, name)
        if failed:
            return failed
    left, right = of_host(states, ident), of_host(states, other) if other else {}
    per = {}
    for host, state in states.items():
        if other and host in left and host in right:
            per[host] = differences(left[host]["shown"], right[host]["shown"])
        elif not other and host in left:
            per[host] = differences(state["services"], left[host]["shown"])
        else:
            missing = dict(missing, **{host: "it has not got both, intact"})
    names = "%s -> %s" % (ident, other) if other else "what runs -> %s" % ident
    count = sum(len(changes) for changes in per.values())
    headline = "%s: %s" % (clean(names, 50), plural(count, "difference") if count else "OK, the same")
    then = [] if other else ["andon rollback --to " + ident]
    lines = change_lines(per, {h: s["services"] for h, s in states.items()}, [r["shown"] for r in [*left.values(), *right.values()]])
    return report("releases", not missing, headline, unknown_lines(missing) + lines, data={"changes": per, "unknown": missing}, then=then)


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        args = self._task.args
        results, missing = gather(task_vars, args["register"])
        states = {host: result["state"] for host, result in results.items()}
        releases = catalogue(states)
        if args.get("other") and args.get("release"):
            return diff_view(releases, states, missing, args["release"], args["other"])
        if args.get("view") == "diff":
            return diff_view(releases, states, missing, args.get("release") or "", "")
        if args.get("release"):
            return show_view(releases, states, missing, args["release"])
        return list_view(releases, states, missing)
