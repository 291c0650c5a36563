"""Denoising diffusion as a decoder: what a point prediction leaves open is drawn from noise, step by step."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import final

import torch
from torch import Tensor, nn

from cpivae.models.decoders import Decoder, PointDecoder, observed_mean, zero_last_layer


@final
class NoiseSchedule(nn.Module):
    """How much of a row and how much noise is left at step t = 0 (the row) ... T (noise).

    q(x_t | x_0) = N(α_t x_0, σ_t²) with α_t² + σ_t² = 1 (Ho et al. 2020, eq. 4, where α_t² is ᾱ_t); the cosine
    schedule of Nichol & Dhariwal 2021, eq. 17.
    """

    signal: Tensor
    noise: Tensor

    def __init__(self, n_steps: int) -> None:
        super().__init__()
        t = torch.arange(n_steps + 1, dtype=torch.double) / n_steps
        signal_power = torch.cos((t + 0.008) / 1.008 * math.pi / 2).square()
        signal_power = (signal_power / signal_power[0]).clamp(min=1e-8)
        self.register_buffer("signal", signal_power.sqrt().float(), persistent=False)
        self.register_buffer("noise", (1 - signal_power).sqrt().float(), persistent=False)

    def diffuse(self, x_0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """Draw x_t (..., D) from x_0 with standard normal noise, at steps t (...)."""
        return self._at(self.signal, t) * x_0 + self._at(self.noise, t) * noise

    def velocity(self, x_0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """α_t noise - σ_t x_0, what the network learns (Salimans & Ho 2022, appendix D): noise where there is little
        of it, the row where there is nothing else."""
        return self._at(self.signal, t) * noise - self._at(self.noise, t) * x_0

    def row(self, x_t: Tensor, velocity: Tensor, t: Tensor) -> Tensor:
        """Return the row x_0 that a velocity at x_t implies: α_t x_t - σ_t v."""
        return self._at(self.signal, t) * x_t - self._at(self.noise, t) * velocity

    def back(self, x_t: Tensor, x_0: Tensor, t: Tensor, s: Tensor, eta: float) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of x_s given x_t and x_0, s < t (Song et al. 2021, eq. 7 and 16).

        ``eta`` 0 is DDIM, without noise; with 1 and s = t - 1 it is the reverse step of Ho et al. 2020, eq. 7.
        """
        a_t, a_s, n_t, n_s = (self._at(part, when) for part in (self.signal, self.noise) for when in (t, s))
        added = 1 - (a_t / a_s).square()
        sd = eta * n_s / n_t * added.clamp(min=0).sqrt()
        direction = (x_t - a_t * x_0) / n_t
        return a_s * x_0 + (n_s.square() - sd.square()).clamp(min=0).sqrt() * direction, sd

    @staticmethod
    def _at(values: Tensor, t: Tensor) -> Tensor:
        return values[t].unsqueeze(-1)


@final
class DiffusionDecoder(Decoder):
    """A point prediction, refined by diffusion of what it leaves over, both conditioned on z (Pandey et al. 2022).

    The network predicts the velocity of the remainder ``x - point(z)`` from its noisy version, the step and z.
    Sampling takes few DDIM steps; without sampling noise it starts from the middle of the noise, zero, and repeats.
    """

    N_FREQUENCIES = 16

    def __init__(
        self, point: PointDecoder, denoiser: nn.Sequential, n_steps: int, sampling_steps: int, sampling_noise: float
    ) -> None:
        """``denoiser`` maps (rows, D + L + 2 * N_FREQUENCIES) to (rows, D) and ends with a linear layer."""
        super().__init__()
        self.point, self.denoiser = point, denoiser
        self.schedule = NoiseSchedule(n_steps)
        self.n_steps, self.sampling_steps, self.sampling_noise = n_steps, sampling_steps, sampling_noise

    def losses(self, x: Tensor, observed: Tensor, z: Tensor) -> dict[str, Tensor]:
        """Return the point's losses and ``noise_prediction``, (K, B) each."""
        point = self.point.predict(z)  # (K, B, D)
        remainder = (x - point.detach()) * observed
        t = torch.randint(1, self.n_steps + 1, z.shape[:2], device=z.device)
        noise = torch.randn_like(remainder)
        velocity = self._velocity(self.schedule.diffuse(remainder, t, noise), t, z)
        wrong = velocity - self.schedule.velocity(remainder, t, noise)
        return {
            "reconstruction": observed_mean((point - x).square(), observed),
            "size": observed_mean(point.square(), observed),
            "noise_prediction": observed_mean(wrong.square(), observed),
        }

    def predict(self, z: Tensor) -> Tensor:
        point = self.point.predict(z)
        x = torch.zeros_like(point) if self.sampling_noise == 0 else torch.randn_like(point)
        times = torch.linspace(self.n_steps, 0, self.sampling_steps + 1, device=z.device).round().long()
        for now, then in pairwise(times):
            t, s = (when.expand(z.shape[:2]) for when in (now, then))
            row = self.schedule.row(x, self._velocity(x, t, z), t)
            x, sd = self.schedule.back(x, row, t, s, self.sampling_noise)
            if self.sampling_noise > 0:
                x = x + sd * torch.randn_like(x)
        return point + x

    def start_at_zero(self) -> None:
        self.point.start_at_zero()
        zero_last_layer(self.denoiser)

    def _velocity(self, x_t: Tensor, t: Tensor, z: Tensor) -> Tensor:
        frequencies = torch.arange(self.N_FREQUENCIES, device=z.device).exp2() * (math.pi / 2)
        angles = (t / self.n_steps).unsqueeze(-1) * frequencies
        seen = torch.cat([x_t, z, angles.sin(), angles.cos()], dim=-1)
        return self.denoiser(seen.flatten(0, 1)).unflatten(0, z.shape[:2])
