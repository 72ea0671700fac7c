"""find_leak's verdict and report, from results as hosts return them."""

from __future__ import annotations

import pytest

from andon.leaks import report
from andon.slope import MIB

FIGURES = ["held", "anon", "working", "usage", "firm"]


def container(name, held, limit=None, runs=1, run_of=lambda t: 1, cache=lambda t: 0, **kw):
    """A container whose held memory is held(t), sampled once a second for two minutes."""
    rows = []
    for t in range(121):
        mine, file = held(t), cache(t)
        rows.append([float(t), run_of(t), mine, mine, mine + file // 2, mine + file, mine])
    base = {
        "id": name * 8,
        "name": name,
        "component": "strategy",
        "strategy": "",
        "status": "running",
        "running": True,
        "started_at": "2026-11-26T01:00:00Z",
        "restarts": 0,
        "runs": runs,
        "version": 2,
        "limit": limit,
        "hits": 0,
        "pressure": {},
        "error": None,
        "figures": FIGURES,
        "samples": rows,
        "holders": [{"name": "python3 feed.py", "pid": 99, "inner": 7, "held": held(120), "gained": held(120) - held(0)}],
        "kills": [],
    }
    return dict(base, **kw)


def host(*containers, available=8000 * MIB, full=0.0, silent=()):
    memory = {"total": 10000 * MIB, "available": available, "swap_total": 0, "swap_free": 0, "pressure": {"full": {"avg60": full}} if full else {}}
    return {"host": memory, "containers": list(containers), "silent": list(silent), "ended": "2026-11-26T03:00:00.000Z", "interval": 1.0}


def rising(rate, base=100 * MIB):
    return lambda t: int(base + rate * MIB * t)


def still(t):
    return 100 * MIB


def text_of(made):
    return "\n".join([made["headline"], *made["summary"], *made["detail"], *made["next"]])


def state(made, name):
    return next(one for one in made["data"]["containers"] if one["name"] == name)


def test_leaks_are_ranked_by_slope_and_nothing_else_is_called_one():
    made = report(
        {
            "h1": host(
                container("calm", still),
                container("slow", rising(0.1), limit=1024 * MIB),
                container("cachy", still, limit=512 * MIB, cache=lambda t: 3 * MIB * t),
                container("collected", lambda t: 100 * MIB + 2 * MIB * (t % 20)),
            ),
            "h2": host(container("fast", rising(1.0))),
        },
        {},
        120,
    )
    assert made["ok"] is True
    assert [one["name"] for one in made["data"]["leaks"]] == ["fast", "slow"]
    assert made["headline"] == "2 LEAKING of 5 containers on 2/2 hosts, 2 min 00 s sampled"
    states = {one["name"]: one["state"] for one in made["data"]["containers"]}
    assert states == {"fast": "LEAKING", "slow": "LEAKING", "collected": "sawtooth", "cachy": "steady", "calm": "steady"}
    assert all(len(line) <= 80 for line in made["summary"])
    assert "python3 feed.py (pid 7 inside)" in text_of(made)
    assert made["next"] == ["andon restart fast --memory 448m", "andon restart slow"]


def test_time_left_to_the_limit_with_count_and_interval():
    made = report({"h1": host(container("x", rising(0.5), limit=460 * MIB))}, {}, 120)
    one = state(made, "x")
    assert one["left"]["to"] == "limit"
    assert one["left"]["seconds"] == pytest.approx((460 - 159) / 0.5, rel=0.02)
    assert one["left"]["soonest"] <= one["left"]["seconds"] <= one["left"]["latest"]
    assert (one["trend"]["count"], one["trend"]["level"]) == (121, 0.95)
    assert one["host_share"] == pytest.approx(159 / 10000, rel=0.01)
    assert "(2 % of the host)" in text_of(made)


def test_time_left_of_the_host_counts_all_its_leaks():
    made = report({"h1": host(container("a", rising(1)), container("b", rising(3), limit=9999 * MIB), available=400 * MIB)}, {}, 120)
    for name in ("a", "b"):
        assert state(made, name)["left"]["to"] == "host"
        assert state(made, name)["left"]["seconds"] == pytest.approx(100, rel=0.02)


def test_only_the_last_run_counts():
    """M2: it leaked before it was restarted, and is at rest since; and the other way round."""
    healed = container("healed", lambda t: int(100 * MIB + (5 * MIB * t if t < 60 else 0)), runs=2, run_of=lambda t: 1 if t < 60 else 2)
    ill = container("ill", lambda t: int(800 * MIB if t < 60 else 100 * MIB + MIB * t), runs=2, run_of=lambda t: 1 if t < 60 else 2)
    made = report({"h1": host(healed, ill)}, {}, 120)
    assert (state(made, "healed")["state"], state(made, "ill")["state"]) == ("steady", "LEAKING")
    assert state(made, "ill")["trend"]["slope"] == pytest.approx(MIB, rel=0.1)
    assert "restarted 1 times during the sampling; only the last run counts" in text_of(made)


def test_unknown_is_never_success():
    broken = container("broken", still, error="the memory controller is off", samples=[])
    made = report({"h1": host(container("fine", still), broken)}, {"h2": "unreachable"}, 120)
    assert made["ok"] is False
    assert made["headline"].endswith("2 UNKNOWN")
    assert "UNKNOWN h2: unreachable" in made["detail"]
    assert report({}, {"h2": "x"}, 120)["ok"] is False
    assert report({"h1": host(container("quiet", still, samples=[]))}, {}, 120)["ok"] is False, "it runs and there is no sample"
    assert report({"h1": host(container("off", still, samples=[], running=False, status="exited"))}, {}, 120)["ok"] is True


def test_pressure_alarms_only_where_it_hurts():
    """M13: a host that turns over its page cache stalls a little and has plenty available."""
    cache = report({"h1": host(container("c", still), full=30.0)}, {}, 120)
    assert "WARNING" not in text_of(cache)
    short = report({"h1": host(container("c", still), full=30.0, available=500 * MIB)}, {}, 120)
    assert "WARNING h1: all tasks stood still 30 % of the last minute, 5 % of its memory is available" in short["detail"]
    psi = {"full": {"avg60": 40.0}}
    at_limit = report({"h1": host(container("c", still, limit=105 * MIB, pressure=psi))}, {}, 120)
    assert any(line.startswith("WARNING h1 c: stood still 40 %") for line in at_limit["detail"])


def test_kills_are_told_in_words():
    kill = {
        "at": "2026-11-26T02:00:00.000Z",
        "process": "py\x1b[31mthon3",
        "held": 60 * MIB,
        "host": False,
        "child": True,
        "sources": ["kernel log"],
        "count": 1,
    }
    made = report({"h1": host(container("c", still, kills=[kill]))}, {}, 120)
    line = next(line for line in made["detail"] if line.startswith("OOM"))
    assert line.startswith("OOM h1 c: python3 holding 60.0 MiB killed, 2026-11-26T02:00:00.000Z (a child process")


def test_hostile_names_are_neither_shown_raw_nor_proposed():
    made = report({"h1": host(container("x; rm -rf /\x1b[2J", rising(1)))}, {}, 120)
    assert made["next"] == []
    assert "\x1b" not in text_of(made)
