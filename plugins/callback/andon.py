# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a tired person sees of a verb: one line per host while it runs, then the report."""

from __future__ import annotations

DOCUMENTATION = """
name: andon
type: stdout
short_description: Live progress per host, then the verb's report
description:
  - Prints one line per host as soon as that host is done, and at the end the report that the verb's last task returned
    as C(andon_report). With C(-v) the ordinary output comes as well.
  - With C(ANDON_JSON=1) in the environment nothing but one JSON document is printed on standard output.
  - Colours follow C(NO_COLOR) and C(ANSIBLE_NOCOLOR).
extends_documentation_fragment:
  - default_callback
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

import ansible.module_utils

# Ansible finds module_utils for modules, not for plugins on the bastion.
ansible.module_utils.__path__.append(str(Path(__file__).resolve().parents[1] / "module_utils"))

from ansible import constants as C
from ansible.module_utils.andon.text import clean
from ansible.plugins.callback.default import CallbackModule as Default

# Words at the start of a progress line or a report line that say how good or bad it is.
GOOD = ("HALTED", "HEALTHY", "RESUMED", "DONE", "OK", "PROVEN", "KILLED", "CANCELLED")
BAD = ("UNKNOWN", "LEAKING", "OOM ", "NOT ", "FAILED", "ORDERS NOT", "REFUSED", "RUNNING", "DEAD", "WARNING")


def colour_of(line):
    """Ansible's colour name for a report line, or None."""
    words = line.strip()
    if any(bad in words for bad in BAD):
        return C.COLOR_ERROR
    if any(good in words for good in GOOD):
        return C.COLOR_OK
    return None


def plain(value):
    """JSON-safe copy of a result (2.19 tags its strings)."""
    return json.loads(json.dumps(value, default=str))


