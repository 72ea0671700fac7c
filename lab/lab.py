#!/usr/bin/env python3
"""The lab: a fleet of real Docker hosts on one machine, each a container with its own sshd and its own engine.

    lab.py image | up | down | status | reset [HOST...] | ssh HOST [CMD...]

Everything it makes carries the label andon.lab=<digest of the checkout's path>, so that two checkouts never meet; `up` removes
labs of other checkouts of which nothing runs any more (an engine that was killed leaves such). Standard library only.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LAB = ROOT / "lab"
STATE = ROOT / ".lab"
INVENTORY = ROOT / "inventory" / "lab"
DIGEST = hashlib.sha256(str(ROOT).encode()).hexdigest()[:6]
NAME = "andon-lab-" + DIGEST
HOSTS = ("host-a", "host-b", "host-c")
# Exchange accounts, each a simulator of its own (bybit_sim.py). In inventory/lab `main` is shared with others, so a prefix tells our
# orders; all that is in `second` is ours.
VENUES = ("main", "second")
VENUE_PORT = 8080
PREFIX = "lab-"
# Short and outside the checkout: a UNIX socket's path may have 107 bytes.
SOCKETS = Path(tempfile.gettempdir()) / f"{NAME}-{os.getuid()}"
KEY = STATE / "id_ed25519"
KNOWN_HOSTS = STATE / "known_hosts"
KEYS = STATE / "keys.json"  # the accounts' keys, made anew at each boot
# What a nested engine needs, short of --privileged, which is refused where the machine itself lacks CAP_SYS_RESOURCE.
POWERS = ["--cap-add=ALL", "--cap-drop=SYS_RESOURCE"] + [f"--security-opt={o}=unconfined" for o in ("seccomp", "apparmor", "systempaths")]


class LabError(Exception):
    """The lab cannot be built or booted; the text says what to type."""


def docker(*args: str | Path, check: bool = True, data: bytes | None = None, timeout: float = 300) -> str:
    """Runs the machine's own docker CLI; returns its standard output without the last line break.

    Raises:
        LabError: it failed (unless check is False), in the engine's words.
    """
    done = subprocess.run(["docker", *map(str, args)], input=data, capture_output=True, timeout=timeout, check=False)
    if check and done.returncode:
        raise LabError(f"docker {args[0]}: {done.stderr.decode(errors='replace').strip()[-600:]}")
    return done.stdout.decode(errors="replace").rstrip("\n")


def packages() -> list[str]:
    lines = (LAB / "packages").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def image_tag() -> str:
    return "andon-lab-host:" + hashlib.sha256("\n".join(packages()).encode()).hexdigest()[:12]


def image() -> str:
    """The hosts' image: built from a pulled Debian where a registry answers, else from the distribution's packages."""
    tag = image_tag()
    if docker("image", "inspect", "--format", "{{.Id}}", tag, check=False):
        return tag
    pulled = subprocess.run(["docker", "pull", "-q", "debian:trixie-slim"], capture_output=True, timeout=120, check=False)
    if pulled.returncode == 0:
        print(f"lab: building {tag} from debian:trixie-slim", flush=True)
        recipe = "FROM debian:trixie-slim\nRUN apt-get update && apt-get install -y --no-install-recommends " + " ".join(packages())
        recipe += " && rm -rf /var/lib/apt/lists/*\n"
        docker("build", "-q", "-t", tag, "-", data=recipe.encode(), timeout=900)
        return tag
    print(f"lab: no image registry answers; building {tag} with mmdebstrap", flush=True)
    if not shutil.which("mmdebstrap"):
        raise LabError("mmdebstrap is not installed; type: apt-get install mmdebstrap")
    with tempfile.TemporaryDirectory(prefix="andon-lab-image-") as folder:
        tar = Path(folder) / "root.tar"
        sudo = [] if os.getuid() == 0 else ["sudo"]
        build = [*sudo, "mmdebstrap", "--quiet", "--variant=minbase", '--aptopt=APT::Install-Recommends "false"']
        done = subprocess.run([*build, "--include=" + ",".join(packages()), "trixie", tar], capture_output=True, text=True, check=False)
        if done.returncode:
            raise LabError(f"mmdebstrap failed: {done.stderr[-600:]}")
        docker("import", tar, tag)
    return tag


def container(host: str) -> str:
    """The name that a lab host has in the machine's engine."""
    return f"{NAME}-{host}"


