"""Bundles: one changed byte is noticed, hostile ones are refused, nothing is overwritten."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import tarfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from andon import bundle
from andon.bundle import BundleError, Hostile

LINES = "".join(f"2026-11-22T03:00:{n % 60:02d}Z line {n} ERROR px\n" for n in range(3000)).encode()
NOW = 1795316400.0


def host_archive(path, files, items=None, extra=()):
    """A host's archive as the collector writes it."""
    if items is None:
        items = [
            {
                "name": name.removesuffix(".gz"),
                "file": name,
                "status": "ok",
                "stored_sha256": hashlib.sha256(data).hexdigest(),
                "sha256": hashlib.sha256(gzip.decompress(data) if name.endswith(".gz") else data).hexdigest(),
                "bytes": len(gzip.decompress(data) if name.endswith(".gz") else data),
                "redactions": [{"rule": "jwt", "count": 2, "lines": [1]}],
            }
            for name, data in files.items()
        ]
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for name, data in [*files.items(), ("host.json", json.dumps({"items": items, "gaps": [{"source": "x\x1b[31m"}]}).encode())]:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for info, data in extra:
            tar.addfile(info, io.BytesIO(data) if data is not None else None)
    return path


FILES = {"containers/momentum.stdout.log.gz": gzip.compress(LINES[:50000]) + gzip.compress(LINES[50000:]), "system/clock.txt": b"UTC now\n"}


@pytest.fixture
def made(tmp_path):
    """A bundle of two hosts, one of which failed."""
    plan = {"run": "ab12", "since_utc": "2026-11-22T02:00:00.000Z", "until_utc": "2026-11-22T03:00:00.000Z", "key": "secret-key"}
    part, _swept = bundle.open_part("inc", plan, os.getpid())
    manifest = bundle.receive(host_archive(tmp_path / "h.tar", FILES), part / "hosts" / "host-a")
    hosts = {
        "host-a": {"status": "full", "folder": "host-a", "items": manifest["items"], "gaps": manifest["gaps"], "clock_offset_seconds": -90.0},
        "host-b": {"status": "failed", "error": "unreachable", "items": [], "gaps": []},
    }
    return bundle.close_part(part, "inc", hosts, {"name": "tester", "bastion": "b1"}, NOW)


def problems(path):
    """What verify finds: a list; an exception counts as one."""
    try:
        return bundle.verify(path)["problems"]
    except BundleError as error:
        return [str(error)]


