"""Venues: cancel-orders, venues."""

from __future__ import annotations

from typing import NoReturn

import click

from cli import Settings, confirm_target, fail, run_playbook, yes_option


def require_venue(venue: str | None) -> None:
    """Ends the command when this cannot be a venue's name."""
    from andon.text import clean, valid_id

    if venue is not None and not valid_id(venue):
        fail(f"'{clean(venue, 60)}' cannot be a venue's name (letters, digits, dot, _ and -).", "Nothing was done.", "andon venues")


@click.command("cancel-orders")
@click.option("--venue", metavar="NAME", help="Only this one of andon_venues.")
@click.option("--budget", type=click.FloatRange(1, 300), metavar="S", help="Seconds for all venues together; 10 without it.")
@yes_option
@click.option("--check", is_flag=True, help="List what would be cancelled; change nothing.")
@click.pass_obj
def cancel_orders_command(settings: Settings, venue: str | None, budget: float | None, yes: bool, check: bool) -> NoReturn:
    """Cancel all open orders at the venues; only an empty list from the venue counts.

    Protective stops (reduce-only conditional orders) stay. What still trades may place new ones: andon stop halts it first.

    \b
    andon cancel-orders --check
    andon cancel-orders --venue main
    """
    require_venue(venue)
    target = venue or "all"
    if not check:
        confirm_target(target, yes, f"All open orders at {venue or 'every venue'} will be cancelled.")
    extra = {"andon_venue": venue, "andon_venue_budget": budget, "confirm": None if check else target}
    run_playbook(settings, "cancel_orders", extra, check=check)


@click.command("venues")
@click.option("--venue", metavar="NAME", help="Only this one of andon_venues.")
@click.option("--budget", type=click.FloatRange(1, 300), metavar="S", help="Seconds for all venues together; 10 without it.")
@click.pass_obj
def venues_command(settings: Settings, venue: str | None, budget: float | None) -> NoReturn:
    """Is each venue there, are clock and credentials good, what rests and what is held there. Read-only.

    \b
    andon venues
    andon --json venues --venue main
    """
    require_venue(venue)
    run_playbook(settings, "venue_status", {"andon_venue": venue, "andon_venue_budget": budget})
