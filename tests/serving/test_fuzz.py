"""Requests made up from the server's own OpenAPI document: no fault, and answers as promised."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from tests.serving.live import process

schemathesis = pytest.importorskip("schemathesis")
OPERATIONS = {
    "GET /health",
    "GET /metrics",
    "GET /v1/models",
    "GET /v1/models/{model}",
    "POST /v1/videos",
    "GET /v1/videos",
    "GET /v1/videos/{video_id}",
    "DELETE /v1/videos/{video_id}",
    "POST /v1/videos/{video_id}/cancel",
    "GET /v1/videos/{video_id}/content",
    "GET /v1/videos/{video_id}/events",
    "POST /v1/verify",
}

HAVE_RULES = OPERATIONS - {
    "GET /health",
    "GET /metrics",
    "GET /v1/models",
    "GET /v1/models/{model}",
    "POST /v1/verify",
}
"""Operations of whose requests the document allows some and forbids others."""


def check(operation: Any, mode: Any) -> None:
    """Send some requests, valid or not, and hold the answers against the document."""
    promised = schemathesis.checks

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(max_examples=8, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    def send(case: Any) -> None:
        checks = [
            promised.not_a_server_error,
            promised.status_code_conformance,
            promised.content_type_conformance,
            promised.response_schema_conformance,
            promised.negative_data_rejection,
        ]
        case.call_and_validate(checks=checks, timeout=120)

    send()


def test_made_up_requests_never_break_the_server(tmp_path: Path) -> None:
    valid, invalid = schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE
    limits = ["--queue-limit", "1000", "--most-steps", "2", "--most-side", "64"]
    with process(tmp_path, *limits) as (_, http):
        schema = schemathesis.openapi.from_url(f"{http.base_url}/openapi.json")
        schema = schema.exclude(path="/v1/live")  # its answers have no end; see test_live.py
        operations = [found.ok() for found in schema.get_all_operations()]
        assert {operation.label for operation in operations} == OPERATIONS
        for operation in operations:
            check(operation, valid)
            if operation.label in HAVE_RULES:
                check(operation, invalid)
        assert http.get("/health").json()["status"] == "ok"
