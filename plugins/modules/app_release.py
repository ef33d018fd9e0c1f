#!/usr/bin/python
# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: app_release
short_description: Keep the releases of a Python application on a host
version_added: 1.0.0
description:
  - Builds a release from its artefact into a virtual environment of its own, without an index and with every hash
    checked, switches the C(current) link to it and removes old releases.
  - A build that was interrupted is recognised and done again. Two builds on one host wait for each other.
  - A release is immutable. The same version with another checksum is refused.
options:
  root:
    description:
      - Directory of the application. Releases lie in C(releases/<version>) below it, beside the links C(current) and
        C(previous).
    type: path
    required: true
  name:
    description:
      - Name of the application, as C(release.json) in the artefact says it.
    type: str
    required: true
  version:
    description:
      - The release that is wanted.
    type: str
    required: true
  state:
    description:
      - With V(present) the release is built and nothing else changes.
      - With V(current) the link C(current) points at it too, the link C(previous) at the one that was left, and old
        releases are removed.
    type: str
    choices: [present, current]
    default: present
  url:
    description:
      - Where to download the artefact from, for example a presigned URL of S3. Needed only when the release is not yet
        built.
      - The artefact is a gzipped tar with C(release.json) (C(name), C(version) and C(python)), C(requirements.lock)
        with hashes, and C(wheels/).
    type: str
  sha256:
    description:
      - Checksum of the artefact in hexadecimal. Needed with O(url).
    type: str
  command:
    description:
      - A command that the release must have, relative to it. A build that lacks it is refused.
    type: str
  keep:
    description:
      - How many releases to keep, the newest first. What C(current) and C(previous) point at is never removed.
    type: int
    default: 3
  python:
    description:
      - The interpreter to build the virtual environment with.
    type: path
    default: /usr/bin/python3
  timeout:
    description:
      - Seconds to wait for data while downloading.
    type: int
    default: 30
attributes:
  check_mode:
    description: Can run in check mode and return changed status without modifying the target.
    support: full
  diff_mode:
    description: Returns the releases and links before and after.
    support: full
author:
  - TechCorp (@techcorp)
"""

EXAMPLES = r"""
- name: Ask whether a release is built, changing nothing
  techcorp.rag_admin.app_release:
    root: /opt/rag-admin
    name: rag-admin
    version: 1.1.0
  check_mode: true
  register: release

- name: Build a release
  techcorp.rag_admin.app_release:
    root: /opt/rag-admin
    name: rag-admin
    version: 1.1.0
    url: "{{ presigned.url }}"
    sha256: 0fb0f9f1e3c1f0b5b8f1b0e3ef3d2f9f0a6d6e5d4c3b2a190807060504030201
    command: bin/rag-admin
  no_log: true

- name: Switch to it and keep three releases
  techcorp.rag_admin.app_release:
    root: /opt/rag-admin
    name: rag-admin
    version: 1.1.0
    state: current
    keep: 3
"""

RETURN = r"""
version:
  description: The release that was asked for.
  returned: success
  type: str
  sample: 1.1.0
path:
  description: Directory of that release, a virtual environment.
  returned: success
  type: str
  sample: /opt/rag-admin/releases/1.1.0
built:
  description: Whether the release was built by this run, or would be in check mode.
  returned: success
  type: bool
  sample: true
current:
  description: What C(current) pointed at before this run. Null when there was none.
  returned: success
  type: str
  sample: 1.0.0
previous:
  description: What C(previous) points at after this run. Null when there is none.
  returned: success
  type: str
  sample: 1.0.0
removed:
  description: Releases and half-built directories that this run removed, or would remove in check mode.
  returned: success
  type: list
  elements: str
  sample: [0.9.0]
"""

import os
import shutil
from functools import partial

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import fetch_url
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.errors import Failure
from ansible_collections.techcorp.rag_admin.plugins.module_utils.release import install

ARGUMENT_SPEC = {
    "root": {"type": "path", "required": True},
    "name": {"type": "str", "required": True},
    "version": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "current"], "default": "present"},
    # A presigned URL is a credential for as long as it lasts.
    "url": {"type": "str", "no_log": True},
    "sha256": {"type": "str"},
    "command": {"type": "str"},
    "keep": {"type": "int", "default": 3},
    "python": {"type": "path", "default": "/usr/bin/python3"},
    "timeout": {"type": "int", "default": 30},
}


def execute(module, command, pass_fds):
    code, out, err = module.run_command(command, pass_fds=pass_fds)
    if code:
        raise Failure(
            f"`{' '.join(command)}` to succeed", f"status {code}: {(err or out).strip()}", "Mend that and run again."
        )
    return out


def download(module, url, path):
    response, info = fetch_url(module, url, timeout=module.params["timeout"])
    if info["status"] != 200:
        raise Failure(
            f"the artefact of {module.params['name']} {module.params['version']} at its presigned URL",
            f"status {info['status']} ({info['msg'].split('?')[0]})",
            "See whether this host reaches S3, and whether its clock and the controller's agree.",
        )
    with path.open("wb") as handle:
        shutil.copyfileobj(response, handle)


def main():
    module = AnsibleModule(ARGUMENT_SPEC, supports_check_mode=True, required_by={"url": ["sha256"]})
    # The application's user reads what root writes here, whatever root's own umask is.
    os.umask(0o022)
    try:
        result = install.run(module.params, module.check_mode, partial(execute, module), partial(download, module))
    except (Failure, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
