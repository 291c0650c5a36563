"""The model in the manner of scikit-learn: ``fit`` on two platforms, ``transform`` one into the other."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_array, check_consistent_length, check_is_fitted, validate_data

from cpivae.config.load import load_config, with_values
from cpivae.data.prepare import prepare_folds
from cpivae.data.split import MIN_SAMPLES
from cpivae.data.tables import pair_from_frames
from cpivae.errors import DataError
from cpivae.impute import Imputer, load_imputer
from cpivae.training.run import fit

_VALIDATION = 0.2
"""Share of the samples that chooses the epoch.  Test samples are kept aside by whoever uses scikit-learn."""

_LEAST = MIN_SAMPLES["train"] + MIN_SAMPLES["val"]


class CrossPlatformImputer(TransformerMixin, BaseEstimator):
    """Predicts the proteins of one platform from those of another.

    Parameters
    ----------
    config : str, default "default"
        Settings: a YAML file, or the name of a shipped one.
    settings : dict, optional
        What is different: ``{"training.max_epochs": 50, "model.linear_skip": "ridge"}``.
    random_state : int, optional
        Of the split, the weights and the batches; by default the seeds of the settings.

    Attributes
    ----------
    n_features_in_, feature_names_in_
        Of the source platform.
    target_names_ : list of str
        Of the target platform.
    imputer_ : cpivae.impute.Imputer
        The trained model.
    history_ : pandas.DataFrame
        The metrics of every epoch; a fifth of the samples chooses the epoch that is kept.
    n_iter_ : int
        Epochs trained.

    Examples
    --------
    >>> import numpy as np
    >>> source = np.random.default_rng(0).normal(size=(60, 4))
    >>> imputer = CrossPlatformImputer(settings={"training.max_epochs": 2}, random_state=1)
    >>> imputer.fit_transform(source, 2 * source[:, :3]).shape
    (60, 3)
    """

    def __init__(
        self,
        config: str = "default",
        settings: Mapping[str, Any] | None = None,
        random_state: int | None = None,
    ) -> None:
        self.config = config
        self.settings = settings
        self.random_state = random_state

    def fit(self, X: Any, y: Any, groups: Any = None) -> Self:
        """Train on samples that both platforms have measured.

        Parameters
        ----------
        X : (n, D) source platform, NaN where missing.
        y : (n, K) target platform, NaN where missing.
        groups : (n,) optional; samples of one group, such as those of one person, are on one side of the split.

        Raises
        ------
        ValueError
            Tables that cannot be used.
        ConfigError
            Settings that cannot be used.
        """
        if y is None:
            raise ValueError(f"This {type(self).__name__} estimator requires y to be passed, but the target y is None.")
        source = validate_data(self, X, dtype=np.float64, ensure_all_finite="allow-nan", ensure_min_samples=_LEAST)
        target = check_array(y, dtype=np.float64, ensure_2d=False, ensure_all_finite="allow-nan", input_name="y")
        check_consistent_length(source, target)
        target = target.reshape(len(target), -1)
        names = y.columns if isinstance(y, pd.DataFrame) else [f"y{i}" for i in range(target.shape[1])]
        ids = [f"{i}" for i in range(len(source))]
        frames = {
            "a": pd.DataFrame(source, ids, [f"x{i}" for i in range(source.shape[1])]),
            "b": pd.DataFrame(target, ids, [f"y{i}" for i in range(target.shape[1])]),
        }
        held = max(_VALIDATION, MIN_SAMPLES["val"] / len(source))
        splits = {"data.splits.train": 1 - held, "data.splits.val": held, "data.splits.test": 0.0}
        values = {**splits, "logging.tensorboard": False, **(self.settings or {})}
        if self.random_state is not None:
            values |= {"data.random_seed": int(self.random_state), "training.seed": int(self.random_state)}
        with tempfile.TemporaryDirectory(prefix="cpivae-estimator-") as temporary:
            if groups is not None:
                check_consistent_length(source, groups)
                if pd.isna(pd.Series(list(groups))).any():
                    raise ValueError("groups has missing values: give every sample a group, if only one of its own.")
                table = Path(temporary) / "groups.csv"
                pd.DataFrame({"group": [str(g) for g in groups]}, index=pd.Index(ids, name="sample")).to_csv(table)
                values |= {"data.samples_table": str(table), "data.groups": "group"}
            settled = with_values(load_config(self.config), values, "settings")
            try:
                folds = prepare_folds(pair_from_frames(frames), settled.data)
            except DataError as error:
                raise ValueError(str(error)) from None
            result = fit(settled, folds, Path(temporary) / "run", name="estimator")
            self.history_ = result.folder.history()
            trained = load_imputer(result.folder.path)
            self.imputer_ = Imputer(trained.config, trained.replicas)
        self.source_names_ = list(frames["a"].columns)
        self.target_names_ = [str(name) for name in names]
        known = self.imputer_.replicas[0].preprocessors["b"].features
        self.predicted_ = frames["b"].columns.get_indexer(pd.Index(known))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a column without a value has no mean
            self.means_ = np.nanmean(target, axis=0)
        self.n_iter_ = result.epochs
        return self

    def transform(self, X: Any) -> npt.NDArray[np.float64]:
        """Predict the target platform (n, K) for samples of the source platform (n, D), NaN where missing.

        A column of the target that did not vary in the training samples is predicted by its mean there, and one
        without a value by NaN.
        """
        check_is_fitted(self)
        source = validate_data(self, X, dtype=np.float64, ensure_all_finite="allow-nan", reset=False)
        table = pd.DataFrame(source, columns=self.source_names_)
        values = np.tile(self.means_, (len(source), 1))
        values[:, self.predicted_] = self.imputer_.impute(table, "a", "b").values.to_numpy()
        return values

    def get_feature_names_out(self, input_features: Any = None) -> npt.NDArray[np.object_]:  # noqa: ARG002
        """Return the names of the target's proteins."""
        check_is_fitted(self)
        return np.asarray(self.target_names_, dtype=object)

    def __sklearn_tags__(self) -> Tags:
        """Say that missing values are fine and that a target is needed."""
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        tags.non_deterministic = False
        return tags
