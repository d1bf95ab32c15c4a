"""The one way out: every clip and image that is written for a user is marked and signed here."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcm.safety.audit import record
from mcm.safety.home import secret
from mcm.safety.policy import active_policy
from mcm.safety.provenance import sign_file
from mcm.safety.watermark import LEAST_SIDE, PAYLOAD_BITS, embed

Frames = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Publication:
    """Frames ready to be written, and what their file and its manifest say.

    Attributes:
        frames: Marked frames, uint8, (t, h, w, 3), or with alpha (t, h, w, 4).
        metadata: What the file says of itself; names the layers that are switched off.
        mark: Payload of the watermark; ``None`` where there is none.
        unmarked: Why there is none; empty where there is one.
    """

    frames: Frames
    metadata: dict[str, Any]
    mark: int | None
    unmarked: str = ""

    def sign(self, path: Path, title: str, source: Path | None = None) -> bytes | None:
        """Sign what was written; arguments and errors as `mcm.safety.provenance.sign_file`.

        Every file is noted in the audit log with the payload of its mark, or why it has none.
        """
        rules = active_policy().provenance
        mark: dict[str, str | None] = {"watermark": None, "unmarked": self.unmarked}
        if self.mark is not None:
            mark = {"watermark": f"{self.mark:08x}"}
        record("written", file=title, **mark, signed=rules.sign)
        if not rules.sign:
            return None
        return sign_file(path, title, {**self.metadata, **mark}, rules, source)


def prepare(frames: Frames, text: str, metadata: Mapping[str, Any]) -> Publication:
    """Mark frames as the policy says.

    Args:
        frames: Frames, uint8, (t, h, w, 3), or with alpha (t, h, w, 4), which stays as it is.
        text: All that is known of the clip; the same text and frames give the same payload.
        metadata: JSON-ready values for the file.
    """
    policy = active_policy()
    off = policy.switched_off()
    told = {**metadata, **({"switched_off": off} if off else {})}
    if not policy.watermark.mark:
        return Publication(frames, told, None, "switched off by the policy")
    height, width = frames.shape[1:3]
    if min(height, width) < LEAST_SIDE:
        least = f"frames of {width}x{height} pixels are too small, the least side is {LEAST_SIDE}"
        return Publication(frames, told, None, least)
    payload = instance_id(text, frames)
    marked = np.concatenate([embed(frames[..., :3], payload), frames[..., 3:]], axis=-1)
    return Publication(marked, told, payload)


def instance_id(text: str, frames: Frames) -> int:
    """Return the payload of a clip: a digest of it and what made it, under this user's own key."""
    digest = hmac.new(secret("instance"), text.encode(), "sha256")
    digest.update(np.ascontiguousarray(frames).data)
    return int.from_bytes(digest.digest()[: PAYLOAD_BITS // 8])