def running() -> set[str]:
    names = docker("ps", "--filter", f"label=andon.lab={DIGEST}", "--format", "{{.Names}}").split()
    return {name[len(NAME) + 1 :] for name in names}


def close_connections() -> None:
    """Ends the shared SSH connections: the next lab may get the same addresses."""
    for socket in SOCKETS.glob("*"):
        subprocess.run(["ssh", "-O", "exit", "-o", f"ControlPath={socket}", "x"], capture_output=True, check=False)
        socket.unlink(missing_ok=True)


def remove(digest: str) -> int:
    """Removes all that a lab made in the engine; returns the number of containers."""
    ids = docker("ps", "-aq", "--filter", f"label=andon.lab={digest}").split()
    if ids:
        docker("rm", "-f", "-v", *ids)
    for kind in ("volume", "network"):
        names = docker(kind, "ls", "-q", "--filter", f"label=andon.lab={digest}").split()
        if names:
            docker(kind, "rm", *names)
    return len(ids)


def sweep() -> None:
    """Removes labs of other checkouts of which nothing runs: what a killed engine or a deleted checkout left."""
    states: dict[str, list[str]] = {}
    for line in docker("ps", "-a", "--filter", "label=andon.lab", "--format", '{{.Label "andon.lab"}} {{.State}}').splitlines():
        digest, _, state = line.partition(" ")
        states.setdefault(digest, []).append(state)
    for digest, found in states.items():
        if digest != DIGEST and "running" not in found:
            print(f"lab: removed the dead lab of another checkout ({remove(digest)} containers)", flush=True)


def down() -> None:
    close_connections()
    count = remove(DIGEST)
    shutil.rmtree(SOCKETS, ignore_errors=True)
    shutil.rmtree(INVENTORY, ignore_errors=True)
    print(f"lab: removed {count} containers")


def make_key() -> str:
    """The lab's own SSH key; returns its public half."""
    STATE.mkdir(exist_ok=True)
    if not KEY.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", NAME, "-f", str(KEY)], check=True)
    return KEY.with_suffix(".pub").read_text().strip()


def make_venue_keys() -> dict[str, dict[str, str]]:
    """New keys for the accounts: {venue: {"key", "secret"}}; also a file, which goes into the lab's containers."""
    keys = {name: {"key": secrets.token_hex(9), "secret": secrets.token_hex(18)} for name in VENUES}
    private(KEYS, json.dumps(keys))
    return keys


def private(path: Path, text: str) -> None:
    """Writes a file that only we can read."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(text)


def address(name: str) -> str:
    networks = json.loads(docker("inspect", "--format", "{{json .NetworkSettings.Networks}}", name))
    return networks[NAME]["IPAddress"]


def start(name: str, tag: str, command: Iterable[str], *options: str) -> None:
    """Creates a container of the lab, puts the lab's programs in it, starts it."""
    docker(
        "create", "--name", container(name), "--hostname", name, "--network", NAME, "--network-alias", name,
        "--label", f"andon.lab={DIGEST}", *options, tag, *command,
    )  # fmt: skip
    docker("cp", f"{LAB}/.", f"{container(name)}:/opt/lab")
    docker("cp", KEYS, f"{container(name)}:/opt/lab/keys.json")
    docker("start", container(name))


def start_venue(tag: str, venue: str) -> str:
    """Boots the simulator of one account; returns the address that the hosts reach it by.

    For the bastion it listens on 127.0.0.1 too, on a free port: the fence of the tests (ANDON_VENUES_LOOPBACK) lets nothing else through.
    """
    name = f"venue-{venue}"
    command = ["python3", "/opt/lab/bybit_sim.py", "--host", "0.0.0.0", "--port", str(VENUE_PORT), "--keys", "/opt/lab/keys.json", "--account", venue]
    start(name, tag, command, "-p", f"127.0.0.1::{VENUE_PORT}")
    return address(container(name))


