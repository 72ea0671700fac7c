"""Venues: cancel-orders, venues, venue check|status|capabilities|switch."""

from __future__ import annotations

from typing import Any, NoReturn

import click

from cli import Settings, capture_playbook, confirm_target, fail, limit_option, reason_option, run_playbook, yes_option


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


@click.group("venue")
def venue_command() -> None:
    """One venue closely: which layer is broken, what its interface can do, its dead man's switch."""


@venue_command.command("status")
@click.option("--venue", metavar="NAME", help="Only this one of andon_venues.")
@click.option("--budget", type=click.FloatRange(1, 300), metavar="S", help="Seconds for all venues together; 10 without it.")
@click.pass_context
def venue_status(ctx: click.Context, venue: str | None, budget: float | None) -> None:
    """The same as `andon venues`. Read-only."""
    ctx.invoke(venues_command, venue=venue, budget=budget)


@venue_command.command("check")
@click.option("--venue", metavar="NAME", help="Only this one of andon_venues.")
@click.option(
    "--restart-adapter",
    is_flag=False,
    flag_value="",
    metavar="[NAME]",
    help="Then restart its adapter, and watch until it is connected. NAME: if it has several.",
)
@click.option("--reconnect", type=click.FloatRange(1, 1800), metavar="S", help="Seconds to watch for the reconnection; 60 without it.")
@click.option("--budget", type=click.FloatRange(1, 300), metavar="S", help="Seconds for all venues together; 10 without it.")
@limit_option
@reason_option
@yes_option
@click.option("--check", is_flag=True, help="With --restart-adapter: what would be restarted; change nothing.")
@click.pass_obj
def venue_check(
    settings: Settings,
    venue: str | None,
    restart_adapter: str | None,
    reconnect: float | None,
    budget: float | None,
    limit: str | None,
    reason: str | None,
    yes: bool,
    check: bool,
) -> NoReturn:
    """Connection lost: which layer is broken, and from where: the bastion, a host, or one component's own network.

    DNS, TCP, TLS, public call, clock and private call, compared. Read-only without --restart-adapter.

    \b
    andon venue check
    andon venue check --venue main --restart-adapter
    """
    require_venue(venue)
    extra: dict[str, Any] = {"andon_venue": venue, "andon_venue_budget": budget, "andon_reason": reason}
    if restart_adapter is None:
        run_playbook(settings, "check_venue", extra, limit=limit)
    name = restart_adapter or find_adapter(settings, extra, limit)
    require_name(name)
    extra |= {"andon_restart_adapter": name, "andon_reconnect_s": reconnect}
    if not check:
        extra["confirm"] = confirm_target(name, yes, f"Restart the adapter {name}, canary host first, and watch until it is connected")
    run_playbook(settings, "check_venue", extra, limit=limit, check=check)


def require_name(name: str) -> None:
    """Ends the command when this cannot be a container's name."""
    from andon.text import clean, valid_name

    if not valid_name(name):
        fail(f"'{clean(name, 60)}' cannot be a container's name.", "Nothing was restarted.", "andon venue check   (shows the names)")


def find_adapter(settings: Settings, extra: dict[str, Any], limit: str | None) -> str:
    """Looks first, shows what is broken, and returns the venue's one adapter; ends the command when there is none, or more than one."""
    from andon.text import clean

    code, report = capture_playbook(settings, "check_venue", extra, limit=limit)
    for line in [report.get("headline", "No report came back."), *report.get("summary", [])]:
        click.echo("".join(c for c in str(line) if c.isprintable()), err=True)
    for one in [] if report.get("summary") else report.get("failures", []):
        click.echo(f"{clean(one.get('host', ''), 30)}  {clean(one.get('msg', ''), 300)}", err=True)
    names = sorted({name for one in report.get("data", {}).get("venues", []) for name in one["adapters"]})
    if len(names) != 1:
        some = f"It has several adapters: {', '.join(clean(n, 60) for n in names)}." if names else "No adapter of it was found (label andon.component=adapter)."
        then = f"andon venue check --restart-adapter={names[0]}" if names else "andon restart NAME   (a component that is no adapter)"
        fail(some, "Nothing was restarted.", then, code=code or 2)
    return str(names[0])


@venue_command.command("capabilities")
@click.argument("exchange", required=False)
@click.pass_obj
def venue_capabilities(settings: Settings, exchange: str | None) -> NoReturn:
    """What ccxt can do at the configured exchanges, or at EXCHANGE: switch, bulk cancel, conditional orders. Nothing is sent.

    \b
    andon venue capabilities
    andon venue capabilities okx
    """
    from andon.text import clean, valid_id

    if exchange is not None and not valid_id(exchange):
        fail(f"'{clean(exchange, 60)}' cannot be an exchange's id.", "Nothing was done.", "andon venue capabilities bybit")
    run_playbook(settings, "venue_capabilities", {"andon_exchange": exchange})


@venue_command.group("switch")
def switch_group() -> None:
    """The dead man's switch: the venue cancels by itself when nobody refreshes it (or, at bybit, when the private streams are gone)."""


def switch(act: str, settings: Settings, venue: str, timeout: int | None, yes: bool, check: bool) -> NoReturn:
    require_venue(venue)
    extra = {"andon_switch_act": act, "andon_venue": venue, "andon_switch_timeout_s": timeout}
    if not check:
        what = {
            "arm": f"Arm the switch of {venue}: in {timeout} s ALL orders of the account can go, protective stops too",
            "refresh": f"Refresh the switch of {venue}",
            "disarm": f"Disarm the switch of {venue}: from then on orders stay although nobody watches them",
        }[act]
        extra["confirm"] = confirm_target(venue, yes, what)
    run_playbook(settings, "venue_switch", extra, check=check)


def switch_options(function: Any) -> Any:
    function = click.option("--check", is_flag=True, help="Show what would be sent; send nothing that changes anything.")(function)
    function = yes_option(function)
    return click.option("--venue", metavar="NAME", required=True, help="One of andon_venues.")(function)


@switch_group.command("arm")
@switch_options
@click.option("--timeout", type=click.IntRange(1), metavar="S", required=True, help="Seconds after which the venue cancels.")
@click.pass_obj
def switch_arm(settings: Settings, venue: str, timeout: int, yes: bool, check: bool) -> NoReturn:
    """Arm it. The venue's answer is no proof: exit code 0 only where it could be read back.

    \b
    andon venue switch arm --venue main --timeout 60
    """
    switch("arm", settings, venue, timeout, yes, check)


@switch_group.command("refresh")
@switch_options
@click.option("--timeout", type=click.IntRange(1), metavar="S", help="Another time; the last one without it.")
@click.pass_obj
def switch_refresh(settings: Settings, venue: str, timeout: int | None, yes: bool, check: bool) -> NoReturn:
    """Refresh it, if it was armed from this bastion and nobody disarmed it since.

    \b
    andon venue switch refresh --venue main --yes
    """
    switch("refresh", settings, venue, timeout, yes, check)


@switch_group.command("disarm")
@switch_options
@click.pass_obj
def switch_disarm(settings: Settings, venue: str, yes: bool, check: bool) -> NoReturn:
    """Disarm it: the venue no longer cancels by itself.

    \b
    andon venue switch disarm --venue main
    """
    switch("disarm", settings, venue, None, yes, check)
