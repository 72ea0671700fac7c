"""Releases: release record|list|show|diff, skew, rollback, lock."""

from __future__ import annotations

from typing import NoReturn

import click

from cli import Settings, capture_playbook, check_options, confirm_target, fail, limit_option, reason_option, run_playbook, yes_option


def require_release(name: str | None) -> None:
    """Ends the command when this cannot be a release's id."""
    from andon.text import clean, valid_id

    if name is not None and not valid_id(name):
        fail(f"'{clean(name, 60)}' cannot be a release's id (letters, digits, dot, _ and -).", "Nothing was done.", "andon release list")


@click.group("release")
def release_command() -> None:
    """What ran where: record it after each deploy, list it, compare it."""


@release_command.command("record")
@click.option("--name", metavar="ID", help="The release's id, e.g. the deploy's version. Default: r-DATE-TIME.")
@click.option("--allow-skew", multiple=True, metavar="NAME", help="A difference between hosts that is meant to be (the refusal names it).")
@reason_option
@click.option("--check", is_flag=True, help="Is what runs one release? Nothing is written.")
@click.pass_obj
def record(settings: Settings, name: str | None, allow_skew: tuple[str, ...], reason: str | None, check: bool) -> NoReturn:
    """Record what runs now, on all hosts, as one release that rollback can go back to.

    Refused when the hosts differ, and when the Compose files on disk are not what runs. Run it after each deploy.

    \b
    andon release record --name v42
    """
    require_release(name)
    extra = {"release_name": name, "releases_reason": reason, "releases_allow_skew": list(allow_skew) or None}
    run_playbook(settings, "record_release", extra, check=check)


@release_command.command("list")
@click.pass_obj
def list_(settings: Settings) -> NoReturn:
    """Which releases are recorded, which are good on all hosts, which one runs. Read-only.

    \b
    andon release list
    """
    run_playbook(settings, "releases", {})


@release_command.command("show")
@click.argument("release")
@click.pass_obj
def show(settings: Settings, release: str) -> NoReturn:
    """One release in full: who recorded it, its images per host, its proofs of health. Read-only.

    \b
    andon release show v42
    """
    require_release(release)
    run_playbook(settings, "releases", {"release_name": release})


@release_command.command("diff")
@click.argument("release")
@click.argument("other", required=False)
@click.pass_obj
def diff(settings: Settings, release: str, other: str | None) -> NoReturn:
    """From what runs to RELEASE, or from RELEASE to OTHER; secret values are masked. Read-only.

    \b
    andon release diff v41
    andon release diff v41 v42
    """
    require_release(release)
    require_release(other)
    run_playbook(settings, "releases", {"release_name": release, "release_other": other, "release_view": "diff"})


@click.command("skew")
@limit_option
@click.pass_obj
def skew_command(settings: Settings, limit: str | None) -> NoReturn:
    """Host × service × image × configuration × feature flags; exit code 2 on any difference. Read-only.

    \b
    andon skew
    """
    run_playbook(settings, "check_skew", {}, limit=limit)


@click.command("rollback")
@click.option("--to", metavar="RELEASE", help="Default: the last release that was good on all hosts.")
@click.option("--not-good", is_flag=True, help="With --to: go there although it was not good on all hosts.")
@limit_option
@reason_option
@yes_option
@check_options
@click.pass_obj
def rollback_command(
    settings: Settings, to: str | None, not_good: bool, resume: bool, limit: str | None, reason: str | None, yes: bool, check: bool, diff: bool
) -> NoReturn:
    """Go back to a recorded release: images, environment and configuration files, on all hosts as one set.

    Shows the differences and asks for the release's name. Hosts that run the same: canary first, then batches, each with a health gate.
    Hosts that differ: all trading is stopped first and stays halted until `andon resume`.

    \b
    andon rollback --check
    andon rollback
    andon rollback --to v41 --reason "bad prices"
    """
    require_release(to)
    extra = {"to": to, "releases_reason": reason, "releases_not_good": True if not_good else None, "releases_resume": True if resume else None}
    if check:
        run_playbook(settings, "rollback", extra, limit=limit, check=True, diff=diff)
    code, report = capture_playbook(settings, "rollback", extra, limit=limit, check=True)
    plan = report.get("data", {}).get("plan", {})
    for line in [report.get("headline", "No plan could be made."), *report.get("summary", []), *report.get("detail", [])]:
        click.echo(line, err=True)
    if code or not plan.get("target"):
        for one in report.get("failures", []):
            click.echo(f"{one.get('host')}: {one.get('msg')}", err=True)
        for line in report.get("next", []):
            click.echo(f"Next: {line}", err=True)
        raise SystemExit(code or 2)
    if plan["mode"] == "none":
        raise SystemExit(0)
    what = (
        f"ALL TRADING STOPS, then every host goes back{', then TRADING STARTS AGAIN' if resume else ''}."
        if plan["stop"]
        else "Every host goes back, a canary first."
    )
    target = confirm_target(plan["target"], yes, what)
    run_playbook(settings, "rollback", extra | {"to": target, "confirm": target}, limit=limit)


@click.group("lock")
def lock_command() -> None:
    """The fleet's lock: one rollback, resume, restart or limit at a time. The stop never asks for it."""


@lock_command.command("show")
@click.pass_obj
def lock_show(settings: Settings) -> NoReturn:
    """Who holds the fleet's lock, since when, why, until when. Read-only.

    \b
    andon lock show
    """
    run_playbook(settings, "fleet_lock", {})


@lock_command.command("release")
@click.option("--force", is_flag=True, required=True, help="Take it away from whoever holds it. Only for a run that is dead.")
@yes_option
@click.pass_obj
def lock_release(settings: Settings, force: bool, yes: bool) -> NoReturn:
    """Take the lock away from a run that is known to be dead.

    \b
    andon lock release --force
    """
    confirm_target("lock", yes, "Two runs can then act at once, unless the one that holds it is dead.")
    run_playbook(settings, "fleet_lock", {"fleet_lock_force": force})
