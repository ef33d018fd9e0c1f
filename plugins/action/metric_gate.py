# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shows what the module metric_gate is doing while it waits: one line per poll."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

_LOOK_EVERY = 0.3  # seconds


class ActionModule(ActionBase):
    """Runs the module as it is, and follows the file that it writes its progress to."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        """Return the module's result."""
        result = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        # Elsewhere the file would be on another machine; the module does the same without anybody looking on.
        if self._connection.transport != "local" or arguments.get("progress_path"):
            result.update(self._execute_module(module_args=arguments, task_vars=task_vars))
            return result
        with tempfile.TemporaryDirectory(prefix="metric_gate-") as directory:
            path = Path(directory) / "progress"
            path.touch()
            over = threading.Event()
            follower = threading.Thread(target=_follow, args=(path, over, Display().display), daemon=True)
            follower.start()
            try:
                arguments["progress_path"] = str(path)
                result.update(self._execute_module(module_args=arguments, task_vars=task_vars))
            finally:
                over.set()
                follower.join()
        return result


def _follow(path: Path, over: threading.Event, show) -> None:
    """Pass on each whole line that is written to the file until it is over, and then what is left."""
    with path.open() as file:
        rest = ""
        last = False
        while True:
            rest += file.read()
            *lines, rest = rest.split("\n")
            for line in lines:
                show(line)
            if last:
                return
            last = over.wait(_LOOK_EVERY)
