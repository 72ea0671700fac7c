"""The adapter runs under its limit on every host: for the engine, and for the kernel that enforces it."""

import json

LIMIT = 256 * 1024 * 1024


def test_the_engine_has_the_limit_and_no_swap_beside_it(before, after):
    one = after["adapter-sim"]
    assert (one["memory"], one["memory_swap"]) == (LIMIT, LIMIT)
    assert (one["id"], one["policy"], one["status"], one["health"]) == (before["adapter-sim"]["id"], before["adapter-sim"]["policy"], "running", "healthy")
    assert one["started_at"] != before["adapter-sim"]["started_at"]


def test_the_kernel_enforces_it(host):
    folder = "/sys/fs/cgroup"
    files = f"{folder}/memory/memory.limit_in_bytes {folder}/memory/memory.memsw.limit_in_bytes {folder}/memory.max {folder}/memory.swap.max"
    words = host.check_output("docker exec adapter-sim /usr/bin/sh -c %s", f'for f in {files}; do [ ! -e $f ] || echo "${{f##*/}} $(/usr/bin/cat $f)"; done')
    found = {name: int(value) for name, value in (line.split() for line in words.splitlines())}
    # v1 counts memory and swap together, v2 swap alone; a kernel without swap accounting has the first file only.
    v1 = {"memory.limit_in_bytes": LIMIT, "memory.memsw.limit_in_bytes": LIMIT}
    v2 = {"memory.max": LIMIT, "memory.swap.max": 0}
    wanted = v1 if "memory.limit_in_bytes" in found else v2
    assert found and next(iter(wanted)) in found and found == {name: wanted[name] for name in found}


def test_what_it_was_before_is_kept_over_the_second_run(host, before):
    kept = json.loads(host.check_output("cat /var/lib/andon/limits.json"))["containers"]
    assert {ident: (one["name"], one["memory"], one["memory_swap"]) for ident, one in kept.items()} == {before["adapter-sim"]["id"]: ("adapter-sim", 0, 0)}


def test_everything_else_is_as_it_was(before, after):
    assert {name: one for name, one in after.items() if name != "adapter-sim"} == {name: one for name, one in before.items() if name != "adapter-sim"}
