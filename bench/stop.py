#!/usr/bin/env python3
"""The emergency stop against a bare parallel ssh, clush, and the ordinary playbook, in one run on 1, 10 and 50 SSH targets.

    ./dev bench stop [--rounds 5] [--targets 1,10,50] [--slow-targets 50] [--against CHECKOUT]

Every way stops the same stand-in containers on the same real sshd (bench/farm.py); each run is checked: a way after which a
container still runs ends the benchmark. The table goes to bench/README.md. With the lab up, the last application tick of a
`--now` stop on a real engine is measured as well.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import fcntl
import json
import os
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
for folder in (ROOT, ROOT / "plugins" / "module_utils"):
    sys.path.insert(0, str(folder))

from andon import stop  # noqa: E402
from bench.farm import CONTAINERS, LABEL, Farm, require  # noqa: E402
from lab import lab  # noqa: E402

README = ROOT / "bench" / "README.md"
BEGIN, END = "<!-- stop:begin -->", "<!-- stop:end -->"
BASE = "bare ssh"
# (row, what it is); the order of the table.
WAYS = ("andon, cold", "andon, warm", "other, cold", "other, warm", BASE, "bare ssh, warm", "clush", "ordinary, cold", "ordinary, warm")
STOP_SH = ROOT / "roles" / "emergency_stop" / "files" / "stop.sh"
TICKERS = 20


@dataclass
class Sample:
    """One run: seconds from the start of the command to the last target's last stopped container, and to the command's end.

    cpu: seconds of CPU that the command and all that it started and waited for took on the bastion.
    """

    down: float
    ended: float
    cpu: float


@dataclass
class Series:
    """All runs on so many targets: {way: samples, one per round (the slow ways: fewer)}."""

    targets: int
    samples: dict[str, list[Sample]] = field(default_factory=dict)

    def median(self, way: str, what: str) -> float | None:
        found = self.samples.get(way)
        return statistics.median(getattr(s, what) for s in found) if found else None

    def ratio(self, way: str, what: str = "ended") -> float | None:
        """The median of the ratios to bare ssh within each round: what loads the machine meets both."""
        pairs = list(zip(self.samples.get(way, []), self.samples.get(BASE, []), strict=False))
        return statistics.median(getattr(a, what) / getattr(b, what) for a, b in pairs) if pairs else None


def script(mode: str = "graceful") -> str:
    """The very text that the emergency stop sends with the roles' defaults."""
    header = stop.header("bench", "bench", "", "2026-11-22T03:00:00.000Z")
    return stop.script(
        STOP_SH.read_text(encoding="utf-8"), cli="docker", mode=mode, grace=5, state="/var/lib/andon", selectors=["label=andon.component"],
        components=[], protected=[], strategy="", latch_header=header, check=False, settle=1,
    )  # fmt: skip


def cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Ways:
    """The ways to stop a farm; each returns when its command has ended, and fails in words when the stop failed."""

    def __init__(self, farm: Farm, count: int, other: Path | None = None) -> None:
        self.farm = farm
        self.count = count
        self.other = other
        self.inventory = farm.inventory(count)
        self.sockets = {name: farm.folder / name for name in ("a", "b", "o", "x")}
        for path in self.sockets.values():
            path.mkdir(mode=0o700, exist_ok=True)
        self.script = script()

    def _ansible(self, argv: list[str], sockets: str, **more: str) -> None:
        env = {k: v for k, v in os.environ.items() if not k.startswith(("ANSIBLE_", "ANDON_"))}
        env |= {"ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.sockets[sockets]), "ANSIBLE_NOCOLOR": "1", "ANDON_STATE": str(self.farm.folder / "state"), **more}
        done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise lab.LabError(f"{' '.join(argv[:4])} ended with {done.returncode}, so there is nothing to compare:\n{(done.stdout + done.stderr)[-1500:]}")

    def andon(self, checkout: Path = ROOT, sockets: str = "a") -> None:
        self._ansible([sys.executable, str(checkout / "cli.py"), "-i", str(self.inventory), "stop", "--yes"], sockets)

    def another(self) -> None:
        """The same by another checkout: before and after a change, in one run."""
        if self.other:
            self.andon(self.other, "x")

    def ordinary(self) -> None:
        """Facts, then one task per container; Ansible's own defaults (5 forks, no pipelining)."""
        playbook, config = self.farm.folder / "ordinary.yml", self.farm.folder / "ordinary.cfg"
        task = {"name": "Stop the containers", "ansible.builtin.command": "docker stop {{ item }}", "loop": list(CONTAINERS)}
        playbook.write_text(json.dumps([{"name": "Stop", "hosts": "trading", "gather_facts": True, "tasks": [task]}]))
        config.write_text("[defaults]\n")
        tool = Path(sys.executable).with_name("ansible-playbook")
        argv = [str(tool) if tool.exists() else "ansible-playbook", str(playbook), "-i", str(self.inventory)]
        self._ansible(argv, "o", ANSIBLE_CONFIG=str(config))

    def bare(self, *options: str) -> None:
        def one(number: int) -> subprocess.CompletedProcess[str]:
            return subprocess.run([*self.farm.ssh(number, *options), self.script], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)

        with ThreadPoolExecutor(self.count) as pool:
            for number, done in enumerate(pool.map(one, self.farm.numbers(self.count)), 1):
                verdict, why = stop.judge(stop.parse(done.stdout))
                if verdict != stop.HALTED:
                    raise lab.LabError(f"bare ssh did not stop target {number}: {verdict} {why} {done.stderr.strip()[-300:]}")

    def bare_warm(self) -> None:
        # stderr of a master that stays would keep the pipe open: -n and a log file are what OpenSSH's manual says for that.
        self.bare("-E", str(self.farm.folder / "ssh.log"), "-o", "ControlMaster=auto", "-o", "ControlPersist=300", "-o", f"ControlPath={self.sockets['b']}/%p")

    def clush(self) -> None:
        names = ",".join(f"t{i:02}" for i in self.farm.numbers(self.count))
        argv = ["clush", "-q", "-S", "-f", str(self.count), "-w", names, "-o", f"-F {self.farm.ssh_config(self.count)}", self.script]
        done = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
        if done.returncode:
            raise lab.LabError(f"clush ended with {done.returncode}: {(done.stdout + done.stderr)[-400:]}")

    def _timed(self, work: Callable[[], None]) -> Sample:
        self.farm.reset()
        before, pressed, begun = cpu_of_children(), time.time(), time.monotonic()
        work()
        ended, cpu = time.monotonic() - begun, cpu_of_children() - before
        return Sample(self.farm.down_at(self.count) - pressed, ended, cpu)

    def round(self, slow: bool) -> Iterator[tuple[str, Sample]]:
        """One run of every way, close together: load that comes and goes meets all of them.

        Args:
            slow: the ordinary way too.
        """
        self.farm.close(self.sockets["a"])
        yield "andon, cold", self._timed(self.andon)
        yield BASE, self._timed(self.bare)
        yield "andon, warm", self._timed(self.andon)
        if not list(self.sockets["b"].iterdir()):
            self.bare_warm()
        yield "bare ssh, warm", self._timed(self.bare_warm)
        if self.other:
            self.farm.close(self.sockets["x"])
            yield "other, cold", self._timed(self.another)
            yield "other, warm", self._timed(self.another)
        if shutil.which("clush"):
            yield "clush", self._timed(self.clush)
        if slow:
            self.farm.close(self.sockets["o"])
            yield "ordinary, cold", self._timed(self.ordinary)
            yield "ordinary, warm", self._timed(self.ordinary)

    def close(self) -> None:
        for path in self.sockets.values():
            self.farm.close(path)


def measure(farm: Farm, targets: int, options: argparse.Namespace) -> Series:
    series = Series(targets)
    ways = Ways(farm, targets, options.against)
    try:
        for turn in range(options.rounds):
            for way, sample in ways.round(turn < options.slow_rounds and targets <= options.slow_targets):
                series.samples.setdefault(way, []).append(sample)
                words = f"all down after {sample.down:.2f} s, ended after {sample.ended:.2f} s, {sample.cpu:.2f} s of CPU"
                say(f"{targets} targets, round {turn + 1}/{options.rounds}: {way}: {words}")
    finally:
        ways.close()
    return series


def start_costs(rounds: int) -> dict[str, float]:
    """Medians, in seconds, of what stands in front of every verb."""
    tool = Path(sys.executable).with_name("ansible-playbook")
    with tempfile.TemporaryDirectory(prefix="andon-bench-") as name:
        empty = Path(name) / "empty.yml"
        empty.write_text("- hosts: localhost\n  gather_facts: false\n  tasks: []\n")
        argvs = {
            "`python -c pass`": [sys.executable, "-c", "pass"],
            "`andon --help`": [sys.executable, str(ROOT / "cli.py"), "--help"],
            "`ansible-playbook` on a play without tasks": [str(tool) if tool.exists() else "ansible-playbook", str(empty), "-i", "localhost,"],
        }
        found: dict[str, list[float]] = {words: [] for words in argvs}
        for _ in range(rounds):
            for words, argv in argvs.items():
                begun = time.monotonic()
                subprocess.run(argv, check=True, capture_output=True, cwd=ROOT)
                found[words].append(time.monotonic() - begun)
    return {words: statistics.median(times) for words, times in found.items()}


# One writes the time into a file of its own, every 20 ms, and ignores SIGTERM.
TICKER = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
path = "/ticks/" + os.uname().nodename
while True:
    with open(path, "a") as ticks:
        ticks.write("%.4f\\n" % time.time())
    time.sleep(0.02)
"""


def last_tick(mode: str = "now") -> dict[str, float] | None:
    """A stop of TICKERS containers that ignore SIGTERM on a real lab host, all times on that host's clock.

    Returns:
        seconds from the script's begin there to the last tick of any application, to all exited, and to the proof's end; None
        when this checkout's lab is not up.
    """
    if set(lab.HOSTS) - lab.running():
        return None
    host = lab.HOSTS[0]
    box = lab.container(host)
    run = f"rm -rf /run/ticks && mkdir /run/ticks && for i in $(seq {TICKERS}); do docker run -d --label andon.component=strategy --label {LABEL}"
    run += ' --restart always -v /usr:/usr:ro -v /run/ticks:/ticks trading:1 python3 -IS -c "$1" >/dev/null; done'
    ssh = ["ssh", "-F", str(lab.STATE / "ssh_config"), host]
    try:
        lab.docker("exec", box, "sh", "-c", run, "sh", TICKER)
        wait = f'until [ "$(ls /run/ticks | wc -l)" = {TICKERS} ]; do sleep 0.1; done'
        lab.docker("exec", box, "timeout", "60", "sh", "-c", wait)
        done = subprocess.run([*ssh, script(mode)], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
        answer = stop.parse(done.stdout)
        verdict, why = stop.judge(answer)
        if verdict != stop.HALTED or not answer.began or answer.began[0] is None or not answer.ended:
            raise lab.LabError(f"the stop on {host} is not proven: {verdict} {why} {done.stderr.strip()[-300:]}")
        ticks = lab.docker("exec", box, "sh", "-c", "tail -qn 1 /run/ticks/*").split()
        ends = [row for row in (stop.parse_utc(one["finished_at"]) for one in answer.after.values()) if row]
        began = answer.began[0]
        return {
            "containers": len(answer.after),
            "tick": max(map(float, ticks)) - began,
            "exited": max(ends) - began,
            "proof": answer.ended[1] - answer.began[1],
        }
    finally:
        lab.docker("exec", box, "sh", "-c", f"docker ps -aq --filter label={LABEL} | xargs -r docker rm -f", check=False)
        lab.reset([host])


def median_tick(rounds: int) -> dict[str, float] | None:
    """The medians of several such stops; None without a lab."""
    found = [one for one in (last_tick() for _ in range(rounds)) if one]
    return {key: statistics.median(one[key] for one in found) for key in found[0]} if found else None


def say(line: str) -> None:
    print("bench: " + line, file=sys.stderr, flush=True)


def shown(value: float | None, form: str = "%.2f") -> str:
    return "–" if value is None else form % value


def table(all_series: Iterable[Series]) -> list[str]:
    lines = ["| targets | way | runs | all down, s | ended, s | CPU, s | ended ÷ bare ssh | all down ÷ bare ssh |", "|--:|---|--:|--:|--:|--:|--:|--:|"]
    for series in all_series:
        for way in WAYS:
            if way in series.samples:
                cells = [str(series.targets), way, str(len(series.samples[way])), shown(series.median(way, "down")), shown(series.median(way, "ended"))]
                cells.append(shown(series.median(way, "cpu")))
                cells += [shown(series.ratio(way)), shown(series.ratio(way, "down"))]
                lines.append("| " + " | ".join(cells) + " |")
    return lines


def goals(all_series: Iterable[Series], tick: dict[str, float] | None) -> list[str]:
    """One line per goal, reached or not."""
    found: list[tuple[str, float, float, str]] = []
    for series in all_series:
        cold, warm = series.ratio("andon, cold"), series.ratio("andon, warm")
        if series.targets == 50 and cold is not None and warm is not None:
            found += [("50 targets, cold ÷ bare ssh, ended", cold, 1.0, "")]
            found += [("50 targets, warm ÷ bare ssh, all down", series.ratio("andon, warm", "down") or warm, 0.6, "")]
            found += [("50 targets, warm ÷ bare ssh, ended", warm, 0.6, "")]
        ours, bare = series.median("andon, cold", "ended"), series.median(BASE, "ended")
        if series.targets == 1 and ours is not None and bare is not None:
            found.append(("1 target, cold, longer than bare ssh by", ours - bare, 1.0, " s"))
    if tick:
        found.append((f"last application tick of {tick['containers']:.0f} containers, `--now`, after the script's begin", tick["tick"], 1.0, " s"))
    lines = ["| goal | at most | measured | |", "|---|--:|--:|---|"]
    return lines + [
        f"| {words} | {limit:.1f}{unit} | {value:.2f}{unit} | {'reached' if value <= limit else '**missed**'} |" for words, value, limit, unit in found
    ]


def versions() -> str:
    def first(argv: list[str], error: bool = False) -> str:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        return ((done.stderr if error else done.stdout).strip().splitlines() or ["?"])[0]

    from importlib.metadata import version

    words = [f"Python {sys.version.split()[0]}", f"ansible-core {version('ansible-core')}", first(["ssh", "-V"], error=True)]
    if shutil.which("clush"):
        words.append(first(["clush", "--version"]))
    return ", ".join(words)


def page(all_series: list[Series], costs: dict[str, float], tick: dict[str, float] | None, loads: list[float]) -> str:
    day = datetime.datetime.now(datetime.UTC).date().isoformat()
    lines = [
        f"{day} (UTC); {os.cpu_count()} cores, which are bastion and all targets at once; load average at the begin and after each block: "
        + ", ".join(f"{load:.1f}" for load in loads)
        + f"; {versions()}.",
        "",
        *goals(all_series, tick),
        "",
        *table(all_series),
        "",
        "| start, median of the runs | s |",
        "|---|--:|",
        *(f"| {words} | {seconds:.2f} |" for words, seconds in costs.items()),
    ]
    if tick:
        lines += [
            "",
            f"`--now` on a real lab host with {tick['containers']:.0f} containers, {TICKERS} of which ignore SIGTERM and tick every 20 ms; "
            f"from the script's begin there, medians: last tick {tick['tick']:.2f} s, all exited {tick['exited']:.2f} s, proof complete {tick['proof']:.2f} s.",
        ]
    else:
        lines += ["", "The lab was not up: the last tick was not measured (`./dev lab up`, then again)."]
    return "\n".join(lines)


def between(text: str, new: str) -> str:
    """The text with what stands between the markers replaced.

    Raises:
        ValueError: the markers are not there.
    """
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{README.name} has lost its markers {BEGIN} and {END}; put them back where the table shall stand")
    return f"{head}{BEGIN}\n{new}\n{END}{tail}"


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """One benchmark per checkout at a time: two would measure each other, and remove each other's targets."""
    with open(__file__) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise lab.LabError("another benchmark of this checkout is running; wait for it") from None
        yield


def run(options: argparse.Namespace, tag: str) -> None:
    between(README.read_text(), "")
    loads = [os.getloadavg()[0]]
    costs = start_costs(options.rounds)
    tick = median_tick(options.rounds)
    found = []
    with Farm(tag, max(options.targets)) as farm:
        for targets in options.targets:
            found.append(measure(farm, targets, options))
            loads.append(os.getloadavg()[0])
            # After each block: what an interruption takes away is the next block only.
            text = page(found, costs, tick, loads)
            if not options.dry:
                README.write_text(between(README.read_text(), text))
    print(text)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", type=lambda t: [int(n) for n in t.split(",")], default=[1, 10, 50], help="numbers of targets, at most 99 each")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--slow-rounds", type=int, default=1, help="rounds with the ordinary way, which takes minutes on 50 targets")
    parser.add_argument("--slow-targets", type=int, default=50, help="the ordinary way on so many targets at most")
    parser.add_argument("--against", type=lambda p: Path(p).resolve(), help="another checkout of Andon, measured in the same rounds (before a change)")
    parser.add_argument("--dry", action="store_true", help="print only; leave bench/README.md as it is")
    options = parser.parse_args()
    if options.rounds < 1 or not all(1 <= n <= 99 for n in options.targets):
        parser.error("--rounds is at least 1, --targets are numbers from 1 to 99")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        tag = require()
        with alone():
            run(options, tag)
    except KeyboardInterrupt:
        print("bench: interrupted; the targets are removed; bench/README.md has what was complete", file=sys.stderr)
        return 130
    except subprocess.TimeoutExpired as error:
        print(f"bench: {' '.join(map(str, error.cmd[:2]))} did not answer within {error.timeout:g} s; is the engine well? type: docker info", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"bench: {' '.join(map(str, error.cmd[:3]))} ended with {error.returncode}: {(error.stderr or b'')[-300:]!r}", file=sys.stderr)
        return 1
    except (lab.LabError, OSError, ValueError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
