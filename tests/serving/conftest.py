"""Serving is an extra: without it its tests are left out."""

import importlib.util

if importlib.util.find_spec("fastapi") is None:
    collect_ignore_glob = ["test_*.py"]
