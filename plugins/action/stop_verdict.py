# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The verdict of a stop over all hosts: counts only results, writes the proof, fails unless every host is proven.

Runs once, on the bastion, in the acting play itself: a later play is dropped by --limit, and the recap counts an ignored
unreachable host as ok (both measured on ansible-core 2.19).
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import ansible.module_utils

# Ansible finds module_utils for modules, not for plugins on the bastion.
ansible.module_utils.__path__.append(str(Path(__file__).resolve().parents[1] / "module_utils"))

from ansible.module_utils.andon import incident_id, proof, state, text
from ansible.plugins.action import ActionBase


def store(document, incident, verb):
    """Writes the proof; returns (path or None, a warning or None). A full disk is a warning, never a failure."""
    folder = state.state_dir()
    stamp = state.utc_now().replace(":", "").replace("-", "")
    paths = [folder / "proofs" / ("%s-%s.json" % (stamp, verb))]
    if incident_id.active() == incident:
        # Beside the journal, under a name of its own: a second press must not overwrite the first one's proof.
        paths += [folder / "incidents" / incident / ("proof-%s.json" % stamp), folder / "incidents" / incident / "proof.json"]
    try:
        for path in paths:
            state.write_atomic(path, document)
    except OSError as error:
        return None, "the proof could not be written to %s: %s" % (folder, error.strerror)
    return str(paths[0]), None


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        args, hostvars = self._task.args, task_vars["hostvars"]
        # A result is data and never a template; looking for templates in fifty of them took as long as the verdict itself.
        of_host = getattr(hostvars, "raw_get", None) or hostvars.__getitem__
        results = {}
        for host in task_vars["ansible_play_hosts_all"]:
            one = of_host(host).get(args["register"])
            results[host] = dict(one) if isinstance(one, dict) and "verdict" in one else {}
        any_result = next((r for r in results.values() if r.get("incident")), {})
        pressed = any_result.get("pressed_at") or time.time()
        verb = args.get("verb", "emergency_stop")
        finished = state.utc_now()  # of the hosts: the venues come after, and never change their verdict
        document = proof.document(
            verb=verb,
            asked=list(results),
            fleet=list(task_vars["groups"].get("trading", [])),
            results=results,
            mode=args.get("mode") or "graceful",
            strategy=args.get("strategy") or "",
            incident=any_result.get("incident") or incident_id.current_or_new(pressed),
            operator=state.actor(),
            reason=args.get("reason") or "",
            pressed_at=state.utc(pressed),
            finished_at=finished,
            check=bool(self._task.check_mode),
        )
        document["orders"] = self._orders(task_vars, args.get("strategy"), document)
        path, warning = (None, None) if document["check"] else store(document, document["incident"], verb)
        report = proof.report(document, path)
        if warning:
            report["detail"].append("WARNING: " + warning)
        if document["nowhere"]:
            known = sorted({s for r in results.values() for s in r.get("known_strategies", [])})
            near = text.nearest(document["strategy"], known) or known[:8]
            report["summary"].append(("Known strategies: " + ", ".join(near))[:80] if known else "No host has any strategy.")
        return {
            "changed": False,
            "failed": not report["ok"],
            "msg": report["headline"],
            "andon_report": report,
            "proof": path,
        }

    def _orders(self, task_vars, strategy, document):
        """The venues' part of the proof; None if there is no venue. The hosts' verdict is shown before it is waited for."""
        if not task_vars.get("andon_venues"):
            return None
        from ansible.module_utils.andon import venue_stop

        try:
            if not os.environ.get("ANDON_JSON"):
                self._display.display("HOSTS          %s; now the venues, at most %g s" % (proof.headline(document), venue_stop.longest(task_vars)))
            return venue_stop.end(task_vars, self._templar, check=bool(self._task.check_mode), strategy=strategy)
        except Exception as error:  # the hosts' verdict must come whatever is wrong with the venues' part
            return venue_stop.failed("the venues' part broke: %s" % text.clean(error, 200))
