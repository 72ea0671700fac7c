"""A host with a container engine, in a folder: a `docker` executable, its state, and the kernel's memory files.

It keeps to what the real engine was seen to do (20.10 and 28 on cgroup v1): memory without memory-swap is refused when
it is above the stored one, 0 is ignored, -1 is no memory, a stop of what is down succeeds, a start makes a new PID and cgroup.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import re
import shutil
import sys
from pathlib import Path

V1_NONE = 9223372036854771712


def container(name, labels=None, **more):
    """The engine's record of one running container; `more`: memory, swap, status, health, anon, policy, and faults.

    Faults: race (so many stops or restarts answer "is not running" because it died by itself), broken (ends at once when started),
    sick (the health check fails after a start), oom_below (bytes: ends at once under a smaller limit).
    """
    return {
        "id": (name.encode().hex() * 64)[:64],
        "name": name,
        "labels": labels or {},
        "status": "running",
        "health": "",
        "exit_code": 0,
        "pid": 0,
        "starts": 1,
        "memory": 0,
        "swap": 0,
        "anon": 20 << 20,
        "policy": "no",
        "oom": False,
        "logs": ["first", "second", f"{name} says why"],
    } | more


class Host:
    """One host in `folder`.

    Attributes:
        cli: the path of its engine's CLI. root: where its /proc and /sys are. state: Andon's folder on it.
    """

    def __init__(self, folder, containers, *, cgroup=1, **more):
        self.folder, self.root, self.state = Path(folder), Path(folder) / "root", Path(folder) / "state"
        self.folder.mkdir(parents=True)
        self.cli = self.folder / "docker"
        # Tests without Ansible call `answer` in their own process; a process for each command is 30 times slower.
        self.cli.write_text(f"#!{sys.executable} -SE\n" + Path(__file__).read_text())
        self.cli.chmod(0o755)
        data = {"containers": containers, "cgroup": cgroup, "swap": True, "accounting": True, "refuse": {}, "kernel": None, "next_pid": 100} | more
        with open_state(self.folder, data):
            pass
        with open_state(self.folder) as now:
            for one in now["containers"]:
                status = one["status"]
                if status in ("running", "paused"):
                    boot(self.folder, now, one)
                    one["status"] = status

    def __getitem__(self, name):
        with open_state(self.folder) as now:
            return next(one for one in now["containers"] if one["name"] == name)

    @contextlib.contextmanager
    def change(self):
        with open_state(self.folder) as now:
            yield now

    def calls(self, *verbs):
        """The commands so far, words joined; only these verbs when some are given."""
        path = self.folder / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line for line in lines if not verbs or line.split()[0] in verbs]

    def changes(self):
        return self.calls("stop", "start", "restart", "kill", "update")

    def latch(self, scope="all"):
        (self.state / "halts").mkdir(parents=True, exist_ok=True)
        data = {"incident": "2026-11-22-x", "operator": "ann", "reason": "bad prices", "at": "2026-11-22T03:00:00.000Z", "containers": []}
        (self.state / "halts" / f"{scope}.json").write_text(json.dumps(data))


@contextlib.contextmanager
def open_state(folder, new=None):
    """The engine's state, locked: `docker` runs many times at once."""
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        path = folder / "engine.json"
        data = new or json.loads(path.read_text())
        yield data
        path.write_text(json.dumps(data))


def cgroup_folder(folder, data, one):
    return folder / "root/sys/fs/cgroup" / ("memory" if data["cgroup"] == 1 else "") / "docker" / one["id"]


def boot(folder, data, one):
    """The container's process starts: a PID and a memory cgroup with the limit of this moment."""
    data["next_pid"] += 1
    one.update(pid=data["next_pid"], status="running", exit_code=0, oom=False)
    if one["health"]:
        one["health"] = "unhealthy" if one.get("sick") and one["starts"] > 1 else "healthy"
    proc, group = folder / "root/proc" / str(one["pid"]), cgroup_folder(folder, data, one)
    proc.mkdir(parents=True)
    group.mkdir(parents=True, exist_ok=True)
    path = f"/docker/{one['id']}"
    (proc / "cgroup").write_text(f"4:memory:{path}\n0::/x\n" if data["cgroup"] == 1 else f"0::{path}\n")
    (group / "cgroup.procs").write_text(f"{one['pid']}\n")
    memory, swap = data["kernel"] or one["memory"], one["swap"]
    if data["accounting"]:
        files = v1_files(one, memory, swap) if data["cgroup"] == 1 else v2_files(one, memory, swap)
        if not data["swap"]:
            files = {name: text for name, text in files.items() if "memsw" not in name and "swap" not in name}
        for name, text in files.items():
            (group / name).write_text(text)
    if one.get("broken") and one["starts"] > 1:
        end(folder, one, 3)
    elif one["memory"] and one["memory"] < one.get("oom_below", 0):
        end(folder, one, 137)
        one["oom"] = True


def v1_files(one, memory, swap):
    return {
        "memory.limit_in_bytes": f"{memory or V1_NONE}\n",
        "memory.memsw.limit_in_bytes": f"{swap if swap > 0 else V1_NONE}\n",
        "memory.usage_in_bytes": f"{one['anon'] + (3 << 20)}\n",
        "memory.stat": f"rss {one['anon']}\ntotal_rss {one['anon']}\ntotal_inactive_file {3 << 20}\n",
    }


