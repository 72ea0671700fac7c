"""Health, triage and the log bundle on real hosts: long logs, hostile bytes, a full disk, hosts that die, a clock that is wrong."""

from __future__ import annotations

import gzip
import json
import subprocess
import threading
import time
from pathlib import Path

import pytest

from andon import bundle
from bench.logs import peak
from lab import lab as fleet_lab
from tests.support.fleet import Result

# Hang guard (seconds); nothing here measures time.
LONG = 300
COPIES = "ls -d /var/tmp/andon-* /tmp/andon-* /run/andon-* /dev/shm/andon-* 2>/dev/null; true"


def wait_until(condition, seconds=90):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "never became true"
        time.sleep(0.1)


def finish(run, meanwhile=lambda: None):
    """The result of a run begun with lab.start; C(meanwhile) is called again and again until it ends."""
    answer = {}
    reader = threading.Thread(target=lambda: answer.update(zip(("out", "err"), run.communicate(timeout=LONG), strict=True)), daemon=True)
    reader.start()
    while reader.is_alive():
        meanwhile()
        reader.join(0.1)
    assert answer, "the run did not end"
    return Result(subprocess.CompletedProcess(run.args, run.returncode, answer["out"], answer["err"]))


def reading(host):
    """True when a collection that is under way has read something on this host."""
    for path in bundle.shelf().glob(f".*.part/incoming/progress-{host}"):
        try:
            return json.loads(path.read_text())["bytes"] > 0
        except ValueError:
            return False
    return False


def items(result, host):
    return {one["name"]: one for one in result.report["data"]["hosts"][host]["items"]}


def test_two_gigabytes_come_whole_and_the_bastion_stays_small(lab):
    lines = int(lab.sh("host-b", "python3 /opt/lab/biglog.py long 2000 wide", timeout=LONG))
    run = lab.start("collect_logs", "--limit", "host-b", collect_logs_name="long")
    wait_until(lambda: reading("host-b") or run.poll() is not None)
    # What Ansible takes by itself; from here on it is the log that could make it grow.
    base = most = peak(run.pid)

    def look():
        nonlocal most
        most = max(most, peak(run.pid))

    result = finish(run, look)
    assert result.code == 0 and result.report["headline"] == "1/1 hosts collected whole", result
    long = items(result, "host-b")["containers/long.stdout.log"]
    assert long["status"] == "ok" and long["lines"] == lines and long["bytes"] > 1_990_000_000 and "dropped_bytes" not in long
    assert long["stored_bytes"] > 110_000_000, "whoever held it in memory would not have grown by 100 MB"
    assert base > 20_000_000 and most - base < 100_000_000, f"the bastion grew from {base} to {most} bytes"
    assert bundle.verify(result.report["data"]["bundle"]["archive"])["problems"] == []
    assert lab.sh("host-b", COPIES) == ""


@pytest.fixture
def images(lab):
    """The lab; afterwards every host has the image that it had."""
    original = {host: lab.sh(host, "docker image inspect -f '{{.Id}}' trading:1") for host in lab.hosts}
    yield lab
    for host in lab.hosts:
        if fleet_lab.docker("inspect", "--format", "{{.State.Paused}}", fleet_lab.container(host)) == "true":
            fleet_lab.docker("unpause", fleet_lab.container(host))
        lab.sh(host, f"docker tag {original[host]} trading:1; rm -f /var/log/trading/latin.log")


