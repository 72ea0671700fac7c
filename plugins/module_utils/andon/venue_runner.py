"""The process on the bastion that asks the venues, and how actions start it and hear from it.

A process of its own, because a venue, a name server or a lookup that hangs must never hold a host's stop or verdict.
The configuration goes through a memory file: nothing secret is in an argv or on a disk.

In a stop the process is started with the first host's task and cancels while the hosts are being stopped. When all hosts are
judged (`release`) it makes its last passes, since whatever was still running may have placed orders until then. It talks through a
folder of its own in memory:
    release         the hosts are done: make the last passes
    result.json     {"venues": rows} or {"error": words}; written once, at the end
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .state import state_dir, utc_now, write_atomic
from .text import clean

# venues.py is imported in the process and not here: that takes longer than all else that a stop's first task does for the venues.
if TYPE_CHECKING:
    from . import venues

LONGEST = 3600.0  # seconds that a stop's process follows a run which does not end (andon stop --until-proven)
GRACE = 5.0  # seconds on top of the budget, for the start of Python and ccxt on a busy bastion
# What more can be asked of a venue: the modules here with a function `rows`.
TASKS = {
    "positions": "positions",
    "close": "closing",
    "trades": "venue_trades",
    "probe": "venue_probe",
    "switch": "venue_switch",
    "capabilities": "venue_switch",
}
READING = 60  # seconds after which reading andon_venues (a lookup that hangs) is given up


def run_key() -> str:
    """Names this run of ansible-playbook, the same for all its workers: the parent's process id and its start."""
    pid = os.getppid()
    return "%d-%s" % (pid, _started(pid))


def _started(pid: int) -> str:
    with open("/proc/%d/stat" % pid, encoding="ascii", errors="replace") as source:
        return source.read().rpartition(")")[2].split()[19]


def _places(key: str) -> Iterator[Path]:
    # Memory first: the disk may be full. Both are everybody's, so _own looks at what is found there.
    for base in ("/dev/shm", tempfile.gettempdir()):  # noqa: S108
        yield Path(base) / ("andon-venues-%d-%s" % (os.getuid(), key))


def _own(folder: Path) -> bool:
    """True if this is a folder that only we can have made: /dev/shm and /tmp are everybody's."""
    try:
        found = os.lstat(folder)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077


def find_folder(key: str) -> Path | None:
    """The folder of this run, if its process was started."""
    return next((place for place in _places(key) if _own(place)), None)


def _make_folder(key: str) -> Path:
    for place in _places(key):
        with contextlib.suppress(OSError):
            place.mkdir(mode=0o700)
            return place
    raise OSError("no folder could be made in /dev/shm or %s" % tempfile.gettempdir())


def launch(job: dict[str, Any], **more: Any) -> subprocess.Popen[str]:
    """Starts this module as a process of its own. job: see `main`. more: arguments of Popen."""
    memory = os.memfd_create("andon-venues")
    with open(memory, "w+b") as source:
        source.write(json.dumps(job).encode())
        source.seek(0)
        root = str(Path(__file__).resolve().parents[1])
        environ = dict(os.environ, PYTHONPATH=root + os.pathsep + os.environ.get("PYTHONPATH", ""))
        argv = [sys.executable, "-P", "-m", "andon.venue_runner"]
        return subprocess.Popen(argv, stdin=source, env=environ, text=True, **more)


def ask(config: Any, *, cancel: bool, status: bool = False, budget: float = 10.0, only: str = "") -> list[dict[str, Any]]:
    """One pass over the venues in a process of its own; waits for it.

    Returns:
        one row per venue (venues.blank has the form).

    Raises:
        venues.ConfigError: andon_venues or `only` is wrong; nothing was sent.
        OSError: the process could not be started, or ended without an answer.
    """
    return call({"config": config, "cancel": cancel, "status": status, "budget": budget, "only": only})


