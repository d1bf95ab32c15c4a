"""The audit log: one JSON line per decision, only ever appended to.

A prompt that was refused is never stored in clear but as a keyed digest (HMAC-SHA-256 with a key
of this user's own), so that the same prompt can be recognised and none can be guessed without
the key.
"""

from __future__ import annotations

import hmac
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mcm.safety.home import made_home, secret, unusable

FILE_NAME = "audit.jsonl"


def log_path() -> Path:
    """Return the log's file; its folder is made."""
    return made_home() / FILE_NAME


def digest(text: str) -> str:
    """Return the keyed digest under which a text stands in the log."""
    return hmac.new(secret("audit"), text.encode(), "sha256").hexdigest()


def record(event: str, **facts: Any) -> None:
    """Append a line of an event and its facts; one write, so that processes do not mix.

    Raises:
        UserError: The log cannot be written; what should have been logged must not go on.
    """
    entry = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, **facts}
    line = (json.dumps(entry, ensure_ascii=True) + "\n").encode()
    path = log_path()
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, line)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise unusable(path, "audit log", error) from None