def test_health_and_triage_of_a_sick_fleet_see_everything_and_hang_on_nothing(images):
    lab = images
    lab.sh("host-a", "python3 /opt/lab/biglog.py long 500", timeout=LONG)
    # Bytes that are no UTF-8, NUL and terminal tricks, once through the engine and once in a file.
    evil = r"""for i in $(seq 100); do printf "%s ERROR Z\374rich \0 {{ 7*7 }} \033[2J **b** order $i lost\n" "$(date -u +%FT%TZ)"; done"""
    lab.sh("host-a", f"{evil} > /var/log/trading/latin.log")
    program = f"-v /usr:/usr:ro trading:1 /usr/bin/bash -c '{evil}; exec /usr/bin/sleep 999'"
    lab.sh("host-a", f"docker run -d --name noisy --label andon.component=strategy {program}")
    recipe = r"printf 'FROM trading:1\nENV POWER_PEG=1\n' | DOCKER_BUILDKIT=0 docker build -q -t trading:1 - && cd /srv/trading"
    lab.sh("host-b", f"{recipe} && docker compose -p trading up -d --no-deps momentum", timeout=180)
    fleet_lab.docker("pause", fleet_lab.container("host-c"))

    health = lab.run("health_check")
    assert health.code == 2 and health.report["data"]["words"]["host-c"] == "UNKNOWN", health
    found = {(one["word"], one["host"], one["component"]) for one in health.report["data"]["findings"]}
    assert {("UNKNOWN", "host-c", ""), ("SKEW", "host-b", "momentum"), ("ERRORS", "host-a", "noisy"), ("DEAD", "host-a", "long")} <= found
    long = next(one for one in health.report["data"]["hosts"]["host-a"]["components"] if one["name"] == "long")
    assert long["errors_now"] == 0 and long["log_error"] == "", "the end of a long log is read without its beginning"

    triage = lab.run("triage")
    assert triage.code == 2 and any("host-c" in words for words in triage.report["data"]["unknown"]), triage
    sources = {one["name"].rpartition("/")[2]: one for one in triage.report["data"]["sources"] if one["host"] == "host-a"}
    assert sources["noisy"]["count"] == 100 and sources["latin.log"]["count"] == 100
    assert len(sources["latin.log"]["shapes"]) == 1 and "Zürich" in sources["latin.log"]["shapes"][0]["shape"]
    assert sources["long"]["error"] == "" and sources["long"]["lines"] >= 2000
    # Either all of it was read back to the start, or the report says from when on.
    assert sources["long"]["gap"] is None or any("host-a long: looked at only from" in note for note in triage.report["data"]["notes"])
    for result in (health, triage):
        assert not [trick for trick in ("\x1b", "\\u001b", "\\u0000") if trick in result.out]
        assert "{{ 7*7 }}" in result.out, "shown as it is, not run"


CANARY = "zq9CANARYx7Wv"
# Secrets as programs really log them: in a URL, in JSON, as a key over several lines, and across the place where the engine cuts a line.
LEAKY = f"""
import os, sys
print("GET https://x.example/order?symbol=BTC&signature={CANARY}")
print('login {{"user": "bob", "api_secret": "{CANARY}"}}')
print("-----BEGIN PRIVATE KEY-----\\n" + "MIIEowIBAAKCAQEAqzPEMqzABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmn\\n" * 5 + "-----END PRIVATE KEY-----")
print("A" * (16384 - 14) + "password={CANARY} end of it", flush=True)
print("no name at all before", os.environ["EXCHANGE_TOKEN"], file=sys.stderr, flush=True)
"""


def plant(lab, host):
    """A container with a secret in its environment that logs it in every way, and a log file named after it."""
    words = ["docker", "exec", "-i", fleet_lab.container(host), "sh", "-c"]
    run = f"cat > /root/leaky.py; touch /var/log/trading/dump-{CANARY}.log; "
    run += f"docker run --name leaky --label andon.component=adapter -e EXCHANGE_TOKEN={CANARY} -v /usr:/usr:ro -v /root/leaky.py:/leaky.py:ro trading:1 "
    subprocess.run([*words, run + "/usr/bin/python3 -I -S /leaky.py --api-key " + CANARY], input=LEAKY, text=True, check=True, capture_output=True)
    assert CANARY in lab.sh(host, "docker logs leaky 2>&1 | tr -d '\\n'")


def everything(folder):
    """Every byte below a folder, unpacked, and every name."""
    found = b""
    for path in sorted(Path(folder).rglob("*")):
        found += str(path.relative_to(folder)).encode() + b"\n"
        if path.is_file():
            raw = path.read_bytes()
            found += gzip.decompress(raw) if path.suffix == ".gz" else raw
    return found


