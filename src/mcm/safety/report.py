"""What is known of a file after it was looked at, for readers and for scripts."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from mcm.safety.detector import Detection
from mcm.safety.inspection import ManifestReport
from mcm.safety.search import Mark

FOUND, NOTHING, ALTERED = 0, 3, 4
"""Exit codes of `mcm verify`: for several files, the highest counts."""

Span = tuple[float, float]
"""Seconds of the first and the last frame."""


@dataclass(frozen=True)
class Footage:
    """What the frames of a file say.

    Attributes:
        frames: How many were looked at; 0 if the file could not be read as pictures.
        spans: Where they stand in the file, one span for each stretch of frames.
        mark: The mark in them, if one was found.
        marked: In which span it was found.
        detections: What each installed detector says of the first stretch.
        unfinished: Why the look at them ended early; empty if it did not.
    """

    frames: int = 0
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
    def code(self) -> int:
        """One of `FOUND`, `NOTHING` and `ALTERED`."""
        if self.manifest.state == "altered":
            return ALTERED
        return FOUND if self.manifest.state == "valid" or self.mark else NOTHING

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON-ready values."""
        seen, mark = self.footage, self.mark
        found = mark and {
            "id": f"{mark.payload:08x}",
            "strength": round(mark.strength, 2),
            "false_alarm_at_most": seen.false_alarm,
            "seconds": seen.marked and list(seen.marked),
        }
        detected = {name: asdict(detection) for name, detection in seen.detections.items()}
        return {
            "file": self.file,
            "result": {FOUND: "found", NOTHING: "nothing found", ALTERED: "altered"}[self.code],
            "manifest": asdict(self.manifest),
            "watermark": found,
            "frames": seen.frames,
            "seconds": [list(span) for span in seen.spans],
            "unfinished": seen.unfinished or None,
            "detectors": detected or "not available",
        }

    def as_text(self) -> str:
        """Return the report for a reader."""
        return "\n".join([self.file, *(f"  {line}" for line in self._lines())])

    def _lines(self) -> list[str]:
        detected = [
            f"detector {name}: {_detection_text(one)}"
            for name, one in self.footage.detections.items()
        ]
        unfinished = self.footage.unfinished
        return [
            *_manifest_lines(self.manifest),
            f"watermark: {_mark_text(self.footage)}",
            *(detected or ["detector: not available"]),
            *([f"not looked at to the end: {unfinished}"] if unfinished else []),
        ]


def _manifest_lines(manifest: ManifestReport) -> list[str]:
    if manifest.state == "absent":
        return ["manifest: none"]
    if manifest.state == "altered":
        return [f"manifest: ALTERED, file and manifest do not fit ({', '.join(manifest.faults)})"]
    trust = {
        "trusted": "trusted, under an authority that your policy names",
        "this machine": "the local signer of this machine, whom others do not know",
        "untrusted": "not trusted, anybody can make such a certificate",
    }[manifest.trust]
    lines = [
        "manifest: valid, the file is as it was signed",
        f"signer: {manifest.signer or 'unnamed'} ({trust})",
        f"made by: {manifest.generator or 'unknown'}: {', '.join(manifest.actions)}",
    ]
    if manifest.ingredients:
        lines.append(f"made from: {', '.join(manifest.ingredients)}")
    told = manifest.generation or {}
    if told.get("unmarked"):
        told = {**told, "watermark": f"none, {told['unmarked']}"}
    return lines + [
        f"{name}: {told[name]}" for name in ("model", "seed", "watermark") if name in told
    ]


def _mark_text(seen: Footage) -> str:
    if not seen.frames:
        return "not looked for, the file cannot be read as pictures"
    if seen.mark is None or seen.marked is None:
        spans = ", ".join(map(_span_text, seen.spans))
        return f"none in {seen.frames} frames, at {spans} (it may have been removed)"
    return (
        f"found at {_span_text(seen.marked)}, id {seen.mark.payload:08x}, "
        f"strength {seen.mark.strength:.1f} "
        f"(by chance at most once in {1 / seen.false_alarm:.0e} clips)"
    )


def _span_text(span: Span) -> str:
    return f"{span[0]:.1f} to {span[1]:.1f} s"


def _detection_text(said: Detection) -> str:
    if said.score is None:
        return f"unknown ({said.reason or said.calibration})"
    return f"{said.score:.2f} likely to be generated ({said.calibration})"
