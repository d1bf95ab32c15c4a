"""What was seen of clips that take hours is the package's models' own, judged by its judges."""

from __future__ import annotations

from pathlib import Path

from mcm.evaluation.contenders import parse_contender
from mcm.evaluation.protocol import FluentProtocol
from mcm.evaluation.runs import read_rows
from mcm.evaluation.suite import TEACHER_STEPS, Suite

RUNS = Path(__file__).resolve().parents[2] / "benchmarks" / "runs"


def test_an_evaluation_goes_on_from_the_clips_of_the_teacher(tmp_path: Path) -> None:
    protocol, teacher = FluentProtocol(), parse_contender("fluent", (TEACHER_STEPS,))
    suite = Suite(tmp_path, protocol, ())
    header = {**suite.identity, **teacher.header(TEACHER_STEPS)}
    rows = read_rows(sorted((RUNS / "fluent-50").glob("*.jsonl")), header)
    asked = [(one.key, one.prompt, one.seed) for one in protocol.requests(512)]
    assert [(row["key"], row["prompt"], row["seed"]) for row in rows] == asked
    seen = {name for row in rows for name in row["seen"]}
    assert seen == {metric.observer for metric in protocol.metrics()}
