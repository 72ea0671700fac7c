#!/usr/bin/env python3
"""The log bundle against `ssh HOST 'docker logs … | zstd' > file`, of the same container log, over real SSH to a lab host, in one run.

    ./dev bench logs [--mb 1000] [--rounds 3] [--dry]

The bundle's side also redacts, hashes, checks, unpacks, packs again, starts Ansible, and collects everything else of that host. Both
must bring every line of the log, or the benchmark ends. Redaction alone is measured on one core of the bastion. The table goes to
bench/README.md.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
for folder in (ROOT, ROOT / "plugins" / "module_utils"):
    sys.path.insert(0, str(folder))

from andon.redact import Redactor  # noqa: E402 (the paths above must be set first)
from lab import lab  # noqa: E402

README = ROOT / "bench" / "README.md"
BEGIN, END = "<!-- logs:begin -->", "<!-- logs:end -->"
HOST, NAME = "host-a", "bench-log"
# Goals: redaction in MB/s of one core, the bundle's speed as a share of the pipe's, the bastion's growth in MB.
MB_PER_S, SHARE, GROWTH = 50.0, 0.5, 100.0
KINDS = ("ordinary lines", "ordinary lines, 20 known values", "a secret in every line", "a word like token in every line, no secret")


@dataclass
class Round:
    """One round: seconds of the pipe and of the bundle; of a bundle without the long log; the bastion's peak RSS (bytes) in both."""

    pipe: float
    bundle: float
    small: float
    peak: int
    small_peak: int

    @property
    def share(self) -> float:
        return self.pipe / self.bundle


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


def samples(megabytes: int) -> dict[str, tuple[bytes, list[str]]]:
    """{kind: (text, known values)}."""
    plain = ordinary(megabytes)
    known = [f"Kn0wn-s3cret-{n:04d}-value" for n in range(20)]
    return {
        KINDS[0]: (plain, []),
        KINDS[1]: (plain, known),
        KINDS[2]: (plain.replace(b"venue=", b"token=abc venue="), []),
        KINDS[3]: (plain.replace(b"venue=", b"token refreshed venue="), []),
    }


def redaction(data: bytes, known: list[str]) -> float:
    """MB/s of one core (CPU time, so that neighbours count only by what they take of its caches)."""
    stream = Redactor(b"k" * 32, known).stream(docker=True)
    before = time.process_time()
    for start in range(0, len(data), 1 << 18):
        stream.feed(data[start : start + (1 << 18)])
    stream.finish()
    return len(data) / 1e6 / (time.process_time() - before)


def family(pid: int) -> Iterator[int]:
    """A process and its living descendants."""
    todo = [pid]
    while todo:
        one = todo.pop()
        yield one
        try:
            todo += [int(child) for child in Path(f"/proc/{one}/task/{one}/children").read_text().split()]
        except OSError:
            continue


