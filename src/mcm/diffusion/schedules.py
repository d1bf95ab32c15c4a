"""Noise schedules: which noise level belongs to which timestep.

References:
    Variance-preserving: Ho et al., DDPM, 2020 (arXiv 2006.11239); zero terminal SNR:
    Lin et al., 2023 (arXiv 2305.08891), algorithm 1; shifts: Esser et al., Stable
    Diffusion 3, 2024 (arXiv 2403.03206), section 5.3.2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, Protocol, get_args

import torch
from torch import Tensor

from mcm.diffusion.levels import NoiseLevel
from mcm.errors import UserError

BetaKind = Literal["linear", "scaled_linear", "squaredcos_cap_v2"]


class Schedule(Protocol):
    """What solvers and objectives need of a schedule. Timesteps grow with the noise."""

    @property
    def num_timesteps(self) -> int:
        """Length of the time axis the network was trained on, usually 1000."""

    def alpha_sigma(self, t_b: Tensor) -> NoiseLevel:
        """Return signal and noise scale at timesteps of shape (b,) or ()."""

    def add_noise(self, x0: Tensor, noise: Tensor, t_b: Tensor) -> Tensor:
        """x_t = α_t·x0 + σ_t·ε, for ``x0`` and ``noise`` of shape (b, ...)."""

    def spaced_timesteps(self, steps: int) -> Tensor:
        """Return ``steps`` ascending timesteps, evenly spaced, the last the noisiest."""


@dataclass(frozen=True, eq=False)
class VarianceSchedule:
    """A variance-preserving schedule: α_t = √ᾱ_t, σ_t = √(1 − ᾱ_t).

    Attributes:
        alphas_cumprod: ᾱ, shape (T,), float32, falling from nearly 1 to nearly or exactly 0.
            Timesteps are whole numbers 0 .. T − 1 into it.
    """

    alphas_cumprod: Tensor

    @classmethod
    def from_betas(
        cls,
        kind: BetaKind = "scaled_linear",
        beta_start: float = 0.00085,
        beta_end: float = 0.012,
        steps: int = 1000,
        rescale_zero_snr: bool = False,
        snr_shift: float = 1.0,
    ) -> VarianceSchedule:
        """ᾱ_t = Π_{s≤t} (1 − β_s).

        Args:
            kind: How β grows from ``beta_start`` to ``beta_end`` (which the cosine ignores).
            beta_start: β at the first step.
            beta_end: β at the last step.
            steps: T.
            rescale_zero_snr: Shift and scale √ᾱ so that it ends at exactly 0.
            snr_shift: Divide the signal-to-noise ratio by this (CogVideoX: 3).

        Raises:
            UserError: ``kind`` is unknown.
        """
        alphas_cumprod = torch.cumprod(1.0 - _betas(kind, beta_start, beta_end, steps), dim=0)
        alphas_cumprod = alphas_cumprod / (snr_shift + (1 - snr_shift) * alphas_cumprod)
        return cls(_zero_terminal_snr(alphas_cumprod) if rescale_zero_snr else alphas_cumprod)

    @classmethod
    def from_scheduler_config(cls, config: Mapping[str, Any]) -> VarianceSchedule:
        """Read a diffusers scheduler configuration (``scheduler_config.json``).

        Raises:
            UserError: ``beta_schedule`` is none of the known ones, ``trained_betas`` is set, or a
                value is no number of its range.
        """
        if config.get("trained_betas") is not None:
            raise UserError(
                "trained_betas: is set; expected null. Give the schedule as beta_schedule, "
                "beta_start and beta_end."
            )
        _check_total(config)
        for key in ("beta_start", "beta_end"):
            _check_number(config, key, 0, 1)
        _check_number(config, "snr_shift_scale", 0)
        return cls.from_betas(
            kind=config.get("beta_schedule", "linear"),
            beta_start=config.get("beta_start", 0.0001),
            beta_end=config.get("beta_end", 0.02),
            steps=config.get("num_train_timesteps", 1000),
            rescale_zero_snr=bool(config.get("rescale_betas_zero_snr", False)),
            snr_shift=config.get("snr_shift_scale", 1.0),
        )

    @property
    def num_timesteps(self) -> int:
        """T."""
        return len(self.alphas_cumprod)

    @property
    def zero_terminal_snr(self) -> bool:
        """Whether the last timestep is pure noise, where ε-prediction says nothing."""
        return bool(self.alphas_cumprod[-1] == 0)

    def alpha_sigma(self, t_b: Tensor) -> NoiseLevel:
        """α_t = √ᾱ_t, σ_t = √(1 − ᾱ_t) for whole timesteps of shape (b,) or ()."""
        alphas_cumprod_b = self.alphas_cumprod.to(t_b.device)[t_b]
        return NoiseLevel(alphas_cumprod_b.sqrt(), (1 - alphas_cumprod_b).sqrt())

    def add_noise(self, x0: Tensor, noise: Tensor, t_b: Tensor) -> Tensor:
        """x_t = √ᾱ_t·x0 + √(1 − ᾱ_t)·ε."""
        return self.alpha_sigma(t_b).mix(x0, noise)

    def spaced_timesteps(self, steps: int) -> Tensor:
        """t_i = i·⌊T / N⌋ − 1 for i = 1 .. N: [19, 39, ..., 999] for N = 50, T = 1000.

        Raises:
            UserError: ``steps`` is not within 1 .. T.
        """
        _check_steps(steps, self.num_timesteps)
        return torch.arange(1, steps + 1) * (self.num_timesteps // steps) - 1


@dataclass(frozen=True)
class FlowSchedule:
    """A rectified-flow schedule: x_t = (1 − σ)·x0 + σ·ε with σ = t / T.

    Timesteps are real numbers in [0, T], as the network is given them: the shift is in
    them already and moves only where evenly spaced points fall.

    Attributes:
        shift: s of σ = s·u / (1 + (s − 1)·u), u evenly spaced in [0, 1].
        num_timesteps: T.
        terminal: σ of the least noisy of evenly spaced points, to which all are stretched
            (LTX-Video: 0.1); ``None`` leaves them as they are.
    """

    shift: float = 1.0
    num_timesteps: int = 1000
    terminal: float | None = None

    @classmethod
    def from_scheduler_config(
        cls, config: Mapping[str, Any], tokens: int | None = None
    ) -> FlowSchedule:
        """Read a diffusers flow scheduler configuration (``scheduler_config.json``).

        Args:
            config: Keys ``shift`` or ``flow_shift``, or ``use_dynamic_shifting`` and its own;
                ``shift_terminal``.
            tokens: Length of the latent sequence, needed with ``use_dynamic_shifting``.

        Raises:
            UserError: The shift depends on the sequence length and ``tokens`` is missing, or a
                value is no number of its range.
        """
        _check_total(config)
        for key in ("shift", "flow_shift"):
            _check_number(config, key, 0)
        for key in ("base_shift", "max_shift"):
            _check_number(config, key, -math.inf)
        if config.get("shift_terminal") is not None:
            _check_number(config, "shift_terminal", 0, 1)
        steps, terminal = config.get("num_train_timesteps", 1000), config.get("shift_terminal")
        if config.get("use_dynamic_shifting"):
            return cls(_dynamic_shift(config, tokens), steps, terminal)
        return cls(float(config.get("flow_shift", config.get("shift", 1.0))), steps, terminal)

    def shifted(self, u: Tensor) -> Tensor:
        """σ = s·u / (1 + (s − 1)·u), from [0, 1] onto itself."""
        return self.shift * u / (1 + (self.shift - 1) * u)

    def alpha_sigma(self, t_b: Tensor) -> NoiseLevel:
        """(1 − t/T, t/T) for timesteps in [0, T] of shape (b,) or ()."""
        sigma_b = t_b / self.num_timesteps
        return NoiseLevel(1 - sigma_b, sigma_b)

    def add_noise(self, x0: Tensor, noise: Tensor, t_b: Tensor) -> Tensor:
        """x_t = (1 − t/T)·x0 + (t/T)·ε."""
        return self.alpha_sigma(t_b).mix(x0, noise)

    def spaced_timesteps(self, steps: int) -> Tensor:
        """t_i = T·shifted(i / N) for i = 1 .. N, float32; the last is T, pure noise.

        With a terminal, 1 − σ_i is scaled so that σ_1 is it, for N > 1.

        Raises:
            UserError: ``steps`` is not within 1 .. T.
        """
        _check_steps(steps, self.num_timesteps)
        u_n = torch.arange(1, steps + 1, dtype=torch.float64) / steps
        sigma_n = self.shifted(u_n)
        if self.terminal is not None and steps > 1:
            sigma_n = 1 - (1 - sigma_n) * (1 - self.terminal) / (1 - sigma_n[0])
        return (self.num_timesteps * sigma_n).float()


def _betas(kind: BetaKind, beta_start: float, beta_end: float, steps: int) -> Tensor:
    match kind:
        case "linear":
            return torch.linspace(beta_start, beta_end, steps, dtype=torch.float32)
        case "scaled_linear":
            root = torch.linspace(beta_start**0.5, beta_end**0.5, steps, dtype=torch.float32)
            return root**2
        case "squaredcos_cap_v2":
            bars = [_cosine_alpha_bar(i / steps) for i in range(steps + 1)]
            betas = [min(1 - after / before, 0.999) for before, after in pairwise(bars)]
            return torch.tensor(betas, dtype=torch.float32)
    raise UserError(
        f"beta_schedule: {kind!r} is unknown; expected one of {', '.join(get_args(BetaKind))}."
    )


def _cosine_alpha_bar(u: float) -> float:
    """ᾱ(u) = cos²(π/2 · (u + 0.008) / 1.008) (Nichol and Dhariwal, 2021)."""
    return math.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2


def _zero_terminal_snr(alphas_cumprod: Tensor) -> Tensor:
    """√ᾱ ← (√ᾱ_t − √ᾱ_T)·√ᾱ_1 / (√ᾱ_1 − √ᾱ_T), then ᾱ as the product of its ratios."""
    root = alphas_cumprod.sqrt()
    first, last = root[0].clone(), root[-1].clone()
    rescaled = ((root - last) * (first / (first - last))) ** 2
    alphas = torch.cat([rescaled[:1], rescaled[1:] / rescaled[:-1]])
    return torch.cumprod(1.0 - (1.0 - alphas), dim=0)


def _dynamic_shift(config: Mapping[str, Any], tokens: int | None) -> float:
    """μ on the line from (base_image_seq_len, base_shift) to (max_…, max_…); s = e^μ or μ."""
    if tokens is None:
        raise UserError(
            "use_dynamic_shifting: is true, so the shift depends on the size of the video; "
            "expected the number of latent tokens as well."
        )
    low, high = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
    base, top = config.get("base_shift", 0.5), config.get("max_shift", 1.15)
    mu = float(base + (top - base) * (tokens - low) / (high - low))
    return math.exp(mu) if config.get("time_shift_type", "exponential") == "exponential" else mu


def _check_total(config: Mapping[str, Any]) -> None:
    total = config.get("num_train_timesteps", 1000)
    if type(total) is not int or total < 1:
        raise UserError(f"num_train_timesteps: got {total!r}, expected a whole number above 0")


def _check_number(
    config: Mapping[str, Any], key: str, above: float, below: float = math.inf
) -> None:
    if key not in config:
        return
    value = config[key]
    if type(value) not in (int, float) or not above < value < below:
        limit = "" if below == math.inf else f" and below {below:g}"
        raise UserError(f"{key}: got {value!r}, expected a number above {above:g}{limit}")


def _check_steps(steps: int, num_timesteps: int) -> None:
    if not 1 <= steps <= num_timesteps:
        raise UserError(
            f"steps: {steps} points do not fit on a schedule of {num_timesteps} timesteps; "
            f"expected a number within 1 .. {num_timesteps}."
        )
