"""The benchmark's own logic: the stand-in is stopped by the real script, ratios are taken within rounds, the page keeps its text."""

from __future__ import annotations

import os
import subprocess

import pytest

from andon import stop
from bench import stop as bench
from bench.farm import CONTAINERS, TARGETS


def test_the_real_script_stops_the_stand_in_and_proves_it(tmp_path):
    engine = tmp_path / "engine"
    engine.mkdir()
    for name in CONTAINERS:
        (engine / name).write_text("always running\n")
    text = stop.script(
        bench.STOP_SH.read_text(), cli=str(TARGETS / "engine.sh"), mode="graceful", grace=5, state=str(tmp_path / "andon"),
        selectors=["label=andon.component"], components=[], protected=[], strategy="", latch_header=stop.header("i", "o", "", "t"),
        check=False, settle=0.05, root=str(tmp_path),
    )  # fmt: skip
    env = os.environ | {"BENCH_ENGINE": str(engine)}
    done = subprocess.run(["/bin/sh", "-c", text], env=env, capture_output=True, text=True, timeout=60, check=True)
    host = stop.parse(done.stdout)
    assert stop.judge(host) == (stop.HALTED, ""), done.stdout + done.stderr
    assert {one["name"] for one in host.before.values()} == set(CONTAINERS) and all(one["was_running"] for one in host.before.values())
    assert {(engine / name).read_text() for name in CONTAINERS} == {"no exited\n"}
    assert all(len(key) == 64 for key in host.before)
    # What the stand-in does not know is an error: a benchmark of an empty stop must not look like one.
    for words in (["ps", "--filter", "name=x"], ["rm", "momentum"], ["stop", "nobody"]):
        assert subprocess.run([str(TARGETS / "engine.sh"), *words], env=env, capture_output=True, check=False).returncode


def series(targets, **ways):
    names = {"cold": "andon, cold", "warm": "andon, warm", "bare": bench.BASE}
    return bench.Series(targets, {names[k]: [bench.Sample(t / 2, t, 1.0) for t in times] for k, times in ways.items()})


def test_ratios_are_taken_within_a_round_and_a_missed_goal_is_said():
    one = series(50, cold=[2.0, 40.0, 3.0], warm=[1.0, 10.0, 1.0], bare=[2.0, 20.0, 2.0])
    assert one.ratio("andon, cold") == 1.5 and one.ratio("andon, warm") == 0.5 and one.ratio("clush") is None
    lines = bench.goals([one], {"containers": 23, "tick": 0.4})
    assert [line.split("|")[4].strip() for line in lines[2:]] == ["**missed**", "reached", "reached", "reached"]
    assert any(line.startswith("| 50 | andon, cold | 3 | 1.50 | 3.00 | 1.00 | 1.50 |") for line in bench.table([one]))


def test_only_what_is_between_the_markers_changes():
    text = f"before\n{bench.BEGIN}\nold\n{bench.END}\nafter\n"
    assert bench.between(text, "new") == f"before\n{bench.BEGIN}\nnew\n{bench.END}\nafter\n"
    with pytest.raises(ValueError, match="markers"):
        bench.between("no markers", "new")
    bench.between(bench.README.read_text(), "x")


def test_no_engine_is_one_sentence(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["stop.py"])
    assert bench.main() == 1
    assert capsys.readouterr().err.strip() == "bench: there is no container engine here; type: ./dev bench stop (it installs one)"
