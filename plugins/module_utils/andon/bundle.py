"""Log bundles on the bastion: received from hosts, packed, verified, shown. Standard library, plus the zstd command where it is installed.

Everything that is read here may be hostile: archives come from hosts that may be broken into, bundles from mail. So there is one strict
reader of tar streams: ordinary files with plain relative names only, each announced in a manifest before it is
believed, and a limit on how much may come out of how little.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import tarfile
import zlib
from pathlib import Path

from .incident_id import active
from .state import state_dir, utc, write_atomic

SCHEMA = "andon.bundle/1"
CHUNK = 1 << 20
MANIFEST, SEAL, CUSTODY = "manifest.json", "manifest.sha256", "custody.jsonl"
LOOSE = (MANIFEST, SEAL, CUSTODY)
# Limits for what a stranger's bundle may make us hold: one manifest in memory, and names.
MAX_MANIFEST = 64 << 20
MAX_MEMBERS = 200000
PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._\-]{0,200}\Z")
# What may come out of one compressed byte. Items are compressed already, so a real bundle stays far below.
MAX_RATIO = 200
SLACK = 64 << 20


class BundleError(Exception):
    """The bundle cannot be used; C(str()) is one line for a person."""


class Hostile(BundleError):
    """The bundle or archive tries something that no bundle of ours does."""


# Reading


def safe_name(name):
    """The name itself when it is a plain relative path.

    Raises:
        Hostile: absolute, "..", hidden, empty or strange parts.
    """
    parts = name.split("/")
    if len(name) > 400 or len(parts) > 8 or not all(PART.match(part) for part in parts):
        raise Hostile("a member is named %r, which no bundle of Andon holds" % name[:100])
    return name


def exactly(source, size):
    """Reads that many bytes. Raises BundleError when the stream ends before."""
    pieces, left = [], size
    while left:
        piece = source.read(left)
        if not piece:
            raise BundleError("the archive ends in the middle of a member: it is damaged or incomplete")
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def members(source):
    """The members of a tar stream, one after the other, in constant memory.

    Args:
        source: a binary file; it need not be seekable.

    Yields:
        (name, size, pieces): pieces is an iterator over the content; what is left of it is skipped.

    Raises:
        Hostile: a link, a device, a strange name, a name twice, something after the end.
        BundleError: damaged.
    """
    seen, long_name = set(), None
    while True:
        header = exactly(source, 512)
        if not header.strip(b"\0"):
            rest = source.read(CHUNK)
            while rest:
                if rest.strip(b"\0"):
                    raise Hostile("there is something after the archive's end")
                rest = source.read(CHUNK)
            return
        try:
            info = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise BundleError("the archive is damaged (%s)" % error) from None
        if info.size < 0:
            raise Hostile("a member has a negative size")
        if info.type == tarfile.GNUTYPE_LONGNAME and info.size <= 1024:
            long_name = exactly(source, -(-info.size // 512) * 512)[: info.size].rstrip(b"\0").decode("utf-8", "surrogateescape")
            continue
        name, long_name = safe_name(long_name or info.name), None
        if info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
            raise Hostile("%s is no ordinary file (links, devices and folders are refused)" % name)
        if name in seen or len(seen) >= MAX_MEMBERS:
            raise Hostile("%s comes twice, or there are too many members" % name)
        seen.add(name)
        pieces = _pieces(source, info.size)
        yield name, info.size, pieces
        for _rest in pieces:
            pass
        padding = exactly(source, -info.size % 512)
        if padding.strip(b"\0"):
            raise Hostile("something is hidden after %s" % name)


def _pieces(source, size):
    while size:
        piece = source.read(min(CHUNK, size))
        if not piece:
            raise BundleError("the archive ends in the middle of a member: it is damaged or incomplete")
        size -= len(piece)
        yield piece


class Bounded:
    """A stream that ends with an error when far more comes out of an archive than went in (a decompression bomb)."""

    def __init__(self, source, packed):
        self._source, self._left = source, packed * MAX_RATIO + SLACK

    def read(self, size=CHUNK):
        try:
            data = self._source.read(size)
        except (OSError, EOFError, zlib.error) as error:
            raise BundleError("the archive cannot be unpacked: %s" % error) from None
        self._left -= len(data)
        if self._left < 0:
            raise Hostile("more than %d times its size comes out of this archive: it is refused as a decompression bomb" % MAX_RATIO)
        return data


@contextlib.contextmanager
def unpacked(path):
    """The tar stream in a .tar.zst, .tar.gz or .tar file, bounded.

    Raises:
        BundleError: unknown kind, or zstd is needed and not installed.
    """
    path = Path(path)
    size = path.stat().st_size
    if path.name.endswith(".tar.gz"):
        with gzip.open(path, "rb") as source:
            yield Bounded(source, size)
    elif path.name.endswith(".tar.zst"):
        tool = shutil.which("zstd")
        if not tool:
            raise BundleError("this bundle is packed with zstd, which is not installed here. Next: apt-get install zstd, or use the bundle's folder")
        with path.open("rb") as packed:
            process = subprocess.Popen([tool, "-q", "-d", "-c", "--memory=128MB"], stdin=packed, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            yield Bounded(process.stdout, size)
            process.stdout.close()
            words = process.stderr.read(2000).decode("utf-8", "replace").strip()
            if process.wait():
                raise BundleError("zstd says that the archive is damaged: %s" % words[-200:])
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
            process.stderr.close()
    else:
        raise BundleError("%s is no bundle: a bundle is a folder, a .tar.zst or a .tar.gz" % path.name)


def load_json(raw, what):
    """A JSON object. Raises BundleError when it is none."""
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise BundleError("%s is damaged: it is no JSON object" % what)
    return data


# Receiving from a host

_ITEM = {
    "name": str, "file": str, "source": str, "container": str, "container_name": str, "image": str, "state": str, "command": list, "rc": int, "start": str,
    "end": str, "bytes": int, "lines": int, "sha256": str, "stored_sha256": str, "stored_bytes": int, "encoding": str, "status": str, "error": str,
    "window": str, "redactions": list, "dropped_bytes": int, "dropped_lines": int, "joined_pieces": int, "replaced_lines": int, "removed_escapes": int,
    "first": str, "last": str,
}  # fmt: skip
STATUSES = ("ok", "failed", "timeout", "truncated", "absent")


def host_manifest(raw):
    """A host's own manifest, with nothing in it but what we know.

    Raises:
        BundleError: it is damaged.
    """
    data = load_json(raw, "the host's manifest")
    items = []
    for one in data.get("items") if isinstance(data.get("items"), list) else ():
        if not isinstance(one, dict) or one.get("status") not in STATUSES or not isinstance(one.get("name"), str):
            raise BundleError("the host's manifest is damaged: an item without a name or a status")
        item = {key: one[key] for key, kind in _ITEM.items() if isinstance(one.get(key), kind) or (key in one and one[key] is None)}
        item["redactions"] = [
            {"rule": str(found["rule"]), "count": found["count"], "lines": [n for n in found.get("lines") or () if isinstance(n, int)]}
            for found in item.get("redactions") or ()
            if isinstance(found, dict) and isinstance(found.get("count"), int) and isinstance(found.get("lines"), list) and found.get("rule")
        ]
        items.append(item)
    lists = {key: [one for one in data.get(key) or () if isinstance(one, dict)] for key in ("gaps", "skipped")}
    rest = {key: data.get(key) for key in ("schema", "run", "since", "until", "host_time", "seconds", "known_values", "space")}
    return dict(rest, items=items, **lists)


def receive(archive, folder):
    """Unpacks a host's archive and checks it against the host's manifest.

    Args:
        archive: the fetched file. folder: a new folder for its files (made 0700, the files 0600).

    Returns:
        the host's manifest.

    Raises:
        Hostile, BundleError: the archive is not what a collector makes; the folder is taken away.
    """
    folder = Path(folder)
    folder.mkdir(mode=0o700, parents=True)
    try:
        found, manifest = {}, None
        with open(archive, "rb") as source:
            for name, size, pieces in members(source):
                if name == "host.json":
                    if size > MAX_MANIFEST:
                        raise Hostile("the host's manifest is too large")
                    manifest = host_manifest(b"".join(pieces))
                    continue
                found[name] = _write(folder / name, pieces)
        if manifest is None:
            raise BundleError("the host's archive has no manifest: it is incomplete")
        announced = {one["file"]: one for one in manifest["items"] if one.get("file")}
        for name, digest in found.items():
            if name not in announced:
                raise Hostile("the host sent %s, which its manifest does not know" % name)
            if announced[name].get("stored_sha256") != digest:
                raise BundleError("%s was damaged on its way" % name)
        missing = sorted(set(announced) - set(found))
        if missing:
            raise BundleError("the host's archive lacks %s" % missing[0])
        write_atomic(folder / "host.json", manifest, 0o600)
        return manifest
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _write(path, pieces):
    """Writes a new file (0600); returns its SHA-256."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as out:
        for piece in pieces:
            out.write(piece)
            digest.update(piece)
    return digest.hexdigest()


