# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Makes one bundle of what the hosts gave, and judges whether it is whole. Runs once, on the bastion."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import ansible.module_utils

# Ansible finds module_utils for modules, not for plugins on the bastion.
ansible.module_utils.__path__.append(str(Path(__file__).resolve().parents[1] / "module_utils"))

from ansible.module_utils.andon import bundle, report, text
from ansible.module_utils.andon.state import actor
from ansible.plugins.action import ActionBase

VERB = "collect_logs"


def judge(results, why):
    """What became of each host, for the bundle's manifest.

    Args:
        results: {host: registered result or None}. why: called with a host, gives the reason of a None.

    Returns:
        {host: dict with status full | partial | failed and what its evidence says}.
    """
    hosts = {}
    for host, one in results.items():
        if one is None or "evidence" not in one:
            hosts[host] = {"status": "failed", "error": why(host), "items": [], "gaps": []}
        else:
            evidence = dict(one["evidence"])
            hosts[host] = dict(evidence, status="partial" if evidence["partial"] else "full", error="")
    return hosts


def summary_lines(hosts):
    """One line per host, the worst first."""
    order = {"failed": 0, "partial": 1, "full": 2}
    lines = []
    for host, about in sorted(hosts.items(), key=lambda one: (order[one[1]["status"]], one[0])):
        word = {"failed": "UNKNOWN", "partial": "PARTIAL", "full": "OK"}[about["status"]]
        words = about["error"]
        if about["status"] != "failed":
            kept = len([one for one in about["items"] if one.get("file")])
            words = "%s, %s" % (text.plural(kept, "item"), text.size(about["bytes"]))
            # What matters most comes first: a line has 80 characters.
            if about["partial"]:
                words += "; %d NOT WHOLE" % len(about["partial"])
            offset = about["clock_offset_seconds"]
            if offset is not None and abs(offset) > 1:
                words += "; clock %+.3g s" % offset + (" corrected" if about.get("window_moved_seconds") else "")
            if about["gaps"]:
                words += "; %s" % text.plural(len(about["gaps"]), "gap")
            words += "; %s taken out" % text.plural(about["secrets"], "secret")
        lines.append("%-14s %-8s %s" % (text.clean(host, 14), word, text.clean(words, 150)))
    return lines


def detail_lines(hosts):
    """What is missing, and why."""
    lines = []
    for host, about in sorted(hosts.items()):
        lines += ["%-14s NOT WHOLE %s" % (text.clean(host, 14), text.clean(words, 160)) for words in about.get("partial", ())]
        moved = about.get("window_moved_seconds")
        if moved:
            words = "%+.1f s against the bastion: its window was moved by that; its lines bear its own times"
            lines.append("%-14s CLOCK %s" % (text.clean(host, 14), words % moved))
        for gap in about["gaps"]:
            words = "%s: nothing from %s to %s (%s)" % tuple(text.clean(gap.get(key, "?"), 90) for key in ("source", "from", "to", "why"))
            lines.append("%-14s GAP %s" % (text.clean(host, 14), words))
        for item in about["items"]:
            if str(item.get("window", "")).startswith("not honoured") and item.get("file"):
                lines.append("%-14s WINDOW %s: %s" % (text.clean(host, 14), text.clean(item["name"], 60), text.clean(item["window"], 80)))
    return lines


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        register, plan = self._task.args["register"], self._task.args["plan"]
        results = report.collect(task_vars, register)
        if self._task.check_mode:
            return self._preview(task_vars, register, results)
        hosts = judge(results, lambda host: report.reason(task_vars, register, host))
        full = [host for host, about in hosts.items() if about["status"] == "full"]
        partial = [host for host, about in hosts.items() if about["status"] == "partial"]
        failed = sorted(set(hosts) - set(full) - set(partial))
        headline = "%d/%d hosts collected whole" % (len(full), len(hosts))
        headline += ", %d PARTIAL (%s)" % (len(partial), ", ".join(sorted(partial))) if partial else ""
        headline += ", %d UNKNOWN (%s)" % (len(failed), ", ".join(failed)) if failed else ""
        summary, data = summary_lines(hosts), {"hosts": hosts, "since": plan["since_utc"], "until": plan["until_utc"]}
        if not full and not partial:
            shutil.rmtree(plan["part"], ignore_errors=True)
            return report.ending(report.make(VERB, False, "NOT COLLECTED: no host gave any evidence", summary, [], data, ["andon health", "andon logs"]))
        try:
            made = bundle.close_part(plan["part"], plan["name"], hosts, actor(), time.time())
        except (bundle.BundleError, OSError) as error:
            summary.append("FAILED to pack: %s" % text.clean(error, 200))
            summary.append("What came is kept in %s until the next collection" % plan["part"])
            return report.ending(report.make(VERB, False, "NOT PACKED: the bastion could not write the bundle", summary, [], data, ["df -h", "andon logs"]))
        data["bundle"] = made
        room = 20 - 4
        if len(summary) > room:
            summary = summary[: room - 1] + ["... and %d more hosts (all are in --json)" % (len(summary) - room + 1)]
        summary += [
            "Window: %s to %s" % (plan["since_utc"], plan["until_utc"]),
            "Packed with %s, %s, readable by you only"
            % (made["kind"] + ("" if made["kind"] == "zstd" else " (zstd is not installed)"), text.size(made["bytes"])),
        ]
        # A path is for copying, so it is never cut.
        then = ["andon logs show %s" % made["folder"], "andon logs verify %s" % made["archive"]]
        if failed or partial:
            then.append("andon logs %s --limit %s   (once more, what is missing)" % (made["name"], ",".join(sorted(failed + partial))))
        ok = bool(full) and len(full) == len(hosts)
        detail = ["Folder:  %s" % made["folder"], "Archive: %s" % made["archive"], "SHA-256: %s" % made["archive_sha256"], *detail_lines(hosts)]
        return dict(report.ending(report.make(VERB, ok, headline, summary, detail, data, then)), changed=True)

    def _preview(self, task_vars, register, results):
        summary, ok = [], True
        for host, one in sorted(results.items()):
            about = (one or {}).get("estimate")
            ok = ok and about is not None
            words = report.reason(task_vars, register, host)
            if about is not None:
                words = "%s, %s, about %s" % (
                    text.plural(len(about["containers"]), "container"),
                    text.plural(len(about["files"]), "file"),
                    text.size(about["bytes"]),
                )
            summary.append("%-14s %-8s %s" % (text.clean(host, 14), "OK" if about is not None else "UNKNOWN", text.clean(words, 100)))
        data = {host: (one or {}).get("estimate") for host, one in results.items()}
        return report.ending(report.make(VERB, ok, "CHECK: nothing was collected", summary, [], {"hosts": data}, ["andon logs"]))
