"""What the proteins of a real table have in common: latent factors fitted to the SomaScan example."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import PCA

from cpivae.data.example import somascan_example

Floats = npt.NDArray[np.float64]

N_FACTORS: Final = 20
"""More would be fitted to the noise of 170 samples."""

_DAMPING: Final = 0.5
"""What is left of the variance that factors explain, because in the 170 samples of two plates handling adds to it.  How
much is a choice: with this share the mean correlation of ridge regression lies between .40 and .55."""


class Proteins(NamedTuple):
    """D simulated proteins, each like a real one."""

    directions: Floats
    """(D, K) unit vectors: which factors move it."""
    communality: Floats
    """(D,) share of its variance that the factors explain."""
    center: Floats
    """(D,) mean, log2 RFU."""
    spread: Floats
    """(D,) standard deviation, log2 RFU."""

    def take(self, rows: npt.NDArray[np.int64]) -> Proteins:
        """Return some of the proteins."""
        return Proteins(*(part[rows] for part in self))


def real_proteins() -> Proteins:
    """Fit K factors to the 4,979 proteins of the SomaScan example, by probabilistic PCA of standardised log2 RFU.

    A protein's loadings are ``sqrt(variance - noise) * axis`` (Tipping & Bishop 1999, eq. 7), so that what noise alone
    would give to an axis is not taken for a factor.
    """
    values = somascan_example().values.to_numpy()
    center, spread = values.mean(axis=0), values.std(axis=0)
    pca = PCA(N_FACTORS, svd_solver="randomized", random_state=0).fit((values - center) / spread)
    loadings = (pca.components_ * np.sqrt(pca.explained_variance_ - pca.noise_variance_)[:, None]).T
    length = np.linalg.norm(loadings, axis=1)
    return Proteins(loadings / length[:, None], _DAMPING * np.minimum(length**2, 1), center, spread)


def drawn_proteins(n: int, rng: np.random.Generator) -> Proteins:
    """Draw n of the real proteins, each once where there are enough of them."""
    real = real_proteins()
    return real.take(rng.choice(len(real.center), size=n, replace=n > len(real.center)))
