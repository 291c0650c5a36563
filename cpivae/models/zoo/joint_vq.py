"""JointVQ: a sample is a handful of codes from a book that both platforms share (van den Oord et al. 2017)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from cpivae.batch import LinearMaps
from cpivae.config.base import LossWeights, ModelSettings, OnlyWith, Weight
from cpivae.config.variants import Variant

if TYPE_CHECKING:
    from cpivae.models.latent import LatentModel


class VQSettings(ModelSettings):
    """Settings of JointVQ."""

    code_dim: int = Field(4, ge=1, le=4096)
    """Numbers in a code: latent_dim / code_dim codes side by side describe a sample."""
    codebook_size: int = Field(64, ge=2, le=65_536)
    """Codes in the book."""
    codebook_update: Literal["ema", "gradient"] = "ema"
    """How codes follow the vectors that choose them: ema (moving averages) or gradient (a loss term)."""
    codebook_decay: float = Field(0.95, ge=0, lt=1)
    """Share of a moving average that each batch keeps."""


class VQWeights(LossWeights):
    """What each loss term counts for."""

    reconstruction: Weight = 1.0
    """A platform predicted from itself: mean squared error over observed cells, in scaled units."""
    cross_reconstruction: Weight = 1.0
    """A platform predicted from the other one: what imputation does."""
    latent_alignment: Weight = 1.0
    """Distance between the two platforms' codes of the same sample."""
    alignment_type: Literal["mse", "mmd"] = "mse"
    """mse (between codes of the same sample) or mmd (between the codes of a batch)."""
    commitment: Weight = 0.25
    """Distance of the encoder's output from the codes it chose."""
    codebook: Annotated[Weight, OnlyWith("codebook_update", "gradient")] = 1.0
    """With codebook_update gradient: distance of the codes from the vectors that chose them."""


def build(settings: VQSettings, weights: VQWeights, n_features: Mapping[str, int], skips: LinearMaps) -> LatentModel:
    """Put the untrained model together."""
    from cpivae.models import assemble, blocks, codebook, latent, objectives

    by_gradient = settings.codebook_update == "gradient"
    book = codebook.Codebook(
        settings.codebook_size, settings.code_dim, settings.codebook_decay, by_gradient=by_gradient
    )
    widths = {p: blocks.width_after(d, settings.encoder_layers) for p, d in n_features.items()}
    return latent.LatentModel(
        encoders=assemble.encoders(n_features, settings),
        posteriors={p: codebook.CodebookPosterior(h, settings.latent_dim, book) for p, h in widths.items()},
        decoders=assemble.point_decoders(n_features, settings, skips),
        objective=(objectives.reconstruction_grid, objectives.ALIGNMENTS[weights.alignment_type]),
        shared={"codebook": book},
    )


VARIANT = Variant(
    summary="a sample is described by a few entries of a learnt codebook that both platforms share",
    parts="shared codebook with several slots, no prior, point decoder; reconstruction grid + alignment + commitment "
    "(+ codebook)",
    paper="van den Oord et al. 2017, Neural Discrete Representation Learning; Razavi et al. 2019",
    settings=VQSettings,
    loss_weights=VQWeights,
    build=build,
)
