"""What is known of a file after it was looked at, for readers and for scripts."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from mcm.safety.claims import ManifestReport
from mcm.safety.detector import Detection
from mcm.safety.search import Mark
from mcm.safety.wording import worded

FOUND, NOTHING, ALTERED, UNKNOWN = 0, 3, 4, 5
"""Exit codes of `mcm verify`: for several files, the highest counts."""
RESULTS = {
    FOUND: "found",
    NOTHING: "nothing found",
    ALTERED: "altered",
    UNKNOWN: "not looked at",
}
"""What `mcm verify --json` calls them."""

Span = tuple[float, float]
"""Seconds of the first and the last frame."""


@dataclass(frozen=True)
class Footage:
    """What the frames of a file say.

    Attributes:
        frames: How many were looked at; 0 if the file could not be read as pictures.
        size: Their width and height.
        spans: Where they stand in the file, one span for each stretch of frames.
        mark: The mark in them, if one was found.
        marked: In which span it was found.
        detections: What each installed detector says of the first stretch.
        unfinished: Why the look at them ended early; empty if it did not.
    """

    frames: int = 0
    size: tuple[int, int] = (0, 0)
    spans: tuple[Span, ...] = ()
    mark: Mark | None = None
    marked: Span | None = None
    detections: dict[str, Detection] = field(default_factory=dict)
    unfinished: str = ""

    @property
    def false_alarm(self) -> float:
        """Bound of the probability that frames without mark look as strongly marked anywhere."""
        return min(1.0, self.mark.false_alarm * len(self.spans)) if self.mark else 1.0

    @classmethod
    def from_dict(cls, told: dict[str, Any]) -> Footage:
        """Return what `dataclasses.asdict` took apart."""
        mark, marked = told["mark"], told["marked"]
        detections = {name: Detection(**said) for name, said in told["detections"].items()}
        return cls(
            frames=told["frames"],
            size=(told["size"][0], told["size"][1]),
            spans=tuple((start, end) for start, end in told["spans"]),
            mark=Mark(**mark) if mark else None,
            marked=(marked[0], marked[1]) if marked else None,
            detections=detections,
            unfinished=told["unfinished"],
        )


@dataclass(frozen=True)
class Report:
    """What is known of a file.

    Attributes:
        file: Its path.
        manifest: State of its manifest.
        footage: What its frames say.
    """

    file: str
    manifest: ManifestReport
    footage: Footage = Footage()

    @property
    def mark(self) -> Mark | None:
        """The mark in its frames, if one was found."""
        return self.footage.mark

    @property
    def claimed_mark(self) -> str | None:
        """The mark's id as its manifest tells it."""
        claimed = (self.manifest.generation or {}).get("watermark")
        return claimed if isinstance(claimed, str) else None

    @property
    def marks_agree(self) -> bool | None:
        """Whether the mark found is the manifest's; ``None`` if either is missing."""
        if self.mark is None or self.claimed_mark is None:
            return None
        return self.claimed_mark == id_text(self.mark)

    @property
    def frame_size(self) -> tuple[int, int] | None:
        """Width and height of one frame, of a picture that its manifest shows to be a sheet."""
        told = self.manifest.generation or {}
        width, height = told.get("width"), told.get("height")
        if not isinstance(width, int) or not isinstance(height, int) or min(width, height) < 1:
            return None
        seen = self.footage.size
        laid_out = seen[0] % width == 0 and seen[1] % height == 0 and min(seen) > 0
        return (width, height) if laid_out and seen != (width, height) else None

    @property
    def code(self) -> int:
        """One of `FOUND`, `NOTHING`, `ALTERED` and `UNKNOWN`."""
        state = self.manifest.state
        if state in ("altered", "unknown"):
            return ALTERED if state == "altered" else UNKNOWN
        if state == "valid" or self.mark:
            return FOUND
        return UNKNOWN if self.footage.unfinished else NOTHING

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON-ready values."""
        seen, mark = self.footage, self.mark
        found = mark and {
            "id": id_text(mark),
            "agrees_with_manifest": self.marks_agree,
            "strength": round(mark.strength, 2),
            "false_alarm_at_most": seen.false_alarm,
            "seconds": seen.marked and list(seen.marked),
        }
        detected = {name: asdict(detection) for name, detection in seen.detections.items()}
        return {
            "file": self.file,
            "result": RESULTS[self.code],
            "manifest": {**asdict(self.manifest), "generated": self.manifest.generated},
            "watermark": found,
            "frames": seen.frames,
            "seconds": [list(span) for span in seen.spans],
            "unfinished": seen.unfinished or None,
            "detectors": detected or "not available",
        }

    def as_text(self) -> str:
        """Return the report for a reader."""
        return worded(self)


def id_text(mark: Mark) -> str:
    """Return a mark's id as manifests and the audit log write it."""
    return f"{mark.payload:08x}"