def test_a_bundle_verifies_as_folder_and_as_archive_and_is_private(made):
    for path in (made["folder"], made["archive"]):
        found = bundle.verify(path)
        assert found["problems"] == [] and found["files"] == 4 and found["custody"][0]["actor"] == "tester"
    assert b"secret-key" not in b"".join(p.read_bytes() for p in Path(made["folder"]).rglob("*") if p.is_file())
    for path in [Path(made["archive"]), Path(made["archive"] + ".sha256"), *Path(made["folder"]).rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path
    assert [p.name for p in bundle.shelf().iterdir() if p.name.startswith(".")] == []


def test_one_flipped_byte_anywhere_in_the_archive_is_noticed(made):
    path = Path(made["archive"])
    raw = bytearray(path.read_bytes())
    for at in {*range(0, len(raw), max(1, len(raw) // 40)), 0, 1, 4, 5, 6, len(raw) - 1}:
        raw[at] ^= 1
        path.write_bytes(raw)
        assert problems(path), f"byte {at}"
        raw[at] ^= 1
    path.write_bytes(raw)
    assert problems(path) == []


def test_one_flipped_byte_anywhere_in_the_folder_is_noticed(made):
    for path in [p for p in Path(made["folder"]).rglob("*") if p.is_file()]:
        raw = bytearray(path.read_bytes())
        for at in {0, 9, len(raw) // 3, len(raw) // 2, len(raw) - 2, len(raw) - 1}:
            raw[at % len(raw)] ^= 1
            path.write_bytes(raw)
            assert problems(made["folder"]), f"{path} byte {at}"
            raw[at % len(raw)] ^= 1
        path.write_bytes(raw)
    assert problems(made["folder"]) == []


@pytest.mark.parametrize("tool", ["zstd", None])
def test_without_its_checksum_file_every_item_is_still_checked(made, tmp_path, monkeypatch, tool):
    if tool and not shutil.which("zstd"):
        pytest.skip("zstd is not installed")
    if not tool:
        monkeypatch.setattr(bundle.shutil, "which", lambda name: None)
    target = tmp_path / "again"
    target.mkdir()
    item = Path(made["folder"]) / "hosts/host-a/system/clock.txt"
    good = item.read_bytes()
    item.write_bytes(b"UTC nox\n")
    bad, kind = bundle.pack(Path(made["folder"]), target, "bad")
    item.write_bytes(good)
    fine, _kind = bundle.pack(Path(made["folder"]), target, "fine")
    assert kind == ("zstd" if tool else "gzip") and problems(fine) == []
    assert problems(bad) == ["hosts/host-a/system/clock.txt was changed: its SHA-256 is not the one in the manifest"]
    fine.write_bytes(fine.read_bytes()[:-30])
    assert problems(fine)


def test_added_missing_and_linked_files_are_noticed(made):
    folder = Path(made["folder"])
    (folder / "hosts/host-a/extra.txt").write_text("x")
    with pytest.raises(Hostile, match="somebody added it"):
        bundle.verify(folder)
    (folder / "hosts/host-a/extra.txt").unlink()
    item = folder / "hosts/host-a/system/clock.txt"
    content = item.read_bytes()
    item.unlink()
    assert bundle.verify(folder)["problems"] == ["hosts/host-a/system/clock.txt is missing"]
    (folder.parent / "clock").write_bytes(content)
    item.symlink_to(folder.parent / "clock")
    with pytest.raises(Hostile, match="no ordinary file"):
        bundle.verify(folder)


def test_nothing_is_overwritten_and_dead_collections_are_swept(made):
    plan = {"run": "cd34", "since_utc": "", "until_utc": ""}
    living, swept = bundle.open_part("inc", plan, os.getpid())
    assert swept == []
    again = bundle.close_part(living, "inc", {}, {"name": "tester"}, NOW)
    assert again["name"] == "inc-2" and Path(made["folder"]).exists()
    dead, _ = bundle.open_part("gone", dict(plan, run="ef56"), os.getpid())
    (dead / "owner").write_text("999999999 1")
    living, swept = bundle.open_part("new", dict(plan, run="aa77"), os.getpid())
    assert swept == ["gone"] and not dead.exists() and living.exists()


def test_bundles_of_an_open_incident_lie_with_it(tmp_path):
    root = bundle.state_dir()
    assert bundle.shelf() == root / "logs"
    (root / "incidents" / "2026-11-22-x").mkdir(parents=True)
    (root / "active").write_text("2026-11-22-x\n")
    assert bundle.shelf() == root / "incidents" / "2026-11-22-x" / "logs"
    (root / "active").write_text("../../etc\n")
    assert bundle.shelf() == root / "logs"


def member(name="x", kind=tarfile.REGTYPE, size=0, link=""):
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size, link
    return info


HOSTILE = {
    "absolute": member("/etc/cron.d/x"),
    "parent": member("hosts/../../x"),
    "hidden": member(".ssh/authorized_keys"),
    "newline": member("a\nb"),
    "symlink": member("x", tarfile.SYMTYPE, link="/etc/passwd"),
    "hardlink": member("x", tarfile.LNKTYPE, link="/etc/passwd"),
    "device": member("x", tarfile.CHRTYPE),
    "pipe": member("x", tarfile.FIFOTYPE),
    "folder": member("x", tarfile.DIRTYPE),
    "twice": member("system/clock.txt"),
    "unannounced": member("x"),
    "sparse": member("x", tarfile.GNUTYPE_SPARSE),
    "pax": member("x", tarfile.XHDTYPE, 0),
    "long": member("a/" * 300 + "x"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_host_writes_nothing(tmp_path, kind):
    archive = host_archive(tmp_path / "h.tar", FILES, extra=[(HOSTILE[kind], b"")])
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(BundleError):
        bundle.receive(archive, tmp_path / "out" / "host-a")
    assert not (tmp_path / "out" / "host-a").exists() and [p for p in sorted(tmp_path.rglob("*")) if p.name != "out"] == before


def test_a_host_that_lies_about_its_items_is_refused(tmp_path):
    lie = [{"name": "x", "file": "system/clock.txt", "status": "ok", "stored_sha256": "0" * 64}]
    for number, (files, items, words) in enumerate(
        [
            ({"system/clock.txt": b"x"}, lie, "damaged on its way"),
            ({}, lie, "lacks system/clock.txt"),
            ({}, [{"status": "wonderful"}], "without a name or a status"),
            ({}, [{"status": "ok", "name": ["x"]}], "without a name or a status"),
            ({}, "no list", None),
        ]
    ):
        archive = host_archive(tmp_path / f"{number}.tar", files, items)
        if words is None:
            assert bundle.receive(archive, tmp_path / str(number))["items"] == []
        else:
            with pytest.raises(BundleError, match=words):
                bundle.receive(archive, tmp_path / str(number))
    (tmp_path / "cut.tar").write_bytes(host_archive(tmp_path / "whole.tar", FILES).read_bytes()[:2000])
    with pytest.raises(BundleError, match="ends in the middle"):
        bundle.receive(tmp_path / "cut.tar", tmp_path / "cut")


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_bundle_is_refused_before_anything_is_written(made, tmp_path, kind):
    info = HOSTILE[kind]
    evil = tmp_path / "evil.tar.gz"
    with tarfile.open(evil, "w:gz", format=tarfile.GNU_FORMAT) as tar:
        for name in (bundle.MANIFEST, bundle.SEAL, bundle.CUSTODY):
            data = (Path(made["folder"]) / name).read_bytes()
            one = member("inc/" + name, size=len(data))
            tar.addfile(one, io.BytesIO(data))
        bad = member(info.name if info.name.startswith("/") else "inc/" + info.name, info.type, info.size, info.linkname)
        tar.addfile(bad, io.BytesIO(b""))
        if kind == "twice":
            tar.addfile(bad, io.BytesIO(b""))
    before = sorted(tmp_path.rglob("*"))
    result = CliRunner().invoke(main(), ["logs", "verify", str(evil)])
    assert result.exit_code == 2 and "REFUSED" in result.output + result.stderr, result.output
    assert sorted(tmp_path.rglob("*")) == before


def test_bombs_are_refused(made, tmp_path, monkeypatch):
    monkeypatch.setattr(bundle, "SLACK", 1 << 16)
    bomb = tmp_path / "bomb.tar.gz"
    bomb.write_bytes(gzip.compress(b"\0" * (16 << 20)))
    with pytest.raises(Hostile, match="bomb"):
        bundle.verify(bomb)
    with pytest.raises(Hostile, match="more comes out"):
        list(bundle.text_lines("x.gz", [gzip.compress(b"a\n" * 100000)], 1000))


def main():
    import cli

    return cli.main


def run(*args, **kw):
    return CliRunner().invoke(main(), list(args), **kw)


def test_show_lists_and_searches_and_strangers_words_are_inert(made):
    listed = run("logs", "show", "inc")
    assert listed.exit_code == 0 and "host-a  FULL, clock -90.000 s" in listed.output and "host-b  FAILED" in listed.output
    assert "2 redacted  containers/momentum.stdout.log" in listed.output and "\x1b" not in listed.output and "GAP x:" in listed.output
    found = run("logs", "show", "inc.tar.zst" if made["kind"] == "zstd" else "inc.tar.gz", "--grep", "line 299[89] ")
    assert found.output.splitlines() == [
        "host-a/containers/momentum.stdout.log:2999: 2026-11-22T03:00:58Z line 2998 ERROR px",
        "host-a/containers/momentum.stdout.log:3000: 2026-11-22T03:00:59Z line 2999 ERROR px",
    ]
    assert run("logs", "show", "inc", "--item", "clock").output == "host-a/system/clock.txt:1: UTC now\n"
    assert "2900 more lines" in run("logs", "show", "inc", "--grep", "ERROR", "-n", "100").stderr
    assert run("logs", "show", "inc", "--grep", "(").exit_code == 1
    assert "andon logs show inc" in run("logs", "show", "nothing").stderr


def test_show_and_verify_of_a_changed_bundle_fail(made):
    item = Path(made["folder"]) / "hosts/host-a/system/clock.txt"
    item.write_bytes(b"UTC nox\n")
    for args in (("verify", "inc"), ("show", "inc"), ("show", "inc", "--grep", "line 1 ")):
        result = run("logs", *args)
        assert result.exit_code == 2 and "NOT VERIFIED" in result.stderr and "clock.txt was changed" in result.stderr, args
    document = json.loads(run("--json", "logs", "verify", "inc").stdout)
    assert document["ok"] is False and len(document["problems"]) == 1
    item.write_bytes(b"UTC now\n")
    assert "VERIFIED inc: all 4 files" in run("logs", "verify", "inc").output


def test_the_command_line_names_the_playbook(made, monkeypatch):
    import verbs.logs

    seen = []
    monkeypatch.setattr(verbs.logs, "run_playbook", lambda settings, verb, extra, **more: seen.append((verb, extra, more)))
    run("logs")
    run("logs", "incident-20261122", "--since", "2h", "-l", "h1", "--check")
    assert seen == [
        ("collect_logs", {"collect_logs_name": None, "collect_logs_since": None, "collect_logs_until": None}, {"limit": None, "check": False}),
        ("collect_logs", {"collect_logs_name": "incident-20261122", "collect_logs_since": "2h", "collect_logs_until": None}, {"limit": "h1", "check": True}),
    ]
