# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: postgresql_tuning
short_description: Work out PostgreSQL's settings from memory, cores and storage
version_added: 1.0.0
description:
  - Returns settings for M(techcorp.rag_admin.postgresql_settings) on a host, or for an RDS parameter group, from one
    short definition.
  - Memory that adds up past the machine is refused. That is shared buffers, one O(_input.overrides.work_mem) for every
    connection, what every autovacuum worker may take, and WAL buffers.
  - Where the memory is left to the machine, the same sizes must be expressions too.
positional: memory, cores
options:
  _input:
    description:
      - The definition.
    type: dict
    required: true
    suboptions:
      profile:
        description:
          - What the database is for. V(web) is many short queries, V(analytics) few long ones, V(mixed) both.
        type: str
        choices: [web, mixed, analytics]
        default: mixed
      memory:
        description:
          - Memory of the machine with a unit, such as V(64GB). V(instance) leaves it to the machine, which on RDS
            makes expressions such as C({DBInstanceClassMemory/32768}).
        type: str
      cores:
        description:
          - Cores of the machine. Without it, and with less than 4, parallelism is left to PostgreSQL's defaults.
        type: int
      storage:
        description:
          - What the data lies on.
        type: str
        choices: [ssd, hdd]
        default: ssd
      max_connections:
        description:
          - Connections to allow. The default is 200 for V(web), 100 for V(mixed), 40 for V(analytics).
        type: int
      overrides:
        description:
          - Settings by name that win over those worked out, in PostgreSQL's own units. V(null) leaves a setting out.
        type: dict
        default: {}
        suboptions:
          work_mem:
            description:
              - For example. Memory for one operation of one query.
            type: str
  memory:
    description:
      - Memory of the machine, for definitions that do not say it.
    type: str
  cores:
    description:
      - Cores of the machine, for definitions that do not say them.
    type: int
seealso:
  - module: techcorp.rag_admin.postgresql_settings
author:
  - TechCorp (@techcorp)
"""

EXAMPLES = r"""
- name: Show what a host would get
  ansible.builtin.debug:
    msg: >-
      {{ {'profile': 'web', 'overrides': {'log_min_duration_statement': '1s'}}
         | techcorp.rag_admin.postgresql_tuning(memory='64GB', cores=16) }}

- name: Show what a parameter group would get
  ansible.builtin.debug:
    msg: "{{ {'profile': 'web', 'memory': 'instance'} | techcorp.rag_admin.postgresql_tuning }}"
"""

RETURN = r"""
_value:
  description: Values by the names of the settings, with units.
  type: dict
"""

from ansible.errors import AnsibleFilterError
from ansible_collections.techcorp.rag_admin.plugins.module_utils.postgresql import units

KEYS = ("profile", "memory", "cores", "storage", "max_connections", "overrides")
CONNECTIONS = {"web": 200, "mixed": 100, "analytics": 40}
STORAGE = {
    "ssd": {"random_page_cost": "1.1", "effective_io_concurrency": "200"},
    "hdd": {"random_page_cost": "4", "effective_io_concurrency": "2"},
}
WAL = {"web": ("1GB", "4GB"), "mixed": ("1GB", "4GB"), "analytics": ("4GB", "16GB")}
WORKERS = 8  # PostgreSQL's own max_worker_processes
MAINTENANCE_LIMIT = 2 * 1024**2  # kB
UNITS = {
    "shared_buffers": "8kB",
    "effective_cache_size": "8kB",
    "wal_buffers": "8kB",
    "temp_buffers": "8kB",
    "work_mem": "kB",
    "maintenance_work_mem": "kB",
    "autovacuum_work_mem": "kB",
    "min_wal_size": "MB",
    "max_wal_size": "MB",
}


# What may take a share of the machine; the other sizes are plans or on the disk.
ALLOCATED = ("shared_buffers", "work_mem", "maintenance_work_mem", "autovacuum_work_mem")


def postgresql_tuning(definition, memory=None, cores=None) -> dict:
    """Return the settings for a definition.

    Where the formulas are from:

    - shared_buffers = memory / 4: https://www.postgresql.org/docs/current/runtime-config-resource.html
    - effective_cache_size = memory * 3/4, maintenance_work_mem = memory / 16 (analytics: / 8) up to 2 GB, work_mem =
      (memory - shared_buffers) / (3 * (max_connections + max_worker_processes)), half of it unless the profile is web,
      sizes of WAL, workers, costs by storage: pgtune, https://github.com/le0pard/pgtune. Its floor of 4 MB for work_mem
      is left out, since small machines with many connections do not have that much.
    - jit off for many short queries: pgtune, too.

    :raises AnsibleFilterError: naming what was expected and what was found.
    """
    profile, storage, connections, overrides = _read(definition)
    cores = _whole("cores", definition.get("cores") or cores, none=True)
    size = definition.get("memory")
    if size in (None, "instance"):
        size = memory or size
    if size is None:
        _refuse("memory, in the definition or from the host's facts", "none")
    workers = max(WORKERS, cores or 0)
    divisor = 4 * (connections + workers) * (1 if profile == "web" else 2)
    share = 8 if profile == "analytics" else 16
    if size == "instance":
        result = _as_expressions(divisor, share)
    else:
        size = _memory("memory", size, "MB") * 1024
        result = _as_sizes(size, divisor, share)
    result["max_connections"] = str(connections)
    result["min_wal_size"], result["max_wal_size"] = WAL[profile]
    result.update(checkpoint_completion_target="0.9", wal_compression="on", **STORAGE[storage])
    result.update({"web": {"jit": "off"}, "analytics": {"default_statistics_target": "500"}}.get(profile, {}))
    result.update(_parallel(cores, workers, profile))
    result.update(overrides)
    result = {name: value for name, value in sorted(result.items()) if value is not None}
    for name, unit in UNITS.items():
        if name in result and not units.is_formula(result[name]):
            _memory(name, result[name], unit)
    if size == "instance":
        _require_shares(result)
    else:
        _require_room(result, size)
    return result


def _read(definition):
    if not isinstance(definition, dict) or set(definition) - set(KEYS):
        _refuse(f"a definition with the keys {', '.join(KEYS)}", definition)
    profile, storage = definition.get("profile", "mixed"), definition.get("storage", "ssd")
    if profile not in CONNECTIONS:
        _refuse(f"a profile out of {', '.join(CONNECTIONS)}", profile)
    if storage not in STORAGE:
        _refuse(f"a storage out of {', '.join(STORAGE)}", storage)
    overrides = definition.get("overrides") or {}
    if not isinstance(overrides, dict):
        _refuse("overrides by the names of settings", overrides)
    connections = overrides.get("max_connections") or definition.get("max_connections") or CONNECTIONS[profile]
    return profile, storage, _whole("max_connections", connections), overrides


def _as_sizes(size: int, divisor: int, share: int) -> dict:
    """Sizes for a memory in kB; large ones in whole MB, for people to read."""
    sizes = {
        "shared_buffers": size // 4,
        "effective_cache_size": size * 3 // 4,
        "maintenance_work_mem": min(size // share, MAINTENANCE_LIMIT),
        "work_mem": max(size // divisor, 64),
    }
    return {
        name: units.render_host(kilobytes // 1024 * 1024 if kilobytes >= 64 * 1024 else kilobytes, "kB")
        for name, kilobytes in sizes.items()
    }


def _as_expressions(divisor: int, share: int) -> dict:
    """The same as RDS works it out, in each parameter's own unit."""
    return {
        "shared_buffers": f"{{DBInstanceClassMemory/{4 * 8192}}}",
        "effective_cache_size": f"{{DBInstanceClassMemory*3/{4 * 8192}}}",
        "maintenance_work_mem": f"LEAST({{DBInstanceClassMemory/{share * 1024}}},{MAINTENANCE_LIMIT})",
        "work_mem": f"GREATEST({{DBInstanceClassMemory/{divisor * 1024}}},64)",
    }


