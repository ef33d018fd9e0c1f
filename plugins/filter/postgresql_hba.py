# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: postgresql_hba
short_description: Write rules as lines of PostgreSQL's pg_hba.conf
version_added: 1.0.0
description:
  - Returns the lines of C(pg_hba.conf) for a list of rules, in the order given, since the first line that matches a
    connection decides. A rule with several addresses becomes several lines.
options:
  _input:
    description:
      - The rules.
    type: list
    elements: dict
    required: true
    suboptions:
      type:
        description:
          - Kind of connection.
        type: str
        choices: [local, host, hostssl, hostnossl]
        default: hostssl
      databases:
        description:
          - Databases.
        type: list
        elements: str
        required: true
      users:
        description:
          - Roles.
        type: list
        elements: str
        required: true
      addresses:
        description:
          - Addresses or networks. Needed unless O(_input[].type=local).
        type: list
        elements: str
      method:
        description:
          - How the client proves who it is. Over a network it is a method that does not show the password.
        type: str
        choices: [scram-sha-256, cert, peer, reject]
        default: scram-sha-256
author:
  - TechCorp (@techcorp)
"""

EXAMPLES = r"""
- name: Show a rule for two application hosts
  ansible.builtin.debug:
    msg: "{{ rules | techcorp.rag_admin.postgresql_hba }}"
  vars:
    rules:
      - databases: [app]
        users: [app]
        addresses: [10.0.0.11, 10.0.0.12]
"""

RETURN = r"""
_value:
  description: Lines, each ending with a newline.
  type: str
"""

import ipaddress
import re

from ansible.errors import AnsibleFilterError

TYPES = ("local", "host", "hostssl", "hostnossl")
METHODS = ("scram-sha-256", "cert", "peer", "reject")
ALLOWED = {("peer", "local"), ("cert", "hostssl")} | {
    (method, kind) for method in ("scram-sha-256", "reject") for kind in TYPES
}
KEYS = {"type", "databases", "users", "addresses", "method"}
PLAIN = re.compile(r"[+A-Za-z0-9_][A-Za-z0-9_.$-]*")


def postgresql_hba(rules) -> str:
    """Return the lines for the rules.

    :raises AnsibleFilterError: naming the rule, what was expected and what was found.
    """
    return "".join(line + "\n" for number, rule in enumerate(rules, 1) for line in _lines(number, rule))


def _lines(number: int, rule: dict):
    def refuse(expected, found):
        raise AnsibleFilterError(f"postgresql_hba: rule {number}: expected {expected}, found {found}")

    if unknown := set(rule) - KEYS:
        refuse(f"only the keys {', '.join(sorted(KEYS))}", ", ".join(sorted(map(str, unknown))))
    kind, method = rule.get("type", "hostssl"), rule.get("method", "scram-sha-256")
    if kind not in TYPES:
        refuse(f"a type out of {', '.join(TYPES)}", kind)
    if method not in METHODS:
        refuse(f"a method out of {', '.join(METHODS)}", method)
    if (method, kind) not in ALLOWED:
        refuse("peer with type local and cert with type hostssl only", f"{method} with type {kind}")
    names = {}
    for key in ("databases", "users"):
        names[key] = rule.get(key)
        if not isinstance(names[key], list) or not names[key]:
            refuse(f"a list of {key} that is not empty", repr(names[key]))
    addresses = rule.get("addresses") or []
    if not isinstance(addresses, list) or (kind == "local") == bool(addresses):
        refuse("a list of addresses for every type but local, which has none", repr(rule.get("addresses")))

    databases, users = (",".join(_quoted(name) for name in names[key]) for key in ("databases", "users"))
    for address in addresses or [""]:
        if address:
            try:
                address = str(ipaddress.ip_network(str(address)))
            except ValueError as error:
                refuse("an address or a network such as 10.0.0.0/24", error)
        yield f"{kind:<9} {databases:<15} {users:<15} {address:<18} {method}".rstrip()


def _quoted(name: str) -> str:
    """A name as pg_hba.conf reads it. Plain words stay bare, since quoting takes away the meaning of ``all``."""
    if PLAIN.fullmatch(str(name)):
        return str(name)
    escaped = str(name).replace('"', '""')
    return f'"{escaped}"'


class FilterModule:
    """Filters of this file."""

    def filters(self):
        """Return the filters by name."""
        return {"postgresql_hba": postgresql_hba}
