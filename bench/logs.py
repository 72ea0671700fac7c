#!/usr/bin/env python3
"""Benchmark of the log bundle: redaction per core, a whole collection against `docker logs | zstd`, the bastion's memory.

    ./dev bench logs [--mb 1000]

Both sides of the comparison read the same container log of this machine's own engine in one run, one after the other, without SSH. The bundle's side
also redacts, hashes, checks, unpacks, packs again, and starts Ansible. Prints one JSON document; compare ratios, not times.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "plugins" / "module_utils"))

from andon.redact import Redactor  # noqa: E402 (the path above must be set first)

WRITER = """
import random, sys
random.seed(1)
tail = ['strategy.mean_reversion order_id=%d side=BUY qty=%.4f px=%.2f venue=binance latency_us=%d msg="filled on BTC-USDT"\\n'
        % (random.randrange(10**9), random.random(), random.random() * 1e5, random.randrange(9999)) for _ in range(4000)]
left, n = int(sys.argv[1]) * 1000000, 0
while left > 0:
    line = 'INFO %09d ' % n + tail[n % 4000]
    left -= len(line) + 31
    n += 1
    sys.stdout.write(line)
"""


def ordinary(megabytes: int) -> bytes:
    """Log lines as a trading system writes them, with no secret in them."""
    source = random.Random(1)
    lines = []
    size = 0
    while size < megabytes * 1_000_000:
        lines.append(
            b"2026-11-22T03:00:%02d.%09dZ INFO strategy.mean_reversion order_id=%d side=BUY qty=%.4f px=%.2f venue=binance latency_us=%d\n"
            % (len(lines) // 1000 % 60, source.randrange(10**9), source.randrange(10**9), source.random(), source.random() * 1e5, source.randrange(9999))
        )
        size += len(lines[-1])
    return b"".join(lines)


def redaction(data: bytes, known: int) -> float:
    """MB/s of one core (CPU time, so that neighbours do not count)."""
    stream = Redactor(b"k" * 32, [f"Kn0wn-s3cret-{n:04d}-value" for n in range(known)]).stream(docker=True)
    before = time.process_time()
    for start in range(0, len(data), 1 << 18):
        stream.feed(data[start : start + (1 << 18)])
    stream.finish()
    return round(len(data) / 1e6 / (time.process_time() - before), 1)


def peak(pid: int) -> int:
    """The greatest peak RSS (bytes) of the living descendants of a process, itself included."""
    most = 0
    todo = [pid]
    while todo:
        one = todo.pop()
        try:
            status = Path(f"/proc/{one}/status").read_text()
            todo += [int(child) for child in Path(f"/proc/{one}/task/{one}/children").read_text().split()]
        except OSError:
            continue
        most = max([most] + [int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:")])
    return most


def collect(folder: Path, container: str) -> tuple[float, int, dict]:
    """One whole collection of one container; returns (seconds, the bastion's peak RSS in bytes, report)."""
    inventory = folder / "hosts.json"
    host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "andon_selectors": [f"name=^/?{container}$"]}
    host |= {"collect_logs_files": [], "collect_logs_work_folders": [str(folder)]}
    inventory.write_text(json.dumps({"trading": {"hosts": {"bench": host}}}))
    argv = [str(Path(sys.executable).with_name("ansible-playbook")), str(ROOT / "collect_logs.yml"), "-i", str(inventory), "-e", "since=30d"]
    env = os.environ | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANDON_STATE": str(folder / "state"), "ANDON_JSON": "1"}
    before, most = time.monotonic(), 0
    with (folder / "out").open("w+") as out:
        process = subprocess.Popen(argv, env=env, stdout=out, stderr=subprocess.DEVNULL)
        while process.poll() is None:
            most = max(most, peak(process.pid))
            time.sleep(0.05)
        seconds = time.monotonic() - before
        out.seek(0)
        report = json.loads(out.read())
    return seconds, most, report


def make(name: str, megabytes: int, image: str) -> None:
    """A container that has logged so much, and ended."""
    argv = ["docker", "run", "--name", name, "--label", "andon.bench=logs", "--log-driver", "json-file", image, "python3", "-c", WRITER, str(megabytes)]
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--mb", type=int, default=1000, help="size of the container's log as `docker logs --timestamps` prints it")
    options.add_argument("--image", default="andon-test:1", help="an image with python3")
    wanted = options.parse_args()
    data = ordinary(50)
    result: dict = {
        "redaction_mb_per_s_per_core": {
            "ordinary": redaction(data, 0),
            "ordinary_5_known_values": redaction(data, 5),
            "ordinary_20_known_values": redaction(data, 20),
            "a_secret_in_every_line": redaction(data[:10_000_000].replace(b"venue=", b"token=abc venue="), 0),
        }
    }
    small, large = f"andon-bench-small-{os.getpid()}", f"andon-bench-large-{os.getpid()}"
    try:
        make(small, 1, wanted.image)
        make(large, wanted.mb, wanted.image)
        with tempfile.TemporaryDirectory() as where:
            folder = Path(where)
            packed = folder / "plain.zst"
            before = time.monotonic()
            subprocess.run(["sh", "-c", f"docker logs --timestamps {large} 2>&1 | zstd -q > {packed}"], check=True)
            plain = time.monotonic() - before
            idle, base, _report = collect(folder, small)
            seconds, most, report = collect(folder, large)
            item = next(i for i in report["data"]["hosts"]["bench"]["items"] if i["name"].endswith(".stdout.log"))
            result["collection"] = {
                "log_mb": round(item["bytes"] / 1e6),
                "docker_logs_zstd_s": round(plain, 1),
                "bundle_s": round(seconds, 1),
                "bundle_of_1_mb_s": round(idle, 1),
                "ratio": round(plain / seconds, 2),
                "ratio_without_the_fixed_part": round(plain / (seconds - idle), 2),
                "bastion_peak_mb": round(most / 1e6),
                "bastion_growth_mb": round((most - base) / 1e6, 1),
                "status": item["status"],
            }
    finally:
        subprocess.run(["docker", "rm", "-f", small, large], check=False, capture_output=True)
    print(json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
