"""Who a host is among those of its session: the certificate that it was given as it joined."""

from __future__ import annotations

import contextlib
import os
import ssl
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass
class Identity:
    """A host's number, and what proves who it is. The texts are PEM."""

    index: int
    certificate: str
    key: str
    authority: str  # that has signed the certificates of all hosts

    def show(self, context: ssl.SSLContext) -> None:
        """Have connections of the context show the certificate."""
        with _as_file(self.certificate + self.key) as path:
            context.load_cert_chain(path)


@contextlib.contextmanager
def _as_file(text: str) -> Iterator[str]:
    """Give a path to the text, in memory where the system can."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("dipls", os.MFD_CLOEXEC)
        try:
            os.write(fd, text.encode())
            yield f"/proc/self/fd/{fd}"
        finally:
            os.close(fd)
    else:
        with tempfile.NamedTemporaryFile("w", prefix="dipls-") as file:  # of mode 0600
            file.write(text)
            file.flush()
            yield file.name