def start_host(tag: str, key: str, venues: dict[str, str], name: str) -> None:
    volume = container(name)
    docker("volume", "create", "--label", f"andon.lab={DIGEST}", volume)
    where = [word for venue, ip in venues.items() for word in ("-e", f"LAB_VENUE_{venue.upper()}={ip}")]
    start(name, tag, ["bash", "/opt/lab/boot.sh"], "-e", f"LAB_KEY={key}", *where, "-v", f"{volume}:/var/lib/docker", *POWERS)
    end = time.monotonic() + 120
    while subprocess.run(["docker", "exec", container(name), "test", "-e", "/run/lab/ready"], capture_output=True, check=False).returncode:
        if name not in running() or time.monotonic() > end:
            log = subprocess.run(["docker", "logs", "--tail", "20", container(name)], capture_output=True, text=True, check=False)
            raise LabError(f"{name} did not boot:\n{log.stdout}{log.stderr}")
        time.sleep(0.2)


def ssh_options() -> list[str]:
    """OpenSSH options for every lab host, keys checked."""
    return ["-o", f"UserKnownHostsFile={KNOWN_HOSTS}", "-o", "StrictHostKeyChecking=yes", "-o", f"ControlPath={SOCKETS}/%h-%p-%r"]


def inventory_venues(keys: dict[str, dict[str, str]]) -> list[dict[str, Any]]:
    """andon_venues of inventory/lab."""
    found = []
    for name in VENUES:
        published = docker("port", container(f"venue-{name}"), f"{VENUE_PORT}/tcp").splitlines()[0]
        one: dict[str, Any] = {"name": name, "ccxt": "bybit", "account": f"the lab's account {name}", "urls": f"http://{published}"}
        one["credentials"] = {"api_key": keys[name]["key"], "secret": keys[name]["secret"]}
        one["sections"] = [{"type": "swap"}]
        one["options"] = {"fetchMarkets": {"types": ["linear"]}}  # one request instead of eleven
        found.append(one)
    found[0]["prefix"] = PREFIX
    return found


def venue_urls() -> dict[str, str]:
    """The simulators' addresses on this machine, by venue."""
    inventory = json.loads((INVENTORY / "hosts.yml").read_text())
    return {one["name"]: one["urls"] for one in inventory["trading"]["vars"]["andon_venues"]}