class CallbackModule(Default):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "andon"

    def __init__(self):
        super().__init__()
        self.reports = []
        self.failures = []
        self.waiting = {}
        self.begun = time.monotonic()
        self.as_json = bool(os.environ.get("ANDON_JSON"))
        self.proven, self.pending = {}, set()
        self._pid = os.getpid()
        # Ctrl-C is answered with what is proven so far; Ansible then ends the run in its own way (exit code 99).
        self._old_handler = signal.signal(signal.SIGINT, self._interrupt)

    def _interrupt(self, signum, frame):
        if os.getpid() == self._pid and self.pending | set(self.proven):
            done = sorted(h for h, good in self.proven.items() if good)
            hosts = self.pending | set(self.proven)
            lines = ["", "INTERRUPTED. Proven so far: %d/%d%s" % (len(done), len(hosts), " (%s)" % ", ".join(done) if done else "")]
            rest = sorted(hosts - set(done))
            if rest:
                lines.append("NOT PROVEN: %s. What has begun on a host is finished there all the same." % ", ".join(rest))
            lines.append("Pressing again is safe: andon stop")
            # Straight to the terminal: the display's own lock may be held by what was interrupted.
            os.write(2, ("\n".join(clean(line, 300) for line in lines) + "\n").encode())
        signal.signal(signal.SIGINT, self._old_handler)
        raise KeyboardInterrupt

    # Ordinary output only with -v; never in JSON mode.

    @property
    def _loud(self):
        return self._display.verbosity > 0 and not self.as_json

    def _say(self, line, colour=None):
        if not self.as_json:
            self._display.display(line, color=colour)

    def v2_playbook_on_start(self, playbook):
        if self._loud:
            super().v2_playbook_on_start(playbook)

    def v2_playbook_on_play_start(self, play):
        self._play = play
        if self._loud:
            super().v2_playbook_on_play_start(play)

    def _task_start(self, task, prefix=None):
        if self._loud:
            super()._task_start(task, prefix)

    def v2_playbook_on_task_start(self, task, is_conditional):
        if self._loud:
            super().v2_playbook_on_task_start(task, is_conditional)
        else:
            self._last_task_name = None

    def v2_playbook_on_no_hosts_matched(self):
        words = "no host of the inventory is in the group 'trading' (or --limit left none)"
        self.failures.append({"host": "-", "msg": words})
        self._say("FAILED  %s, so nothing was done." % words, C.COLOR_ERROR)
        self._say("Next: ansible-inventory --graph, or andon use PATH", C.COLOR_ERROR)
        if self.as_json:
            self._print_json()
        # Ansible by itself exits 0 here. Nothing was asked of any host, so nothing is lost by ending at once.
        raise SystemExit(2)

    def v2_playbook_on_no_hosts_remaining(self):
        if self._loud:
            super().v2_playbook_on_no_hosts_remaining()

    def v2_playbook_on_include(self, included_file):
        if self._loud:
            super().v2_playbook_on_include(included_file)

    def v2_runner_on_start(self, host, task):
        if task.action == "emergency_stop":
            self.pending.add(host.get_name())
        if self._loud:
            super().v2_runner_on_start(host, task)

    # Results

    def _progress(self, result):
        """One line for a host when its result says so (andon_progress: one line of words)."""
        data = result._result
        line = data.get("andon_progress")
        if result._task.action == "emergency_stop":
            self.proven[result._host.get_name()] = bool(data.get("proven"))
        if line:
            self.waiting.pop(result._host.get_name(), None)
            line = "%-14s %s" % (clean(result._host.get_name(), 30), clean(line, 160))
            self._say(line, colour_of(line))
        report = data.get("andon_report")
        if report:
            self.reports.append(plain(report))

    def v2_runner_on_ok(self, result):
        self._progress(result)
        if self._loud:
            super().v2_runner_on_ok(result)

    def v2_on_file_diff(self, result):
        if not self.as_json:
            super().v2_on_file_diff(result)

    def v2_runner_on_skipped(self, result):
        if self._loud:
            super().v2_runner_on_skipped(result)

    def v2_runner_retry(self, result):
        data = result._result
        line = data.get("andon_progress") or data.get("msg") or "trying again"
        self.waiting[result._host.get_name()] = clean(line, 120)
        board = "  ".join(sorted(self.waiting))
        self._say("%-14s %s" % (clean(result._host.get_name(), 30), clean(line, 140)), C.COLOR_ERROR)
        self._say(
            "NOT PROVEN YET: %s   (try %s; Ctrl-C ends it, what is proven stays)" % (clean(board, 300), data.get("attempts", "?")),
            C.COLOR_ERROR,
        )

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._progress(result)
        data = result._result
        if data.get("andon_report"):
            if self._loud:
                super().v2_runner_on_failed(result, ignore_errors)
            return
        if not ignore_errors:
            self.failures.append(
                {
                    "host": result._host.get_name(),
                    "task": result._task.get_name(),
                    "msg": clean(data.get("msg", "failed"), 1000),
                }
            )
        if self._loud:
            super().v2_runner_on_failed(result, ignore_errors)
        elif not data.get("andon_progress"):
            self._say(
                "%-14s FAILED  %s" % (clean(result._host.get_name(), 30), clean(data.get("msg", "failed"), 1000)),
                C.COLOR_ERROR,
            )
            for line in data.get("andon_lines", []):
                self._say("    " + clean(line, 200), C.COLOR_ERROR)

    def v2_runner_on_unreachable(self, result):
        self.failures.append({"host": result._host.get_name(), "msg": clean(result._result.get("msg", "unreachable"), 500)})
        if self._loud:
            super().v2_runner_on_unreachable(result)
        else:
            self._say(
                "%-14s UNKNOWN  unreachable: %s" % (clean(result._host.get_name(), 30), clean(result._result.get("msg", ""), 160)),
                C.COLOR_ERROR,
            )

    # Items of a loop: the whole task's result says it; the ordinary output would break the JSON.

    def v2_runner_item_on_ok(self, result):
        if self._loud:
            super().v2_runner_item_on_ok(result)

    def v2_runner_item_on_failed(self, result):
        if self._loud:
            super().v2_runner_item_on_failed(result)

    def v2_runner_item_on_skipped(self, result):
        if self._loud:
            super().v2_runner_item_on_skipped(result)

    # The end

    def v2_playbook_on_stats(self, stats):
        if self._loud:
            super().v2_playbook_on_stats(stats)
        if self.as_json:
            self._print_json()
            return
        for report in self.reports:
            self._render(report)

    def _print_json(self):
        document = self.reports[-1] if self.reports else {"ok": False, "headline": "no report", "data": {}}
        document = dict(document, failures=self.failures)
        sys.stdout.write(json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n")
        sys.stdout.flush()

    def _render(self, report):
        self._say("")
        self._say(clean(report.get("headline", ""), 80), C.COLOR_OK if report.get("ok") else C.COLOR_ERROR)
        for part in ("summary", "detail"):
            lines = report.get(part) or []
            if lines and part == "detail":
                self._say("")
            for line in lines:
                # Two blanks mean something in a table: `clean` would fold them, so the parts are cleaned one by one.
                text = "".join(c for c in str(line) if c.isprintable())
                self._say(text, colour_of(text))
        for line in report.get("next") or []:
            self._say("Next: " + "".join(c for c in str(line) if c.isprintable()))
