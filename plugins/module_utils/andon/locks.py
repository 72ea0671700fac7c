"""Files that are only there to be locked. Bastion only; standard library only."""

from __future__ import annotations

import os
from pathlib import Path

from . import journal


def lock_file(path: Path) -> int:
    """Opens a file for C(fcntl.flock), making it and its folder where needed.

    On a shared bastion another member of the group must be able to open it, whatever this person's umask is; reading is
    enough for a lock.

    Returns:
        the descriptor; closing it gives the lock back.

    Raises:
        OSError: it cannot be made or opened.
    """
    journal.make_folder(path.parent)
    handle = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
    if os.fstat(handle).st_uid == os.geteuid():
        os.fchmod(handle, journal.file_mode(path.parent))
    return handle