def peak(pid: int) -> int:
    """The greatest peak RSS (bytes) of a process and its living descendants."""
    most = 0
    for one in family(pid):
        try:
            status = Path(f"/proc/{one}/status").read_text()
        except OSError:
            continue
        most = max([most] + [int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:")])
    return most


def pipe(where: Path) -> tuple[float, int]:
    """Seconds of the plain way, and the lines that came."""
    ssh = ["ssh", "-F", str(lab.STATE / "ssh_config"), "-o", "ControlPath=none", HOST]
    packed = where / "plain.zst"
    before = time.monotonic()
    with packed.open("wb") as out:
        subprocess.run([*ssh, f"docker logs --timestamps {NAME} 2>&1 | zstd -q"], stdout=out, check=True)
    seconds = time.monotonic() - before
    unpacked = subprocess.run(["sh", "-c", 'zstd -q -d -c "$1" | wc -l', "sh", str(packed)], check=True, capture_output=True, text=True)
    packed.unlink()
    return seconds, int(unpacked.stdout)


def bundle(where: Path, since: str) -> tuple[float, int, dict]:
    """A whole `andon logs` of the host; returns (seconds, the bastion's peak RSS in bytes, report)."""
    lab.close_connections()
    argv = [sys.executable, str(ROOT / "cli.py"), "-i", str(lab.INVENTORY), "--json", "logs", "bench", "--since", since, "--limit", HOST]
    env = os.environ | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANDON_STATE": str(where / "state")}
    before, most = time.monotonic(), 0
    with (where / "out").open("w+") as out:
        process = subprocess.Popen(argv, env=env, cwd=ROOT, stdout=out, stderr=subprocess.DEVNULL)
        while process.poll() is None:
            most = max(most, peak(process.pid))
            time.sleep(0.1)
        seconds = time.monotonic() - before
        out.seek(0)
        text = out.read()
    subprocess.run(["rm", "-rf", str(where / "state")], check=True)
    if process.returncode:
        raise lab.LabError(f"andon logs ended with {process.returncode}, so there is nothing to compare: {text[-600:]}")
    return seconds, most, json.loads(text)


def on_host(command: str) -> str:
    return lab.docker("exec", lab.container(HOST), "sh", "-c", command, timeout=900)


def rounds(count: int, megabytes: int) -> list[Round]:
    """Pipe and bundle in turn, so that the machine's load meets both."""
    found = []
    with tempfile.TemporaryDirectory(prefix="andon-bench-", dir=ROOT / ".lab") as folder:
        where = Path(folder)
        for _ in range(count):
            # Without the long log: what a bundle costs anyhow.
            on_host(f"docker rm -f {NAME} >/dev/null 2>&1; true")
            small, small_peak, _report = bundle(where, "1h")
            on_host(f"python3 /opt/lab/biglog.py {NAME} {megabytes}")
            seconds, lines = pipe(where)
            whole, most, report = bundle(where, "1h")
            item = next(one for one in report["data"]["hosts"][HOST]["items"] if one["name"] == f"containers/{NAME}.stdout.log")
            if item["status"] != "ok" or item["lines"] != lines:
                raise lab.LabError(f"the bundle has {item['lines']} of {lines} lines ({item['status']} {item['error']}), so there is nothing to compare")
            found.append(Round(seconds, whole, small, most, small_peak))
            print(f"bench: pipe {seconds:.1f} s, bundle {whole:.1f} s, without the long log {small:.1f} s", file=sys.stderr, flush=True)
    return found


def median(numbers: Iterator[float] | list[float]) -> float:
    return statistics.median(numbers)


def goal(words: str, wanted: str, measured: str, reached: bool) -> str:
    return f"| {words} | {wanted} | {measured} | {'reached' if reached else '**missed**'} |"


def page(speeds: dict[str, list[float]], found: list[Round], megabytes: int, loads: list[float]) -> str:
    day = datetime.datetime.now(datetime.UTC).date().isoformat()
    share, growth = median([one.share for one in found]), median([(one.peak - one.small_peak) / 1e6 for one in found])
    goals = [goal(f"bundle's speed ÷ the pipe's, {megabytes} MB", f"{SHARE:g}", f"{share:.2f}", share >= SHARE)]
    goals += [goal(f"redaction, {kind}", f"{MB_PER_S:.0f} MB/s", f"{median(each):.0f} MB/s", median(each) >= MB_PER_S) for kind, each in speeds.items()]
    goals.append(goal("bastion's memory, above a bundle without the long log", f"at most {GROWTH:.0f} MB", f"{growth:.1f} MB", growth < GROWTH))
    lines = [
        f"{day} (UTC); {os.cpu_count()} cores, which are bastion and host at once; load average before, after redaction and after each round: "
        + ", ".join(f"{load:.1f}" for load in loads)
        + f"; Python {sys.version.split()[0]}; medians of {len(found)} rounds.",
        "",
        "| goal | at least | measured | |",
        "|---|--:|--:|---|",
        *goals,
        "",
        f"| {megabytes} MB over SSH | s |",
        "|---|--:|",
        f"| `ssh host 'docker logs … \\| zstd' > file` | {median([one.pipe for one in found]):.1f} |",
        f"| `andon logs`, whole command | {median([one.bundle for one in found]):.1f} |",
        f"| `andon logs` of the same host without that log | {median([one.small for one in found]):.1f} |",
    ]
    return "\n".join(lines)


def between(text: str, new: str) -> str:
    """The page with what stands between this benchmark's markers replaced.

    Raises:
        ValueError: the markers are not there.
    """
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{README.name} has lost its markers {BEGIN} and {END}; put them back where the table shall stand")
    return f"{head}{BEGIN}\n{new}\n{END}{tail}"


def run(options: argparse.Namespace) -> None:
    between(README.read_text(), "")
    loads = [os.getloadavg()[0]]
    texts = samples(20)
    # Three at least: they are quick, and a neighbour's burst is over in the next.
    speeds = {kind: [redaction(*text) for _ in range(max(3, options.rounds))] for kind, text in texts.items()}
    loads.append(os.getloadavg()[0])
    lab.up()
    try:
        found = []
        for _ in range(options.rounds):
            found += rounds(1, options.mb)
            loads.append(os.getloadavg()[0])
            # After each round: what an interruption takes away is the next round only.
            text = page(speeds, found, options.mb, loads)
            if not options.dry:
                README.write_text(between(README.read_text(), text))
    finally:
        on_host(f"docker rm -f {NAME} >/dev/null 2>&1; true")
    print(text)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mb", type=int, default=1000, help="size of the container's log as `docker logs --timestamps` prints it")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dry", action="store_true", help="print only; leave bench/README.md as it is")
    options = parser.parse_args()
    if options.rounds < 1 or options.mb < 10:
        parser.error("--rounds is at least 1, --mb at least 10")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        run(options)
    except KeyboardInterrupt:
        print("bench: interrupted; the long log is removed; bench/README.md has what was complete", file=sys.stderr)
        return 130
    except (lab.LabError, OSError, ValueError, subprocess.SubprocessError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
