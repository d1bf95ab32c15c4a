"""Prompts to text states, with the text encoders that the families use."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from mcm.backbones.base import Condition

Padding = Literal["counted", "masked", "zeroed"]


class TextEncoder(ABC):
    """A tokenizer and a text encoder of transformers, frozen.

    Attributes:
        tokenizer: Of transformers.
        encoder: Its model.
        max_tokens: Longest prompt in tokens, special tokens included.
        clean: What is done to a prompt before anything else.
    """

    def __init__(
        self, tokenizer: Any, encoder: Any, max_tokens: int, clean: Callable[[str], str] = str
    ) -> None:
        self.tokenizer = tokenizer
        self.encoder = encoder.eval().requires_grad_(False)
        self.max_tokens = max_tokens
        self.clean = clean

    @property
    def width(self) -> int:
        """Size of a token's state."""
        return int(self.encoder.config.hidden_size)

    @abstractmethod
    def encode(self, prompts: Sequence[str]) -> Condition:
        """Return the text states of prompts, float32; longer ones are cut."""

    def cut(self, prompt: str) -> str:
        """Return the end of a prompt that does not fit, or an empty string."""
        ids = self.tokenizer(self.clean(prompt), truncation=False, verbose=False).input_ids
        if len(ids) <= self.max_tokens:
            return ""
        return str(self.tokenizer.decode(ids[self.max_tokens - 1 : -1])).strip()

    def _tokenize(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return token numbers, padded to ``max_tokens``, and which of them are the prompt's."""
        batch = self.tokenizer(
            [self.clean(prompt) for prompt in prompts],
            padding="max_length",
            max_length=self.max_tokens,
            truncation=True,
            return_tensors="pt",
        ).to(self.encoder.device)
        return batch.input_ids, batch.attention_mask.bool()


class ClipText(TextEncoder):
    """A CLIP text tower: `CLIPTokenizer` and `CLIPTextModel`.

    Args:
        tokenizer: `CLIPTokenizer`.
        encoder: `CLIPTextModel`.
        padding: Whether the places after the prompt are ``counted`` as words (Stable Diffusion)
            or ``zeroed`` in the states (Wan).
        clean: What is done to a prompt before anything else.
    """

    def __init__(
        self,
        tokenizer: Any,
        encoder: Any,
        padding: Literal["counted", "zeroed"] = "counted",
        clean: Callable[[str], str] = str,
    ) -> None:
        positions = int(encoder.config.max_position_embeddings)
        length = min(int(tokenizer.model_max_length), positions)
        super().__init__(tokenizer, encoder, length, clean)
        self.padding = padding

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Condition:
        """Return the last hidden states, padded to ``max_tokens``, and the pooled state."""
        ids_bl, mask_bl = self._tokenize(prompts)
        states = self.encoder(ids_bl)
        tokens_bld = states.last_hidden_state.float()
        if self.padding == "zeroed":
            tokens_bld = torch.where(mask_bl[..., None], tokens_bld, 0.0)
        return Condition(tokens_bld, states.pooler_output.float())


class T5Text(TextEncoder):
    """A T5 or UMT5 encoder, whose pooled embedding is the mean of the prompt's own tokens.

    Args:
        tokenizer: `T5Tokenizer`.
        encoder: `T5EncoderModel` or `UMT5EncoderModel`.
        max_tokens: Longest prompt in tokens.
        padding: What becomes of the places after the prompt: ``counted`` as words by encoder and
            network (CogVideoX), ``masked`` in the network alone (LTX-Video), or not seen by the
            encoder and ``zeroed`` in its output (Wan).
        clean: What is done to a prompt before anything else.
    """

    def __init__(
        self,
        tokenizer: Any,
        encoder: Any,
        max_tokens: int,
        padding: Padding,
        clean: Callable[[str], str] = str,
    ) -> None:
        super().__init__(tokenizer, encoder, max_tokens, clean)
        self.padding = padding

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Condition:
        """Return the hidden states, padded to ``max_tokens``, their mean, and perhaps a mask."""
        ids_bl, mask_bl = self._tokenize(prompts)
        seen_bl = mask_bl if self.padding == "zeroed" else None
        tokens_bld = self.encoder(ids_bl, attention_mask=seen_bl).last_hidden_state.float()
        own_bld = torch.where(mask_bl[..., None], tokens_bld, 0.0)
        pooled_bd = own_bld.sum(1) / mask_bl.sum(1, keepdim=True)
        if self.padding == "zeroed":
            tokens_bld = own_bld
        return Condition(tokens_bld, pooled_bd, mask_bl if self.padding == "masked" else None)
