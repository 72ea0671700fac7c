"""The log bundle: collect, verify, show."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NoReturn

import click

from cli import Settings, fail, limit_option, run_playbook


class LogsGroup(click.Group):
    """`andon logs NAME` collects; `andon logs verify` and `andon logs show` read. So these two are no names of bundles."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] not in ("-h", "--help")):
            args = ["collect", *args]
        return super().parse_args(ctx, args)


@click.group("logs", cls=LogsGroup, subcommand_metavar="[NAME] [OPTIONS] | verify BUNDLE | show BUNDLE")
def logs_command() -> None:
    """Collect all hosts' logs and state into one redacted bundle; verify and show bundles.

    \b
    andon logs                                        the last hour, as incident-<date>
    andon logs incident-20261122 --since 2h
    andon logs --since 2026-11-22T02:30Z --until 2026-11-22T04:00Z
    andon logs verify incident-20261122.tar.zst
    andon logs show incident-20261122 --grep 'ERROR|CRITICAL'
    """


@logs_command.command("collect")
@click.argument("name", required=False)
@click.option("--since", metavar="TIME", help="30m, 2h, 1d, 2026-11-22T03:00Z, '2026-11-22 04:00 Europe/Berlin', 03:00 (UTC). Default: 1h.")
@click.option("--until", metavar="TIME", help="As --since. Default: now.")
@limit_option
@click.option("--check", is_flag=True, help="Show what would be collected and how much it is; collect nothing.")
@click.pass_obj
def collect_command(settings: Settings, name: str | None, since: str | None, until: str | None, limit: str | None, check: bool) -> NoReturn:
    """Collect from all hosts at once (this is what `andon logs` does).

    Secrets are taken out on the hosts. Exit code 0: everything came; otherwise there is a bundle of what came, and it says
    what is missing.
    """
    run_playbook(settings, "collect_logs", {"collect_logs_name": name, "collect_logs_since": since, "collect_logs_until": until}, limit=limit, check=check)


def find(given: str) -> Path:
    """The bundle that a person means: a path, or the name of one on the shelf."""
    from andon import bundle

    places = [place for place in (Path(given), *(bundle.shelf() / (given + end) for end in ("", ".tar.zst", ".tar.gz"))) if place.exists()]
    if not places:
        no_such(given, bundle.shelf())
    return places[0]


def no_such(given: str, shelf: Path) -> NoReturn:
    """Ends the command for a bundle that is not there, with the name of one that is."""
    known = sorted({re.sub(r"\.tar\.(zst|gz)$", "", one.name) for one in shelf.glob("[!.]*") if one.suffix != ".sha256"})
    fail(f"There is no bundle {given}.", "Nothing was read.", "andon logs show " + (known[-1] if known else "PATH") + f"   (bundles are in {shelf})")


def refuse(error: Exception) -> NoReturn:
    """Ends the command for a bundle that cannot be trusted or read."""
    from andon.bundle import Hostile

    if isinstance(error, BrokenPipeError):
        # The reader (head, a pager) has seen enough; click ends quietly.
        raise error
    if isinstance(error, Hostile):
        fail(
            f"REFUSED: {error}.", "This bundle was not made by Andon, or somebody changed it. Nothing was unpacked.", "ask whoever sent it; keep it as it is", 2
        )
    fail(f"NOT VERIFIED: {error}.", "What this bundle holds cannot be trusted.", "use another copy: the folder, the archive, or collect again", 2)


@logs_command.command("verify")
@click.argument("bundle")
@click.pass_obj
def verify_command(settings: Settings, bundle: str) -> None:
    """Re-check every SHA-256 of a bundle (folder or archive); fails on one changed byte.

    \b
    andon logs verify incident-20261122.tar.zst
    """
    from andon import bundle as bundles
    from andon.text import clean

    path = find(bundle)
    try:
        found = bundles.verify(path)
    except (bundles.BundleError, OSError) as error:
        refuse(error)
    first, about = found["custody"][0], found["manifest"]
    if settings.json:
        import json

        click.echo(
            json.dumps(
                {"ok": not found["problems"], "path": str(path), "files": found["files"], "problems": found["problems"], "custody": found["custody"]}, indent=2
            )
        )
    elif not found["problems"]:
        click.echo(f"VERIFIED {clean(found['manifest'].get('name'), 64)}: all {found['files']} files are as they were collected")
    else:
        for words in found["problems"][:20]:
            click.echo("CHANGED " + clean(words, 200), err=True)
        click.echo(f"NOT VERIFIED: {len(found['problems'])} of {found['files']} files or more are not as they were collected", err=True)
    if not settings.json:
        who = f"{clean(first.get('actor'), 60)} on {clean(first.get('bastion'), 60)}" + (
            f" from {clean(first['ssh_client'], 60)}" if first.get("ssh_client") else ""
        )
        click.echo(f"Collected {clean(first.get('at'), 40)} by {who}; window {clean(about.get('since'), 40)} to {clean(about.get('until'), 40)}")
    if found["problems"]:
        raise SystemExit(2)


