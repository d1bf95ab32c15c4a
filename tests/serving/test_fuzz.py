"""Requests made up from the server's own OpenAPI document: no fault, and answers as promised."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from tests.serving.live import running

schemathesis = pytest.importorskip("schemathesis")
OPERATIONS = 13
pytestmark = pytest.mark.skip(reason="finds 11 of 12 operations; not proven yet")


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
    with running(tmp_path, queue_limit=1000) as server:
        schema = schemathesis.openapi.from_url(f"{server.address}/openapi.json")
        operations = [found.ok() for found in schema.get_all_operations()]
        assert len(operations) == OPERATIONS
        for operation in operations:
            for mode in schemathesis.GenerationMode:
                check(operation, mode)
        assert httpx.get(f"{server.address}/health").json()["status"] == "ok"
