"""The bundle's benchmark: ratios within a round, goals said as they are, the page keeps its text; the long log is what it says."""

from __future__ import annotations

import json
import os

import pytest

from andon.redact import Redactor
from bench import logs as bench
from lab import biglog


def test_a_missed_goal_is_said_and_ratios_are_taken_within_a_round():
    rounds = [bench.Round(10, 20, 8, 300_000_000, 100_000_000), bench.Round(40, 100, 8, 90_000_000, 80_000_000), bench.Round(30, 50, 8, 81_000_000, 80_000_000)]
    text = bench.page({bench.KINDS[0]: [60.0, 20.0, 70.0], bench.KINDS[2]: [10.0]}, rounds, 1000, [0.5, 1.0])
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    assert rows[2:6] == [
        ["bundle's speed ÷ the pipe's, 1000 MB", "0.5", "0.50", "reached"],
        ["redaction, ordinary lines", "50 MB/s", "60 MB/s", "reached"],
        ["redaction, a secret in every line", "50 MB/s", "10 MB/s", "**missed**"],
        ["bastion's memory, above a bundle without the long log", "at most 100 MB", "10.0 MB", "reached"],
    ]


def test_only_what_is_between_the_markers_changes():
    assert bench.between(f"a\n{bench.BEGIN}\nold\n{bench.END}\nb\n", "new") == f"a\n{bench.BEGIN}\nnew\n{bench.END}\nb\n"
    with pytest.raises(ValueError, match="markers"):
        bench.between("no markers", "new")
    bench.between(bench.README.read_text(), "x")


def test_what_is_measured_is_what_its_name_says():
    assert bench.peak(os.getpid()) > 10_000_000
    found = {}
    for kind, (data, known) in bench.samples(1).items():
        stream = Redactor(b"k" * 32, known).stream(docker=True)
        stream.feed(data)
        found[kind] = sum(one["count"] for one in stream.report()) / data.count(b"\n")
    assert list(found.values()) == [0, 0, 1, 0]


@pytest.mark.parametrize("line", [biglog.narrow, biglog.wide])
def test_the_long_log_is_one_that_the_engine_could_have_written(tmp_path, monkeypatch, line):
    monkeypatch.setattr(biglog, "POOL", 300_000)
    path = tmp_path / "json.log"
    count = biglog.write(str(path), 1, line)
    entries = [json.loads(one) for one in path.read_text().splitlines()]
    assert len(entries) == count and entries[-1]["log"] == biglog.MARK + "\n"
    times = [one["time"] for one in entries]
    assert times == sorted(times) and all(len(one) == 30 and one.endswith("Z") for one in times)
    printed = sum(len(one["log"]) + biglog.STAMP for one in entries)
    assert abs(printed - 1_000_000) < 20_000