def v2_files(one, memory, swap):
    return {
        "memory.max": f"{memory or 'max'}\n",
        "memory.swap.max": f"{swap - one['memory'] if memory and swap > 0 else 'max'}\n",
        "memory.current": f"{one['anon'] + (3 << 20)}\n",
        "memory.stat": f"anon {one['anon']}\ninactive_file {3 << 20}\n",
    }


def end(folder, one, code):
    shutil.rmtree(folder / "root/proc" / str(one["pid"]), ignore_errors=True)
    one.update(pid=0, status="exited", exit_code=code)


def inspected(one):
    state = {"Status": one["status"], "Running": bool(one["pid"]), "Pid": one["pid"], "ExitCode": one["exit_code"], "OOMKilled": one["oom"]}
    state["StartedAt"] = f"2026-11-22T03:00:{one['starts']:02d}.000000000Z"
    if one["health"]:
        state["Health"] = {"Status": one["health"]}
    return {
        "Id": one["id"],
        "Name": "/" + one["name"],
        "Image": "sha256:1",
        "RestartCount": 0,
        "Config": {"Image": "app:1", "Labels": one["labels"], "Env": ["API_TOKEN=planted-secret", "MODE=paper"]},
        "HostConfig": {
            "AutoRemove": one.get("rm", False),
            "Memory": one["memory"],
            "MemorySwap": one["swap"],
            "RestartPolicy": {"Name": one["policy"], "MaximumRetryCount": 0},
        },
        "State": state,
    }


class Refused(Exception):
    """The engine's refusal."""


def refuse(words):
    raise Refused(f"Error response from daemon: {words}")


def matches(one, term):
    kind, _, rest = term.partition("=")
    if kind == "label":
        key, has, value = rest.partition("=")
        return key in one["labels"] and (not has or one["labels"][key] == value)
    return kind == "name" and (re.search(rest, "/" + one["name"]) or re.search(rest, one["name"]))


def size(text, flag):
    if text == "-1" and flag == "--memory":
        raise Refused('invalid argument "-1" for "-m, --memory" flag: invalid size')
    return int(text)


def update(data, one, args):
    new = {flag: size(args[args.index(flag) + 1], flag) for flag in ("--memory", "--memory-swap") if flag in args}
    memory, swap = new.get("--memory", 0), new.get("--memory-swap", 0)
    if 0 < memory < 6 << 20:
        refuse("Minimum memory limit allowed is 6MB")
    if memory and not swap and memory > one["swap"] >= 0:
        refuse("Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time")
    one["memory"], one["swap"] = memory or one["memory"], swap or one["swap"]
    if not data["swap"]:
        one["swap"] = -1


def answer(folder, args):
    """One command: (exit code, stdout, stderr)."""
    with open(folder / "calls", "a") as calls:
        calls.write(" ".join(args) + "\n")
    with open_state(folder) as data:
        try:
            return 0, command(folder, data, args), ""
        except Refused as error:
            return 1, error.args[1] if len(error.args) > 1 else "", error.args[0] + "\n"


def command(folder, data, args):
    verb = args[0]
    known = {word: one for one in data["containers"] for word in (one["id"], one["name"])}
    if verb == "info":
        return json.dumps({"MemoryLimit": data["accounting"], "SwapLimit": data["swap"], "MemTotal": 8 << 30})
    if verb == "ps":
        term = args[args.index("--filter") + 1]
        return "\n".join(one["id"] for one in data["containers"] if matches(one, term))
    if verb == "inspect":
        names = args[3:]
        found = json.dumps([inspected(known[name]) for name in names if name in known])
        if not all(name in known for name in names):
            raise Refused("Error: No such container", found)
        return found
    one = known.get(args[-1]) or refuse(f"No such container: {args[-1]}")
    if verb in data["refuse"]:
        refuse(data["refuse"][verb])
    if verb == "logs":
        return "\n".join(one["logs"]) + "\n"
    if verb == "update":
        update(data, one, args)
    else:
        power(folder, data, one, verb)
    return args[-1] + "\n"


def power(folder, data, one, verb):
    if verb in ("stop", "restart") and one.get("race") and one["pid"]:
        one["race"] -= 1
        end(folder, one, 1)
        refuse(f"Cannot {verb} container: {one['name']}: container {one['id']} is not running")
    if verb == "kill" and not one["pid"]:
        refuse(f"Cannot kill container: {one['id']}: Container {one['id']} is not running")
    if verb in ("stop", "kill", "restart") and one["pid"]:
        end(folder, one, 143)
        if one.get("rm") and verb != "restart":
            data["containers"].remove(one)
    if verb in ("start", "restart"):
        one["starts"] += 1
        boot(folder, data, one)
        if latch := data.get("latch_on_start"):
            Path(latch).parent.mkdir(parents=True, exist_ok=True)
            Path(latch).write_text("{}")


if __name__ == "__main__":
    code, out, err = answer(Path(__file__).resolve().parent, sys.argv[1:])
    sys.stdout.write(out)
    sys.stderr.write(err)
    raise SystemExit(code)
