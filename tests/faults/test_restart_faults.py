"""restart and limit_memory on the lab's real engines and kernels."""

from __future__ import annotations

import pytest

MIB = 1 << 20


def started(lab) -> dict[str, dict[str, str]]:
    """{host: {container: when it started}}, from the machine's own engine."""
    words = "docker ps -q | xargs docker inspect --format '{{.Name}} {{.State.StartedAt}}'"
    return {host: dict(line.lstrip("/").split() for line in lab.sh(host, words).splitlines()) for host in lab.hosts}


def limits(lab, host: str) -> str:
    """What the kernel enforces, read inside the container: memory, as v1 or v2 writes it."""
    return lab.sh(host, "docker exec momentum /usr/bin/sh -c 'cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max'")


@pytest.fixture
def fresh(lab):
    """A changed limit stays with a container, so that one is made anew (by the lab's own reset)."""
    yield lab
    for host in lab.hosts:
        lab.sh(host, "docker rm -f momentum")


def test_a_component_is_restarted_on_every_host_and_nothing_else_is(lab):
    before = started(lab)
    result = lab.run("restart", service="momentum", confirm="momentum")
    assert result.code == 0 and result.report["headline"] == "HEALTHY 3/3 hosts: 3 containers restarted", result
    after = started(lab)
    changed = {(host, name) for host in lab.hosts for name in after[host] if after[host][name] != before[host].get(name)}
    assert changed == {(host, "momentum") for host in lab.hosts}


def test_a_limit_is_in_the_kernel_and_one_that_is_too_small_is_put_back_on_the_canary_and_goes_no_further(fresh):
    lab = fresh
    result = lab.run("limit_memory", service="momentum", memory="256m", confirm="momentum")
    assert result.code == 0, result
    assert [limits(lab, host) for host in lab.hosts] == [str(256 * MIB)] * 3
    before = started(lab)
    result = lab.run("limit_memory", service="momentum", memory="6m", confirm="momentum", force="momentum", restart_wait=15)
    assert result.code == 2 and result.report["headline"] == "FAILED 0/3 hosts limited, 1 failed, 2 not touched", result
    assert [limits(lab, host) for host in lab.hosts] == [str(256 * MIB)] * 3
    after = started(lab)
    assert {host for host in lab.hosts if after[host]["momentum"] != before[host]["momentum"]} == {lab.hosts[0]}
    undo = lab.run("limit_memory", service="momentum", undo=True, confirm="momentum")
    assert undo.code == 2 and "only a recreate can" in " ".join(" ".join(undo.report["summary"]).split()), undo
