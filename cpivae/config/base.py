"""The base of every settings section, and the two sections that each model variant extends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, Strict, model_validator


class Section(BaseModel):
    """A section of the settings: unknown keys and wrong types are errors, and nothing changes after construction.

    The text under a field is its documentation: the files in ``configs`` are generated from it.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        protected_namespaces=(),
    )


Mode = Literal["min", "max"]
Width = Annotated[int, Field(ge=1, le=65_536)]
#: A YAML list arrives as a list; a frozen section keeps a tuple.
Layers = Annotated[tuple[Width, ...], Strict(False)]
Activation = Literal["relu", "leaky_relu", "elu", "gelu", "silu", "tanh"]


class ModelSettings(Section):
    """Settings that every variant shares; a variant adds its own in a subclass."""

    model_type: str = "joint_vae"
    """The model variant."""
    latent_dim: int = Field(128, ge=1, le=65_536)
    """Size of the latent code, the same for both platforms."""
    encoder_layers: Layers = ()
    """Widths of the encoders' hidden layers, from the data inwards; [] is a linear encoder (enough for small data)."""
    decoder_layers: Layers = ()
    """Widths of the decoders' hidden layers, from the latent code outwards; [] is a linear decoder."""
    dropout_rate: float = Field(0.1, ge=0, lt=1)
    """Share of hidden units silenced at random in each training step."""
    activation: Activation = "gelu"
    """Non-linearity between layers: relu, leaky_relu, elu, gelu, silu or tanh."""
    batch_norm: bool = True
    """Normalise each hidden layer over the batch."""
    use_residual_blocks: bool = False
    """Add each hidden layer's input to its output (through a linear map where the widths differ)."""
    linear_skip: Literal["none", "ridge"] = "none"
    """ridge: a cross prediction is ridge regression, fitted on training rows and frozen, plus what a decoder adds."""


class Ramp(Section):
    """How a weight rises during training; validation always uses the full weight."""

    shape: Literal["constant", "linear", "cyclical"] = "constant"
    """constant, linear (rises once) or cyclical (rises over half of each cycle, again and again; Fu et al. 2019)."""
    epochs: int = Field(10, ge=1)
    """Epochs that the rise takes, or that a cycle lasts."""

    @model_validator(mode="after")
    def _cycles_rise(self) -> Ramp:
        if self.shape == "cyclical" and self.epochs < 2:
            raise ValueError("a cycle of 1 epoch never rises; epochs must be at least 2 with shape cyclical")
        return self

    def factor(self, epoch: int) -> float:
        """Return the share (0 to 1) of the full weight that counts in an epoch, the first being 0."""
        if self.shape == "constant":
            return 1.0
        if self.shape == "linear":
            return min(1.0, epoch / self.epochs)
        return min(1.0, 2 * (epoch % self.epochs) / self.epochs)


@dataclass(frozen=True)
class OnlyWith:
    """Marks the weight of a term that a model has only with a certain value of one of its settings."""

    setting: str
    value: Any


Weight = Annotated[float, Field(ge=0)]
AlignmentType = Literal["mse", "kl_divergence", "mmd"]


class LossWeights(Section):
    """What each loss term counts for.

    A variant names its terms by the float fields of a subclass; a field ``<term>_ramp`` says how that weight rises.
    """

    linear_skip_residual: Annotated[Weight, OnlyWith("linear_skip", "ridge")] = 1.0
    """With linear_skip: mean square of what a decoder adds to ridge; the higher, the nearer to ridge it stays."""

    def by_term(self, model: ModelSettings) -> dict[str, float]:
        """Return {term: weight} for every term that a model with these settings has, in the order of declaration."""
        return {name: getattr(self, name) for name in self.terms() if self._has(name, model)}

    def ramps(self) -> dict[str, Ramp]:
        """Return {term: how its weight rises}."""
        return {
            n.removesuffix("_ramp"): ramp for n in type(self).model_fields if isinstance(ramp := getattr(self, n), Ramp)
        }

    @classmethod
    def terms(cls) -> list[str]:
        """List the names of the variant's loss terms."""
        return [name for name, field in cls.model_fields.items() if field.annotation is float]

    def _has(self, term: str, model: ModelSettings) -> bool:
        conditions = [m for m in type(self).model_fields[term].metadata if isinstance(m, OnlyWith)]
        return all(getattr(model, c.setting) == c.value for c in conditions)
