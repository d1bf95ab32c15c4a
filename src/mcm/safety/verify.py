"""One honest report on a file: its manifest, its mark, and what detectors say."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mcm.errors import UserError
from mcm.safety.detector import Detection, detect
from mcm.safety.footage import first_frames
from mcm.safety.inspection import ManifestReport, inspect_manifest
from mcm.safety.policy import active_policy
from mcm.safety.search import Mark, find

FOUND, NOTHING, ALTERED = 0, 3, 4
"""Exit codes of `mcm verify`: for several files, the highest counts."""


@dataclass(frozen=True)
class Report:
    """What is known of a file.

    Attributes:
        file: Its path.
        manifest: State of its manifest.
        mark: The mark in its frames, if one was found.
        frames: How many frames were looked at; 0 if it could not be read as pictures.
        detections: What each installed detector says; empty when none is available.
    """

    file: str
    manifest: ManifestReport
    mark: Mark | None
    frames: int
    detections: dict[str, Detection] = field(default_factory=dict)

    @property
    def code(self) -> int:
        """One of `FOUND`, `NOTHING` and `ALTERED`."""
        if self.manifest.state == "altered":
            return ALTERED
        return FOUND if self.manifest.state == "valid" or self.mark else NOTHING

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON-ready values."""
        mark = self.mark
        found = mark and {
            "id": f"{mark.payload:08x}",
            "strength": round(mark.strength, 2),
            "false_alarm_at_most": mark.false_alarm,
        }
        detected = {name: asdict(detection) for name, detection in self.detections.items()}
        return {
            "file": self.file,
            "result": {FOUND: "found", NOTHING: "nothing found", ALTERED: "altered"}[self.code],
            "manifest": asdict(self.manifest),
            "watermark": found,
            "frames": self.frames,
            "detectors": detected or "not available",
        }

    def as_text(self) -> str:
        """Return the report for a reader."""
        return "\n".join([self.file, *(f"  {line}" for line in self._lines())])

    def _lines(self) -> list[str]:
        detected = [
            f"detector {name}: {_detection_text(one)}" for name, one in self.detections.items()
        ]
        return [
            *_manifest_lines(self.manifest),
            f"watermark: {_mark_text(self.mark, self.frames)}",
            *(detected or ["detector: not available"]),
        ]


def verify(path: str | Path) -> Report:
    """Look at a file of any kind.

    Raises:
        UserError: There is no such file. What cannot be understood is no error: nothing is found.
    """
    file = Path(path)
    if not file.is_file():
        kind = "a folder; name its files" if file.is_dir() else "no such file"
        raise UserError(f"{path}: {kind}")
    policy = active_policy()
    manifest = inspect_manifest(file, policy.provenance)
    frames = first_frames(file)
    if frames is None:
        return Report(str(path), manifest, None, 0)
    return Report(str(path), manifest, find(frames), len(frames), detect(frames, policy.detection))


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


def _mark_text(mark: Mark | None, frames: int) -> str:
    if not frames:
        return "not looked for, the file cannot be read as pictures"
    if mark is None:
        return f"none in {frames} frames (it may have been removed)"
    return (
        f"found, id {mark.payload:08x}, strength {mark.strength:.1f} "
        f"(by chance at most once in {1 / mark.false_alarm:.0e} clips)"
    )


def _detection_text(said: Detection) -> str:
    if said.score is None:
        return f"unknown ({said.reason or said.calibration})"
    return f"{said.score:.2f} likely to be generated ({said.calibration})"
