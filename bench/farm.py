"""The benchmark's targets: many real sshd in one container of the lab's image, each with a stand-in container CLI.

Everything it makes carries the label andon.bench=<digest of the checkout's path> and goes away at the end.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lab import lab

TARGETS = Path(__file__).with_name("targets")
LABEL = "andon.bench=" + lab.DIGEST
FIRST_PORT = 2200
CONTAINERS = ("momentum", "meanrev", "feed", "adapter")


def leftovers() -> list[str]:
    return lab.docker("ps", "-aq", "--filter", "label=" + LABEL).split()


def require() -> str:
    """The image's tag; everything that the farm needs is there.

    Raises:
        lab.LabError: no engine, or no image; the text says what to type.
    """
    if not shutil.which("docker"):
        raise lab.LabError("there is no container engine here; type: ./dev bench stop (it installs one)")
    lab.docker("version", "--format", "{{.Server.Version}}", timeout=20)
    tag = lab.image_tag()
    if not lab.docker("image", "inspect", "--format", "{{.Id}}", tag, check=False):
        raise lab.LabError(f"the lab's image {tag} is not built; type: ./dev bench stop, or python lab/lab.py image")
    return tag


class Farm:
    """COUNT targets, named t01, t02, ...

    Attributes:
        folder: a temporary folder with the key, known_hosts, the inventories and the sockets (short: a socket's path has 107 bytes).
    """

    def __init__(self, tag: str, count: int) -> None:
        self.tag = tag
        self.count = count
        self.folder = Path(tempfile.mkdtemp(prefix="andon-bench-"))
        self.key = self.folder / "key"
        self.known_hosts = self.folder / "known_hosts"
        self.id = ""
        self.address = ""

    def __enter__(self) -> Farm:
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        # A second Ctrl-C must not leave the container behind.
        old = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            # By label, not by id: Ctrl-C may have come between the container's creation and its id.
            ids = leftovers()
            if ids:
                lab.docker("rm", "-f", "-v", *ids)
            shutil.rmtree(self.folder, ignore_errors=True)
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)

    def _start(self) -> None:
        stale = leftovers()
        if stale:
            lab.docker("rm", "-f", "-v", *stale)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "andon-bench", "-f", str(self.key)], check=True)
        public = self.key.with_suffix(".pub").read_text().strip()
        self.id = lab.docker(
            "create", "--label", LABEL, "--hostname", "bench", "--tmpfs", "/bench", "-e", f"BENCH_KEY={public}", *lab.POWERS,
            self.tag, "bash", "/opt/bench/boot.sh", str(self.count),
        )  # fmt: skip
        lab.docker("cp", f"{TARGETS}/.", f"{self.id}:/opt/bench")
        lab.docker("start", self.id)
        self.address = json.loads(lab.docker("inspect", "--format", "{{json .NetworkSettings}}", self.id))["IPAddress"]
        self._wait()
        public = lab.docker("exec", self.id, "cat", "/etc/ssh/ssh_host_ed25519_key.pub").split()
        self.known_hosts.write_text("".join(f"[{self.address}]:{self.port(i)} {public[0]} {public[1]}\n" for i in self.numbers(self.count)))

    def _wait(self) -> None:
        """Until every target's sshd listens.

        Raises:
            lab.LabError: they do not within 60 s, with the container's last words.
        """
        end = time.monotonic() + 60
        look = f"test -e /bench/ready && [ $(ss -Hltn | grep -c ':22[0-9][0-9] ') -ge {self.count} ]"
        while subprocess.run(["docker", "exec", self.id, "bash", "-c", look], capture_output=True, check=False).returncode:
            if time.monotonic() > end:
                log = subprocess.run(["docker", "logs", "--tail", "5", self.id], capture_output=True, text=True, check=False)
                raise lab.LabError(f"the targets did not boot: {(log.stdout + log.stderr).strip()[-400:]}")
            time.sleep(0.2)

    @staticmethod
    def numbers(count: int) -> range:
        return range(1, count + 1)

    @staticmethod
    def port(number: int) -> int:
        return FIRST_PORT + number

    def ssh(self, number: int, *options: str) -> list[str]:
        """Plain ssh to one target: OpenSSH's own defaults but for the key and the known hosts."""
        return [
            "ssh", "-F", "/dev/null", "-i", str(self.key), "-o", f"UserKnownHostsFile={self.known_hosts}", "-o", "StrictHostKeyChecking=yes",
            "-o", "BatchMode=yes", *options, "-p", str(self.port(number)), f"root@{self.address}",
        ]  # fmt: skip

    def ssh_config(self, count: int) -> Path:
        """A configuration that gives the targets names, for tools that cannot say a port per host."""
        path = self.folder / f"ssh_config-{count}"
        lines = [f"HostName {self.address}", "User root", f"IdentityFile {self.key}", f"UserKnownHostsFile {self.known_hosts}", "StrictHostKeyChecking yes"]
        common = "".join(f"    {line}\n" for line in lines)
        path.write_text("".join(f"Host t{i:02}\n    Port {self.port(i)}\n{common}" for i in self.numbers(count)))
        return path

    def inventory(self, count: int) -> Path:
        path = self.folder / f"hosts-{count}.json"
        hosts = {f"t{i:02}": {"ansible_host": self.address, "ansible_port": self.port(i)} for i in self.numbers(count)}
        shared = {
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(self.key),
            "ansible_ssh_common_args": f"-o UserKnownHostsFile={self.known_hosts} -o StrictHostKeyChecking=yes",
        }
        path.write_text(json.dumps({"trading": {"hosts": hosts, "vars": shared}}))
        return path

    def reset(self) -> None:
        """Every target's containers run again; no latch."""
        lab.docker("exec", self.id, "/opt/bench/reset.sh")

    def down_at(self, count: int) -> float:
        """When the last of the first COUNT targets was down, Unix seconds (one kernel, so one clock).

        Raises:
            lab.LabError: a container still runs: what was measured was no stop.
        """
        look = f"cd /bench && for i in $(seq 1 {count}); do cat $i/engine/{{{','.join(CONTAINERS)}}}; stat -c 'ended %.Y' $i/engine/ended; done"
        lines = lab.docker("exec", self.id, "bash", "-c", look).splitlines()
        ended = [float(line.split()[1]) for line in lines if line.startswith("ended ")]
        running = sum(line.endswith(" running") for line in lines)
        if running or len(ended) != count:
            raise lab.LabError(f"{running} containers still run after a stop on {count} targets ({len(ended)} were stopped), so there is nothing to compare")
        return max(ended)

    def close(self, sockets: Path) -> None:
        """Ends kept connections: the next press is a cold one."""
        found = [path for path in sockets.glob("*") if path.is_socket()]

        def one(path: Path) -> None:
            subprocess.run(["ssh", "-O", "exit", "-o", f"ControlPath={path}", "x"], capture_output=True, check=False)

        with ThreadPoolExecutor(16) as pool:
            list(pool.map(one, found))
        shutil.rmtree(sockets, ignore_errors=True)
        sockets.mkdir(mode=0o700)
