"""Readers of control groups, on copies of real files of both versions."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from andon import cgroup

V1_STAT = """cache 4005888
rss 221184
shmem 0
inactive_file 4001792
active_file 4096
hierarchical_memory_limit 62914560
hierarchical_memsw_limit 125829120
total_cache 4005888
total_rss 221184
total_rss_huge 0
total_shmem 1048576
total_mapped_file 1748992
total_swap 8192
total_inactive_anon 212992
total_active_anon 8192
total_inactive_file 2805760
total_active_file 151552
total_unevictable 0
"""
V2_STAT = """anon 104857600
file 52428800
kernel 3145728
kernel_stack 131072
pagetables 524288
sock 0
shmem 2097152
file_mapped 1351680
file_dirty 0
swapcached 0
anon_thp 0
inactive_anon 104853504
active_anon 4096
inactive_file 41943040
active_file 8388608
unevictable 0
slab_reclaimable 1206272
slab_unreclaimable 412344
"""
PSI = """some avg10=12.50 avg60=3.20 avg300=0.81 total=37222
full avg10=8.10 avg60=2.00 avg300=0.40 total=35163
"""
ID = "71bcd0c45fd8ea44d8c344a51067ba4ff1fe6192ed74e76ac73c45fa8f798b36"


def test_figures_of_version_1():
    assert cgroup.figures_v1(V1_STAT, 5_000_000) == {
        "anon": 221184,
        "held": 221184 + 1048576 + 8192,
        "usage": 5_000_000,
        "working": 5_000_000 - 2805760,
        "firm": 5_000_000 - (4005888 - 1048576),
        "cache": 4005888 - 1048576,
    }


def test_figures_of_version_2():
    assert cgroup.figures_v2(V2_STAT, 160_000_000, 4096) == {
        "anon": 104857600,
        "held": 104857600 + 2097152 + 4096,
        "usage": 160_000_000,
        "working": 160_000_000 - 41943040,
        "firm": 160_000_000 - (52428800 - 2097152),
        "cache": 52428800 - 2097152,
    }


@pytest.mark.parametrize(("text", "value"), [("62914560\n", 62914560), ("max\n", None), ("9223372036854771712\n", None), ("", None), ("-1", None), ("²", None)])
def test_limits(text, value):
    assert cgroup.number(text) == value


def test_pressure():
    assert cgroup.pressure(PSI)["full"]["avg60"] == 2.0
    assert cgroup.pressure("") == {}


V1_GROUP = f"5:devices:/docker/{ID}\n4:memory:/docker/{ID}\n1:cpu:/docker/{ID}\n0::/docker/{ID}\n"
V1_MOUNTS = (
    "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
    "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
)
V2_MOUNTS = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n"
# A host that is a container itself: it sees its own part of the tree only.
INNER_MOUNTS = "35 31 0:32 /docker/outer /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"


@pytest.mark.parametrize(
    ("group", "mounts", "place"),
    [
        (V1_GROUP, V1_MOUNTS, (1, f"/sys/fs/cgroup/memory/docker/{ID}")),
        (f"0::/system.slice/docker-{ID}.scope\n", V2_MOUNTS, (2, f"/sys/fs/cgroup/system.slice/docker-{ID}.scope")),
        ("4:memory:/docker/outer/docker/inner\n", INNER_MOUNTS, (1, "/sys/fs/cgroup/memory/docker/inner")),
        ("4:memory:/docker/outer2/x\n", INNER_MOUNTS, (1, "/sys/fs/cgroup/memory/docker/outer2/x")),
        ("4:memory,hugetlb:/a\n", "35 31 0:32 / /cg\\040x rw - cgroup cgroup rw,hugetlb,memory\n", (1, "/cg x/a")),
    ],
)
def test_place(group, mounts, place):
    assert cgroup.place(group, mounts)[:2] == place


def test_no_accounting_is_said():
    with pytest.raises(cgroup.NoAccounting, match="cgroup_enable=memory"):
        cgroup.place("4:devices:/a\n0::/a\n", V1_MOUNTS.replace("memory", "cpu").splitlines()[1])
    with pytest.raises(cgroup.NoAccounting):
        cgroup.place("4:memory:/a\n", V2_MOUNTS)


@settings(max_examples=40, deadline=None)
@example("RssAnon: ² kB\nNSpid: ²")
@given(st.text(max_size=300))
def test_hostile_text_never_breaks_a_reader(text):
    cgroup.flat(text), cgroup.number(text), cgroup.pressure(text), cgroup.groups(text), cgroup.mounts(text), cgroup.process(text, text)
    assert cgroup.figures_v2(text, 5, 0)["usage"] == 5


def fake_host(tmp_path, version, pid=4242, start=777):
    """A /proc and a control group tree; returns (proc, the container's group)."""
    proc, tree = tmp_path / "proc", tmp_path / "cg"
    group = tree / "docker" / ID
    group.mkdir(parents=True)
    (proc / str(pid)).mkdir(parents=True)
    (proc / "self").mkdir()
    kind = "cgroup cgroup rw,memory" if version == 1 else "cgroup2 cgroup2 rw"
    (proc / "self" / "mountinfo").write_text(f"35 31 0:32 / {tree} rw - {kind}\n")
    (proc / str(pid) / "cgroup").write_text(f"{'4:memory' if version == 1 else '0:'}:/docker/{ID}\n")
    (proc / str(pid) / "stat").write_text(f"{pid} (a (b) c) S 1 " + "0 " * 17 + f"{start} 0 0\n")
    (proc / str(pid) / "status").write_text(f"Name:\tpython3\nNSpid:\t{pid}\t7\nRssAnon:\t  2048 kB\nRssShmem:\t 0 kB\nVmSwap:\t 8 kB\n")
    (proc / str(pid) / "cmdline").write_text("/usr/bin/python3\0/app/feed.py\0--api-key=hunter2\0")
    (proc / "meminfo").write_text("MemTotal:       24684084 kB\nMemFree: 1 kB\nMemAvailable:   12342042 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n")
    (group / "cgroup.procs").write_text(f"{pid}\n99999\n")
    if version == 1:
        (group / "memory.stat").write_text(V1_STAT)
        (group / "memory.usage_in_bytes").write_text("5000000\n")
        (group / "memory.limit_in_bytes").write_text("9223372036854771712\n")
        (group / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n")
        (group / "memory.failcnt").write_text("16660\n")
    else:
        (group / "memory.stat").write_text(V2_STAT)
        (group / "memory.current").write_text("160000000\n")
        (group / "memory.swap.current").write_text("4096\n")
        (group / "memory.max").write_text("max\n")
        (group.parent / "memory.max").write_text("268435456\n")
        (group / "memory.events").write_text("low 0\nhigh 0\nmax 31\noom 3\noom_kill 2\noom_group_kill 0\n")
        (group / "memory.pressure").write_text(PSI)
    return str(proc), group


@pytest.mark.parametrize(("version", "limit", "hits", "full"), [(1, 62914560, 16660, None), (2, 268435456, 31, 2.0)])
def test_a_container_on_both_versions(tmp_path, version, limit, hits, full):
    proc, _ = fake_host(tmp_path, version)
    memory = cgroup.Memory(4242, proc)
    assert memory.version == version
    assert memory.figures()["usage"] == (5_000_000 if version == 1 else 160_000_000)
    assert memory.limit() == limit, "the group above has the lower limit"
    assert (memory.kills(), memory.hits()) == (2, hits)
    assert memory.pressure().get("full", {}).get("avg60") == full
    assert memory.processes() == [{"name": "python3 feed.py", "inner": 7, "held": 2056 * 1024, "pid": 4242}]
    assert cgroup.birth(4242, proc) == 777
    assert cgroup.host_memory(proc)["available"] == 12342042 * 1024


def test_controller_off_for_the_container(tmp_path):
    proc, group = fake_host(tmp_path, 2)
    (group / "memory.stat").unlink()
    with pytest.raises(cgroup.NoAccounting, match="memory controller is off"):
        cgroup.Memory(4242, proc)
