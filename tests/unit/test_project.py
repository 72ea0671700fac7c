"""The project's own rules: shims = playbooks, roles agree with their specs and READMEs, modules document themselves."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from unittest import mock

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PUBLIC = sorted(p.name for p in (ROOT / "playbooks").glob("*.yml") if not p.name.startswith("_"))
MODULES = sorted((ROOT / "plugins" / "modules").glob("*.py"))
ROLES = sorted(p.parent for p in (ROOT / "roles").glob("*/meta"))
TAGS = "{{ ansible_run_tags | list if 'always' in ansible_skip_tags else ([] if 'tagged' in ansible_skip_tags else ['always']) }}"


def test_root_shims_are_the_public_playbooks():
    assert sorted(p.name for p in ROOT.glob("*.yml")) == PUBLIC
    for name in PUBLIC:
        (play,) = yaml.safe_load((ROOT / name).read_text())
        assert play["ansible.builtin.import_playbook"] == "playbooks/" + name


@pytest.mark.parametrize("name", PUBLIC)
def test_playbooks_say_what_they_do_and_no_flag_skips_them(name):
    text = (ROOT / "playbooks" / name).read_text()
    for word in ("# Purpose:", "# Blast radius:", "# Commands:", "# Undo:"):
        assert word in text, f"{name} does not say its {word}"
    for play in yaml.safe_load(text):
        assert play.get("tags") == TAGS, f"{name}, {play['name']}: --tags or --skip-tags would skip it"
        assert play.get("gather_facts") is False


@pytest.mark.parametrize("role", ROLES, ids=lambda r: r.name)
def test_roles_agree_with_specs_and_readme(role):
    specs = yaml.safe_load((role / "meta" / "argument_specs.yml").read_text())["argument_specs"]
    defaults_file = role / "defaults" / "main.yml"
    defaults = (yaml.safe_load(defaults_file.read_text()) or {}) if defaults_file.exists() else {}
    options = {name: option for spec in specs.values() for name, option in (spec.get("options") or {}).items()}
    assert set(defaults) <= set(options), "defaults without a spec"
    for name, option in options.items():
        if "default" in option:
            assert name in defaults and defaults[name] == option["default"], name
    for entry in specs:
        assert entry in ("main", "variables") or (role / "tasks" / f"{entry}.yml").exists(), entry
    readme = (role / "README.md").read_text()
    rows = dict(re.findall(r"^\| `([a-z_]+)` \| [a-z]+ \| ([^|]*) \|", readme, re.M))
    assert set(rows) == set(options), "README's table and the specs differ"
    for name, option in options.items():
        if "default" in option:
            assert rows[name].strip() == f"`{json.dumps(option['default'])}`", name


class Stop(Exception):
    """Raised where a module would begin to work."""


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.stem)
def test_modules_document_exactly_what_they_take(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    seen = {}

    def record(*args, **kwargs):
        seen.update(kwargs)
        raise Stop

    with mock.patch.object(module, "AnsibleModule", record), pytest.raises(Stop):
        module.main()
    doc = yaml.safe_load(module.DOCUMENTATION)
    assert doc["module"] == path.stem and {"check_mode", "diff_mode"} <= set(doc["attributes"])
    assert (doc["attributes"]["check_mode"]["support"] == "none") is not bool(seen.get("supports_check_mode"))
    options = doc.get("options", {})
    assert set(options) == set(seen["argument_spec"])
    for name, arg in seen["argument_spec"].items():
        for key in ("type", "default", "choices", "elements"):
            assert options[name].get(key) == arg.get(key), (name, key)
        assert bool(options[name].get("required")) == bool(arg.get("required")), name
    yaml.safe_load(module.EXAMPLES)
    assert yaml.safe_load(module.RETURN) is not None


@pytest.mark.parametrize("path", sorted([*ROOT.glob("plugins/action/*.py"), *ROOT.glob("plugins/callback/*.py")]), ids=lambda p: p.stem)
def test_plugins_on_the_bastion_find_module_utils(path):
    text = path.read_text()
    if "ansible.module_utils.andon" in text:
        assert "ansible.module_utils.__path__.append(" in text and text.index("__path__.append(") < text.index("from ansible.module_utils.andon")


def test_lock_files_name_no_index():
    for lock in ROOT.glob("requirements*.lock"):
        assert "://" not in lock.read_text() and "--hash=sha256:" in lock.read_text()


def test_every_changelog_fragment_is_readable():
    for fragment in (ROOT / "changelogs" / "fragments").glob("*.yml"):
        content = yaml.safe_load(fragment.read_text())
        assert content and set(content) <= {"major_changes", "minor_changes", "bugfixes", "known_issues", "security_fixes", "breaking_changes"}, fragment
        assert all(isinstance(line, str) for lines in content.values() for line in lines), fragment


def test_the_changelog_is_made_from_its_fragments():
    spec = importlib.util.spec_from_file_location("build", ROOT / "changelogs" / "build.py")
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    assert (ROOT / "CHANGELOG.md").read_text() == build.render(), "type: ./dev run python changelogs/build.py"
