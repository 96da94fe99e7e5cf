"""Framing and signing of messages; no sockets.

A message is a list of frames: delimiter, signature, header, parent header, metadata, content, then any number of raw
buffers. The signature is the lower-case hex HMAC-SHA256 of the four JSON frames.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from .moments import Moments

PROTOCOL_VERSION = 1
JUPYTER_VERSION = "5.4"

DELIMITER = b"<IDS|MSG>"
NO_PARENT = NO_METADATA = b"{}"
MAX_MESSAGE = 1 << 30  # bytes in one frame

_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
_MSG_ID = re.compile(r"(.{1,200})_([0-9]{1,18})", re.ASCII | re.DOTALL)


class BadMessage(Exception):
    """A message that must be dropped; the text says why."""


@dataclass(frozen=True)
class Message:
    """One verified message."""

    type: str
    id: str
    header: bytes  # as received: a reply's parent header is this, byte for byte
    parent_id: str  # "" if it answers nothing
    content: dict[str, Any]
    buffers: list[bytes]
    moments: Moments | None = None  # if its metadata asks for them


class Codec:
    """One end of a conversation: signs what goes out, verifies what comes in.

    The first message that verifies fixes the peer's session id. After that its message numbers must rise.
    """

    def __init__(self, key: bytes):
        self._mac = hmac.new(key, digestmod=hashlib.sha256)
        self._id = secrets.token_hex(16)
        self._sent = 0
        self._peer = ""
        self._seen = 0

    def pack(
        self,
        msg_type: str,
        content: bytes,
        parent: bytes = NO_PARENT,
        buffers: Sequence[bytes] = (),
        metadata: bytes = NO_METADATA,
    ) -> list[bytes]:
        """Return the frames of a new message. `content` and `metadata` are JSON, see `encode`.

        Messages must be sent in the order in which they are packed. The receiver takes a falling number for a replay.
        """
        self._sent += 1
        # For every message; the JSON encoder would take several times as long.
        header = (
            f'{{"msg_id":"{self._id}_{self._sent}","session":"{self._id}","username":"dipls",'
            f'"date":"{datetime.now(timezone.utc).isoformat()}","msg_type":{_encode(msg_type)},'
            f'"version":"{JUPYTER_VERSION}"}}'
        ).encode()
        signed = (header, parent, metadata, content)
        return [DELIMITER, self._sign(signed), *signed, *buffers]

    def unpack(self, frames: Sequence[bytes]) -> Message:
        """Verify and decode one message (without a ROUTER's identity frame).

        Raises BadMessage if it is malformed, unsigned, from another session or a replay.
        """
        if len(frames) < 6 or frames[0] != DELIMITER:
            raise BadMessage(f"not a message: {len(frames)} frames")
        signed = frames[2:6]
        if not hmac.compare_digest(frames[1], self._sign(signed)):
            raise BadMessage("wrong signature")
        try:
            header = json.loads(signed[0])
            parent = json.loads(signed[1]) if signed[1] != NO_PARENT else {}
            metadata = json.loads(signed[2]) if signed[2] != NO_METADATA else {}
            content = json.loads(signed[3])
            msg_type, msg_id, session = header["msg_type"], header["msg_id"], header["session"]
            match = _MSG_ID.fullmatch(msg_id)
        except (ValueError, KeyError, TypeError, RecursionError) as err:
            raise BadMessage(f"malformed: {type(err).__name__}: {err}") from None
        if not isinstance(content, dict) or not isinstance(msg_type, str):
            raise BadMessage("malformed: content is no object or the type is no string")
        if match is None or match[1] != session:
            raise BadMessage(f"malformed message id {msg_id!r}")
        number = int(match[2])
        if session != (self._peer or session):
            raise BadMessage(f"{msg_type} of a foreign session")
        if number <= self._seen:
            raise BadMessage(f"replay of {msg_type} {number}")
        self._peer, self._seen = session, number
        parent_id = str(parent.get("msg_id", "")) if isinstance(parent, dict) else ""
        moments = Moments() if isinstance(metadata, dict) and metadata.get("trace") else None
        return Message(msg_type, msg_id, bytes(signed[0]), parent_id, content, list(frames[6:]), moments)

    def _sign(self, frames: Sequence[bytes]) -> bytes:
        mac = self._mac.copy()
        for frame in frames:
            mac.update(frame)
        return mac.hexdigest().encode()


def encode(value: Any) -> bytes:
    """Return `value` as JSON. Raises TypeError or ValueError for what JSON cannot hold (NaN among them)."""
    return _encode(value).encode()


def unknown(message: Message) -> tuple[str, bytes]:
    """Return type and content of the answer to a request of an unknown type."""
    content = {
        "status": "error",
        "ename": "NotImplementedError",
        "evalue": f"unknown message type {message.type}",
        "traceback": [],
    }
    return message.type.rpartition("_")[0] + "_reply", encode(content)


def failure(err: BaseException) -> dict[str, Any]:
    """Return the content of a reply that reports `err`."""
    return {
        "status": "error",
        "ename": type(err).__name__,
        "evalue": text(err),
        "traceback": traceback.format_exception(type(err), err, err.__traceback__),
    }


def text(err: BaseException) -> str:
    """Return `str(err)`, or a text that names the classes if that raises."""
    try:
        return str(err)
    except Exception as broken:
        return f"<{type(err).__name__} whose __str__ raised {type(broken).__name__}>"
