"""egress's own CA: its key stays private, its certificate is handed out."""

import os
import stat
import tempfile
from pathlib import Path


def key_problem(key_file: Path) -> str | None:
    """Whether somebody else can read the key."""
    try:
        mode = stat.S_IMODE(key_file.stat().st_mode)
    except OSError as error:
        return f"{key_file}: can't be read: {error.strerror}"
    if mode & 0o077:
        return f"{key_file}: others may read the CA's key (mode {mode:04o}); chmod 600 it"
    return None


def export_certificate(certificate: bytes, file: Path) -> None:
    """Puts the certificate there in one step, readable to all."""
    if b"PRIVATE KEY" in certificate:
        raise ValueError("this is a key, not a certificate")
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    temporary_file = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as temporary:
            temporary.write(certificate)
            os.fchmod(temporary.fileno(), 0o644)
        temporary_file.replace(file)
    except BaseException:
        temporary_file.unlink()
        raise
