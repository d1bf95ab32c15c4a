"""The policy file: what the documentation shows, what it switches off, when it is read."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from mcm.errors import UserError
from mcm.safety.guard import Refused, check_prompt
from mcm.safety.policy import Policy, active_policy

DOCS = Path(__file__).parents[2] / "docs"


def shown() -> list[str]:
    """The policies of the documentation, as blocks of YAML."""
    blocks = [
        block
        for page in sorted(DOCS.rglob("*.md"))
        for block in re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    ]
    return [block for block in blocks if set(re.findall(r"^\w+", block, re.M)) <= SECTIONS]


SECTIONS = set(Policy.model_fields)


def test_every_policy_of_the_documentation_is_one(policy: Callable[[str], Path]) -> None:
    assert len(shown()) >= 2
    for block in shown():
        policy(block)
        assert active_policy() != Policy()


def test_lists_are_taken(home: Path, policy: Callable[[str], Path]) -> None:
    policy(
        "provenance: {anchors: [a.pem, b.pem]}\n"
        "moderation:\n  people: [Jo Example]\n  terms: {hate: [someslur*]}\n"
    )
    rules = active_policy()
    assert rules.provenance.anchors == (Path("a.pem"), Path("b.pem"))
    for prompt in ("Jo Example on a horse", "a someslurry in the rain"):
        with pytest.raises(Refused):
            check_prompt(prompt)
    policy("moderation: {allowed_people: [Donald Trump]}\n")
    check_prompt("Donald Trump on a horse")


@pytest.mark.parametrize(
    ("text", "off"),
    [
        ("", []),
        ("# nothing yet\n", []),
        ("moderation: {actions: {sexual: log}}\n", []),
        ("moderation: {actions: {gore: allow, sexual: allow}}\n", ["allowed: sexual, gore"]),
        ("moderation: {frame_action: allow}\n", ["allowed: frames"]),
        ("moderation: {frame_threshold: 1.0}\n", ["frame moderation"]),
        ("moderation: {prompts: false, actions: {gore: allow}}\n", ["prompt moderation"]),
    ],
)
def test_what_is_switched_off_is_told_and_logged(
    home: Path, policy: Callable[[str], Path], text: str, off: list[str]
) -> None:
    path = policy(text)
    assert active_policy().switched_off() == off
    active_policy()
    log = home / "audit.jsonl"
    logged = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    told = [(event["layers"], event["policy"]) for event in logged]
    assert told == ([(off, str(path))] if off else [])


def test_what_a_policy_builds_on_is_read_again(
    tmp_path: Path, policy: Callable[[str], Path]
) -> None:
    base = tmp_path / "base.yaml"
    base.write_text("watermark: {mark: true}\n")
    policy("base: base.yaml\n")
    assert active_policy().watermark.mark
    base.write_text("watermark: {mark: false}\n")
    assert not active_policy().watermark.mark


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_policy_that_cannot_be_read_is_named(policy: Callable[[str], Path]) -> None:
    policy("watermark: {mark: true}\n").chmod(0)
    with pytest.raises(UserError, match="cannot be read"):
        active_policy()


def test_a_policy_of_another_shape_is_named(policy: Callable[[str], Path]) -> None:
    policy("- watermark\n")
    with pytest.raises(UserError, match="expected sections with their fields"):
        active_policy()
