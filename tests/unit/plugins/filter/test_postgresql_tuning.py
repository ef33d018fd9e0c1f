# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a definition comes to."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.techcorp.rag_admin.plugins.filter.postgresql_tuning import UNITS, postgresql_tuning
from ansible_collections.techcorp.rag_admin.plugins.module_utils.postgresql import units
from hypothesis import given
from hypothesis import strategies as st


def test_a_production_machine():
    assert postgresql_tuning({"profile": "web", "memory": "64GB", "cores": 16}) == {
        "shared_buffers": "16GB",
        "effective_cache_size": "48GB",
        "maintenance_work_mem": "2GB",
        "work_mem": "75MB",
        "max_connections": "200",
        "min_wal_size": "1GB",
        "max_wal_size": "4GB",
        "checkpoint_completion_target": "0.9",
        "wal_compression": "on",
        "random_page_cost": "1.1",
        "effective_io_concurrency": "200",
        "jit": "off",
        "max_worker_processes": "16",
        "max_parallel_workers": "16",
        "max_parallel_workers_per_gather": "4",
        "max_parallel_maintenance_workers": "4",
    }


def test_a_machine_of_one_gigabyte_has_256_megabytes_of_shared_buffers():
    settings = postgresql_tuning({"memory": "1GB"})
    assert settings["shared_buffers"] == "256MB"
    assert "max_parallel_workers" not in settings


def test_the_machines_own_memory_and_cores_serve_where_the_definition_says_nothing():
    own = postgresql_tuning({}, memory="15874MB", cores=4)
    assert own["shared_buffers"] == "3968MB"
    assert own["max_parallel_workers_per_gather"] == "2"
    assert postgresql_tuning({"memory": "instance"}, "15874MB", 4) == own
    assert postgresql_tuning({"memory": "1GB", "cores": 8}, "15874MB", 4)["shared_buffers"] == "256MB"


def test_the_machine_may_be_left_to_rds():
    settings = postgresql_tuning({"profile": "web", "memory": "instance"})
    assert settings["shared_buffers"] == "{DBInstanceClassMemory/32768}"
    assert settings["effective_cache_size"] == "{DBInstanceClassMemory*3/32768}"
    assert settings["maintenance_work_mem"] == "LEAST({DBInstanceClassMemory/16384},2097152)"
    assert settings["work_mem"] == "GREATEST({DBInstanceClassMemory/851968},64)"


@given(st.sampled_from(["web", "mixed", "analytics"]), st.integers(1, 2048), st.integers(1, 128), st.integers(10, 2000))
def test_expressions_come_to_what_the_sizes_are(profile, gigabytes, cores, connections):
    definition = {"profile": profile, "cores": cores, "max_connections": connections}
    sizes = postgresql_tuning(definition | {"memory": f"{gigabytes}GB"})
    expressions = postgresql_tuning(definition | {"memory": "instance"})
    memory = gigabytes * 1024**3
    for name in ("shared_buffers", "effective_cache_size", "maintenance_work_mem", "work_mem"):
        text = expressions[name].replace("{DBInstanceClassMemory", f"({memory}").replace("}", ")").replace("/", "//")
        number = eval(text, {"LEAST": min, "GREATEST": max})  # noqa: S307 - of our own
        size = units.quantity(sizes[name], "integer", UNITS[name])
        # Large sizes are in whole megabytes.
        assert 0 <= number - size <= 1024


def test_overrides_win_and_null_leaves_out():
    settings = postgresql_tuning(
        {"memory": "8GB", "overrides": {"work_mem": "8MB", "wal_compression": None, "lock_timeout": "2s"}}
    )
    assert settings["work_mem"] == "8MB"
    assert settings["lock_timeout"] == "2s"
    assert "wal_compression" not in settings


def test_what_takes_no_share_of_an_unknown_machine_may_be_a_size():
    sizes = {"autovacuum_work_mem": -1, "wal_buffers": "16MB", "max_wal_size": "8GB", "effective_cache_size": "8GB"}
    settings = postgresql_tuning({"memory": "instance", "overrides": sizes})
    assert {name: settings[name] for name in sizes} == sizes


@pytest.mark.parametrize(
    ("definition", "said"),
    [
        ({}, "expected memory, in the definition or from the host's facts; found none"),
        ({"memory": 64}, "memory: '64' has no unit"),
        ({"memory": "64G"}, "memory: '64G' has the unit 'G', .* write 'GB'"),
        ({"memory": "8GB", "profile": "fast"}, "a profile out of web, mixed, analytics; found fast"),
        ({"memory": "8GB", "storage": "tape"}, "a storage out of ssd, hdd; found tape"),
        ({"memory": "8GB", "ram": "8GB"}, "a definition with the keys"),
        ({"memory": "8GB", "cores": "many"}, "a whole number for cores; found many"),
        ({"memory": "8GB", "max_connections": True}, "a whole number for max_connections; found True"),
        ({"memory": "8GB", "overrides": ["work_mem"]}, "overrides by the names of settings"),
        ({"memory": "8GB", "overrides": {"work_mem": 65536}}, "work_mem: '65536' has no unit"),
        ({"memory": "8GB", "overrides": {"shared_buffers": "2G"}}, "shared_buffers: '2G' has the unit"),
        (
            {"memory": "8GB", "overrides": {"shared_buffers": "8GB"}},
            "adds up to the machine's 8192MB at most; found shared_buffers 8192MB, work_mem for every connection",
        ),
        (
            {"memory": "instance", "overrides": {"shared_buffers": "200GB"}},
            "expressions of .*; found shared_buffers 200GB",
        ),
        ({"memory": "instance", "overrides": {"work_mem": "1GB"}}, "expressions of .*; found work_mem 1GB"),
        ({"memory": "8GB", "overrides": {"work_mem": "64MB"}}, "work_mem for every connection 6400MB"),
        ({"memory": "8GB", "overrides": {"maintenance_work_mem": "2GB"}}, "autovacuum 6144MB"),
        ({"memory": "8GB", "overrides": {"work_mem": "8MB", "max_connections": 1000}}, "every connection 8000MB"),
    ],
)
def test_bad_input_is_refused(definition, said):
    with pytest.raises(AnsibleFilterError, match=said):
        postgresql_tuning(definition)


@given(st.sampled_from(["web", "mixed", "analytics"]), st.integers(256, 4 * 1024**2), st.integers(1, 256))
def test_what_is_worked_out_fits_into_every_machine(profile, megabytes, cores):
    postgresql_tuning({"profile": profile, "memory": f"{megabytes}MB", "cores": cores})
