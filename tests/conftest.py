"""Makes plain ``pytest`` in this checkout import ``ansible_collections.techcorp.rag_admin``, on every ansible-core."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COLLECTIONS = ROOT / ".ansible" / "collections"


def _link_checkout() -> None:
    """Lay the symlink that makes the checkout a collection, as `make setup` does; a CI clone may not have it yet."""
    link = COLLECTIONS / "ansible_collections" / "techcorp" / "rag_admin"
    link.parent.mkdir(parents=True, exist_ok=True)
    try:
        link.symlink_to(ROOT)
    except FileExistsError:
        if link.resolve() != ROOT:
            raise RuntimeError(f"{link} leads to {link.resolve()}, expected {ROOT}: remove it and run again") from None


def _install_collection_finder() -> None:
    # The environments of the oldest and the newest core hold no collections: they use those of .venv.
    paths = [str(COLLECTIONS), *map(str, sorted(ROOT.glob(".venv/lib/python3*/site-packages")))]
    # Before ansible reads its configuration, and for every ansible-playbook that a test starts.
    os.environ["ANSIBLE_COLLECTIONS_PATH"] = os.pathsep.join(paths)
    os.environ.setdefault("ANSIBLE_CONFIG", str(ROOT / "ansible.cfg"))

    from ansible.plugins.loader import init_plugin_loader

    init_plugin_loader(paths)


_link_checkout()
_install_collection_finder()
