"""One look of the watch at one host: memory, restarts, health, errors in the logs, latches. Standard library only, Python 3.8."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

from .cgroup import Memory, NoAccounting, host_memory
from .engine import EngineError
from .latch import LatchError, read

# Log lines of one container that are read in one look; more errors than that are as good a reason to wake somebody.
LINES = 500
# Calls to the engine at the same time: enough to be quick, few enough not to be the load that is looked for.
AT_ONCE = 8


def errors(engine, container_id, pattern, window):
    """How many of the container's log lines of the last C(window) seconds look like errors.

    Returns:
        dict count, lines (that were read), full (True: there were more lines than are read); None when the engine keeps no
        logs that can be read. The lines themselves stay on the host: they may hold secrets.
    """
    try:
        code, out, err = engine.run("logs", "--since", "%ds" % window, "--tail", str(LINES), container_id, deadline=5.0)
    except EngineError:
        return None
    if code:
        return None
    lines = (out + err).splitlines()
    return {"count": sum(1 for line in lines if pattern.search(line)), "lines": len(lines), "full": len(lines) >= LINES}


def memory_of(container, proc="/proc"):
    """held, working, firm, limit, kills of a running container; {"error": words} when they cannot be known."""
    if not container.running or container.pid <= 0:
        return {}
    try:
        memory = Memory(container.pid, proc)
        figures = memory.figures()
    except NoAccounting as error:
        return {"error": str(error)}
    except OSError:
        return {}  # it ended during the look; the next look tells
    return {
        "held": figures["held"],
        "working": figures["working"],
        "firm": figures["firm"],
        "limit": memory.limit(),
        "kills": memory.kills(),
    }


def look(engine, containers, host_state, pattern, window, proc="/proc"):
    """Everything of one host.

    Args:
        engine: engine.Engine; containers: the covered ones.
        host_state: Andon's folder on the host.
        pattern: finds an error in a log line (C(finder)).
        window: seconds of logs that are read.

    Returns:
        dict memory, latches, latch_error, containers.
    """
    latches, latch_error = [], None
    try:
        latches = [{"scope": one.scope, "words": one.words(), "containers": [c.id for c in containers if one.covers(c)]} for one in read(host_state)]
    except LatchError as error:
        latch_error = str(error)

    def one(container):
        return {
            "id": container.id,
            "name": container.name,
            "component": container.component,
            "strategy": container.strategy,
            "status": container.status,
            "running": container.running,
            "health": container.health,
            "restarts": container.restarts,
            "started_at": container.started_at,
            "exit_code": container.exit_code,
            "memory": memory_of(container, proc),
            "errors": errors(engine, container.id, pattern, window) if container.running else None,
        }

    with ThreadPoolExecutor(AT_ONCE) as pool:
        described = list(pool.map(one, containers))
    return {"memory": host_memory(proc), "latches": latches, "latch_error": latch_error, "containers": described}


def finder(words):
    """A compiled pattern that finds one of these words, whole and in any case; with no words it finds nothing.

    Words, not a pattern of the operator's: a careless one can take minutes for one line.
    """
    if not words:
        return re.compile(r"(?!)")
    return re.compile(r"(?<!\w)(?:%s)(?!\w)" % "|".join(re.escape(word) for word in words), re.IGNORECASE)
