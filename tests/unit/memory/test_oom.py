"""Out-of-memory kills: what each source says, and what comes of all of them together."""

from __future__ import annotations

import json

from andon import oom
from andon.state import utc

ID = "71bcd0c45fd8ea44d8c344a51067ba4ff1fe6192ed74e76ac73c45fa8f798b36"
OTHER = "f" * 64
T = 1795706670.0
KERNEL = [
    (T, "[  17311]     0 17311    17754    14824    14816        8         0   176128        0             0 python3"),
    (
        T,
        f"oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset={ID},mems_allowed=0,oom_memcg=/docker/{ID},"
        f"task_memcg=/docker/{ID},task=python3,pid=17311,uid=0",
    ),
    (T, "Memory cgroup out of memory: Killed process 17311 (python3) total-vm:71016kB, anon-rss:59264kB, file-rss:32kB, shmem-rss:0kB, UID:0"),
]


def event(action, at, container=ID, **attributes):
    actor = {"ID": container, "Attributes": dict(attributes, name="x")}
    return json.dumps({"status": action, "id": container, "Type": "container", "Action": action, "Actor": actor, "time": int(at), "timeNano": int(at * 1e9)})


def container(**kw):
    state = {"id": ID, "started_at": utc(T - 600), "finished_at": "0001-01-01T00:00:00Z", "running": True, "oom_killed": False}
    return dict(state, **kw)


def test_kernel_line_gives_process_and_size():
    assert oom.from_kernel(KERNEL) == [
        {"at": T, "group": f"/docker/{ID}", "process": "python3", "pid": 17311, "held": 59264 * 1024, "host": False},
    ]


def test_old_kernels_words():
    lines = [
        (T, f"Task in /docker/{ID} killed as a result of limit of /docker/{ID}"),
        (T, "Memory cgroup out of memory: Kill process 5 (java) score 900 or sacrifice child"),
        (T, "Killed process 5 (java) total-vm:71016kB, anon-rss:100kB, file-rss:32kB"),
    ]
    (kill,) = oom.from_kernel(lines)
    assert (kill["process"], kill["held"], kill["group"]) == ("java", 102400, f"/docker/{ID}")


def test_a_short_host_is_told_from_a_full_container():
    (kill,) = oom.from_kernel([(T, f"oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),global_oom,task_memcg=/docker/{ID},task=a b,pid=9,uid=0")])
    assert kill["host"] is True and kill["process"] == "a b"


def test_records_of_the_ring():
    record = b"6,339,1069093290,-;oom-kill:x\n SUBSYSTEM=memory\n"
    assert oom.kmsg([record, b"garbage", b"6,x,y;z"], booted=100.0) == [(100.0 + 1069.09329, "oom-kill:x")]


def test_kernel_log_that_cannot_be_read_is_said(tmp_path):
    lines, why = oom.read_kernel(str(tmp_path / "none"), lambda argv: None, 0)
    assert lines == [] and "cannot be read" in why
    text = json.dumps({"__REALTIME_TIMESTAMP": "1795706670000000", "MESSAGE": "Killed"}) + "\nnot json\n" + json.dumps({"MESSAGE": [1]})
    lines, why = oom.read_kernel(str(tmp_path / "none"), lambda argv: text, 0)
    assert lines == [(T, "Killed")] and why is None


def test_events_of_docker_and_podman_and_garbage():
    podman = json.dumps({"ID": ID, "Name": "x", "Status": "died", "Time": "2026-11-26T12:00:00.5Z", "ContainerExitCode": 137})
    found = oom.from_events("\n".join([event("oom", T), event("die", T, exitCode="137"), podman, "[]", "{", "null"]))
    assert [(one["kind"], one["code"]) for one in found] == [("oom", ""), ("die", "137"), ("die", "137")]
    assert found[0]["at"] == T and found[2]["at"] % 1 == 0.5


def test_child_killed_while_the_engine_says_false():
    """M4: the main process lives, OOMKilled is false, and all other sources agree on one kill."""
    events = oom.from_events(event("oom", T + 0.4))
    (kill,) = oom.merge(container(), events, oom.from_kernel(KERNEL), counted=1)
    assert kill == {
        "at": utc(T),
        "process": "python3",
        "held": 59264 * 1024,
        "host": False,
        "child": True,
        "sources": ["kernel log", "events", "cgroup"],
        "count": 1,
    }


def test_evidence_survives_an_automatic_restart():
    """M5: the container runs again, its flag is cleared and its counter is new; events and the kernel's log remember."""
    events = oom.from_events(event("oom", T) + "\n" + event("die", T + 0.5, exitCode="137"))
    restarted = container(started_at=utc(T + 2))
    for kernel in (oom.from_kernel(KERNEL), []):
        (kill,) = oom.merge(restarted, events, kernel, counted=0)
        assert kill["child"] is False and kill["at"] == utc(T)


def test_counter_alone_is_enough():
    (kill,) = oom.merge(container(), [], [], counted=3)
    assert (kill["at"], kill["count"], kill["child"], kill["sources"]) == (None, 3, True, ["cgroup"])


def test_main_process_killed():
    dead = container(running=False, oom_killed=True, finished_at=utc(T + 1))
    (kill,) = oom.merge(dead, [], oom.from_kernel(KERNEL), counted=None)
    assert kill["child"] is False and kill["sources"] == ["kernel log", "inspect"]
    (kill,) = oom.merge(dead, [], [], counted=None)
    assert kill["at"] == utc(T + 1) and kill["sources"] == ["inspect"]


def test_another_containers_kills_are_not_mine():
    assert oom.merge(container(id=OTHER), oom.from_events(event("oom", T)), oom.from_kernel(KERNEL), counted=0) == []
