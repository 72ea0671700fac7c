"""The fleet's key for fingerprints, on the bastion. It makes secrets comparable between hosts and useless outside the fleet."""

from __future__ import annotations

import os
import secrets
import tempfile

from .state import state_dir


def fleet_key():
    """The key; made once, then read. Several processes may ask at the same time.

    Raises:
        OSError: the bastion's state folder cannot be written.
    """
    path = state_dir() / "fleet.key"
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".fleet.key.", dir=str(path.parent))
    try:
        with os.fdopen(handle, "w") as out:
            out.write(secrets.token_hex(32) + "\n")
        # 0640: on a shared bastion the folder's group is the operators'.
        os.chmod(name, 0o640)
        # link fails where the file is there by now, so all processes agree on the first one.
        os.link(name, str(path))
    except FileExistsError:
        pass
    finally:
        os.unlink(name)
    return path.read_text(encoding="ascii").strip()
