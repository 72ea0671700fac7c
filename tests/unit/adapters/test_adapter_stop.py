"""The adapters' part of stop.sh and its program, without Ansible: no python3, a program that hangs, secrets only on standard input."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from andon import adapter_stop, stop
from tests.support.fake_freqtrade import running
from tests.support.fleet import ROOT, FakeHost, container, standard

SCRIPT = (ROOT / "roles" / "emergency_stop" / "files" / "stop.sh").read_text()
PATH_LINE = "PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PASSWORD = "ft-secret-pw"  # noqa: S105  (of the fake)


class Templar:
    def template(self, value):
        return value


@pytest.fixture
def host(tmp_path):
    return FakeHost(tmp_path / "h", standard())


@pytest.fixture
def bot():
    with running() as bot:
        yield bot


def prepare(host, url, *names, budget=20.0):
    endpoint = {"base_url": url, "auth": {"basic": {"user": "ops", "password": PASSWORD}}}
    components = [{"name": name, "adapter": {"kind": "freqtrade", "endpoint": endpoint}} for name in names]
    return adapter_stop.prepare({"andon_components": components}, Templar(), incident="INC-1", budget=budget, cli=host.cli)


def press(host, prepared, text=SCRIPT, shell="/bin/sh", env=None, program=None, budget=20):
    script = stop.script(
        text, cli=host.cli, mode="graceful", grace=1, state=host.state, selectors=["label=andon.component"], components=[], protected=[], strategy="",
        latch_header=stop.header("inc", "me", "why", "2026-11-22T03:00:00.000Z"), check=False, settle=0.05, root=str(host.folder / "engine"),
        adapters=prepared.names, budget=budget,
    )  # fmt: skip
    assert PASSWORD not in script, "the script is an argument of a shell"
    done = subprocess.run([shell, "-c", script], input=program or prepared.program, capture_output=True, timeout=90, check=False, env=env)
    return stop.parse(done.stdout.decode())


def rows(prepared, answer):
    here = {one["name"]: one["status"] for one in answer.before.values()}
    return {one["component"]: one for one in adapter_stop.rows(prepared, answer.adapters, "unknown", "late", here)}


def test_only_what_runs_here_is_asked(host, bot):
    prepared = prepare(host, bot.url, "momentum", "elsewhere")
    answer = press(host, prepared)
    assert stop.judge(answer)[0] == "HALTED" and list(rows(prepared, answer)) == ["momentum"]
    assert rows(prepared, answer)["momentum"]["outcome"] == "ok" and len(bot.locks) == 1
    again = press(host, prepared)
    assert len(bot.locks) == 1 and again.adapters == [], "what does not run is not asked"


def test_a_program_that_hangs_is_killed_and_the_others_do_not_wait(host, bot):
    prepared = prepare(host, bot.url, "momentum")
    answer = press(host, prepared, program=b"import time\ntime.sleep(60)\n", budget=1)
    assert stop.judge(answer)[0] == "HALTED" and host.running() == {"ledger"}
    waited = next(one for one in answer.steps if one["name"] == "adapters")
    assert waited["rc"] == 137 and rows(prepared, answer)["momentum"]["outcome"] == "unknown"
    own = host.of("momentum")["Id"]
    assert sorted(own in call for call in host.calls() if call[0] == "stop") == [False, True], "what has no adapter is stopped by a call of its own"


@pytest.mark.parametrize("python", [False, True], ids=["no python3", "no timeout"])
def test_poor_hosts(host, bot, tmp_path, python):
    tools = tmp_path / "tools"
    tools.mkdir()
    names = ["sh", "sed", "awk", "grep", "tail", "head", "tr", "cut", "date", "id", "mkdir", "chmod", "cp", "mv", "ln", "rm", "sleep", "sync", "env", "cat"]
    for name in names:
        (tools / name).symlink_to(shutil.which(name))
    if python:
        (tools / "python3").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        (tools / "python3").chmod(0o755)
    prepared = prepare(host, bot.url, "momentum")
    answer = press(host, prepared, SCRIPT.replace(PATH_LINE, ""), str(tools / "sh"), {"PATH": str(tools)})
    assert stop.judge(answer)[0] == "HALTED", (answer.notes, answer.steps)
    assert answer.adapters_skipped == ("" if python else "no python3 on this host") and len(bot.locks) == (1 if python else 0)


def test_a_frozen_one_is_not_asked_and_says_why(host, bot):
    engine = host.read()
    next(c for c in engine["containers"] if c["Name"] == "/momentum")["State"].update(Status="paused", Paused=True)
    host.write(engine)
    prepared = prepare(host, bot.url, "momentum")
    row = rows(prepared, press(host, prepared))["momentum"]
    assert row["outcome"] == "skipped" and "frozen" in row["why"] and bot.calls == []


def test_a_name_is_no_part_of_another_and_what_a_host_says_is_cleaned(host, bot):
    host.write({"containers": [container("momentum-2"), container("a.b", number=2)]})
    prepared = prepare(host, bot.url, "momentum", "axb")
    assert press(host, prepared).adapters == [] and bot.calls == []
    row = adapter_stop.parse('{"component": "x\\u001b[31m", "outcome": "ok", "why": "a\\nb", "seconds": "1", "steps": [1, {"step": 5}]}')
    assert row["component"] == "x" and row["why"] == "a b" and row["seconds"] is None and row["steps"] == [{"step": "5", "outcome": "", "words": ""}]
    for bad in ("[]", "{}", '{"outcome": "HALTED"}', "nonsense"):
        with pytest.raises(ValueError):
            adapter_stop.parse(bad)


def test_the_program_runs_on_the_files_that_a_host_is_given():
    """Every import of theirs is among them, so that no host needs anything of Andon."""
    folder = Path(adapter_stop.__file__).parent
    for name in adapter_stop.FILES:
        for line in (folder / f"{name}.py").read_text().splitlines():
            if line.startswith("from ."):
                wanted = line.split()[1].strip(".") or line.split()[3]
                assert wanted in adapter_stop.FILES[: adapter_stop.FILES.index(name)], line
