"""Sizes as the engine reads them, the kernel's files of both cgroup versions, and the record of the old limits."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from andon import limits

MIB = 1 << 20


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("512m", 512 * MIB),
        ("1g", 1 << 30),
        ("1G", 1 << 30),
        ("1.5GiB", 3 << 29),
        ("512 MB", 512 * MIB),
        ("6291456", 6 * MIB),
        ("6m", 6 * MIB),
        ("8192kb", 8 * MIB),
    ],
)
def test_sizes_are_read_as_the_engine_reads_them(text, count):
    assert limits.parse_size(text) == count


@pytest.mark.parametrize("text", ["lots", "", "-1", "-512m", "512x", "m", "1e9", "0x40000000", "512m; rm -rf /", "{{ 2 + 3 }}g", "٥١٢m", "1 2m", "9" * 19])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(limits.LimitError, match="is not a size of memory. Write it as 512m"):
        limits.parse_size(text)


@pytest.mark.parametrize(("text", "hint"), [("1", False), ("0", False), ("5m", False), ("6291455", True), ("512", True)])
def test_what_the_engine_would_refuse_after_the_stop_is_refused_before(text, hint):
    with pytest.raises(limits.LimitError, match="less than the least limit") as error:
        limits.parse_size(text)
    assert (f"Did you mean {text}m?" in str(error.value)) is hint


@given(st.text(max_size=20))
@settings(max_examples=60, deadline=None)
def test_any_text_is_a_size_of_at_least_six_mib_or_an_error_on_one_line(text):
    try:
        assert limits.parse_size(text) >= 6 * MIB
    except limits.LimitError as error:
        assert "\n" not in str(error) and "\x1b" not in str(error)


def test_swap_is_the_same_as_memory_unless_said_and_never_less():
    assert limits.parse_swap("", 64 * MIB) == 64 * MIB
    assert limits.parse_swap("-1", 64 * MIB) == -1
    assert limits.parse_swap("128m", 64 * MIB) == 128 * MIB
    with pytest.raises(limits.LimitError, match="cannot be less than memory"):
        limits.parse_swap("32m", 64 * MIB)


def tree(root, cgroup_line, folder, files, pid=7):
    (root / "proc" / str(pid)).mkdir(parents=True)
    (root / "proc" / str(pid) / "cgroup").write_text(cgroup_line)
    path = root / "sys/fs/cgroup" / folder
    path.mkdir(parents=True)
    for name, text in ({"cgroup.procs": f"1\n{pid}\n"} | files).items():
        (path / name).write_text(text)
    return path


def test_cgroup_v1_also_when_the_host_is_a_container_that_sees_a_longer_path(tmp_path):
    files = {
        "memory.limit_in_bytes": "67108864\n",
        "memory.memsw.limit_in_bytes": "9223372036854771712\n",
        "memory.usage_in_bytes": "50\n",
        "memory.stat": "rss 1\ntotal_rss 30\ntotal_inactive_file 15\n",
    }
    tree(tmp_path, "5:cpu,memory:/docker/outer/docker/abc\n0::/docker/abc\n", "memory/docker/abc", files)
    group = limits.Cgroup(7, "abc", str(tmp_path))
    assert (group.version, group.limit()) == (1, (64 * MIB, -1))
    assert group.usage() == {"usage": 50, "anon": 30, "working_set": 35}


def test_cgroup_v2_reads_the_limit_of_the_container_not_of_a_group_inside_it(tmp_path):
    files = {"memory.max": "67108864\n", "memory.swap.max": "1048576\n", "memory.current": "50\n", "memory.stat": "anon 30\ninactive_file 15\n"}
    path = tree(tmp_path, "0::/system.slice/docker-abc.scope/init.scope\n", "system.slice/docker-abc.scope/init.scope", {"memory.max": "max\n"})
    for name, text in files.items():
        (path.parent / name).write_text(text)
    group = limits.Cgroup(7, "abc", str(tmp_path))
    assert (group.version, group.limit()) == (2, (64 * MIB, 65 * MIB))
    assert group.usage() == {"usage": 50, "anon": 30, "working_set": 35}
    (path.parent / "memory.swap.max").unlink()
    assert group.limit() == (64 * MIB, None)


def test_without_a_memory_cgroup_it_says_so(tmp_path):
    tree(tmp_path, "0::/docker/abc\n", "docker/abc", {})
    with pytest.raises(LookupError, match="does not account memory"):
        limits.Cgroup(7, "abc", str(tmp_path))
    with pytest.raises(LookupError, match="is gone"):
        limits.Cgroup(8, "abc", str(tmp_path))


def test_the_kernel_rounds_to_pages_and_anything_else_is_a_difference():
    assert limits.differs((64 * MIB + 5, 64 * MIB + 5), (64 * MIB, 64 * MIB), page=4096) == []
    assert limits.differs((64 * MIB, 64 * MIB), (64 * MIB, None), page=4096) == []
    assert limits.differs((64 * MIB, -1), (64 * MIB, 64 * MIB), page=4096) == ["memory and swap: asked for unlimited, in force is 67108864 bytes (64.0 MiB)"]
    assert len(limits.differs((64 * MIB, 64 * MIB), (0, -1), page=4096)) == 2
    assert len(limits.differs((64 * MIB, 64 * MIB), (None, None), page=4096)) == 1


def test_the_first_limit_is_kept_for_good_and_a_damaged_record_stops_everything(tmp_path):
    state = str(tmp_path / "state")
    one = {"id": "a", "name": "feed", "memory": 5, "memory_swap": -1}
    limits.record(state, [one])
    limits.record(state, [dict(one, memory=9), dict(one, id="b", name="other")])
    kept = limits.recorded(state)
    assert (kept["a"]["memory"], kept["a"]["memory_swap"], sorted(kept)) == (5, -1, ["a", "b"])
    path = tmp_path / "state/limits.json"
    assert path.stat().st_mode & 0o777 == 0o600 and (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    for damaged in ("{", "[]", json.dumps({"containers": 3})):
        path.write_text(damaged)
        with pytest.raises(limits.LimitError, match="cannot be read"):
            limits.record(state, [one])
        assert path.read_text() == damaged
