# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a module that goes on for a while has to see to: that its controller lives, and that the lease is kept."""

from __future__ import annotations

from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.errors import Failure
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rollout import owner


def require_controller(controller: dict | None) -> None:
    """Return while the ansible-playbook that started this module runs: nobody would hear of what we do after its end.

    :param controller: what :func:`owner.find_controller` returned at the beginning; None (not known) passes.
    :raises Failure: when it has ended.
    """
    if controller and owner.is_gone(controller):
        raise Failure(
            "the ansible-playbook that started this task to run", "that it ended", "Run the playbook again to resume."
        )
