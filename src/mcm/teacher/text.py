"""The text encoder: a small CLIP whose other tower watches latent video.

Radford et al., *Learning Transferable Visual Models From Natural Language
Supervision*, 2021 (arXiv 2103.00020). The video tower lets the text states carry
motion as well as looks; it is dropped after training.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from mcm.teacher.corpus import ClipCorpus
from mcm.teacher.loop import LoopConfig, train

MAX_TOKENS = 32
WIDTH = 192
_BOS, _EOS, _WORD_END = "<|startoftext|>", "<|endoftext|>", "</w>"
_BATCH = 192


def make_tokenizer(captions: Iterable[str], folder: Path, size: int = 1600) -> CLIPTokenizer:
    """Learn a byte-pair vocabulary from captions and save it in CLIP's format.

    As in CLIP, every byte is in the vocabulary twice, inside and at the end of a word,
    so that no text is unknown.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    learner = Tokenizer(models.BPE(end_of_word_suffix=_WORD_END))
    learner.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    trainer = trainers.BpeTrainer(vocab_size=size, end_of_word_suffix=_WORD_END)
    learner.train_from_iterator(captions, trainer)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").unlink(missing_ok=True)
    learner.model.save(str(folder))
    _complete_vocabulary(folder / "vocab.json", sorted(pre_tokenizers.ByteLevel.alphabet()))
    tokenizer = CLIPTokenizer.from_pretrained(folder, model_max_length=MAX_TOKENS)
    tokenizer.save_pretrained(folder)
    return tokenizer


def _complete_vocabulary(path: Path, alphabet: list[str]) -> None:
    learned = json.loads(path.read_text(encoding="utf-8"))
    tokens = [*alphabet, *(letter + _WORD_END for letter in alphabet)]
    tokens += sorted(set(learned) - set(tokens), key=lambda token: learned[token])
    vocabulary = {token: number for number, token in enumerate([*tokens, _BOS, _EOS])}
    path.write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")


def make_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Return a fresh text encoder for a vocabulary."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=4,
        num_attention_heads=6,
        max_position_embeddings=MAX_TOKENS,
        projection_dim=WIDTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_factor=1.0,
    )
    return CLIPTextModel(config)


class VideoTower(nn.Module):
    """Embeds latent clips: convolutions on every second frame, attention over time."""

    def __init__(self, channels: int, width: int = 128) -> None:
        super().__init__()
        self.frame = nn.Sequential(
            nn.Conv2d(channels, width // 2, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width // 2, width, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Flatten(1),
            nn.LazyLinear(width),
        )
        layer = nn.TransformerEncoderLayer(
            width, 4, 2 * width, dropout=0.0, batch_first=True, norm_first=True
        )
        self.time = nn.Parameter(0.02 * torch.randn(1, 64, width))
        self.over_time = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.out = nn.Linear(width, WIDTH)

    def forward(self, x_bcthw: Tensor) -> Tensor:
        """Return the embedding of each clip, (b, d)."""
        frames = x_bcthw[:, :, ::2].transpose(1, 2)
        tokens = self.frame(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        tokens = self.over_time(tokens + self.time[:, : tokens.shape[1]])
        embedding: Tensor = self.out(tokens.mean(1))
        return embedding


class TwoTowers(nn.Module):
    """The contrastive pair; ``text`` is the part that ships."""

    def __init__(self, text: CLIPTextModel, channels: int) -> None:
        super().__init__()
        self.text = text
        self.project = nn.Linear(WIDTH, WIDTH, bias=False)
        self.video = VideoTower(channels)
        self.log_scale = nn.Parameter(torch.tensor(2.6))

    def losses(self, ids_bl: Tensor, x_bcthw: Tensor, same_bb: Tensor) -> dict[str, Tensor]:
        """Return the symmetric contrastive loss; pairs of equal meaning share the target."""
        text = F.normalize(self.project(self.text(ids_bl).pooler_output), dim=-1)
        video = F.normalize(self.video(x_bcthw), dim=-1)
        logits = self.log_scale.clamp(max=4.6).exp() * text @ video.T
        target = same_bb / same_bb.sum(1, keepdim=True)
        both = (F.cross_entropy(logits, target), F.cross_entropy(logits.T, target))
        return {"contrast": (both[0] + both[1]) / 2}


def train_text_encoder(
    corpus: ClipCorpus, folder: Path, config: LoopConfig, minutes: float | None = None
) -> None:
    """Train vocabulary and text encoder; save ``tokenizer`` and ``text_encoder`` folders."""
    torch.manual_seed(config.seed)
    tokenizer = make_tokenizer(corpus.every_wording(), folder / "tokenizer")
    towers = TwoTowers(make_text_encoder(tokenizer), corpus.latents_ncthw.shape[1])
    towers.video(corpus.clips(torch.arange(2)))
    ids = tokenizer(
        corpus.captions, padding="max_length", max_length=MAX_TOKENS, return_tensors="pt"
    ).input_ids

    def batches(start: int) -> Iterator[Tensor]:
        for step in range(start, config.steps + 1):
            yield corpus.draw(config.seed, step, _BATCH)

    def losses(index_b: Tensor) -> dict[str, Tensor]:
        meaning = corpus.meaning_n[index_b]
        same = (meaning[:, None] == meaning[None]).float()
        return towers.losses(ids[index_b], corpus.clips(index_b), same)

    train(towers, losses, batches, config, folder, minutes)
    towers.text.save_pretrained(folder / "text_encoder")
