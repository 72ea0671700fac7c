"""The Molecule scenarios test what they say, and only Molecule runs their tests."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
SCENARIOS = sorted(p.parent for p in (ROOT / "tests" / "molecule").glob("*/molecule.yml") if p.parent.name != "default")


def test_the_verbs_whose_end_state_is_on_hosts_have_one():
    assert {"emergency_stop", "resume", "kill_strategy", "restart", "limit_memory", "emergency_stop_at_venues"} <= {scenario.name for scenario in SCENARIOS}


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
def test_a_scenario_runs_its_root_shim_and_has_tests(scenario):
    converge = (scenario / "converge.yml").read_text()
    # A scenario is called after its verb, or after the verb and the case.
    verbs = [one.stem for one in ROOT.glob("*.yml") if scenario.name == one.stem or scenario.name.startswith(one.stem + "_")]
    assert verbs, "no verb has this name"
    assert f"/{max(verbs, key=len)}.yml" in converge
    for play in yaml.safe_load(converge):
        if "ansible.builtin.import_playbook" in play:
            assert (scenario / play["ansible.builtin.import_playbook"]).resolve().parent == ROOT
    # Molecule passes over a verify without tests in silence.
    assert (scenario / "tests" / f"test_{scenario.name}.py").exists()
    own = yaml.safe_load((scenario / "molecule.yml").read_text()) or {}
    assert "verify" in own.get("scenario", {}).get("test_sequence", ["verify"])


def test_a_plain_pytest_run_collects_none_of_them(request):
    assert "*/tests/molecule" in request.config.getini("norecursedirs")
