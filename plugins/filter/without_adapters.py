# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""andon_components for modules that have no use for adapters."""

from __future__ import annotations

from typing import Any

DOCUMENTATION = r"""
name: without_adapters
short_description: andon_components without the adapters in it
description:
  - Leaves out the key C(adapter) of each entry, unread. Credentials do not go to modules that do not need them, an adapter that cannot
    be read (a Vault without its password) takes no other verb away, and its own templates are not Ansible's.
options:
  _input:
    description: The list andon_components.
    type: list
    elements: dict
    required: true
author: the Andon maintainers (@andon)
"""

EXAMPLES = r"""
components: "{{ andon_components | without_adapters }}"
"""

RETURN = r"""
_value:
  description: The same list without the key C(adapter).
  type: list
"""


def without_adapters(components: Any) -> list[Any]:
    """C(components) without the key C(adapter) of its mappings; anything else stays for the module to refuse."""
    return [{key: one[key] for key in one if key != "adapter"} if isinstance(one, dict) else one for one in components or []]


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"without_adapters": without_adapters}
