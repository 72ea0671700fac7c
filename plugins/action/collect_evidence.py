# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One host's evidence, from start to finish: start the collector, show how far it is, fetch its archive, take it away from the host.

The archive comes by the connection's own file transfer, as the connection's user and never through privilege escalation: with
`become`, Ansible's fetch reads the whole file into memory, in base64, on both sides.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import json
import os
import re
import shlex
import shutil
import time
from pathlib import Path

import ansible.module_utils

# Ansible finds module_utils for modules, not for plugins on the bastion.
ansible.module_utils.__path__.append(str(Path(__file__).resolve().parents[1] / "module_utils"))

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.module_utils.andon import bundle, text
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

FOLDER = re.compile(r"(?:/[A-Za-z0-9_.\-]+)+/andon-evidence-[0-9a-f]{32}\Z")
# Bytes of one slice, where the host has no sftp server and the archive comes through the shell.
SLICE = 4 << 20
# Bytes that must stay free on the bastion.
RESERVE = 256 << 20
display = Display()


class Broken(Exception):
    """This host's collection failed; C(str()) is one line for a person."""


def board(folder, hosts, say, interval=3.0):
    """One line for all hosts, printed by whichever worker is due: hosts, bytes, time left."""
    with open(os.path.join(folder, "board"), "a+", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return
        lock.seek(0)
        last = lock.read()
        if last and time.time() - float(last) < interval:
            return
        lock.truncate(0)
        lock.write("%.3f" % time.time())
        lock.flush()
        states = []
        for path in Path(folder).glob("progress-*"):
            with contextlib.suppress(OSError, ValueError):
                states.append(json.loads(path.read_text(encoding="utf-8")))
    if last:
        say(board_words(states, hosts))


def board_words(states, hosts):
    """The line of C(board).

    Args:
        states: per host a dict: done (bool), bytes, expected (bytes), seconds. hosts: how many are asked.
    """
    done = sum(1 for one in states if one["done"])
    read = sum(one["bytes"] for one in states)
    left = [one["seconds"] * (one["expected"] - one["bytes"]) / one["bytes"] for one in states if not one["done"] and one["bytes"] and one["seconds"] > 1]
    words = "collecting: %d of %s done, %s read" % (done, text.plural(hosts, "host"), text.size(read))
    return words + (", about %s left" % text.duration(max(max(left), 1)) if left else "")


def share(begun, whole, host, now):
    """Seconds for one host: its own deadline, or what is left of the whole collection's.

    Args:
        begun: when the collection began, now: Unix times on the bastion's clock. whole, host: deadlines in seconds.

    Raises:
        Broken: nothing is left; with more hosts than forks the last ones wait for their turn.
    """
    left = begun + whole - now
    if left < 1:
        raise Broken("the whole collection's deadline of %s was over before this host's turn" % text.duration(whole))
    return min(host, left)


def on_the_hosts_clock(since, until, offset, error):
    """The window as the host's clock shows it: a host whose clock is 90 s ahead stamps its newest lines 90 s after our now.

    Args:
        since, until: Unix times on the bastion's clock. offset: host minus bastion, seconds, or None; error: of the offset.

    Returns:
        (since, until, seconds by which the window was moved; 0 when the clocks agree as well as can be told).
    """
    if offset is None or abs(offset) <= max(1.0, error):
        return since, until, 0
    moved = round(offset, 3)
    # The uncertainty widens the window; it never narrows it.
    return since + moved - error, until + moved + error, moved


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        args = dict(self._task.args)
        part, hosts, host = args.pop("part"), len(task_vars["ansible_play_hosts_all"]), task_vars["inventory_hostname"]
        deadline, whole = float(args.get("host_deadline", 900)), float(args.pop("deadline", 1800))
        args.update(since=args["since"], until=args["until"])
        if self._task.check_mode:
            result = self._execute_module(module_name="collect_evidence", module_args=dict(args, key="00"), task_vars=task_vars)
            return self._preview(result)
        if not part:
            return {"failed": True, "msg": "no bundle is open, so this host was not asked (a flag jumped over its first step)"}
        # A worker has a session of its own: it outlives a run that is killed, and would renew the collector's lease for nobody.
        self._parent = os.getppid()
        plan = bundle.load_json((Path(part) / "run.json").read_bytes(), "run.json")
        began, folder = time.monotonic(), None
        self._watch = Path(part) / "incoming"
        name = bundle.host_folder(host)
        try:
            deadline = args["host_deadline"] = share(plan["begun"], whole, deadline, time.time())
            owner, offset, error = self._greet()
            since, until, moved = on_the_hosts_clock(plan["since"], plan["until"], offset, error)
            args.update(key=plan["key"], run=plan["run"], since=since, until=until, owner=owner)
            started = self._execute_module(module_name="collect_evidence", module_args=args, task_vars=task_vars)
            if started.get("failed") or started.get("unreachable"):
                started["andon_progress"] = "FAILED  %s" % text.clean(started.get("msg", "the collector could not be started"), 140)
                return started
            folder = self._folder(started)
            state = self._wait(folder, started, name, began, deadline, hosts)
            archive = self._watch / (name + ".tar")
            self._fetch(folder, archive, state, deadline)
            manifest = bundle.receive(archive, Path(part) / "hosts" / name)
            archive.unlink()
            return self._result(manifest, name, state, time.monotonic() - began, moved)
        except AnsibleConnectionFailure as error:
            words = "the connection was lost in the middle; the host takes its copy away by itself. %s" % error if folder else str(error)
            return {"unreachable": True, "msg": text.clean(words, 300)}
        except (Broken, bundle.BundleError, AnsibleError, OSError) as error:
            return {"failed": True, "msg": text.clean(error, 300), "andon_progress": "FAILED  %s" % text.clean(error, 140)}
        finally:
            self._finish(folder, name, hosts)

    # Steps

    def _preview(self, result):
        about = result.get("estimate") or {}
        if not result.get("failed") and not result.get("unreachable"):
            words = "%s, %s, about %s to read" % (
                text.plural(len(about["containers"]), "container"),
                text.plural(len(about["files"]), "log file"),
                text.size(about["bytes"]),
            )
            result["andon_progress"] = "OK  would collect %s" % words + ("; WARNING %s" % text.clean(about["engine"], 80) if about["engine"] else "")
        return result

    def _greet(self):
        """(user id that the file transfer has on the host, the host's clock minus the bastion's in seconds or None, its error)."""
        before = time.time()
        done = self._low_level_execute_command("id -u && date +%s.%N", sudoable=False)
        after = time.time()
        found = re.search(r"^(\d{1,10})\s+^(\d{9,11}\.\d{1,9})?", done["stdout"] + "\n", re.M)
        if done["rc"] or not found:
            raise Broken("the host does not say who the connection's user is: %s" % text.clean(done["stderr"] or done["stdout"], 100))
        offset = float(found.group(2)) - (before + after) / 2 if found.group(2) else None
        return int(found.group(1)), offset, (after - before) / 2

    @staticmethod
    def _folder(started):
        """The collector's folder; what a host says goes into a shell, so it must look exactly like one of ours."""
        folder = started.get("folder")
        if not isinstance(folder, str) or not FOLDER.match(folder) or ".." in folder or not isinstance(started.get("pid"), int):
            raise Broken("the host named a folder that no collector makes: %r" % folder)
        return folder

    def _wait(self, folder, started, name, began, deadline, hosts):
        """Asks until the collector is done; every question renews its lease. Returns its last state with the clock's offset."""
        where = shlex.quote(folder)
        ask = "touch %s/lease && cat %s/progress.json && echo && date +%%s.%%N && { test -d /proc/%d && echo alive; }" % (where, where, started["pid"])
        best, silent, pause = None, 0, 0.3
        while True:
            if os.getppid() != getattr(self, "_parent", os.getppid()):
                raise Broken("the run that asked for this is gone")
            before = time.time()
            try:
                done = self._low_level_execute_command(ask, sudoable=True)
                silent = 0
            except AnsibleConnectionFailure:
                # One dropped connection is not the end: the collector goes on for as long as its lease.
                silent += 1
                if silent >= 3:
                    raise
                time.sleep(pause)
                continue
            after = time.time()
            state, clock, alive = self._answer(done["stdout"])
            if clock is not None and (best is None or after - before < best[1]):
                best = (clock - (before + after) / 2, after - before)
            spent = time.monotonic() - began
            self._note(name, bool(state and state.get("state") == "done"), state, started, spent)
            board(self._watch, hosts, self._say)
            if state and state.get("state") == "done":
                return dict(state, clock_offset=best and round(best[0], 3), clock_error=best and round(best[1] / 2, 3))
            if state and state.get("state") == "failed":
                raise Broken("the collector failed: %s" % text.clean(state.get("error"), 200))
            if not alive:
                raise Broken("the collector is gone (killed?): %s" % text.clean(done["stderr"] or "it left no word", 100))
            if spent > deadline + 60:
                raise Broken("the collector did not end within %s" % text.duration(deadline))
            time.sleep(pause)
            pause = min(pause * 1.3, max(1.0, hosts / 25.0))

    @staticmethod
    def _answer(output):
        """(state dict or None, the host's time or None, the collector lives)."""
        lines = [line.strip() for line in output.splitlines() if line.strip()]
        state = clock = None
        for line in lines:
            if line.startswith("{"):
                with contextlib.suppress(ValueError, RecursionError):
                    found = json.loads(line)
                    state = found if isinstance(found, dict) else None
            elif re.fullmatch(r"\d{9,11}\.\d{1,9}", line):
                clock = float(line)
        return state, clock, "alive" in lines

    def _note(self, name, done, state, started, spent):
        numbers = {
            key: value if isinstance(value, int) and value >= 0 else 0 for key, value in ((key, (state or {}).get(key)) for key in ("bytes", "expected"))
        }
        expected = max(numbers["expected"], started.get("expected") if isinstance(started.get("expected"), int) else 0, numbers["bytes"])
        words = {"done": done, "bytes": numbers["bytes"], "expected": expected, "seconds": spent}
        (self._watch / ("progress-" + name)).write_text(json.dumps(words), encoding="utf-8")

    def _say(self, line):
        # Standard error where a machine reads standard output.
        display.display(line, stderr=bool(os.environ.get("ANDON_JSON")))

    def _fetch(self, folder, archive, state, deadline):
        """Fetches the archive in constant memory and checks it."""
        size, wanted = state.get("size"), state.get("sha256")
        if not isinstance(size, int) or size < 0 or not re.fullmatch(r"[0-9a-f]{64}", str(wanted)):
            raise Broken("the collector does not say what it made")
        free = shutil.disk_usage(archive.parent).free
        # Its files and the packed bundle come on top of the archive itself.
        if 3 * size + RESERVE > free:
            raise Broken("the bastion has %s free, this host's evidence needs %s" % (text.size(free), text.size(3 * size + RESERVE)))
        # While the transfer runs nobody asks the collector, so its lease is made longer: one second for each 64 KiB.
        longer = int(600 + size / 65536)
        self._low_level_execute_command("printf '%%-15d' %d 1<> %s/lease" % (longer, shlex.quote(folder)), sudoable=True)
        source = folder + "/evidence.tar"
        os.close(os.open(archive, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        try:
            # "smart" would end with a transfer that holds the whole file in memory.
            with contextlib.suppress(KeyError, AnsibleError):
                self._connection.set_option("ssh_transfer_method", "sftp")
            self._connection.fetch_file(source, str(archive))
        except AnsibleError as error:
            # A missing sftp server looks like a lost connection; if it is lost, the next line says so.
            display.vv("file transfer failed (%s), the archive comes in slices through the shell" % text.clean(error, 200))
            self._slices(source, archive, size)
        os.chmod(archive, 0o600)
        digest, got = hashlib.sha256(), 0
        with open(archive, "rb") as content:
            for piece in iter(lambda: content.read(1 << 20), b""):
                digest.update(piece)
                got += len(piece)
        if got != size or digest.hexdigest() != wanted:
            raise Broken("the archive was damaged on its way (%d of %d bytes came)" % (got, size))

    def _slices(self, source, archive, size):
        """The archive through the shell, some MiB at a time."""
        with open(archive, "wb") as out:
            for number in range(-(-size // SLICE)):
                command = "dd if=%s bs=%d skip=%d count=1 2>/dev/null | base64" % (shlex.quote(source), SLICE, number)
                done = self._low_level_execute_command(command, sudoable=False)
                try:
                    out.write(base64.b64decode("".join(done["stdout"].split()), validate=True))
                except ValueError:
                    raise Broken("the archive cannot be read through the shell: %s" % text.clean(done["stderr"], 100)) from None

    def _finish(self, folder, name, hosts):
        """Takes the host's copy away, whatever happened before."""
        with contextlib.suppress(OSError):
            (self._watch / (name + ".tar")).unlink()
        self._left = ""
        if folder:
            try:
                done = self._low_level_execute_command("rm -rf -- %s && test ! -e %s" % (shlex.quote(folder), shlex.quote(folder)), sudoable=True)
                if done["rc"]:
                    self._left = folder
            except Exception:
                # The result of the collection must not be lost for it: the collector takes its folder away when its lease ends.
                self._left = folder
            if self._left:
                display.warning("%s: %s could not be taken away now; the host does it by itself within minutes" % (name, folder))

    def _result(self, manifest, name, state, seconds, moved):
        items = manifest["items"]
        bad = [one for one in items if one["status"] in ("failed", "timeout", "truncated")]
        taken = sum(one.get("count", 0) for item in items for one in item.get("redactions") or () if isinstance(one, dict))
        words = "%s, %s read, %s fetched, %s taken out" % (
            text.plural(len([one for one in items if one.get("file")]), "item"),
            text.size(sum(one.get("bytes") or 0 for one in items)),
            text.size(state["size"]),
            text.plural(taken, "secret"),
        )
        if manifest["gaps"]:
            words += ", %s" % text.plural(len(manifest["gaps"]), "evidence gap")
        evidence = {
            "folder": name,
            "items": items,
            "gaps": manifest["gaps"],
            "skipped": manifest["skipped"],
            "space": manifest["space"],
            "seconds": round(seconds, 1),
            "clock_offset_seconds": state["clock_offset"],
            "clock_error_seconds": state["clock_error"],
            "window_moved_seconds": moved,
            "bytes": state["size"],
            "secrets": taken,
            "partial": ["%s: %s (%s)" % (one["name"], one["status"], one.get("error") or "") for one in bad],
        }
        result = {"changed": True, "evidence": evidence, "andon_progress": "OK  " + words}
        if bad:
            result.update(andon_progress="WARNING partial: %d of %s not whole; %s" % (len(bad), text.plural(len(items), "item"), words))
        return result
