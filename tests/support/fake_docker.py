#!/usr/bin/env -S python3 -I -S
"""A container CLI without an engine: enough of `docker` for the verbs, its containers in one JSON file.

The file's path comes from the name of this program's folder: FOLDER/docker and FOLDER/engine.json. The file may hold "fail":
{"update": "words"} (that subcommand fails), "hang": ["ps"] (never answers), "down": true (no engine), and per container
"stubborn": true (ignores SIGTERM), "unhealthy": true (never becomes healthy), "respawn": true (a kill starts it again),
"pid": number (the process that a start gives it). Every call is appended to FOLDER/calls.
"""

import fcntl
import json
import os
import re
import shutil
import sys
import time

HOME = os.path.dirname(os.path.abspath(sys.argv[0]))
STATE = os.path.join(HOME, "engine.json")


def field(container, path):
    value = container
    for part in path.strip(".").split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def render(form, container):
    """The two forms of Go templates that Andon uses: {{json .A.B}} and {{json (index .Config.Labels "x")}}."""

    def one(match):
        inner = match.group(1).strip()
        index = re.match(r'json \(index \.Config\.Labels "([^"]+)"\)$', inner)
        if index:
            return json.dumps(container["Config"]["Labels"].get(index.group(1), ""))
        if inner.startswith("json "):
            return json.dumps(field(container, inner[5:]), separators=(",", ":"))  # Go writes no spaces
        return str(field(container, inner))

    return re.sub(r"\{\{(.*?)\}\}", one, form)


def matches(container, one):
    kind, _, rest = one.partition("=")
    labels = container["Config"]["Labels"]
    if kind == "label":
        key, has_value, value = rest.partition("=")
        return key in labels and (not has_value or labels[key] == value)
    if kind == "name":
        return re.search(rest, container["Name"]) is not None
    raise SystemExit("fake docker: filter " + one)


def down(container, code):
    container["State"].update(Running=False, Paused=False, Restarting=False, Status="exited", Pid=0, ExitCode=code)
    container["State"]["FinishedAt"] = time.strftime("%Y-%m-%dT%H:%M:%S.000000000Z", time.gmtime())


def up(container):
    container["State"].update(Running=True, Paused=False, Status="running", Pid=container.get("pid", 4242), ExitCode=0)
    container["State"]["StartedAt"] = "%sZ" % time.time()
    if "Health" in container["State"]:
        container["State"]["Health"]["Status"] = "unhealthy" if container.get("unhealthy") else "healthy"


def take(args, *with_value):
    """Splits arguments into options {name: [values]} and the rest."""
    options, rest = {}, []
    args = list(args)
    while args:
        one = args.pop(0)
        if one.startswith("--") and "=" in one:
            name, _, value = one.partition("=")
            options.setdefault(name, []).append(value)
        elif one in with_value:
            options.setdefault(one, []).append(args.pop(0))
        elif one.startswith("-"):
            options.setdefault(one, []).append(True)
        else:
            rest.append(one)
    return options, rest


def main():
    with open(os.path.join(HOME, "calls"), "a") as calls:
        calls.write(json.dumps(sys.argv[1:]) + "\n")
    verb, args = sys.argv[1], sys.argv[2:]
    with open(STATE, "r+") as source:
        fcntl.flock(source, fcntl.LOCK_EX)
        state = json.load(source)
        if verb in state.get("hang", []):
            fcntl.flock(source, fcntl.LOCK_UN)
            time.sleep(600)
        if state.get("down"):
            sys.exit(sys.stderr.write("Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?\n") and 1)
        if verb in state.get("fail", {}):
            sys.exit(sys.stderr.write("Error response from daemon: %s\n" % state["fail"][verb]) and 1)
        options, rest = take(args, "--filter", "-t", "--format", "--type", "--tail", "--restart", "--memory", "--memory-swap", "--since", "--until")
        containers = state["containers"]
        code = 0
        if verb == "ps":
            for one in containers:
                if ("-a" in options or one["State"]["Running"]) and all(matches(one, f) for f in options.get("--filter", [])):
                    print(one["Id"])
        elif verb == "exec":
            # Only what adapters' file steps run: sh -c SCRIPT sh PATH, on the same files as cp.
            name, script, path = args[-6], args[-3], args[-1]
            place = os.path.join(HOME, "files", name, path.strip("/"))
            if "cat >" in script:
                os.makedirs(os.path.dirname(place), exist_ok=True)
                with open(place, "w") as target:
                    target.write(sys.stdin.read())
            elif not os.path.exists(place):
                sys.exit(44)
            else:
                with open(place) as source_file:
                    sys.stdout.write(source_file.read())
        elif verb == "cp":
            # Files of containers: FOLDER/files/NAME/PATH, whether they run or not.
            places = []
            for word in rest:
                name, colon, path = word.partition(":")
                places.append(os.path.join(HOME, "files", name, path.strip("/")) if colon else word)
            if not os.path.exists(places[0]):
                sys.exit(sys.stderr.write("Error response from daemon: Could not find the file %s in container %s\n" % (path, name)) and 1)
            os.makedirs(os.path.dirname(places[1]), exist_ok=True)
            shutil.copyfile(*places)
        else:
            chosen = []
            for word in rest:
                found = [c for c in containers if c["Id"].startswith(word) or c["Name"] == "/" + word]
                if found:
                    chosen.append(found[0])
                else:
                    sys.stderr.write("Error: No such container: %s\n" % word)
                    code = 1
            if verb == "inspect":
                if "--format" in options:
                    for one in chosen:
                        print(render(options["--format"][0], one))
                else:
                    print(json.dumps(chosen))
            for one in chosen:
                if verb == "update" and "--restart" in options:
                    name, _, count = options["--restart"][0].partition(":")
                    one["HostConfig"]["RestartPolicy"] = {"Name": name, "MaximumRetryCount": int(count or 0)}
                elif verb == "update":
                    one["HostConfig"]["Memory"] = int(options["--memory"][0])
                elif verb in ("stop", "kill") and one["State"]["Running"]:
                    down(one, 137 if verb == "kill" or one.get("stubborn") else 0)
                    if one.get("respawn"):
                        up(one)
                elif verb == "pause":
                    one["State"].update(Paused=True, Status="paused")
                elif verb in ("start", "restart"):
                    up(one)
                elif verb == "logs":
                    print("\n".join(one.get("log", [])))
        source.seek(0)
        source.truncate()
        json.dump(state, source)
        sys.exit(code)


main()