def ask_venue(url: str, what: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """One request to a simulator's admin channel (bybit_sim.py): the witness that asks neither Andon nor ccxt.

    Args:
        what: orders, faults, positions or reset. body: what to change; without one it is a look.
    """
    request = urllib.request.Request(f"{url}/admin/{what}", None if body is None else json.dumps(body).encode())
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
        return json.load(answer)


def open_orders(url: str) -> list[dict[str, Any]]:
    """What rests at a venue, whatever its faults make it say."""
    return ask_venue(url, "orders")["orders"]


def wait_for_orders(seconds: float = 60) -> dict[str, list[dict[str, Any]]]:
    """What rests at each venue, once strategies of every host have an order there.

    Args:
        seconds: a guard; they tick twice a second.

    Raises:
        LabError: they did not come.
    """
    end = time.monotonic() + seconds
    while True:
        found = {venue: open_orders(url) for venue, url in venue_urls().items()}
        if all(any(f"{PREFIX}{host}-" in order["orderLinkId"] for order in some) for some in found.values() for host in HOSTS):
            return found
        if time.monotonic() > end:
            links = {venue: [order["orderLinkId"] for order in some] for venue, some in found.items()}
            raise LabError(f"no orders of every host at the venues after {seconds:g} s: {links}")
        time.sleep(0.1)


def write_inventory(addresses: dict[str, str], keys: dict[str, dict[str, str]]) -> None:
    """inventory/lab: literal values only (testinfra does not template connection variables)."""
    SOCKETS.mkdir(mode=0o700, exist_ok=True)
    hosts = {}
    known = []
    for name, where in addresses.items():
        public = docker("exec", container(name), "cat", "/etc/ssh/ssh_host_ed25519_key.pub")
        # Port 2222 is where the tests put a second way to the same host.
        known.append(f"{where},[{where}]:2222 {' '.join(public.split()[:2])}")
        hosts[name] = {"ansible_host": where}
    KNOWN_HOSTS.write_text("\n".join(known) + "\n")
    inventory = {
        "trading": {
            "hosts": hosts,
            "vars": {
                "ansible_user": "root",
                "ansible_ssh_private_key_file": str(KEY),
                "ansible_ssh_common_args": " ".join(ssh_options()),
                "ansible_python_interpreter": "/usr/bin/python3",
                "andon_venues": inventory_venues(keys),
            },
        }
    }
    INVENTORY.mkdir(parents=True, exist_ok=True)
    # JSON is YAML; made by lab/lab.py and not committed.
    private(INVENTORY / "hosts.yml", json.dumps(inventory, indent=2) + "\n")
    config = []
    for name, where in addresses.items():
        config += [f"Host {name}", f"    HostName {where}", "    User root", f"    IdentityFile {KEY}", f"    UserKnownHostsFile {KNOWN_HOSTS}"]
        config += ["    StrictHostKeyChecking yes", "    ControlMaster auto", "    ControlPersist 300", f"    ControlPath {SOCKETS}/cfg-%h-%p-%r"]
    (STATE / "ssh_config").write_text("\n".join(config) + "\n")


def up() -> None:
    """Boots the lab; what already runs is kept and reset."""
    begun = time.monotonic()
    tag = image()
    sweep()
    wanted = {*HOSTS, *(f"venue-{venue}" for venue in VENUES)}
    if running() == wanted and (INVENTORY / "hosts.yml").exists():
        reset()
        print(f"lab: {len(HOSTS)} hosts were up, reset in {time.monotonic() - begun:.0f} s")
        return
    remove(DIGEST)
    close_connections()
    key = make_key()
    docker("network", "create", "--label", f"andon.lab={DIGEST}", NAME)
    keys = make_venue_keys()
    venues = {venue: start_venue(tag, venue) for venue in VENUES}
    with ThreadPoolExecutor(len(HOSTS)) as pool:
        list(pool.map(functools.partial(start_host, tag, key, venues), HOSTS))
    write_inventory({name: address(container(name)) for name in HOSTS}, keys)
    for name in HOSTS:
        print(f"lab: {name} at {address(container(name))}, {len(trading(name))} containers")
    print(f"lab: up in {time.monotonic() - begun:.0f} s")


def trading(host: str) -> list[str]:
    return docker("exec", container(host), "docker", "ps", "--format", "{{.Names}}").split()


def reset(hosts: Iterable[str] = HOSTS) -> None:
    """Every host back to what a fresh one has (see trading.sh), and the venues: what killed strategies left there is gone."""
    hosts = list(hosts)

    def one(host: str) -> None:
        if docker("inspect", "--format", "{{.State.Paused}}", container(host), check=False) == "true":
            docker("unpause", container(host))
        docker("exec", container(host), "/opt/lab/trading.sh", "reset", timeout=120)

    with ThreadPoolExecutor(max(len(hosts), 1)) as pool:
        list(pool.map(one, hosts))
    for url in venue_urls().values():
        ask_venue(url, "reset", {})


def status() -> int:
    here = running()
    for name in HOSTS:
        print(f"{name}  {'up, running: ' + ' '.join(sorted(trading(name))) if name in here else 'down'}")
    for venue in VENUES:
        print(f"venue {venue}  {'up' if f'venue-{venue}' in here else 'down'}")
    return 0 if here == {*HOSTS, *(f"venue-{venue}" for venue in VENUES)} else 1


def ssh(host: str, command: list[str]) -> None:
    if host not in HOSTS:
        raise LabError(f"there is no host {host}; there are {', '.join(HOSTS)}")
    os.execvp("ssh", ["ssh", "-F", str(STATE / "ssh_config"), host, *command])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["image", "up", "down", "status", "reset", "ssh"])
    parser.add_argument("words", nargs=argparse.REMAINDER)
    args = parser.parse_args()
    try:
        if args.verb == "ssh":
            if not args.words:
                raise LabError("which host? type: ./dev lab ssh host-a")
            ssh(args.words[0], args.words[1:])
        if args.verb == "reset":
            reset(args.words or HOSTS)
        elif args.verb == "status":
            return status()
        else:
            {"image": image, "up": up, "down": down}[args.verb]()
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except FileNotFoundError as error:
        print(f"lab: {error.filename} is not installed; type: ./dev lab up", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
