"""Memory: which container leaks, and the watch over the whole fleet."""

from __future__ import annotations

import click

from cli import Settings, fail, limit_option, run_playbook


def span(text: str, option: str) -> float:
    """Seconds of an option such as 2m.

    Raises:
        Failure: it is no span of time.
    """
    from andon import spans

    try:
        return spans.seconds(text)
    except ValueError as error:
        fail(str(error), f"{option} was not understood, so nothing was done.", f"the same command with {option} 2m", code=2)


@click.command("leaks")
@click.option("--for", "duration", metavar="TIME", default="2m", show_default=True, help="How long memory is sampled; slow leaks need long looks.")
@click.option("--interval", metavar="TIME", default="1s", show_default=True, help="Time between two samples.")
@limit_option
@click.pass_obj
def leaks_command(settings: Settings, duration: str, interval: str, limit: str | None) -> None:
    """Find the container that leaks memory, and the process in it.

    \b
    andon leaks              two minutes, every host at once
    andon leaks --for 30m    for leaks slower than 15 MiB an hour
    """
    from andon import text

    seconds = span(duration, "--for")
    span(interval, "--interval")
    if not settings.json:
        click.echo(f"Sampling every container's memory for {text.duration(seconds)}; nothing is changed, Ctrl-C ends it.", err=True)
    run_playbook(settings, "find_leak", {"leaks_for": duration, "leaks_interval": interval}, limit=limit)


LEAST_EVERY = 5.0


@click.command("watch")
@click.option("--every", metavar="TIME", default="30s", show_default=True, help="Time from the beginning of one look to the next.")
@click.option("--once", is_flag=True, help="One look; exit code 2 when something is wrong.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON for each look.")
@limit_option
@click.pass_obj
def watch_command(settings: Settings, every: str, once: bool, as_json: bool, limit: str | None) -> None:
    """Watch memory, restarts, health, errors and latches of the whole fleet.

    What is new is told (alerts.jsonl in the state), once in a cooldown. Ctrl-C ends the watch and nothing else.

    \b
    andon watch                a dashboard in a terminal, else a line for each look
    andon watch --once         one look, as from cron
    """
    seconds = span(every, "--every")
    if seconds < LEAST_EVERY:
        fail(f"--every {every} is less than {LEAST_EVERY:g} s.", "Looks would pile up on the hosts, so nothing was done.", "andon watch --every 30s", code=2)
    settings.json = settings.json or as_json
    # Errors between two looks must not be missed.
    extra = {"watch_log_window": f"{max(seconds, 60):g}s"}
    if once:
        run_playbook(settings, "watch", extra, limit=limit)
    from verbs import watching

    watching.run(settings, extra, limit, seconds)
