# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Closes the confirmed orphans of one reconciliation, with proof. Runs once, on the bastion, after every host was asked again."""

from __future__ import annotations

import time
from pathlib import Path

import ansible.module_utils

# Ansible finds module_utils for modules, not for plugins on the bastion.
ansible.module_utils.__path__.append(str(Path(__file__).resolve().parents[1] / "module_utils"))

from ansible.errors import AnsibleActionFail
from ansible.module_utils.andon import closing, positions_report, reconcile, reconciliations, report, venue_runner, venue_stop
from ansible.module_utils.andon.amounts import exact, words
from ansible.module_utils.andon.text import clean, duration, nearest
from ansible.plugins.action import ActionBase


def given(confirm):
    """The confirmed targets, each "SYMBOL SIZE" or "VENUE SIDE SYMBOL SIZE": a list, or a text with commas between them."""
    parts = confirm.split(",") if isinstance(confirm, str) else list(confirm or [])
    return [" ".join(str(part).split()) for part in parts if str(part).strip()]


def closable(found, unclaimed):
    """The rows of a reconciliation that may be closed."""
    verdicts = (reconcile.ORPHAN, reconcile.UNCLAIMED) if unclaimed else (reconcile.ORPHAN,)
    return [row for row in found["rows"] if row.get("verdict") in verdicts and row.get("confirm") and row.get("position")]


def chosen(rows, confirm, check):
    """The rows that were confirmed; with --check and no confirmation all of them.

    Raises:
        AnsibleActionFail: not confirmed, or something else than what is listed was.
    """
    targets = given(confirm)
    known = {row["confirm"]: row for row in rows}
    listed = "; ".join(known) or "nothing"
    for target in targets:
        if target not in known:
            near = nearest(target, known)
            hint = ". Did you mean '%s'?" % clean(near[0], 80) if near else ""
            raise AnsibleActionFail(
                "not confirmed: '%s' is not in the reconciliation, which lists: %s%s. Nothing was sent" % (clean(target, 80), clean(listed, 300), hint)
            )
    if len(set(targets)) != len(targets):
        raise AnsibleActionFail("not confirmed: one position is named twice. Nothing was sent")
    if check and not targets:
        return rows
    if rows and not targets:
        raise AnsibleActionFail("not confirmed: confirm must name each position to close, out of: %s. Nothing was sent" % clean(listed, 300))
    return [known[target] for target in targets]


def refusal(row, sources):
    """Why a component of ours may own the position now, or an empty text."""
    for source in sources:
        if source.ok and any(one.symbol == row["symbol"] and source.venue in ("", row["venue"]) for one in source.claims):
            return "%s claims %s now" % (source.name, row["symbol"])
        if not source.ok and source.may_hold(row["venue"], row["symbol"]):
            return "%s may own it and could not be asked: %s" % (source.name, source.why)
    return ""


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        args, check = self._task.args, bool(self._task.check_mode)
        config = venue_stop.reader(task_vars, self._templar)() if task_vars.get("andon_venues") else []
        if not config:
            raise AnsibleActionFail("no venue is configured, so nothing was done. Set andon_venues in the inventory (docs/venues.md)")
        cap = exact(args.get("cap"))
        if cap is None or cap <= 0:
            raise AnsibleActionFail("andon_close_cap is not set: the most that may be closed in one run, in dollars, for example 500. Nothing was sent")
        incident = reconciliations.current_incident()
        try:
            found, path = reconciliations.find(str(args.get("reconciliation") or ""), incident)
        except reconciliations.NotKept as error:
            raise AnsibleActionFail("%s. Nothing was sent" % error) from error
        self._fresh(found, args, incident)
        try:
            rows = chosen(closable(found, bool(args.get("unclaimed"))), args.get("confirm"), check)
            orders = [self._order(found, row) for row in rows]
        except (KeyError, TypeError, AttributeError) as error:
            raise AnsibleActionFail("the reconciliation %s is broken. Nothing was sent. Type: andon positions" % path) from error
        worth = [exact(row["position"].get("notional")) for row in rows]
        total = sum(one for one in worth if one is not None)
        if total > cap:
            raise AnsibleActionFail("these are worth %s and andon_close_cap is %s. Nothing was sent: name fewer, or a greater cap" % (words(total), words(cap)))
        sources, _ = positions_report.sources_of(task_vars, args["register"], self._templar)
        done = self._close(config, path, orders, rows, sources, cap, check, args.get("budget")) if rows else []
        result = report.ending(positions_report.closed(done, found, check))
        result["changed"] = not check and any(row["sent"] for row in done)
        return result

    @staticmethod
    def _order(found, row):
        position = row["position"]
        keys = {key: str(row[key]) for key in ("venue", "symbol", "side", "confirm")}
        return {**keys, "contracts": str(position["contracts"]), "size": str(position["size"]), "client_id": reconcile.client_id(found["id"], row)}

    @staticmethod
    def _fresh(found, args, incident):
        """Refuses a reconciliation that is too old, or that a later one has replaced."""
        age = time.time() - (reconciliations.made_at(str(found.get("id"))) or 0)
        most = float(exact(args.get("age")) or 0)
        if not -60 <= age <= most:
            raise AnsibleActionFail(
                "the reconciliation %s is %s old and may be %s. Nothing was sent. Type: andon positions" % (found.get("id"), duration(age), duration(most))
            )
        kept = reconciliations.names(incident)
        for venue in sorted({row["venue"] for row in closable(found, True)}):
            later = reconciliations.newer_than(found["id"], venue, kept)
            if later:
                raise AnsibleActionFail("there is a later reconciliation of %s: %s. Nothing was sent. Look at that one" % (clean(venue, 64), later))

    @staticmethod
    def _close(config, path, orders, rows, sources, cap, check, budget):
        """The rows of closing.close_all, in the orders' sequence; what a component may own is refused here, and not handed on."""
        result, sendable = {}, []
        for order, row in zip(orders, rows, strict=True):
            why = refusal(row, sources)
            if why:
                result[order["client_id"]] = {**closing.blank(order), "verdict": closing.REFUSED, "why": "%s; nothing was sent" % why}
            else:
                sendable.append(order)
        if sendable:
            sent = str(path.parent / ("%s.sent" % path.stem))
            try:
                seconds = min(max(float(budget or 30), 5.0), 300.0)
                job = {"task": "close", "config": config, "orders": sendable, "cap": str(cap), "check": check, "sent": sent, "budget": seconds}
                result.update({one["client_id"]: one for one in venue_runner.call(job)})
            except ValueError as error:
                raise AnsibleActionFail("%s. Nothing was sent" % clean(error, 300)) from error
            except OSError as error:
                # The process may have sent something before it broke: each is UNKNOWN, and the same command asks what became of it.
                result.update(
                    {
                        one["client_id"]: {**closing.blank(one), "why": clean(error, 200), "sent": (Path(sent) / ("%s.json" % one["client_id"])).exists()}
                        for one in sendable
                    }
                )
        return [result[order["client_id"]] for order in orders]
