"""Positions: positions, close-orphans."""

from __future__ import annotations

from typing import Any, NoReturn

import click

from cli import Settings, confirm_target, fail, interactive, run_playbook, yes_option
from verbs.venues import require_venue


@click.command("positions")
@click.option("--venue", metavar="NAME", help="Only this one of andon_venues.")
@click.option("--halt-first", is_flag=True, help="First stop new orders of every component with an adapter; they stay up and can answer.")
@click.option("--budget", type=click.FloatRange(1, 300), metavar="S", help="Seconds for all venues together; 10 without it.")
@yes_option
@click.pass_obj
def positions_command(settings: Settings, venue: str | None, halt_first: bool, budget: float | None, yes: bool) -> NoReturn:
    """Compare what our software says it holds with what the venues show.

    MATCH, SIZE DIFFERS, GHOST (only ours), ORPHAN (only the venue's), UNCLAIMED (nothing could claim it), UNKNOWN (not read).
    Exit code 0 only if everything was read and matches.

    \b
    andon positions
    andon positions --halt-first
    """
    require_venue(venue)
    extra: dict[str, Any] = {"andon_venue": venue, "andon_venue_budget": budget}
    if halt_first:
        target = confirm_target("all", yes, "Every component with an adapter stops opening positions; it stays up. andon component resume NAME undoes it.")
        extra |= {"andon_halt_first": True, "confirm": target}
    run_playbook(settings, "reconcile", extra)


@click.command("close-orphans")
@click.option("--cap", type=click.FloatRange(min=0, min_open=True), metavar="DOLLARS", help="The most that may be closed in this run, all together.")
@click.option("--reconciliation", metavar="ID", help="Whose orphans; without it the newest one's.")
@click.option("--confirm", multiple=True, metavar="'SYMBOL SIZE'", help="Close this one, without asking; again for each.")
@click.option("--unclaimed", is_flag=True, help="UNCLAIMED ones as well: not everything that trades there has an adapter.")
@click.option("--budget", type=click.FloatRange(5, 300), metavar="S", help="Seconds for all venues together; 30 without it.")
@click.option("--check", is_flag=True, help="Re-read, and show what would be closed; send nothing.")
@click.pass_obj
def close_orphans_command(
    settings: Settings, cap: float | None, reconciliation: str | None, confirm: tuple[str, ...], unclaimed: bool, budget: float | None, check: bool
) -> NoReturn:
    """Close positions that the last `andon positions` listed as orphans; each is asked for by symbol and size.

    Reduce-only market orders, each sent once. A position that changed since, or that one of our components claims by now, is refused.

    \b
    andon close-orphans --cap 500 --check
    andon close-orphans --cap 500 --confirm 'BTC/USDT:USDT 0.5'
    """
    from andon.text import clean, valid_id

    if reconciliation is not None and not valid_id(reconciliation):
        fail(f"'{clean(reconciliation, 60)}' cannot be a reconciliation's id.", "Nothing was sent.", "andon positions")
    extra: dict[str, Any] = {"andon_reconciliation": reconciliation, "andon_close_unclaimed": unclaimed or None, "andon_close_budget": budget}
    # Without --cap the inventory's andon_close_cap counts; without that one the action refuses.
    extra["andon_close_cap"] = cap
    if confirm or not check:
        names, extra["andon_reconciliation"] = _named(reconciliation, confirm, unclaimed)
        extra["confirm"] = ", ".join(names)
    run_playbook(settings, "close_orphans", extra, check=check)


def _named(reconciliation: str | None, confirm: tuple[str, ...], unclaimed: bool) -> tuple[list[str], str]:
    """The positions that a person named, one by one, and the reconciliation that lists them: what was shown is what is closed."""
    from andon import reconcile, reconciliations
    from andon.text import clean

    try:
        found, _ = reconciliations.find(reconciliation or "", reconciliations.current_incident())
    except reconciliations.NotKept as error:
        fail(str(error), "Nothing was sent.", "andon positions")
    if confirm:
        return list(confirm), str(found["id"])
    verdicts = (reconcile.ORPHAN, reconcile.UNCLAIMED) if unclaimed else (reconcile.ORPHAN,)
    rows = [row for row in found["rows"] if row["verdict"] in verdicts and row.get("confirm")]
    if not rows:
        return [], str(found["id"])
    if not interactive():
        fail(
            f"{len(rows)} positions could be closed and there is no terminal to ask at.",
            "Nothing was sent.",
            "the same command with --confirm 'SYMBOL SIZE' for each",
        )
    names = []
    for row in rows:
        position = row["position"]
        worth = "%s %s" % (position.get("notional") or "?", position.get("quote") or "")
        click.echo(
            clean("%s %s %s, %s: worth %s, P&L %s" % (row["verdict"], row["venue"], row["symbol"], row["side"], worth, position.get("pnl")), 200), err=True
        )
        answer = click.prompt(f"Type {clean(row['confirm'], 120)} to close it, or Enter to leave it", default="", show_default=False, err=True)
        if " ".join(answer.split()) == row["confirm"]:
            names.append(row["confirm"])
        elif answer.strip():
            fail(f"'{clean(answer.strip(), 80)}' is not '{clean(row['confirm'], 120)}'.", "Nothing was sent, for none of them.", "the same command again")
    if not names:
        fail("No position was confirmed.", "Nothing was sent.", "the same command again, or andon positions")
    return names, str(found["id"])
