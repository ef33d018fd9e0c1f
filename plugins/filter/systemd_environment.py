# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: systemd_environment
short_description: Write a dictionary as a file for systemd's EnvironmentFile
version_added: 1.0.0
description:
  - Returns one C(NAME="value") line for each key, sorted by name, quoted as C(systemd.exec(5)) reads it.
  - Booleans become C(true) and C(false). Keys whose value is null are left out.
options:
  _input:
    description:
      - Names and values.
    type: dict
    required: true
author:
  - TechCorp (@techcorp)
"""

EXAMPLES = r"""
- name: Show an environment file
  ansible.builtin.debug:
    msg: "{{ {'APP_COLOR': 'blue', 'APP_WORKERS': 4} | techcorp.rag_admin.systemd_environment }}"
"""

RETURN = r"""
_value:
  description: Content of the file, ending with a newline unless it is empty.
  type: str
"""

import re
from collections.abc import Mapping

from ansible.errors import AnsibleFilterError

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def systemd_environment(variables) -> str:
    """Return the text of an EnvironmentFile.

    :raises AnsibleFilterError: on a name that systemd would ignore, a value that is not a scalar, or a NUL in one.
    """
    if not isinstance(variables, Mapping):
        raise AnsibleFilterError(f"systemd_environment: expected a dictionary, found {type(variables).__name__}")
    lines = []
    for name in sorted(variables):
        value = variables[name]
        if not NAME.fullmatch(str(name)):
            raise AnsibleFilterError(
                f"systemd_environment: expected letters, digits and underscores, found the name {name!r}"
            )
        if value is None:
            continue
        if isinstance(value, bool):
            value = str(value).lower()
        elif not isinstance(value, (str, int, float)):
            raise AnsibleFilterError(
                f"systemd_environment: expected text or a number for {name}, found {type(value).__name__}"
            )
        text = str(value)
        if "\0" in text:
            raise AnsibleFilterError(f"systemd_environment: expected text without a NUL byte for {name}")
        escaped = re.sub(r'([\\"`$])', r"\\\1", text)
        lines.append(f'{name}="{escaped}"\n')
    return "".join(lines)


class FilterModule:
    """Filters of this file."""

    def filters(self):
        """Return the filters by name."""
        return {"systemd_environment": systemd_environment}
