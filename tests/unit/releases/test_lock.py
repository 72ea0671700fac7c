"""The fleet's lock: one of two at once, only the owner gives it back, the dead do not hold it."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest
from ansible.module_utils.andon.lock import Lock, LockBroken, LockHeld
from ansible.module_utils.andon.run_id import is_dead, this_run, where

import plugins.action.fleet_lock_report as fleet_lock_report


def take(lock, run, **more):
    return lock.take(run, "ann", "rollback", "bad prices", 900, **more)


def test_of_many_at_once_exactly_one_gets_it(tmp_path):
    got, refused = [], []
    gate = threading.Barrier(8)

    def one(name):
        gate.wait()
        try:
            take(Lock(str(tmp_path)), name)
            got.append(name)
        except LockHeld as error:
            refused.append(str(error))

    threads = [threading.Thread(target=one, args=("run-%d" % n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1 and len(refused) == 7
    assert all("held by ann" in words and got[0] in words and "bad prices" in words and "expires in 15 min" in words for words in refused)


def test_only_its_run_gives_it_back_unless_forced_and_expiry_frees_it(tmp_path):
    now = [1_800_000_000.0]
    lock = Lock(str(tmp_path), clock=lambda: now[0])
    take(lock, "run-1")
    with pytest.raises(LockHeld):
        lock.release("run-2")
    with pytest.raises(LockHeld):
        lock.held_by("run-2")
    assert take(lock, "run-1") is None, "its own run renews it"
    now[0] += 899
    with pytest.raises(LockHeld):
        take(lock, "run-2")
    now[0] += 1
    with pytest.raises(LockBroken, match="expired"):
        lock.held_by("run-1")
    assert take(lock, "run-2")["run_id"] == "run-1"
    assert lock.release("run-x", force=True) is True and lock.holder() is None and lock.release("run-2") is False


def test_a_file_that_nobody_can_read_counts_as_held(tmp_path):
    lock = Lock(str(tmp_path))
    (tmp_path / "lock.json").write_text('{"owner": ')
    with pytest.raises(LockBroken, match="counts as held"):
        take(lock, "run-1")
    assert lock.holder()["broken"]
    assert lock.release("run-1", force=True) and take(lock, "run-1") is None


def test_a_run_that_died_here_is_known_to_be_dead_and_elsewhere_nobody_knows(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    run = this_run(child.pid)
    lock = Lock(str(tmp_path))
    take(lock, run["run_id"], where=run["where"])
    assert not is_dead(lock.holder())
    child.kill()
    child.wait()
    holder = lock.holder()
    assert is_dead(holder) and not is_dead(dict(holder, where="another machine")) and not is_dead({"run_id": "x", "where": where()})
    assert take(lock, "run-2", dead=[holder["run_id"]])["run_id"] == run["run_id"]


def test_all_or_nothing_and_only_an_unreachable_host_outside_the_limit_is_no_obstacle():
    taken, held = {"changed": True}, {"failed": True, "msg": "the fleet's lock is held by bob"}
    assert fleet_lock_report.verdict(taken, "h1", {"h2": taken}, [{"item": "h3", "unreachable": True, "failed": True}])["held"]
    assert fleet_lock_report.verdict(taken, "h1", {"h2": held}, [])["refusals"] == {"h2": held["msg"]}
    assert fleet_lock_report.verdict(held, "h1", {"h2": {"skipped": True}}, [])["refusals"] == {"h1": held["msg"]}
    assert fleet_lock_report.verdict(taken, "h1", {"h2": None}, [])["refusals"] == {"h2": "not tried"}
    assert not fleet_lock_report.verdict(taken, "h1", {}, [dict(held, item="h3")])["held"]
    dead = {"unreachable": True, "msg": "no route"}
    assert fleet_lock_report.verdict(dead, "h1", {"h2": taken}, [], first_left_out=True)["held"]
    assert fleet_lock_report.verdict(dead, "h1", {"h2": taken}, [])["refusals"] == {"h1": "unreachable: no route"}
