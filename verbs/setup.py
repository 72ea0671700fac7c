"""Choosing the inventory, versions, shell completion."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import click

from cli import ROOT, VERSION, fail, main


@click.command("use")
@click.argument("inventory", type=click.Path())
def use_command(inventory: str) -> None:
    """Choose the inventory that every verb uses (a link, inventory/current, that is not committed).

    \b
    andon use inventory/lab
    andon use /etc/andon/production
    """
    path = Path(inventory).resolve()
    link = ROOT / "inventory" / "current"
    if not path.exists():
        fail(f"{path} does not exist.", "The inventory in use was not changed.", "andon use PATH   (the lab's: ./dev lab up first)")
    if path == link.absolute():
        fail("inventory/current cannot be a link to itself.", "The inventory in use was not changed.", "andon use PATH")
    fresh = link.with_name(f".current.{os.getpid()}")
    # Written beside and renamed: a verb that starts at this moment sees the old link or the new one.
    fresh.symlink_to(path)
    fresh.replace(link)
    click.echo(f"In use: {path}")
    click.echo("Next: andon status")


@click.command("version")
@click.pass_obj
def version_command(settings: object) -> None:
    """Versions of Andon, ansible-core and Python, and the inventory in use."""
    from importlib import metadata

    try:
        core = metadata.version("ansible-core")
    except metadata.PackageNotFoundError:
        core = "not installed"
    link = ROOT / "inventory" / "current"
    click.echo(f"andon {VERSION}\nansible-core {core}\npython {platform.python_version()}")
    click.echo(f"inventory {link.resolve() if link.exists() else 'none chosen (andon use PATH)'}")


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion_command(shell: str) -> None:
    """Print the completion script of a shell.

    \b
    eval "$(andon completion bash)"
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None  # click has these three
    click.echo(kind(main, {}, "andon", "_ANDON_COMPLETE").source())
