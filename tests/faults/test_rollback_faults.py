"""rollback on real hosts: moved tags, a bastion that dies in the middle, a canary that fails, hosts that differ."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import time

import pytest

from lab import lab as fleet_lab
from tests.faults.conftest import ALL

COVERED = sorted(ALL - {"ledger"})


@pytest.fixture
def trading(lab):
    """The lab with v1 recorded and good; afterwards every host has the image and the files that it had."""
    original = {host: lab.sh(host, "docker image inspect -f '{{.Id}}' trading:1") for host in lab.hosts}
    settled(lab)
    result = lab.run("record_release", release_name="v1")
    assert result.code == 0 and result.report["headline"] == "RECORDED v1: OK, 3/3 hosts, good", result
    yield lab
    for host in lab.hosts:
        lab.sh(host, f"docker tag {original[host]} trading:1; cp -f /opt/lab/compose.yml /srv/trading/compose.yml; rm -rf /var/lib/andon/releases")


def settled(lab):
    """Waits until every covered container is healthy: a recording right after a boot is not a good one."""
    end = time.monotonic() + 120
    while any(lab.sh(h, "docker ps --filter health=healthy --format '{{.Names}}' | wc -l") != "5" for h in lab.hosts):
        assert time.monotonic() < end, "the lab did not become healthy"
        time.sleep(0.2)


def deploy(lab, line, *hosts):
    """Deploys trading:1 with one more line in its recipe: the tag moves."""
    for host in hosts or lab.hosts:
        lab.sh(
            host,
            f"cd /srv/trading && printf 'FROM trading:1\\n{line}\\n' | DOCKER_BUILDKIT=0 docker build -q -t trading:1 - && docker compose -p trading up -d",
            timeout=180,
        )


def image_ids(lab, host):
    return set(lab.sh(host, "docker inspect -f '{{.Image}}' " + " ".join(COVERED)).split())


def test_a_moved_tag_starts_the_recorded_image_and_a_killed_bastion_is_taken_over(trading):
    lab = trading
    old = {host: image_ids(lab, host) for host in lab.hosts}
    deploy(lab, "ENV POWER_PEG=1")
    assert all(image_ids(lab, h) != old[h] for h in lab.hosts)
    run = lab.start("rollback", confirm="v1")
    end = time.monotonic() + 120
    while "begun" not in lab.sh("host-a", "cat /var/lib/andon/releases/rollback.json 2>/dev/null", check=False):
        assert time.monotonic() < end and run.poll() is None, "the canary never began"
        time.sleep(0.1)
    os.killpg(run.pid, signal.SIGKILL)
    run.communicate()
    assert lab.sh("host-c", "cat /var/lib/andon/lock.json"), "the dead run's lock is still there"

    plan = lab.run("rollback", "--check")
    assert plan.code == 0 and plan.report["data"]["plan"]["target"] == "v1", plan
    result = lab.run("rollback", confirm="v1")
    assert result.code == 0 and result.report["headline"].startswith("ROLLED BACK to v1: OK, 3/3 hosts"), result
    for host in lab.hosts:
        assert image_ids(lab, host) == old[host], "the tag trading:1 has moved, and did not decide"
        assert lab.sh(host, "test -e /var/lib/andon/lock.json; echo $?") == "1"
    assert lab.run("rollback", confirm="v1").report["headline"] == "OK: every host is on v1 already"


def test_a_canary_that_never_gets_healthy_is_put_back_and_the_others_are_not_touched(trading):
    lab = trading
    deploy(lab, "ENV RELEASE=2")
    settled(lab)
    before = {h: lab.sh(h, "docker inspect -f '{{.Id}}' " + " ".join(COVERED)) for h in lab.hosts}
    images = image_ids(lab, "host-a")
    # On the canary the recorded release no longer gets healthy (its ledger is made whole again around the change).
    lab.sh(
        "host-a",
        "python3 - <<'E'\n"
        "import json, hashlib\n"
        "base = '/var/lib/andon/releases/v1/'\n"
        "path = base + 'models/trading.json'\n"
        "model = json.load(open(path))\n"
        "model['services']['feed']['healthcheck'] = {'test': ['CMD', '/bin/false'], 'interval': '1s', 'retries': 1}\n"
        "open(path, 'w').write(json.dumps(model))\n"
        "manifest = json.load(open(base + 'manifest.json'))\n"
        "manifest['files']['models/trading.json'] = hashlib.sha256(open(path, 'rb').read()).hexdigest()\n"
        "open(base + 'manifest.json', 'w').write(json.dumps(manifest))\n"
        "E\nrm /var/lib/andon/releases/v1/health.jsonl",
    )
    result = lab.run("rollback", to="v1", confirm="v1", releases_not_good=True, releases_health_wait=10)
    assert result.code == 2 and result.report["headline"] == "ROLLBACK FAILED: 0/3 hosts are on v1", result
    assert "put back on what it had before" in str(result.report["data"]["failed"]["host-a"])
    assert image_ids(lab, "host-a") == images and lab.running("host-a") == ALL
    for host in ("host-b", "host-c"):
        assert lab.sh(host, "docker inspect -f '{{.Id}}' " + " ".join(COVERED)) == before[host]


def test_knight_one_host_on_other_code_is_seen_halted_rolled_back_and_resumed(trading):
    lab = trading
    deploy(lab, "ENV POWER_PEG=1", "host-c")
    seen = lab.run("check_skew")
    assert seen.code == 2 and {d["odd"][0] for d in seen.report["data"]["differences"]} == {"host-c"}, seen
    looked = lab.run("triage")
    assert looked.code == 0 and looked.report["data"]["symptom"] == "skew" and "odd: host-c" in "\n".join(looked.report["summary"]), looked
    assert lab.run("record_release", release_name="v2").code == 2
    result = lab.run("rollback", confirm="v1")
    assert result.code == 0 and result.report["headline"] == "ROLLED BACK to v1: OK, 3/3 hosts, HALTED", result
    lab.assert_halted(*lab.hosts)
    resumed = lab.run("resume", confirm="all")
    assert resumed.code == 0 and all(lab.running(h) == ALL for h in lab.hosts), resumed
    assert lab.policies("host-c") == lab.policies("host-a")
    assert lab.run("check_skew").code == 0


@pytest.fixture
def registry(lab):
    """start() and stop() of a real registry on host-a's own loopback, which an engine speaks to without TLS; ended by its process id."""
    program = shutil.which("docker-registry")
    assert program, "docker-registry is not there; type: ./dev hosts"
    fleet_lab.docker("cp", program, fleet_lab.container("host-a") + ":/root/docker-registry")
    config = "version: 0.1\nstorage: {filesystem: {rootdirectory: /root/registry}}\nhttp: {addr: '127.0.0.1:5000'}\n"
    lab.sh("host-a", f"printf %s {shlex.quote(config)} >/root/registry.yml")

    class Registry:
        def start(self) -> None:
            lab.sh(
                "host-a",
                "setsid -f bash -c 'echo $$ >/root/registry.pid; exec /root/docker-registry serve /root/registry.yml' >/root/registry.log 2>&1 </dev/null",
            )
            lab.sh("host-a", "for i in $(seq 400); do (: </dev/tcp/127.0.0.1/5000) 2>/dev/null && exit 0; sleep 0.05; done; cat /root/registry.log; exit 1")

        def stop(self) -> None:
            lab.sh("host-a", "if [ -e /root/registry.pid ]; then kill $(cat /root/registry.pid); rm /root/registry.pid; fi", check=False)

    yield Registry()
    Registry().stop()
    lab.sh("host-a", "rm -rf /root/registry /root/registry.yml /root/docker-registry")