@pytest.fixture
def broken(lab):
    """host-a with full disks and planted secrets, host-c with a small one, host-b with a long log; afterwards everything is mended."""
    for folder in ("/var/tmp", "/tmp"):  # noqa: S108 (folders of the lab's host)
        lab.sh("host-a", f"mount -t tmpfs -o size=4m full {folder} && {{ head -c 8M /dev/zero > {folder}/full; true; }} 2>/dev/null")
    lab.sh("host-c", "mkdir -p /mnt/small && mount -t tmpfs -o size=6m small /mnt/small && python3 /opt/lab/biglog.py long 100", timeout=LONG)
    lab.sh("host-b", "python3 /opt/lab/biglog.py long 300", timeout=LONG)
    plant(lab, "host-a")
    yield lab
    lab.sh("host-a", "umount /var/tmp /tmp; rm -f /root/leaky.py /var/log/trading/dump-*")
    lab.sh("host-c", "umount /mnt/small")
    lab.sh("host-b", "iptables -D INPUT -p tcp --dport 22 -j DROP", check=False)


def test_full_disks_and_a_host_that_dies_in_the_middle_give_a_bundle_that_says_so(broken):
    lab = broken
    small = {
        "collect_logs_work_folders": "{{ ['/mnt/small'] if inventory_hostname == 'host-c' else ['/var/tmp', '/tmp', '/run', '/dev/shm'] }}",
        "collect_logs_reserve_bytes": "{{ 0 if inventory_hostname == 'host-c' else 268435456 }}",
    }
    run = lab.start("collect_logs", collect_logs_name="inc", collect_logs_lease=4, **small)
    wait_until(lambda: reading("host-b") or run.poll() is not None)
    lab.sh("host-b", "iptables -I INPUT -p tcp --dport 22 -j DROP")
    result = finish(run)
    assert result.code == 2 and result.report["headline"] == "1/3 hosts collected whole, 1 PARTIAL (host-c), 1 UNKNOWN (host-b)", result
    hosts = bundle.verify(result.report["data"]["bundle"]["archive"])["manifest"]["hosts"]
    assert hosts["host-b"]["status"] == "failed" and "lost in the middle" in hosts["host-b"]["error"]
    # The full disks were not written to, and nothing is missing for it.
    assert hosts["host-a"]["status"] == "full" and hosts["host-a"]["space"]["folder"] in ("/run", "/dev/shm")
    long = next(one for one in hosts["host-c"]["items"] if one["name"] == "containers/long.stdout.log")
    assert hosts["host-c"]["space"] == hosts["host-c"]["space"] | {"folder": "/mnt/small", "shrunk": True}
    assert long["status"] == "truncated" and long["dropped_lines"] > 0
    text = subprocess.run(["zcat", Path(result.report["data"]["bundle"]["folder"]) / "hosts/host-c" / long["file"]], capture_output=True, check=True).stdout
    assert f"[andon: {long['dropped_bytes']} bytes ({long['dropped_lines']} lines) were left out here".encode() in text
    assert text.endswith(b"the last line of a long log\n"), "the newest lines are the ones that matter"
    content = everything(Path(result.report["data"]["bundle"]["folder"]) / "hosts/host-a")
    assert (
        b"CANARY" not in content
        and b"qzPEMqz" not in content
        and CANARY[:8].encode() not in content
        and b"end of it" in content
        and b"no name at all before [REDACTED:" in content
    )
    leaky = next(one for one in hosts["host-a"]["items"] if one["name"] == "containers/leaky.stdout.log")
    assert leaky["joined_pieces"] == 1 and {one["rule"] for one in leaky["redactions"]} >= {"known", "pem"}
    # The host that was cut off ends by itself, and what it had goes.
    wait_until(lambda: lab.sh("host-b", COPIES) == "")
    lab.sh("host-b", "iptables -D INPUT -p tcp --dport 22 -j DROP && docker rm -f long")
    again = lab.run("collect_logs", "--limit", "host-b", collect_logs_name="inc")
    assert again.code == 0 and again.report["data"]["bundle"]["name"] == "inc-2", again
    assert items(again, "host-b")["containers/momentum.stdout.log"]["status"] == "ok"
    assert [lab.sh(host, COPIES) for host in lab.hosts] == ["", "", ""]
    assert not [path for path in bundle.shelf().iterdir() if path.name.startswith(".")]


