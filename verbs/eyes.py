"""The verbs that look and change nothing: health, triage."""

from __future__ import annotations

import click

from cli import Settings, limit_option, run_playbook


@click.command("health")
@limit_option
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
@click.pass_obj
def health_command(settings: Settings, limit: str | None, as_json: bool) -> None:
    """Is every host and every component healthy? Worst first.

    Exit code 0: everything is healthy. Example: andon health --limit host-a
    """
    settings.json = settings.json or as_json
    run_playbook(settings, "health_check", {}, limit=limit)
