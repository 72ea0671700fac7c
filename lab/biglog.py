#!/usr/bin/env python3
"""Writes a container's log straight into the engine's json-file, as large as asked: through the engine a gigabyte takes minutes.

Run as root on a lab host, by the benchmark of the bundle and by the fault tests:

    biglog.py NAME MEGABYTES [wide]

Makes a container NAME that has ended and gives it a log of MEGABYTES (as `docker logs --timestamps` prints them) whose lines were written
evenly in the last half hour; wide ones are dumps of an order book, 12 KB each. Its last line is MARK. Prints how many
lines that are. Standard library only.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable

MARK = "the last line of a long log"
# Bytes of different lines before they repeat: far more than a packer looks back.
POOL = 48_000_000
SECONDS = 1800.0
STAMP = len("2026-11-22T03:00:00.000000000Z ")


def docker(*words: str) -> str:
    return subprocess.run(["docker", *words], check=True, capture_output=True, text=True).stdout.strip()


def narrow(source: random.Random) -> str:
    """A line of a strategy."""
    return (
        f"INFO strategy.mean_reversion order_id={source.randrange(10**9)} side=BUY qty={source.random():.4f} px={source.random() * 1e5:.2f}"
        f' venue=binance latency_us={source.randrange(9999)} msg="filled on BTC-USDT"\n'
    )


def wide(source: random.Random) -> str:
    """A line with a whole order book: seventy levels of it differ, the rest is as before."""
    levels = ",".join(f"[{source.random() * 1e5:.2f},{source.random():.5f}]" for _ in range(70))
    return 'DEBUG book {"levels": [%s%s]}\n' % (levels, ",[0.00,0.00000]" * 725)


def pool(size: int, line: Callable[[random.Random], str]) -> tuple[list[str], int]:
    """Lines of the json-file without their time, and how many bytes `docker logs --timestamps` prints for them."""
    source = random.Random(1)
    lines, printed = [], 0
    while printed < size:
        text = line(source)
        lines.append('{"log":%s,"stream":"stdout","time":"' % json.dumps(text))
        printed += len(text) + STAMP
    return lines, printed


def write(path: str, megabytes: int, line: Callable[[random.Random], str]) -> int:
    """The log at C(path), 0640 as the engine made it; returns how many lines it has."""
    wanted = megabytes * 1_000_000
    lines, printed = pool(min(POOL, wanted), line)
    total = max(1, round(wanted / printed * len(lines)))
    begin, left = time.time() - SECONDS, total
    with open(path, "w", encoding="ascii") as out:
        while left:
            part = lines[: min(left, len(lines))]
            pieces = []
            for start in range(0, len(part), 1000):
                # A thousand lines share a microsecond; nobody looks closer.
                at = begin + SECONDS * (total - left + start) / total
                end = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at)) + ".%06d000Z" % (at % 1 * 1e6) + '"}\n'
                pieces.append(end.join(part[start : start + 1000]) + end)
            out.write("".join(pieces))
            left -= len(part)
        end = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(begin + SECONDS)) + ".999999999Z"
        out.write(json.dumps({"log": MARK + "\n", "stream": "stdout", "time": end}, separators=(",", ":")) + "\n")
    return total + 1


def main() -> None:
    name, megabytes, kind = sys.argv[1], int(sys.argv[2]), wide if sys.argv[3:] == ["wide"] else narrow
    program = ["/usr/bin/python3", "-I", "-S", "-c", "pass"]
    docker("run", "--name", name, "--label", "andon.component=data", "-v", "/usr:/usr:ro", "trading:1", *program)
    print(write(docker("inspect", "--format", "{{.LogPath}}", name), megabytes, kind))


if __name__ == "__main__":
    main()