def _parallel(cores, workers: int, profile: str) -> dict:
    if not cores or cores < 4:
        return {}
    half = cores // 2
    return {
        "max_worker_processes": str(workers),
        "max_parallel_workers": str(cores),
        "max_parallel_workers_per_gather": str(half if profile == "analytics" else min(half, 4)),
        "max_parallel_maintenance_workers": str(min(half, 4)),
    }


def _require_room(result: dict, size: int) -> None:
    def kilobytes(name, unit, scale=1, default=0):
        value = result.get(name, default)
        return 0 if units.is_formula(value) else max(_memory(name, value, unit), 0) * scale

    vacuum = kilobytes("autovacuum_work_mem", "kB") or kilobytes("maintenance_work_mem", "kB")
    parts = {
        "shared_buffers": kilobytes("shared_buffers", "8kB", 8),
        "work_mem for every connection": kilobytes("work_mem", "kB")
        * _whole("max_connections", result["max_connections"]),
        "autovacuum": vacuum * _whole("autovacuum_max_workers", result.get("autovacuum_max_workers", 3)),
        "wal_buffers": kilobytes("wal_buffers", "8kB", 8),
    }
    if sum(parts.values()) > size:
        shown = ", ".join(f"{name} {value // 1024}MB" for name, value in parts.items() if value)
        _refuse(f"memory that adds up to the machine's {size // 1024}MB at most", f"{shown}: give less to one of them")


def _require_shares(result: dict) -> None:
    """Refuse sizes that take memory of a machine that is not known; 0 and -1 take none."""
    sizes = {name: result[name] for name in ALLOCATED if name in result and not units.is_formula(result[name])}
    if found := [f"{name} {value}" for name, value in sizes.items() if _memory(name, value, UNITS[name]) > 0]:
        _refuse(
            "expressions of DBInstanceClassMemory for sizes, since memory is left to the machine",
            f"{', '.join(found)}: write expressions, or say the machine's memory",
        )


def _memory(name: str, value, unit: str) -> int:
    try:
        return units.quantity(value, "integer", unit)
    except units.UnitError as error:
        raise AnsibleFilterError(f"postgresql_tuning: {name}: {error}") from error


def _whole(name: str, value, none: bool = False):
    if value is None and none:
        return None
    if isinstance(value, bool) or not str(value).isdecimal() or int(value) < 1:
        _refuse(f"a whole number for {name}", value)
    return int(value)


def _refuse(expected: str, found):
    raise AnsibleFilterError(f"postgresql_tuning: expected {expected}; found {found}")


class FilterModule:
    """Filters of this file."""

    def filters(self):
        """Return the filters by name."""
        return {"postgresql_tuning": postgresql_tuning}
