"""The base of every settings section, and the two sections that each model variant extends."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, Strict


class Section(BaseModel):
    """A section of the settings: unknown keys and wrong types are errors, and nothing changes after construction.

    The text under a field is its documentation: ``configs/default.yaml`` is generated from it.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        protected_namespaces=(),
    )


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


Weight = Annotated[float, Field(ge=0)]
AlignmentType = Literal["mse", "kl_divergence", "mmd"]


class LossWeights(Section):
    """What each loss term counts for.  A variant names its terms by the float fields of a subclass."""

    def by_term(self) -> dict[str, float]:
        """Return {term: weight} for every term of the variant, in the order of declaration."""
        return {name: getattr(self, name) for name in self.terms()}

    @classmethod
    def terms(cls) -> list[str]:
        """List the names of the variant's loss terms."""
        return [name for name, field in cls.model_fields.items() if field.annotation is float]
