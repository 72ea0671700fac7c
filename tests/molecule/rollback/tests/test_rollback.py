"""Every covered container has the recorded image again although its tag has moved, runs, and nothing else was touched."""

from __future__ import annotations

import json

import looks


def test_the_recorded_image_runs_and_not_the_one_that_the_tag_names(host, before, after):
    tagged = host.check_output("docker image inspect -f '{{.Id}}' trading:1")
    for name in looks.COVERED:
        assert after[name]["image"] == before[name]["image"] != tagged
        assert after[name]["id"] != before[name]["id"], "it was deployed anew in between"


def test_they_run_and_are_healthy_with_their_policies(after, before):
    for name in looks.COVERED:
        assert (after[name]["status"], after[name]["health"]) == ("running", "healthy")
        assert after[name]["policy"] == before[name]["policy"]


def test_the_release_is_private_and_the_lock_was_given_back(host):
    folder = host.file("/var/lib/andon/releases/v1")
    assert folder.is_directory and folder.user == "root" and folder.mode & 0o077 == 0
    assert json.loads(host.file("/var/lib/andon/releases/v1/manifest.json").content_string)["files"]
    assert not host.file("/var/lib/andon/lock.json").exists
