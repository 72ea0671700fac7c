"""The sampler, on a fake engine and a fake /proc: restarts, newcomers, engines that stop answering."""

from __future__ import annotations

import pytest
from test_cgroup import ID, V2_STAT, fake_host

from andon.engine import Container, EngineDown, EngineError
from andon.sampling import Sampler, stretched
from andon.spans import seconds


def container(pid=4242, name="feed", running=True, started="2026-11-26T03:00:00Z", identity=ID):
    state = {"Status": "running" if running else "exited", "Running": running, "Pid": pid, "StartedAt": started}
    return Container({"Id": identity, "Name": "/" + name, "State": state, "Config": {"Labels": {"andon.component": "data"}}})


class FakeEngine:
    def must(self, *args):
        raise EngineDown("the container engine does not answer")


class Stage:
    """A clock that only moves in sleep(), and a script of what happens at which second."""

    def __init__(self, tmp_path, happenings=None):
        self.proc, self.group = fake_host(tmp_path, 2)
        self.log = tmp_path / "kmsg"
        self.log.write_bytes(b"")
        self.now = 1000.0
        self.covered = [container()]
        self.happenings = happenings or {}
        self.broken = False

    def look(self):
        if self.broken:
            raise EngineError("docker ps gave no answer within 20 s")
        return self.covered

    def sleep(self, time):
        self.now += time
        for at in [at for at in self.happenings if 1000.0 + at <= self.now]:
            self.happenings.pop(at)(self)

    def sampler(self):
        return Sampler(FakeEngine(), self.look, proc=self.proc, kmsg=str(self.log), clock=lambda: self.now, sleep=self.sleep)

    def grow(self, anon):
        (self.group / "memory.stat").write_text(V2_STAT.replace("anon 104857600", f"anon {anon}"))

    def restart(self):
        """The main process is another, the group's path is the same, as the engine makes it."""
        (self.group.parents[2] / "proc" / "4242" / "stat").write_text("4242 (x) S 1 " + "0 " * 17 + "9999 0 0\n")
        self.covered = [container(started="2026-11-26T03:01:00Z")]


def test_one_sample_a_second_and_all_columns(tmp_path):
    stage = Stage(tmp_path, {5: lambda s: s.grow(204857600)})
    sampler = stage.sampler()
    assert sampler.sample(10, 1) == 1
    result = sampler.result(0)
    (one,) = result["containers"]
    assert [row[0] for row in one["samples"]] == list(range(11))
    assert [row[3] for row in one["samples"]] == [104857600] * 5 + [204857600] * 6
    assert one["figures"] == ["held", "anon", "working", "usage", "firm"]
    assert (one["limit"], one["version"], one["runs"], one["error"]) == (268435456, 2, 1, None)
    assert one["holders"][0]["gained"] == 0
    assert result["silent"] == ["the engine's events cannot be read: the container engine does not answer"]


def test_a_restart_begins_a_new_run(tmp_path):
    stage = Stage(tmp_path, {6: Stage.restart})
    sampler = stage.sampler()
    sampler.sample(20, 1)
    (one,) = sampler.result(0)["containers"]
    assert one["runs"] == 2
    runs = [row[1] for row in one["samples"]]
    assert runs == sorted(runs) and runs.count(1) == 6 and runs.count(2) >= 12


def test_containers_that_go_and_that_come(tmp_path):
    def swap(stage):
        (stage.group.parents[2] / "proc" / "4242" / "stat").unlink()
        stage.covered = [container(running=False, pid=0), container(identity="e" * 64, name="new", running=False, pid=0)]

    stage = Stage(tmp_path, {3: swap})
    sampler = stage.sampler()
    sampler.sample(15, 1)
    gone, new = sampler.result(0)["containers"]
    assert (gone["status"], len(gone["samples"])) == ("exited", 3)
    assert (new["name"], new["samples"]) == ("new", [])


def test_an_engine_that_stops_answering_does_not_end_the_sampling(tmp_path):
    stage = Stage(tmp_path, {2: lambda s: setattr(s, "broken", True)})
    sampler = stage.sampler()
    sampler.sample(25, 1)
    result = sampler.result(0)
    assert len(result["containers"][0]["samples"]) == 26
    assert any("during the sampling" in line for line in result["silent"])
    stage.broken = True
    with pytest.raises(EngineError):
        stage.sampler().sample(5, 1)


def test_no_accounting_is_this_containers_error(tmp_path):
    stage = Stage(tmp_path)
    (stage.group / "memory.stat").unlink()
    sampler = stage.sampler()
    sampler.sample(2, 1)
    (one,) = sampler.result(0)["containers"]
    assert "controller is off" in one["error"] and one["samples"] == []


def test_long_looks_are_stretched():
    assert stretched(120, 1) == 1
    assert stretched(6 * 3600, 1) == 18


@pytest.mark.parametrize(("text", "value"), [("90", 90), ("2m", 120), (" 1.5H ", 5400), ("30 s", 30), ("1d", 86400), (7, 7)])
def test_spans(text, value):
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "soon", "-5s", "1e3", "2m; rm -rf /", "٣s", "9" * 40, None, "{{ 2 }}"])
def test_bad_spans_are_refused(text):
    with pytest.raises(ValueError, match="no span of time"):
        seconds(text)