def test_an_image_that_one_host_lost_is_pulled_by_its_digest_and_without_it_nothing_begins(trading, registry):
    lab, name = trading, "127.0.0.1:5000/trading:1"
    v1 = {host: image_ids(lab, host) for host in lab.hosts}
    registry.start()
    lab.sh("host-a", f"docker tag trading:1 {name} && docker push -q {name}")
    assert lab.run("record_release", release_name="v1pushed").code == 0
    # v2 has v1's files but not its layer, so that nothing holds v1's image on host-a; the other hosts get the very same image.
    lab.sh(
        "host-a",
        "docker export $(docker create trading:1 /x) | docker import -c 'ENV RELEASE=2' - trading:1 && docker rm $(docker ps -aq --filter status=created)",
    )
    packed = lab.sh("host-a", "docker save trading:1 | base64 -w0")
    for host in ("host-b", "host-c"):
        lab.sh(host, f"printf %s '{packed}' | base64 -d | docker load -q")
    for host in lab.hosts:
        lab.sh(host, "cd /srv/trading && docker compose -p trading up -d", timeout=180)
    settled(lab)
    # Images that earlier tests built upon v1 hold its layer.
    v2_id, v1_id = lab.sh("host-a", "docker image inspect -f '{{.Id}}' trading:1"), next(iter(v1["host-a"]))
    lab.sh("host-a", f"docker images -q --no-trunc | sort -u | grep -v -e {v1_id} -e {v2_id} | xargs -r docker rmi -f; docker rmi -f {v1_id}")
    # The tag means v2 in the registry now: only the digest leads to v1.
    lab.sh("host-a", f"docker tag trading:1 {name} && docker push -q {name} && docker rmi {name}")
    v2 = {host: image_ids(lab, host) for host in lab.hosts}
    assert len(set.union(*v2.values())) == 1 and not v2["host-a"] & v1["host-a"]
    before = {h: lab.sh(h, "docker inspect -f '{{.Id}}' " + " ".join(COVERED)) for h in lab.hosts}

    registry.stop()
    refused = lab.run("rollback", to="v1pushed", confirm="v1pushed")
    assert refused.code == 2 and "host-a" in str(refused.report["data"]) and "127.0.0.1:5000" in str(refused.report), refused
    assert {h: lab.sh(h, "docker inspect -f '{{.Id}}' " + " ".join(COVERED)) for h in lab.hosts} == before
    assert all(lab.running(h) == ALL for h in lab.hosts) and lab.latch("host-a") is None

    registry.start()
    result = lab.run("rollback", to="v1pushed", confirm="v1pushed")
    assert result.code == 0 and result.report["headline"].startswith("ROLLED BACK to v1pushed: OK, 3/3 hosts"), result
    assert {host: image_ids(lab, host) for host in lab.hosts} == v1
