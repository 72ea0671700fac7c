"""Trading software through its own interface: component."""

from __future__ import annotations

from typing import NoReturn

import click

from cli import Settings, confirm_target, fail, limit_option, run_playbook, yes_option

WORDS = {
    "halt": "{} will take no new positions; exits and stops go on.",
    "cancel-orders": "The open orders that {} knows will be cancelled.",
    "flatten": "{} will close its positions at the market.",
    "resume": "{} will trade again.",
}
READS = ("liveness", "positions", "open-orders", "trades")


@click.command("component")
@click.argument("act", type=click.Choice([*WORDS, *READS]))
@click.argument("name", required=False)
@click.option("--size", type=click.FloatRange(0, 1, min_open=True), metavar="PART", help="With resume: this part of the usual size, e.g. 0.25.")
@limit_option
@yes_option
@click.option("--check", is_flag=True, help="Show what would be sent; send nothing that changes.")
@click.pass_obj
def component_command(settings: Settings, act: str, name: str | None, size: float | None, limit: str | None, yes: bool, check: bool) -> NoReturn:
    """Halt, flatten, resume or read a component through its own software (docs/adapters.md).

    Without NAME all components that have an adapter; resume needs one. What the software answers is not believed: only its log and the
    venue prove it.

    \b
    andon component positions
    andon component halt ft-momentum
    andon component resume ft-momentum --size 0.25
    """
    from andon.text import clean, valid_name

    if name is not None and not valid_name(name):
        fail(f"'{clean(name, 60)}' cannot be a component's name.", "Nothing was sent.", "andon component liveness")
    if size is not None and act != "resume":
        fail("--size belongs to resume.", "Nothing was sent.", f"andon component {act} {name or ''}".rstrip())
    if act == "resume" and name is None:
        fail("resume needs one component's name: they start one by one.", "Nothing was sent.", "andon component resume NAME")
    target = name or "all"
    if act in WORDS and not check:
        confirm_target(target, yes, WORDS[act].format(name or "Every component with an adapter"))
    extra = {"andon_act": act.replace("-", "_"), "andon_component": name, "andon_size": size, "confirm": target if act in WORDS and not check else None}
    run_playbook(settings, "component", extra, limit=limit, check=check)
