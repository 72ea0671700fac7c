# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The verdict of record_release: reads each host's ledger again and counts only what is there, intact. Runs on the bastion."""

from __future__ import annotations

from pathlib import Path

import ansible.module_utils

# Ansible finds module_utils for modules, not for plugins on the bastion.
ansible.module_utils.__path__.append(str(Path(__file__).resolve().parents[1] / "module_utils"))

from ansible.module_utils.andon.catalogue import catalogue
from ansible.module_utils.andon.fleet_report import gather, report, unknown_lines
from ansible.module_utils.andon.text import clean
from ansible.plugins.action import ActionBase


def judge(decision, acted, not_acted, states, missing, check):
    """The report.

    Args:
        decision: release_decide's. acted: {host: release_record's result}. not_acted: {host: why it failed}.
        states, missing: what the hosts said afterwards. check: nothing was to be written.
    """
    ident = decision["release"]
    total = len(decision["words"]["hosts"])
    entry = next((r for r in catalogue(states) if r["id"] == ident), None)
    proven = [h for h, wrong in entry["hosts"].items() if h not in not_acted and "damaged" not in wrong and wrong != "not recorded"] if entry else []
    ok = not not_acted and not missing and (check or (len(proven) == total and entry["current"]))
    if check:
        headline = "WOULD RECORD %s on %d hosts" % (ident, total) if ok else "FAILED: %s could not be recorded" % ident
    elif ok and entry["good"]:
        headline = "RECORDED %s: OK, %d/%d hosts, good" % (ident, total, total)
    elif ok:
        headline = "RECORDED %s: %d/%d hosts, NOT GOOD: it was not healthy" % (ident, total, total)
    else:
        headline = "FAILED: %s is on %d/%d hosts, so it is no release" % (ident, len(proven), total)
    summary = ["%-14s FAILED  %s" % (clean(h, 14), clean(why, 1000)) for h, why in sorted(not_acted.items())] + unknown_lines(missing)
    if decision["known"]:
        summary.append("  What runs is release %s already." % ident)
    if not decision["healthy"]:
        summary.append("  NOT HEALTHY  %s" % decision["why"])
    if decision["outside"]:
        summary.append("  WARNING: outside Compose, so not part of it: %s" % clean(", ".join(decision["outside"]), 60))
    summary += ["  allowed difference: %s" % clean(name, 60) for name in decision["words"]["allowed"]]
    detail = ["  %s: %s" % (h, clean(note, 60)) for h, r in sorted(acted.items()) for note in r.get("notes", ())]
    detail += ["%-14s %s" % (clean(h, 14), clean(why, 2000)) for h, why in sorted(not_acted.items())]
    then = ["andon release list"] if ok else ["put right what is named above, then: andon release record"]
    data = {"release": ident, "good": bool(entry and entry["good"]), "known": decision["known"], "hosts": entry["hosts"] if entry else {}, "failed": not_acted}
    return report("record_release", ok, headline, summary, detail, data, then)


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        args = self._task.args
        acted, not_acted = gather(task_vars, args["acted"])
        results, missing = gather(task_vars, args["after"])
        states = {host: result["state"] for host, result in results.items()}
        return judge(args["decision"], acted, not_acted, states, missing, bool(self._task.check_mode))