def call(job: dict[str, Any]) -> list[dict[str, Any]]:
    """Does one job in a process of its own, and waits for it for its budget and a little more.

    Args:
        job: see `main`; budget (seconds) and config are in every job.

    Returns:
        one row per venue.

    Raises:
        venues.ConfigError: the job is wrong; nothing was sent.
        OSError: the process could not be started, or ended without an answer.
    """
    from .venues import ConfigError

    budget = float(job["budget"])
    process = launch(job, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        out, err = process.communicate(timeout=budget + 2 * GRACE)
        answer = json.loads(out)
    except subprocess.TimeoutExpired as error:
        process.kill()
        process.communicate()
        raise OSError("the process that asks the venues did not end within %g s" % (budget + 2 * GRACE)) from error
    except ValueError as error:
        raise OSError("the process that asks the venues broke: %s" % clean(err.strip().rpartition("\n")[2], 200)) from error
    if "error" in answer:
        raise ConfigError(answer["error"])
    return answer["venues"]


def start(read: Callable[[], Any], *, cancel: bool, budget: float) -> Path:
    """Starts the process of a stop, and comes back at once.

    Args:
        read: gives andon_venues, decrypted; it is called in a fork, because it may hang. cancel, budget: as in venues.Run.follow.

    Returns:
        the folder of this run.

    Raises:
        OSError: no folder, or no process could be made.
    """
    parent = os.getppid()
    folder = _make_folder(run_key())
    if os.fork():
        return folder
    try:  # the fork: it never returns into Ansible
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(READING)
        job = {"config": read(), "cancel": cancel, "budget": budget, "folder": str(folder), "parent": [parent, _started(parent)]}
        launch(job, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    except BaseException as error:
        with contextlib.suppress(OSError):
            write_atomic(folder / "result.json", {"error": "andon_venues cannot be read: %s" % clean(error, 300)}, 0o600)
    finally:
        os._exit(0)


def finish(folder: Path, budget: float) -> dict[str, Any]:
    """Tells the process of a stop that the hosts are done, and waits for its result; then its folder is removed.

    Returns:
        {"venues": rows} or {"error": words}; an error also if it did not end in time.
    """
    try:
        (folder / "release").touch()
        ends = time.monotonic() + budget + GRACE
        while not (folder / "result.json").exists():
            if time.monotonic() > ends:
                return {"error": "nothing came back within %g s" % (budget + GRACE)}
            time.sleep(0.02)
        return json.loads((folder / "result.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        return {"error": clean(error, 200)}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# In the process


def main() -> None:
    """Reads one job from standard input, does it, and writes the answer to the job's folder or to standard output."""
    from . import venues

    job = json.load(sys.stdin)
    try:
        if job.get("task"):  # the name of a module here with a function `rows`: what more can be asked of a venue
            answer = {"venues": importlib.import_module("." + TASKS[job["task"]], __package__).rows(job)}
            print(json.dumps(answer), flush=True)
            os._exit(0)
        run = venues.Run(job["config"], only=job.get("only") or "")
        if job.get("folder"):
            answer = {"venues": _follow(run, job)}
        else:
            answer = {"venues": run.once(cancel=job["cancel"], status=job.get("status", False), budget=job["budget"])}
    except venues.ConfigError as error:
        answer = {"error": clean(error, 300)}
    if not job.get("folder"):
        print(json.dumps(answer), flush=True)
    elif _alive(job["parent"]) and _own(Path(job["folder"])):
        write_atomic(Path(job["folder"]) / "result.json", answer, 0o600)
    else:  # interrupted, or given up: nobody waits, but what is known is not lost
        shutil.rmtree(job["folder"], ignore_errors=True)
        stamp = utc_now().replace(":", "").replace("-", "")
        write_atomic(state_dir() / "proofs" / ("%s-orders.json" % stamp), answer)
    os._exit(0)  # a thread whose request hangs must not hold the process


def _alive(parent: list[Any]) -> bool:
    try:
        return _started(parent[0]) == parent[1]
    except (OSError, IndexError):
        return False


def _follow(run: venues.Run, job: dict[str, Any]) -> list[dict[str, Any]]:
    released = threading.Event()

    def watch() -> None:
        ends = time.monotonic() + LONGEST
        while not (Path(job["folder"]) / "release").exists() and _alive(job["parent"]) and time.monotonic() < ends:
            time.sleep(0.02)
        released.set()

    threading.Thread(target=watch, daemon=True).start()
    return run.follow(released, cancel=job["cancel"], budget=job["budget"])


if __name__ == "__main__":
    main()
