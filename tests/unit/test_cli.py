"""The CLI: one argv, one JSON -e with untrusted values, words instead of tracebacks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import cli

ROOT = Path(cli.__file__).parent


def run(*args, **env):
    return CliRunner().invoke(cli.main, list(args), prog_name="andon", env=env)


def test_every_command_has_help_and_an_example_or_words():
    for name, (_, words) in cli.COMMANDS.items():
        result = run(name, "--help")
        assert result.exit_code == 0, (name, result.output)
        assert "Usage: andon " + name in result.output and words.strip()


def test_the_readme_and_docs_name_every_command():
    readme = (ROOT / "README.md").read_text()
    for name in cli.COMMANDS:
        assert f"andon {name}" in readme, f"README.md does not mention `andon {name}`"


def test_help_does_not_import_ansible():
    code = "import sys, cli\ntry: cli.main(['--help'])\nexcept SystemExit: pass\n"
    code += "assert not [m for m in sys.modules if m.startswith(('ansible', 'rich', 'jinja2', 'yaml'))]"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True)


def test_a_typo_is_answered_with_the_nearest_verb():
    result = run("stpo")
    assert result.exit_code == 2 and "Did you mean: stop" in result.output and "nothing was done" in result.output


def test_a_persons_words_never_become_a_template():
    argv = cli.playbook_argv("emergency_stop", {"andon_reason": "{{ lookup('pipe', 'id') }}", "n": 5, "list": ["{{ x }}"], "none": None})
    values = json.loads(argv[argv.index("-e") + 1])
    assert values == {"andon_reason": {"__ansible_unsafe": "{{ lookup('pipe', 'id') }}"}, "n": 5, "list": [{"__ansible_unsafe": "{{ x }}"}]}
    assert argv[1] == str(ROOT / "emergency_stop.yml")


@pytest.fixture
def executed(monkeypatch, tmp_path):
    """What would be executed: (argv, env)."""
    calls = []

    def execve(path, argv, env):
        calls.append((argv, env))
        raise SystemExit(7)

    monkeypatch.setattr(cli.os, "execve", execve)
    (tmp_path / "hosts").write_text("[trading]\n")
    return calls, str(tmp_path / "hosts")


def test_stop_acts_with_yes_and_passes_the_exit_code_on(executed):
    calls, inventory = executed
    result = run("-i", inventory, "--json", "stop", "--yes", "--now", "--limit", "host-a", "--reason", "runaway")
    assert result.exit_code == 7
    argv, env = calls[0]
    values = json.loads(argv[argv.index("-e") + 1])
    assert values["andon_stop_mode"] == {"__ansible_unsafe": "now"} and values["andon_pressed_at"] > 0
    assert argv[argv.index("--limit") + 1] == "host-a" and env["ANDON_JSON"] == "1" and env["ANSIBLE_CONFIG"] == str(ROOT / "ansible.cfg")


@pytest.mark.parametrize(
    "args",
    [
        ("stop",),
        ("kill-strategy", "momentum"),
        ("kill-strategy", "a b", "--yes"),
        ("resume", "--strategy", "../x"),
        ("cancel-orders",),
        ("venues", "--venue", "../x"),
    ],
    ids=" ".join,
)
def test_without_a_terminal_or_with_a_bad_id_nothing_runs(executed, args):
    calls, inventory = executed
    result = run("-i", inventory, *args)
    assert result.exit_code == 1 and calls == []
    assert "It means: Nothing was" in result.output and "Next:" in result.output


def test_no_inventory_is_an_error_in_words(monkeypatch, tmp_path):
    monkeypatch.setattr(cli, "ROOT", tmp_path)
    monkeypatch.delenv("ANSIBLE_INVENTORY", raising=False)
    result = run("status")
    assert result.exit_code == 1 and "andon use PATH" in result.output
    result = run("-i", "/nowhere/at/all", "status")
    assert result.exit_code == 1 and "does not exist" in result.output


def test_use_sets_the_link_and_refuses_what_is_not_there(monkeypatch, tmp_path):
    import verbs.setup

    monkeypatch.setattr(verbs.setup, "ROOT", tmp_path)
    (tmp_path / "inventory").mkdir()
    (tmp_path / "prod").mkdir()
    assert run("use", str(tmp_path / "prod")).exit_code == 0
    assert (tmp_path / "inventory" / "current").resolve() == tmp_path / "prod"
    assert run("use", str(tmp_path / "nothing")).exit_code == 1
    assert (tmp_path / "inventory" / "current").resolve() == tmp_path / "prod"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell):
    assert "_ANDON_COMPLETE" in run("completion", shell).output


@pytest.mark.parametrize("key,runs", [("\r", True), ("y", True), ("n", False), ("\x1b", False), ("q", False)])
def test_one_key_is_enough_and_any_other_key_stops_nothing(executed, monkeypatch, key, runs):
    import verbs.cord

    calls, inventory = executed
    monkeypatch.setattr(verbs.cord, "interactive", lambda: True)
    monkeypatch.setattr(verbs.cord.click, "getchar", lambda echo: key)
    result = run("-i", inventory, "stop")
    assert (len(calls) == 1) is runs and "STOP ALL TRADING on every host?" in result.output
    assert result.exit_code == (7 if runs else 1)


def test_the_target_must_be_typed(executed, monkeypatch):
    calls, inventory = executed
    monkeypatch.setattr(cli, "interactive", lambda: True)
    monkeypatch.setattr(cli.click, "prompt", lambda *a, **k: "momentun")
    assert run("-i", inventory, "kill-strategy", "momentum").exit_code == 1 and calls == []
    monkeypatch.setattr(cli.click, "prompt", lambda *a, **k: "momentum")
    assert run("-i", inventory, "kill-strategy", "momentum").exit_code == 7 and len(calls) == 1
