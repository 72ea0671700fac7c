#!/usr/bin/env python3
"""A container engine with Compose in one JSON file: what the tests of releases use in place of a real one.

It keeps the rules that matter there: a tag can move, an id cannot; `compose up` takes the environment from the model; a container of a
bad image does not become healthy. Run as a program it is the CLI, with its state in the file that stands beside it (state.json).
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from pathlib import Path


def look(document: dict, expression: str) -> object:
    """What a template's `.A.B` or `(index .A.B "key")` names in a document."""
    indexed = re.fullmatch(r"\(index (\S+) \"(.*)\"\)", expression)
    for part in (indexed.group(1) if indexed else expression).strip(".").split("."):
        document = document.get(part, "")
    return document.get(indexed.group(2), "") if indexed else document


class FakeDocker:
    """The engine.

    State: images {id: {tags, digests, behaviour (good|unhealthy|crash)}}, containers {id: inspect document}, registry {digest reference: id},
    calls (list of argv), broken (list of subcommands that fail).
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.state = (
            json.loads(self.path.read_text())
            if self.path.exists()
            else {"images": {}, "containers": {}, "registry": {}, "calls": [], "broken": [], "serial": 0}
        )

    def save(self) -> None:
        self.path.write_text(json.dumps(self.state))

    # What a test arranges

    def image(self, content: str, *tags: str, digests: tuple[str, ...] = (), behaviour: str = "good") -> str:
        """Adds an image with this content; its tags move to it. Returns its id."""
        ident = "sha256:" + hashlib.sha256(content.encode()).hexdigest()
        for one in self.state["images"].values():
            one["tags"] = [t for t in one["tags"] if t not in tags]
        self.state["images"][ident] = {"tags": list(tags), "digests": list(digests), "behaviour": behaviour}
        self.save()
        return ident

    def deploy(self, project: str, folder: Path) -> None:
        """`docker compose up -d` in that folder (compose.yaml there is JSON)."""
        self("compose", "-p", project, "--project-directory", str(folder), "-f", str(folder / "compose.yaml"), "up", "--no-start")
        ids = [c["Id"] for c in self.state["containers"].values() if c["Config"]["Labels"]["com.docker.compose.project"] == project]
        self("start", *ids)
        self.save()

    def running(self) -> dict[str, str]:
        """{name: image id} of what runs."""
        return {c["Name"][1:]: c["Image"] for c in self.state["containers"].values() if c["State"]["Running"]}

    # What the CLI answers

    def __call__(self, *argv: str) -> tuple[int, str, str]:
        self.state["calls"].append(list(argv))
        verb = argv[0]
        if any(one in argv or " ".join(argv) == one or " ".join(argv).startswith(one + " ") for one in self.state["broken"]):
            return 1, "", "%s: the fake engine was told to fail" % verb
        if verb == "image":
            return self._image(argv[1:])
        return getattr(self, "_" + verb)(list(argv[1:]))

    def _version(self, argv: list[str]) -> tuple[int, str, str]:
        return 0, "26.1.5\n", ""

    def _ps(self, argv: list[str]) -> tuple[int, str, str]:
        wanted = [argv[i + 1] for i, a in enumerate(argv) if a == "--filter"]
        lines = []
        for ident, one in self.state["containers"].items():
            for filter_ in wanted:
                kind, _, value = filter_.partition("=")
                key, _, expected = value.partition("=")
                labels = one["Config"]["Labels"]
                if kind == "label" and (key not in labels or (expected and labels[key] != expected)):
                    break
                if kind == "name" and one["Name"][1:] != value.replace("^/?", "").replace("$", "").replace("\\", ""):
                    break
            else:
                if "-a" in argv or one["State"]["Running"]:
                    lines.append(ident)
        return 0, "\n".join(lines) + "\n", ""

    def _find(self, word: str) -> str | None:
        return next((i for i, c in self.state["containers"].items() if word in (i, c["Name"][1:])), None)

    def _inspect(self, argv: list[str]) -> tuple[int, str, str]:
        found = [self._find(w) for w in argv if not w.startswith("-") and w != "container"]
        if "--format" in argv:
            form = argv[argv.index("--format") + 1]
            lines = [
                re.sub(r"\{\{json (.*?)\}\}", lambda m, i=i: json.dumps(look(self.state["containers"][i], m.group(1)), separators=(",", ":")), form)
                for i in found
                if i
            ]
            return 0, "\n".join(lines) + "\n", ""
        return 0, json.dumps([self.state["containers"][i] for i in found if i]), ""

    def _image(self, argv: tuple[str, ...]) -> tuple[int, str, str]:
        if argv[0] == "inspect":
            found = [self._resolve(w) for w in argv[1:]]
            body = [{"Id": i, "RepoDigests": self.state["images"][i]["digests"], "RepoTags": self.state["images"][i]["tags"]} for i in found if i]
            return (0 if all(found) else 1), json.dumps(body), "" if all(found) else "Error: No such image"
        return 1, "", "unknown"

    def _resolve(self, word: str) -> str | None:
        if word in self.state["images"]:
            return word
        return next((i for i, one in self.state["images"].items() if word in one["tags"] or word in one["digests"]), None)

    def _tag(self, argv: list[str]) -> tuple[int, str, str]:
        source = self._resolve(argv[0])
        if source is None:
            return 1, "", "No such image: " + argv[0]
        for one in self.state["images"].values():
            one["tags"] = [t for t in one["tags"] if t != argv[1]]
        self.state["images"][source]["tags"].append(argv[1])
        return 0, "", ""

    def _rmi(self, argv: list[str]) -> tuple[int, str, str]:
        for one in self.state["images"].values():
            one["tags"] = [t for t in one["tags"] if t not in argv]
        return 0, "", ""

    def _pull(self, argv: list[str]) -> tuple[int, str, str]:
        ident = self.state["registry"].get(argv[-1])
        if ident is None:
            return 1, "", "manifest unknown"
        self.state["images"][ident] = {"tags": [], "digests": [argv[-1]], "behaviour": "good"}
        return 0, "", ""

    def _logs(self, argv: list[str]) -> tuple[int, str, str]:
        return 0, "last words of %s\n" % argv[-1][:12], ""

    def _update(self, argv: list[str]) -> tuple[int, str, str]:
        policy = next(a for a in argv if a.startswith("--restart=")).partition("=")[2]
        name, _, count = policy.partition(":")
        for word in argv:
            ident = self._find(word)
            if ident:
                self.state["containers"][ident]["HostConfig"]["RestartPolicy"] = {"Name": name, "MaximumRetryCount": int(count or 0)}
        return 0, "", ""

    def _start(self, argv: list[str]) -> tuple[int, str, str]:
        for word in argv:
            one = self.state["containers"][self._find(word)]
            behaviour = self.state["images"][one["Image"]]["behaviour"]
            one["State"] = {"Status": "running", "Running": True, "Pid": 1, "ExitCode": 0, "StartedAt": "2026-11-26T10:00:00.0Z"}
            one["State"]["Health"] = {"Status": "healthy"}
            if behaviour == "unhealthy":
                one["State"]["Health"] = {"Status": "unhealthy"}
            if behaviour == "crash":
                one["State"].update(Status="restarting", Health={"Status": ""})
        return 0, "", ""

    def _stop(self, argv: list[str]) -> tuple[int, str, str]:
        for word in argv:
            ident = self._find(word)
            if ident:
                self.state["containers"][ident]["State"] = {
                    "Status": "exited",
                    "Running": False,
                    "Pid": 0,
                    "ExitCode": 137,
                    "StartedAt": "2026-11-26T10:00:00.0Z",
                }
        return 0, "", ""

    _kill = _stop

    def _rm(self, argv: list[str]) -> tuple[int, str, str]:
        for word in argv:
            ident = self._find(word)
            if ident:
                del self.state["containers"][ident]
        return 0, "", ""

    def _compose(self, argv: list[str]) -> tuple[int, str, str]:
        if argv[0] == "version":
            return 0, "2.26.1\n", ""
        project = argv[argv.index("-p") + 1]
        paths = [argv[i + 1] for i, a in enumerate(argv) if a == "-f"]
        folder = argv[argv.index("--project-directory") + 1]
        try:
            model = json.loads(Path(paths[0]).read_text())
        except OSError as error:
            return 14, "", "open %s: %s" % (paths[0], error.strerror)
        model["name"] = project
        if "config" in argv:
            resolved = json.loads(json.dumps(model))
            if "--no-interpolate" not in argv:
                for one in resolved["services"].values():
                    one.pop("env_file", None)
            return 0, json.dumps(resolved), ""
        names = [w for w in argv[argv.index("up") + 1 :] if w in model["services"]] or list(model["services"])
        for name in dict.fromkeys(names):
            said = model["services"][name]
            image = self._resolve(said["image"])
            if image is None:
                return 1, "", "No such image: %s" % said["image"]
            for ident in [i for i, c in self.state["containers"].items() if c["Name"] == "/%s-%s-1" % (project, name)]:
                del self.state["containers"][ident]
            self.state["serial"] += 1
            ident = hashlib.sha256(b"%s %d" % (str(self.path).encode(), self.state["serial"])).hexdigest()
            labels = dict(said.get("labels") or {})
            labels.update({"com.docker.compose.project": project, "com.docker.compose.service": name, "com.docker.compose.oneoff": "False"})
            labels.update({"com.docker.compose.project.working_dir": folder, "com.docker.compose.project.config_files": paths[0]})
            self.state["containers"][ident] = {
                "Id": ident,
                "Name": "/%s-%s-1" % (project, name),
                "Image": image,
                "RestartCount": 0,
                "Config": {
                    "Image": said["image"],
                    "Labels": labels,
                    "Env": ["%s=%s" % (k, v.replace("$$", "$")) for k, v in (said.get("environment") or {}).items()],
                    "Cmd": said.get("command") or [],
                },
                "HostConfig": {"RestartPolicy": {"Name": said.get("restart", "no"), "MaximumRetryCount": 0}},
                "State": {"Status": "created", "Running": False, "Pid": 0, "ExitCode": 0},
                "Mounts": [{"Type": "bind", "Source": v["source"], "RW": True} for v in said.get("volumes") or []],
            }
        return 0, "", ""


def program(folder: Path) -> Path:
    """Writes a CLI whose state is in C(folder); returns its path."""
    path = folder / "docker"
    path.write_text(
        "#!%s -IS\nimport sys\nsys.path.insert(0, %r)\nfrom compose_docker import main\nmain(%r)\n"
        % (sys.executable, str(Path(__file__).parent), str(folder / "state.json"))
    )
    path.chmod(0o755)
    return path


def main(state: str) -> None:
    fake = FakeDocker(Path(state))
    code, out, err = fake(*sys.argv[1:])
    fake.save()
    sys.stdout.write(out)
    sys.stderr.write(err)
    sys.exit(code)
