"""Prompts to text states with a CLIP text tower."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from mcm.backbones.base import Condition


class ClipText:
    """A CLIP tokenizer and text encoder, frozen.

    Attributes:
        tokenizer: `CLIPTokenizer`.
        encoder: `CLIPTextModel`.
        max_tokens: Longest prompt in tokens, start and end included.
    """

    def __init__(self, tokenizer: Any, encoder: Any) -> None:
        self.tokenizer = tokenizer
        self.encoder = encoder.eval().requires_grad_(False)
        positions = int(encoder.config.max_position_embeddings)
        self.max_tokens = min(int(tokenizer.model_max_length), positions)

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Condition:
        """Return the last hidden states, padded to ``max_tokens``, and the pooled state."""
        ids_bl = self.tokenizer(
            list(prompts),
            padding="max_length",
            max_length=self.max_tokens,
            truncation=True,
            return_tensors="pt",
        ).input_ids
        states = self.encoder(ids_bl.to(self.encoder.device))
        return Condition(states.last_hidden_state.float(), states.pooler_output.float())

    def cut(self, prompt: str) -> str:
        """Return the end of a prompt that does not fit, or an empty string."""
        ids = self.tokenizer(prompt, truncation=False, verbose=False).input_ids
        if len(ids) <= self.max_tokens:
            return ""
        return str(self.tokenizer.decode(ids[self.max_tokens - 1 : -1])).strip()
