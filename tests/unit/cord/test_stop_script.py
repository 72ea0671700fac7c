"""stop.sh itself, run by /bin/sh against a fake container CLI: hung and dead engines, the latch, no `timeout`."""

from __future__ import annotations

import json
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from andon import stop
from tests.support.fleet import ROOT, FakeHost, standard

SCRIPT = (ROOT / "roles" / "emergency_stop" / "files" / "stop.sh").read_text()


@pytest.fixture
def host(tmp_path):
    return FakeHost(tmp_path / "h", standard())


def press(host, text=SCRIPT, shell=("/bin/sh",), env=None, **more):
    values = {
        "cli": host.cli, "mode": "graceful", "grace": 1, "state": host.state, "selectors": ["label=andon.component"], "components": [],
        "protected": [], "strategy": "", "latch_header": stop.header("inc", "me", "why", "2026-11-22T03:00:00.000Z"), "check": False, "settle": 0.05,
        # Never this machine's real containers, whatever a test does to the fake engine.
        "root": str(host.folder / "engine"),
    }  # fmt: skip
    done = subprocess.run([*shell, "-c", stop.script(text, **values | more)], capture_output=True, text=True, timeout=90, check=False, env=env)
    return stop.parse(done.stdout)


def test_two_presses_at_once_lose_nothing(host):
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda _: press(host), range(2)))
    assert [stop.judge(a)[0] for a in answers] == ["HALTED", "HALTED"]
    policies = {c["name"]: c["restart_policy"]["Name"] for c in host.latch()["containers"]}
    assert policies == {"/feed": "unless-stopped", "/adapter-sim": "unless-stopped", "/momentum": "always", "/meanrev": "on-failure"}


def test_a_damaged_latch_is_kept_and_made_whole(host):
    press(host)
    path = Path(host.state) / "halts" / "all.json"
    text = path.read_text()
    path.write_text(text[: len(text) // 2])
    answer = press(host)
    assert stop.judge(answer)[0] == "HALTED" and any("damaged" in note for note in answer.notes)
    assert len(host.latch()["containers"]) == 4
    assert list(path.parent.glob("all.json.damaged.*"))


def test_an_unwritable_folder_is_told_and_delays_nothing(host, tmp_path):
    Path(host.state).write_text("a file stands where the folder should be")
    # The machine's own /run is shared with other tests, which would see a latch there.
    answer = press(host, SCRIPT.replace("/run/andon/halts", str(tmp_path / "run" / "halts")))
    assert host.running() == {"ledger"}
    assert stop.judge(answer)[0] == "HALTED" and answer.latch == "volatile"
    assert len(json.loads((tmp_path / "run" / "halts" / "all.json").read_text())["containers"]) == 4
    (tmp_path / "run").rename(tmp_path / "gone")
    (tmp_path / "run").write_text("nor here")
    host.change(containers=standard())
    again = press(host, SCRIPT.replace("/run/andon/halts", str(tmp_path / "run" / "halts")))
    assert stop.judge(again)[0] == "STOPPED, NOT LATCHED" and again.latch == "failed"


def test_a_dead_engine_is_never_proven(host):
    host.change(down=True)
    assert stop.judge(press(host))[0] != "HALTED"
    assert press(host).engine == "down"


def test_without_a_timeout_command(host, tmp_path):
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in (
        "sh",
        "sed",
        "awk",
        "grep",
        "tail",
        "head",
        "tr",
        "cut",
        "date",
        "id",
        "mkdir",
        "chmod",
        "cp",
        "mv",
        "ln",
        "rm",
        "sleep",
        "sync",
        "env",
        "cat",
    ):
        (tools / name).symlink_to(shutil.which(name))
    text = SCRIPT.replace("PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "")
    answer = press(host, text, (str(tools / "sh"),), env={"PATH": str(tools)})
    assert stop.judge(answer)[0] == "HALTED", (answer.notes, answer.steps)


def test_a_strategy_takes_the_label_and_the_selector(host):
    answer = press(host, strategy="momentum")
    assert host.running() == {"feed", "adapter-sim", "meanrev", "ledger"}
    assert {o["name"] for o in answer.other.values()} == {"feed", "adapter-sim", "meanrev", "ledger"}
    assert stop.untouched(answer) == [] and stop.judge(answer, strategy="momentum")[0] == "HALTED"


def test_hostile_names_and_labels_are_data(host, tmp_path):
    engine = host.read()
    evil = engine["containers"][2]
    evil["Config"]["Labels"]["andon.strategy"] = "$(touch %s)`touch %s`;{{ 1 }}\x1b[2J'\"" % (tmp_path / "pwned", tmp_path / "pwned")
    host.write(engine)
    answer = press(host)
    assert stop.judge(answer)[0] == "HALTED" and not (tmp_path / "pwned").exists()
    rows = stop.container_rows(answer, "graceful")
    assert "\x1b" not in json.dumps(rows)


@pytest.mark.parametrize("names", [("Name", "MaximumRetryCount"), ("MaximumRetryCount", "Name")], ids="-".join)
def test_a_second_press_sets_no_policy_again_whichever_field_the_cli_writes_first(host, names):
    off = {"Name": "no", "MaximumRetryCount": 0}
    host.change(containers=[one | {"HostConfig": {"RestartPolicy": {name: off[name] for name in names}}} for one in standard()])
    assert [step["name"] for step in press(host).steps] == ["stop"]