AHEAD = 90
PRELOAD = "/usr/lib/$(uname -m)-linux-gnu/faketime/libfaketime.so.1"


@pytest.fixture
def ahead(lab):
    """host-b's clock is 90 s ahead for everything that comes over SSH (libfaketime); not for its engine, which is a Go program."""
    setenv = f"SetEnv LD_PRELOAD={PRELOAD} FAKETIME=+{AHEAD}s FAKETIME_DISABLE_SHM=1 FAKETIME_DONT_FAKE_MONOTONIC=1"
    lab.sh("host-b", f'test -e {PRELOAD} && echo "{setenv}" > /etc/ssh/sshd_config.d/ahead.conf && pkill -HUP -o -x sshd')
    fleet_lab.close_connections()
    yield lab
    lab.sh("host-b", "rm -f /etc/ssh/sshd_config.d/ahead.conf /var/log/trading/gateway.log && pkill -HUP -o -x sshd")
    lab.sh("host-a", "rm -f /var/log/trading/gateway.log")


def errors(lab, host, begin, end, shift=0):
    """A log file with five errors a second from C(begin) to C(end) (Unix times), stamped by a clock that is C(shift) s ahead."""
    times = [begin - 200 + shift] + [begin + n / 5 + shift for n in range(int((end - begin) * 5))]
    words = ["INFO up"] + ["ERROR gateway lost"] * (len(times) - 1)
    stamped = [f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(at))}Z {word}\n" for at, word in zip(times, words, strict=True)]
    argv = ["docker", "exec", "-i", fleet_lab.container(host), "sh", "-c", "cat > /var/log/trading/gateway.log"]
    subprocess.run(argv, input="".join(stamped), text=True, check=True)
    return len(times)


def test_a_clock_that_is_90_s_ahead_is_seen_and_misleads_nobody(ahead):
    lab = ahead
    now = time.time()
    # host-b broke first, 120 s ago; by its own clock that was 30 s ago, and host-a seems to be the first.
    count = errors(lab, "host-b", now - 120, now, AHEAD)
    errors(lab, "host-a", now - 60, now)

    health = lab.run("health_check")
    clock = health.report["data"]["hosts"]["host-b"]["clock"]
    assert clock["low"] <= AHEAD + 0.5 and clock["high"] >= AHEAD - 0.5 and clock["uncertainty"] < 30, health
    found = [(one["word"], one["host"]) for one in health.report["data"]["findings"] if one["words"].startswith("clock ")]
    assert health.code == 2 and found == [("WARNING", "host-b")]

    triage = lab.run("triage", "--limit", "host-a,host-b", eyes_since="10m")
    assert triage.report["data"]["broke_first"]["host"] == "host-b", triage
    assert abs(triage.report["data"]["broke_first"]["change"]["at"] - (now - 120)) < 30
    assert any("host-b: its clock is off by +" in note for note in triage.report["data"]["notes"])

    # Here the engine's own clock is right, so that it waits for its host's "now" when it is asked for its events: until the deadline.
    logs = lab.run("collect_logs", "--limit", "host-a,host-b", collect_logs_name="ahead", collect_logs_command_deadline=4)
    hosts = bundle.verify(logs.report["data"]["bundle"]["folder"])["manifest"]["hosts"]
    assert abs(hosts["host-b"]["clock_offset_seconds"] - AHEAD) < 5 and abs(hosts["host-b"]["window_moved_seconds"] - AHEAD) < 5
    assert abs(hosts["host-a"]["clock_offset_seconds"]) < 5 and any("s corrected" in line for line in logs.report["summary"] if "host-b" in line)
    # Its newest lines bear times that have not come yet for the bastion; they are in the bundle all the same.
    gateway = next(one for one in hosts["host-b"]["items"] if one["source"] == "/var/log/trading/gateway.log")
    assert gateway["window"] == "honoured" and gateway["lines"] == count
