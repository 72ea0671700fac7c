# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Stops one host: one SSH command with the whole script, and a verdict from its answer. Runs on the bastion.

It never fails by itself: a host that cannot be reached, hangs or breaks is a result with the verdict UNKNOWN, so that
Ansible neither drops the host nor hides it from the verdict that follows (stop_verdict).
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import time
from pathlib import Path

import ansible.module_utils

# Ansible finds module_utils for modules, not for plugins on the bastion.
ansible.module_utils.__path__.append(str(Path(__file__).resolve().parents[1] / "module_utils"))

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.module_utils.andon import incident_id, state, stop, text
from ansible.plugins.action import ActionBase

SCRIPT = Path(__file__).resolve().parents[2] / "roles" / "emergency_stop" / "files" / "stop.sh"


class HostTimeout(Exception):
    """The host took longer than its deadline."""


@contextlib.contextmanager
def deadline(seconds):
    """Ends a hanging host after C(seconds). Each host has a process of its own, so the alarm is its own too."""

    def ring(signum, frame):
        raise HostTimeout

    old = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


def press_time(given):
    """When the key was pressed, Unix seconds on the bastion's clock: what the CLI says, else this run's own start."""
    if given:
        return float(given)
    with open("/proc/%d/stat" % os.getppid(), encoding="utf-8", errors="replace") as source:
        started = float(source.read().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
    with open("/proc/uptime", encoding="utf-8") as source:
        uptime = float(source.read().split()[0])
    return time.time() - (uptime - started)


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        # Each try of `until` makes a new action, but keeps the connection: what must outlive a try is kept there.
        self._attempts = getattr(self._connection, "andon_attempts", 0) + 1
        self._connection.andon_attempts = self._attempts
        began = time.monotonic()
        try:
            values = self._variables(task_vars or {})
            self._begin_venues(task_vars or {}, values.get("strategy"))
            result = self._attempt(values, began, task_vars or {})
        except ValueError as error:  # bad input: nothing was sent to the host
            result = self._nothing_sent(stop.REFUSED, text.clean(error, 300))
        except (AnsibleError, OSError) as error:
            result = self._nothing_sent(stop.UNKNOWN, text.clean(error, 300))
        result.update(
            attempts=self._attempts,
            seconds=round(time.monotonic() - began, 2),
            changed=result.pop("acted", False),
        )
        return result

    def _variables(self, task_vars):
        """{option: value} for the task's {option: variable's name, or several of which the first that is defined counts}.

        A value that is no template costs nothing here; as an argument of the task each would be a template to compile.

        Raises:
            AnsibleError: a value is a template that cannot be resolved.
        """
        values = {}
        for option, names in self._task.args.items():
            for name in [names] if isinstance(names, str) else names:
                if name in task_vars:
                    value = task_vars[name]
                    if option == "components" and isinstance(value, list):
                        # An adapter's password that cannot be decrypted must not take the stop of its container away.
                        value = [{k: v for k, v in one.items() if k != "adapter"} if isinstance(one, dict) else one for one in value]
                    values[option] = self._templar.template(value)
                    break
        return values

    def _begin_venues(self, task_vars, strategy):
        """The first host's task starts the process that cancels at the venues, and does not wait for it (venue_stop.py)."""
        # What goes wrong here is found by the verdict, which starts the process itself when there is none.
        with contextlib.suppress(Exception):
            first = task_vars["ansible_play_hosts_all"][0]
            if self._attempts == 1 and task_vars.get("andon_venues") and task_vars["inventory_hostname"] == first:
                from ansible.module_utils.andon import venue_stop  # only where there are venues: nothing more stands in front of a stop

                venue_stop.begin(task_vars, self._templar, check=bool(self._task.check_mode), strategy=strategy)

    @staticmethod
    def _has_adapters(task_vars):
        components = task_vars.get("andon_components")
        return bool(components) and (isinstance(components, str) or any(isinstance(one, dict) and one.get("adapter") for one in components))

    def _prepare_adapters(self, task_vars, args, incident):
        """(what the host is to run first, why it is not to) where a component has an adapter (adapter_stop.py), else (None, "").

        Whatever is wrong with it is a word in the proof and no condition of the stop.
        """
        if not self._has_adapters(task_vars):
            return None, ""
        from ansible.module_utils.andon import adapter_stop  # only where there are adapters: nothing more stands in front of a stop

        try:
            budget = adapter_stop.budget_of(args.get("adapter_budget"))
            with deadline(budget):  # a lookup that hangs
                cli = args.get("container_cli") or "docker"
                return adapter_stop.prepare(task_vars, self._templar, incident=incident, budget=budget, cli=cli), ""
        except HostTimeout:
            return None, "reading the adapters took too long; stopped without them"
        except Exception as error:
            return None, "the adapters cannot be read: %s" % text.clean(error, 200)

    @staticmethod
    def _nothing_sent(verdict, why):
        return {
            "verdict": verdict,
            "why": why,
            "proven": False,
            "andon_progress": "%s  %s" % (verdict, why),
            "containers": [],
            "notes": [],
            "steps": [],
            "adapters": [],
        }

    def _attempt(self, args, began, task_vars):
        check = bool(self._task.check_mode)
        strategy = args.get("strategy") or ""
        if strategy and not text.valid_id(strategy):
            raise ValueError("'%s' cannot be a strategy's id (letters, digits, . _ -)" % text.clean(strategy, 60))
        if strategy and not check and args.get("confirm") != strategy:
            raise ValueError("not confirmed: confirm must be the strategy's id, %s. Nothing was done" % strategy)
        mode = args.get("mode") or "graceful"
        pressed = press_time(args.get("pressed_at"))
        incident = args.get("incident") or incident_id.current_or_new(pressed)
        who = state.actor()
        # Mode now freezes first: no application code is to run any more, so nothing is read for it either.
        adapters, trouble = self._prepare_adapters(task_vars, args, incident) if mode != "now" else (None, "")
        asked = adapters is not None and not check
        script = stop.script(
            SCRIPT.read_text(encoding="utf-8"),
            cli=args.get("container_cli") or "docker",
            mode=mode,
            grace=args.get("grace", 5),
            state=args.get("host_state") or "/var/lib/andon",
            selectors=args.get("selectors") or [],
            components=args.get("components") or [],
            protected=args.get("protected") or [],
            strategy=strategy,
            latch_header=stop.header(incident, who["name"], args.get("reason") or "", state.utc(pressed)),
            check=check,
            settle=args.get("settle", 1),
            root=args.get("engine_root") or "/var/lib/docker",
            adapters=adapters.names if asked else (),
            budget=math.ceil(adapters.budget) if asked else 2,
        )
        output, route = self._send(script, args, began, adapters.program if asked and adapters.names else None)
        received = time.time()
        host = stop.parse(output)
        verdict, why = stop.judge(host, strategy=strategy, check=check)
        rows = stop.container_rows(host, mode, pressed, received)
        if verdict == stop.UNKNOWN and host.began is None and output.strip():
            why += ": " + text.clean(output, 120)
        strategies = {one.get("strategy") for one in list(host.before.values()) + list(host.other.values())}
        return {
            "verdict": verdict,
            "why": why,
            "proven": verdict in ((stop.WOULD, stop.NOT_HERE) if check else (stop.HALTED, stop.NOT_HERE)),
            "acted": not check and self._acted(rows, host),
            "andon_progress": stop.progress(verdict, why, rows, time.monotonic() - began),
            "containers": rows,
            "changed_others": stop.untouched(host) if strategy and not check else [],
            "known_strategies": sorted(text.clean(s, 64) for s in strategies if s),
            "latch": host.latch,
            "latch_path": host.latch_path,
            "engine": host.engine,
            "steps": host.steps,
            "adapters": self._adapter_rows(task_vars, adapters, host, mode, check),
            "notes": host.notes + host.respawners + ([trouble] if trouble else []),
            "route": route,
            "incident": incident,
            "pressed_at": pressed,
        }

    def _adapter_rows(self, task_vars, adapters, host, mode, check):
        """What became of each component's own halt; [] where there is no adapter."""
        if adapters is None and not (mode == "now" and self._has_adapters(task_vars)):
            return []
        from ansible.module_utils.andon import adapter_stop

        here = {one["name"]: str(one.get("status", "")) for one in host.before.values() if one.get("was_running")}
        if mode == "now":
            return adapter_stop.rows(adapter_stop.not_asked(task_vars["andon_components"]), [], "skipped", "mode now freezes at once", here)
        if check:
            return adapter_stop.rows(adapters, [], "would", "", here)
        if host.engine or host.adapters_skipped:
            why = host.adapters_skipped or "the engine is %s" % host.engine
            return adapter_stop.rows(adapters, [], "skipped", why, here)
        return adapter_stop.rows(adapters, host.adapters, "unknown", "no answer within %g s" % adapters.budget, here)

    @staticmethod
    def _acted(rows, host):
        """True if this press changed the host: something stopped, a policy changed, a latch was new."""
        return any(r["how"] in ("graceful", "killed") for r in rows) or any(s["name"] == "policy" for s in host.steps) or host.latch == "new"

    def _send(self, script, args, began, program):
        """Sends the script by the first route that answers, with its standard input if it has one; returns (output, the route's name).

        Raises:
            AnsibleError: no route answered, or the host took too long.
        """
        routes = [{}] + [r if isinstance(r, dict) else {"host": str(r)} for r in args.get("routes") or []]
        # Another route first at each further attempt, so that one that hangs is not the only one that is ever tried.
        shift = (self._attempts - 1) % len(routes)
        problems = []
        for route in routes[shift:] + routes[:shift]:
            name = text.clean(route.get("name") or route.get("host") or "inventory", 60)
            try:
                self._take(route)
                with deadline(float(args.get("deadline", 60))):
                    done = self._low_level_execute_command(script, sudoable=True, in_data=program, executable="/bin/sh")
            except HostTimeout:
                raise AnsibleError("no proof within %g s (route %s); the stop there goes on by itself" % (float(args.get("deadline", 60)), name)) from None
            except AnsibleConnectionFailure as error:
                problems.append("%s: %s" % (name, text.clean(text.without_mux(str(error).replace("Failed to connect to the host via ssh: ", "")), 160)))
                continue
            output = done.get("stdout", "")
            if done.get("rc") == 255 and "A1 begin" not in output:
                problems.append("%s: %s" % (name, text.clean(done.get("stderr") or "ssh ended with 255", 160)))
                continue
            if "A1 begin" not in output:
                output += "\n" + text.clean(done.get("stderr", ""), 300)
            return output, name
        raise AnsibleError("unreachable (%s)" % "; ".join(problems))

    def _take(self, route):
        """Points this host's connection at one of its routes (andon_routes: host, port, user, common_args, key)."""
        options = {"host": "host", "port": "port", "user": "remote_user", "common_args": "ssh_common_args", "key": "private_key_file"}
        home = getattr(self._connection, "andon_home", None)
        if home is None:
            home = {}
            for option in options.values():
                with contextlib.suppress(KeyError, AnsibleError):
                    home[option] = self._connection.get_option(option)
            self._connection.andon_home = home
        for key, option in options.items():
            if option in home:
                self._connection.set_option(option, route.get(key, home[option]))
        # The SSH plugin keeps a copy of these two from when it was made.
        if hasattr(self._connection, "host"):
            self._connection.host = self._connection.get_option("host")
            self._connection.port = self._connection.get_option("port")
            self._connection.user = self._connection.get_option("remote_user")
            self._connection.control_path = None
