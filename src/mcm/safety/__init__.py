"""Answerable generation: moderation before and after, signed provenance, a mark, verification."""