def digest_of(path):
    """SHA-256 (hex) of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as source:
        for piece in iter(lambda: source.read(CHUNK), b""):
            digest.update(piece)
    return digest.hexdigest()


# Making a bundle


def shelf():
    """Where bundles go: the open incident's logs/, else logs/ in the bastion's state."""
    root, name = state_dir(), active()
    if name and (root / "incidents" / name).is_dir():
        return root / "incidents" / name / "logs"
    return root / "logs"


def host_folder(host):
    """The name of a host's folder: the host's name where it is a plain one, else its plain part and a hash."""
    plain = re.sub(r"[^A-Za-z0-9._\-]+", "_", host).strip("._-")
    return plain if plain == host and PART.match(plain) else "%s-%s" % (plain[:60] or "host", hashlib.sha256(host.encode("utf-8", "replace")).hexdigest()[:8])


def process_alive(mark):
    """True while the process of a C("pid start") mark is there."""
    pid, _, started = mark.partition(" ")
    try:
        with open("/proc/%d/stat" % int(pid), encoding="utf-8", errors="replace") as source:
            return source.read().rsplit(")", 1)[1].split()[19] == started.strip()
    except (OSError, ValueError, IndexError):
        return False


def process_mark(pid):
    """The mark of a living process, for C(process_alive)."""
    with open("/proc/%d/stat" % pid, encoding="utf-8", errors="replace") as source:
        return "%d %s" % (pid, source.read().rsplit(")", 1)[1].split()[19])


def open_part(name, plan, owner):
    """Makes the folder in which a bundle is built.

    Args:
        name: the bundle's name. plan: dict kept in it (run.json, 0600).
        owner: pid of the process that must be alive while it is built.

    Returns:
        (Path, names of interrupted collections that were taken away).

    Raises:
        OSError: it cannot be made.
    """
    place = shelf()
    place.mkdir(parents=True, exist_ok=True)
    swept = []
    for old in place.glob(".*.part"):
        try:
            alive = process_alive((old / "owner").read_text(encoding="ascii"))
        except (OSError, ValueError):
            alive = False
        if not alive:
            shutil.rmtree(old, ignore_errors=True)
            swept.append(old.name[1 : -len(".part")].rsplit(".", 1)[0])
    part = place / (".%s.%s.part" % (name, plan["run"]))
    part.mkdir(mode=0o700)
    (part / "hosts").mkdir(mode=0o700)
    (part / "incoming").mkdir(mode=0o700)
    write_atomic(part / "owner", process_mark(owner), 0o600)
    write_atomic(part / "run.json", plan, 0o600)
    return part, swept


def free_name(place, name):
    """The name, or name-2, name-3 ... when bundles of that name are there already: no evidence is ever overwritten."""
    number, free = 1, name
    while any((place / (free + end)).exists() for end in ("", ".tar.zst", ".tar.gz")):
        number += 1
        free = "%s-%d" % (name, number)
    return free


def custody_line(lines, **what):
    """One more line of a custody log, chained to the ones before."""
    entry = dict(what, seq=len(lines) + 1, prev=lines[-1]["hash"] if lines else "")
    entry["hash"] = hashlib.sha256(json.dumps(entry, sort_keys=True, ensure_ascii=True).encode()).hexdigest()
    return entry


def files_below(folder):
    """{relative name: path} of all files, in order.

    Raises:
        Hostile: a link, a device, a strange name.
    """
    found = {}
    for where, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(folders + names):
            path = os.path.join(where, name)
            mode = os.lstat(path).st_mode
            relative = os.path.relpath(path, folder)
            if stat.S_ISDIR(mode):
                continue
            if not stat.S_ISREG(mode):
                raise Hostile("%s is no ordinary file (links and devices are refused)" % relative[:100])
            found[safe_name(relative)] = path
    return found


def close_part(part, name, hosts, who, now):
    """Turns the finished folder into a bundle: manifest, seal, custody log, archive.

    Args:
        part: the folder. name: the wanted name.
        hosts: {host: dict} what became of each host. who: dict from state.actor(). now: Unix time.

    Returns:
        dict: folder, archive, archive_sha256, kind ("zstd" or "gzip"), bytes, name.
    """
    part = Path(part)
    plan = load_json((part / "run.json").read_bytes(), "run.json")
    place = part.parent
    name = free_name(place, name)
    build = part / "bundle"
    build.mkdir(mode=0o700)
    os.rename(part / "hosts", build / "hosts")
    redactions = [
        {"host": host, "item": item["name"], "rule": one.get("rule"), "count": one.get("count"), "lines": one.get("lines")}
        for host, about in sorted(hosts.items())
        for item in about.get("items", ())
        for one in item.get("redactions", ())
        if isinstance(one, dict)
    ]
    write_atomic(build / "redactions.json", {"note": "What was taken out, by rule, item and line; never the value.", "redactions": redactions}, 0o600)
    manifest = {
        "schema": SCHEMA,
        "name": name,
        "run": plan["run"],
        "since": plan["since_utc"],
        "until": plan["until_utc"],
        "made_at": utc(now),
        "made_by": who,
        "hosts": hosts,
        "files": {one: {"sha256": digest_of(path), "bytes": os.path.getsize(path)} for one, path in files_below(build).items()},
    }
    write_atomic(build / MANIFEST, manifest, 0o600)
    seal = digest_of(build / MANIFEST)
    write_atomic(build / SEAL, "%s  %s\n" % (seal, MANIFEST), 0o600)
    line = custody_line([], at=utc(now), actor=who.get("name"), bastion=who.get("bastion"), ssh_client=who.get("ssh_client"), did="collected", manifest=seal)
    write_atomic(build / CUSTODY, json.dumps(line, sort_keys=True) + "\n", 0o600)
    archive, kind = pack(build, part, name)
    os.rename(build, place / name)
    os.rename(archive, place / archive.name)
    digest = digest_of(place / archive.name)
    write_atomic(place / (archive.name + ".sha256"), "%s  %s\n" % (digest, archive.name), 0o600)
    shutil.rmtree(part, ignore_errors=True)
    return {
        "name": name,
        "folder": str(place / name),
        "archive": str(place / archive.name),
        "archive_sha256": digest,
        "kind": kind,
        "bytes": (place / archive.name).stat().st_size,
    }


def pack(build, part, name):
    """Packs the folder: .tar.zst where zstd is installed, else .tar.gz. Returns (path, kind)."""
    tool = shutil.which("zstd")
    files = files_below(build)
    order = [one for one in LOOSE if one in files] + [one for one in files if one not in LOOSE]
    archive = Path(part) / (name + (".tar.zst" if tool else ".tar.gz"))
    with os.fdopen(os.open(archive, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        if tool:
            process = subprocess.Popen([tool, "-q", "-T0", "-3", "--check", "-c"], stdin=subprocess.PIPE, stdout=out)
            try:
                write_tar(process.stdin, name, files, order)
                process.stdin.close()
            finally:
                code = process.wait()
            if code:
                raise BundleError("zstd could not pack the bundle (exit code %d); is the disk full?" % code)
        else:
            with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=6, mtime=0) as packed:
                write_tar(packed, name, files, order)
        out.flush()
        os.fsync(out.fileno())
    return archive, "zstd" if tool else "gzip"


def write_tar(out, name, files, order):
    """Writes a tar stream of ordinary files, the manifest first, so that a reader knows what may come."""
    for one in order:
        with open(files[one], "rb") as source:
            info = tarfile.TarInfo("%s/%s" % (name, one))
            info.size, info.mode, info.mtime = os.fstat(source.fileno()).st_size, 0o600, int(os.fstat(source.fileno()).st_mtime)
            out.write(info.tobuf(tarfile.GNU_FORMAT))
            left = info.size
            while left:
                piece = source.read(min(CHUNK, left))
                if not piece:
                    raise BundleError("%s became shorter while it was packed" % one)
                out.write(piece)
                left -= len(piece)
            out.write(b"\0" * (-info.size % 512))
    out.write(b"\0" * 1024)


# Verifying and showing


class Reader:
    """A bundle, folder or archive, read file by file. The first three files are manifest, seal and custody log.

    Args:
        path: the bundle.
    """

    def __init__(self, path):
        self.path = Path(path)
        if not self.path.exists():
            raise BundleError("%s does not exist" % path)

    def files(self):
        """Yields (relative name, size, pieces). Raises Hostile or BundleError."""
        if self.path.is_dir():
            found = files_below(self.path)
            for name in [one for one in LOOSE if one in found] + [one for one in found if one not in LOOSE]:
                with open(found[name], "rb") as source:
                    size = os.fstat(source.fileno()).st_size
                    yield name, size, _pieces(source, size)
            return
        root = None
        with unpacked(self.path) as source:
            for name, size, pieces in members(source):
                first, _, rest = name.partition("/")
                root = root or first
                if first != root or not rest:
                    raise Hostile("%s lies outside of the bundle's folder" % name)
                yield rest, size, pieces


def check_manifest(raw, seal):
    """The manifest, once its seal agrees.

    Raises:
        BundleError: it does not, or it is no manifest of a bundle.
    """
    if seal.split()[:1] != [hashlib.sha256(raw).hexdigest().encode()]:
        raise BundleError("the manifest is not the one that was sealed: it, or its checksum, was changed")
    manifest = load_json(raw, MANIFEST)
    files, hosts = manifest.get("files"), manifest.get("hosts")
    if manifest.get("schema") != SCHEMA or not isinstance(files, dict) or not isinstance(hosts, dict):
        raise BundleError("this is no bundle of Andon, or of a newer version (schema %r)" % manifest.get("schema"))
    for name, about in files.items():
        safe_name(name)
        if not isinstance(about, dict) or not isinstance(about.get("bytes"), int) or not isinstance(about.get("sha256"), str):
            raise BundleError("the manifest is damaged at %r" % name)
    if not all(isinstance(about, dict) and all(isinstance(item, dict) for item in about.get("items") or ()) for about in hosts.values()):
        raise BundleError("the manifest is damaged: its hosts cannot be read")
    return manifest


def check_custody(raw, seal):
    """The lines of the custody log; raises BundleError when a line was changed or the log belongs to another manifest."""
    lines, before = [], ""
    for number, text in enumerate(raw.decode("utf-8", "replace").splitlines(), 1):
        entry = load_json(text, "custody log, line %d" % number)
        digest = entry.pop("hash", None)
        if digest != hashlib.sha256(json.dumps(entry, sort_keys=True, ensure_ascii=True).encode()).hexdigest() or entry.get("prev") != before:
            raise BundleError("the custody log was changed at line %d" % number)
        before = digest
        lines.append(dict(entry, hash=digest))
    if not lines or lines[0].get("manifest") != seal.split()[0].decode("ascii", "replace"):
        raise BundleError("the custody log does not belong to this manifest")
    # Byte for byte, as we write it: a change of blanks is a change.
    if raw != b"".join(json.dumps(one, sort_keys=True).encode() + b"\n" for one in lines):
        raise BundleError("the custody log was changed")
    return lines


def walk(path):
    """Reads a whole bundle and checks it on the way.

    Yields:
        first ("manifest", manifest, custody lines), then ("file", name, pieces) for each other file - what is left of the pieces is read
        and checked -, then ("problem", words, None) for each thing that does not agree.

    Raises:
        Hostile, BundleError: nothing of it can be trusted.
    """
    reader = Reader(path)
    loose, manifest, problems, seen = {}, None, [], set()
    problems += sidecar(reader.path)
    for name, size, pieces in reader.files():
        if name in LOOSE:
            if size > MAX_MANIFEST or manifest is not None:
                raise Hostile("%s is too large, or not at the archive's start" % name)
            loose[name] = b"".join(pieces)
            if len(loose) == len(LOOSE):
                manifest = check_manifest(loose[MANIFEST], loose[SEAL])
                if loose[SEAL] != ("%s  %s\n" % (loose[SEAL].split()[0].decode("ascii", "replace"), MANIFEST)).encode():
                    raise BundleError("%s was changed" % SEAL)
                yield "manifest", manifest, check_custody(loose[CUSTODY], loose[SEAL])
            continue
        if manifest is None:
            raise BundleError("this is no bundle: %s is not at its start" % ", ".join(one for one in LOOSE if one not in loose))
        about = manifest["files"].get(name)
        if about is None:
            raise Hostile("%s is not in the manifest: somebody added it" % name)
        if size != about["bytes"]:
            problems.append("%s has %d bytes instead of %d" % (name, size, about["bytes"]))
        seen.add(name)
        digest = hashlib.sha256()

        def checked(pieces=pieces, digest=digest):
            for piece in pieces:
                digest.update(piece)
                yield piece

        content = checked()
        yield "file", name, content
        for _rest in content:
            pass
        if digest.hexdigest() != about["sha256"]:
            problems.append("%s was changed: its SHA-256 is not the one in the manifest" % name)
    if manifest is None:
        raise BundleError("this is no bundle: %s is missing" % ", ".join(one for one in LOOSE if one not in loose))
    problems += ["%s is missing" % name for name in sorted(set(manifest["files"]) - seen)]
    for words in problems:
        yield "problem", words, None


def sidecar(path):
    """What does not agree with the checksum file beside an archive: a list of words."""
    beside = Path(str(path) + ".sha256")
    if path.is_dir() or not beside.exists():
        return []
    wanted = beside.read_bytes()[:4096].split()[:1]
    if wanted != [digest_of(path).encode()]:
        return ["the archive is not the one that %s names: it was changed" % beside.name]
    return []


def verify(path):
    """Re-checks every SHA-256 of a bundle.

    Returns:
        dict: manifest, custody, files (count), problems (list of words; empty: the bundle is as it was made).

    Raises:
        Hostile, BundleError: nothing of it can be trusted.
    """
    result = {"manifest": None, "custody": [], "files": 0, "problems": []}
    for kind, what, more in walk(path):
        if kind == "manifest":
            result.update(manifest=what, custody=more)
        elif kind == "file":
            result["files"] += 1
        else:
            result["problems"].append(what)
    return result


def text_lines(name, pieces, most):
    """The lines (bytes) of an item, decompressed.

    Args:
        name: its file's name. pieces: its stored content. most: bytes that the manifest announces; more is refused.

    Raises:
        Hostile: more comes out than was announced.
        BundleError: it cannot be decompressed.
    """
    packer = zlib.decompressobj(31) if name.endswith(".gz") else None
    rest, seen = b"", 0
    for piece in pieces:
        while piece:
            if packer is None:
                data, piece = piece, b""
            else:
                try:
                    data = packer.decompress(piece, CHUNK)
                except zlib.error as error:
                    raise BundleError("%s cannot be decompressed: %s" % (name, error)) from None
                piece = packer.unconsumed_tail
                if packer.eof:
                    # The collector writes one gzip member per block.
                    piece, packer = packer.unused_data, zlib.decompressobj(31)
            seen += len(data)
            if seen > most:
                raise Hostile("more comes out of %s than the manifest announces: it is refused" % name)
            parts = (rest + data).split(b"\n")
            rest = parts.pop()
            if len(rest) > 4 * CHUNK:
                parts, rest = parts + [rest], b""
            yield from parts
    if rest:
        yield rest


def item_of(manifest, name):
    """(host, item) of a stored file, or (host, {}) for what is no item."""
    for host, about in manifest["hosts"].items():
        folder = "hosts/%s/" % about.get("folder", "")
        if name.startswith(folder):
            for item in about.get("items") or ():
                if item.get("file") == name[len(folder) :]:
                    return host, item
            return host, {}
    return "", {}
