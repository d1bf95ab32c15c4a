"""Serving: jobs that survive a crash, an HTTP API in OpenAI's shape, a web page."""