@logs_command.command("show")
@click.argument("bundle")
@click.option("--grep", "pattern", metavar="REGEX", help="Search the items' lines.")
@click.option("-i", "--ignore-case", is_flag=True, help="For --grep.")
@click.option("--item", metavar="TEXT", help="Only items whose host/name contains this; without --grep: print their lines.")
@click.option("-n", "--lines", default=1000, show_default=True, help="Print at most so many lines.")
@click.pass_obj
def show_command(settings: Settings, bundle: str, pattern: str | None, ignore_case: bool, item: str | None, lines: int) -> None:
    """List what a bundle holds, or search it. The bundle is verified while it is read; nothing is unpacked to disk.

    \b
    andon logs show incident-20261122
    andon logs show incident-20261122 --grep 'ERROR|CRITICAL'
    andon logs show incident-20261122 --item host-a/containers/momentum -n 50
    """
    from andon import bundle as bundles

    try:
        wanted = re.compile(pattern.encode(), re.IGNORECASE if ignore_case else 0) if pattern else None
    except re.error as error:
        fail(f"'{pattern}' is no regular expression: {error}.", "Nothing was searched.", "quote special characters with a backslash")
    try:
        problems = search(find(bundle), wanted, item, lines) if wanted or item else listing(find(bundle), settings.json)
    except (bundles.BundleError, OSError) as error:
        refuse(error)
    for words in problems[:20]:
        click.echo("CHANGED " + words, err=True)
    if problems:
        click.echo("NOT VERIFIED: what is above is not all as it was collected.", err=True)
        raise SystemExit(2)


def listing(path: Path, as_json: bool) -> list[str]:
    """Prints the items of a bundle; returns its problems."""
    from andon import bundle as bundles
    from andon.text import clean, size

    found = bundles.verify(path)
    manifest = found["manifest"]
    if as_json:
        import json

        click.echo(json.dumps(manifest, indent=2))
        return found["problems"]
    since, until, made = (clean(manifest.get(key), 30) for key in ("since", "until", "made_at"))
    click.echo(f"{clean(manifest.get('name'), 64)}: {since} to {until}, made {made}")
    for host, about in manifest["hosts"].items():
        offset = about.get("clock_offset_seconds")
        words = f", clock {offset:+.3f} s" if isinstance(offset, (int, float)) else ""
        click.echo(f"\n{clean(host, 60)}  {clean(about.get('status'), 10).upper()}{words}  {clean(about.get('error') or '', 100)}".rstrip())
        for item in about.get("items") or ():
            click.echo(item_line(item, clean, size))
        for gap in about.get("gaps") or ():
            if isinstance(gap, dict):
                click.echo("  GAP " + clean(f"{gap.get('source')}: nothing from {gap.get('from')} to {gap.get('to')} ({gap.get('why')})", 200))
    return found["problems"]


def item_line(item: dict[str, Any], clean: Any, size: Any) -> str:
    """One item of a listing: status, size, secrets taken out, name, what is wrong."""
    count = item.get("bytes") if isinstance(item.get("bytes"), int) else None
    taken = sum(one["count"] for one in item.get("redactions") or () if isinstance(one, dict) and isinstance(one.get("count"), int))
    line = f"  {clean(item.get('status'), 9):<9} {size(count):>10} {taken:>6} redacted  {clean(item.get('name'), 90)}"
    return line + (f"  ({clean(item['error'], 120)})" if item.get("error") else "")


def search(path: Path, wanted: re.Pattern[bytes] | None, item: str | None, most: int) -> list[str]:
    """Prints the lines that match, with host, item and line number; returns the bundle's problems."""
    from andon import bundle as bundles
    from andon.text import clean

    manifest: dict[str, Any] = {}
    problems: list[str] = []
    shown = matches = 0
    for kind, what, more in bundles.walk(path):
        if kind == "manifest":
            manifest = what
        elif kind == "problem":
            problems.append(clean(what, 200))
        else:
            host, about = bundles.item_of(manifest, what)
            label = f"{host}/{about.get('name')}"
            if not about or (item and item not in label):
                continue
            announced = about["bytes"] if isinstance(about.get("bytes"), int) else 0
            for number, line in enumerate(bundles.text_lines(what, more, announced), 1):
                if wanted is None or wanted.search(line):
                    matches += 1
                    if shown < most:
                        shown += 1
                        click.echo(f"{clean(label, 120)}:{number}: {clean(line.decode('utf-8', 'replace'), 2000)}")
    if not matches:
        click.echo("Nothing found" + (f" in items with '{clean(item, 60)}' in their name." if item else " in any item."), err=True)
    elif matches > shown:
        click.echo(f"{matches - shown} more lines are not shown; for all of them: -n {matches}", err=True)
    return problems
