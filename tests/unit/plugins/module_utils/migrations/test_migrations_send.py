# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the application's Python is started."""

from __future__ import annotations

import pwd

from ansible_collections.techcorp.rag_admin.plugins.module_utils.migrations import send


def test_another_user_has_a_home_of_its_own_and_no_password_in_its_environment() -> None:
    nobody = pwd.getpwnam("nobody")
    found = send._environment(nobody)
    assert (found["HOME"], found["USER"], found["DATABASE_URL"]) == (nobody.pw_dir, "nobody", "")
    assert send._environment(None) == {"DATABASE_URL": ""}
