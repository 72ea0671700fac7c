"""The ends of all logs of a host, containers' and files', each bounded in bytes and seconds. Used on the hosts, Python 3.8.

Modules differ in what they look for; how a log is come by, and what is said of one that was not read, is the same for all.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from . import measure, tail
from .engine import Engine, EngineError
from .text import clean

LEAST = 0.2  # seconds: with less than that nothing is begun


class Ends:
    """What was read.

    Attributes:
        containers: the components, as the engine knows them. sources: a dict per log. engine_error: why there is no component, or "".
        files_left_out: how many log files matched and were not read.
    """

    def __init__(self, containers, sources, engine_error, files_left_out):
        self.containers, self.sources, self.engine_error, self.files_left_out = containers, sources, engine_error, files_left_out


def read(params, start, end, stop, wanted, about):
    """Reads all logs back to C(start).

    Args:
        params: the module's own: container_cli, selectors, components, log_files, log_deadline, keep.
        start, end: Unix times on the host's clock. stop: time.monotonic() at which nothing more is begun.
        wanted: a line filter for containers' logs, as in tail.container_since.
        about: what is to be known of one log: C(about(Tail, covered)) gives a dict; covered: Unix time from which on the log was read.

    Returns:
        Ends. Each source has kind, name, component, strategy, gap, error, note and what C(about) gave.
    """
    containers, engine_error = [], ""
    try:
        containers = measure.components(Engine(params["container_cli"], deadline=6.0), params["selectors"], params["components"])
        if not containers:
            engine_error = "no container matches %s" % ", ".join(params["selectors"])
    except EngineError as error:
        engine_error = str(error)
    files, left_out = tail.matching_files(params["log_files"], start)

    def of_container(one):
        left = min(params["log_deadline"], stop - time.monotonic())
        if left < LEAST:
            return tail.Tail(error="there was no time left to read its log")
        return tail.container_since(params["container_cli"], one.id, start, left, params["keep"], wanted, end)

    def of_file(path):
        left = min(params["log_deadline"], stop - time.monotonic())
        if left < LEAST:
            return tail.Tail(error="there was no time left to read it")
        try:
            # Stamps without a zone are the host's own.
            return tail.rotated_since(path, start, params["keep"] // 8, left, time.localtime(end).tm_gmtoff)
        except OSError as error:
            return tail.Tail(error="it cannot be read: %s" % error.strerror)

    def source(names, ends, what):
        seen = ends(what)
        covered = start if seen.complete else (seen.first if seen.first is not None else end)
        gap = None if seen.complete or seen.error or seen.note else covered
        return dict(names, gap=gap, error=clean(seen.error, 200), note=clean(seen.note, 200), **about(seen, covered))

    with ThreadPoolExecutor(max_workers=4) as pool:
        jobs = []
        for one in containers:
            names = {"kind": "container", "name": one.name, "component": clean(one.component, 40), "strategy": clean(one.strategy, 64)}
            jobs.append(pool.submit(source, names, of_container, one))
        for path in files:
            names = {"kind": "file", "name": clean(path, 200), "component": "", "strategy": ""}
            jobs.append(pool.submit(source, names, of_file, path))
        sources = [job.result() for job in jobs]
    return Ends(containers, sources, clean(engine_error, 200), left_out)
