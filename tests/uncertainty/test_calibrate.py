"""Scales learnt from few validation rows cover new rows as promised: simulated, so that the truth is known."""

import numpy as np
import pytest
from scipy import stats

from cpivae.uncertainty.calibrate import Calibration, calibrate, correlations
from cpivae.uncertainty.coverage import HALF_WIDTH, LEVELS, deviations, share_inside
from cpivae.uncertainty.predict import Prediction

D = 150


def prediction(n: int, spread: np.ndarray | None = None, values: np.ndarray | None = None) -> Prediction:
    zeros = np.zeros((n, D))
    return Prediction(zeros if values is None else values, zeros if spread is None else spread, zeros + 1, zeros, [])


def scales(seed: int = 0) -> np.ndarray:
    return np.exp(0.4 * np.random.default_rng(seed).normal(size=D))


def learnt(
    error: np.ndarray,
    spread: np.ndarray | None = None,
    unit: np.ndarray | None = None,
    persons: np.ndarray | None = None,
) -> Calibration:
    whose = np.arange(len(error)) if persons is None else persons
    return calibrate(prediction(len(error), spread), error, np.ones(D) if unit is None else unit, whose)


class World:
    """Residuals of correlated features; rows may be worse than others, and tails heavier than Gaussian."""

    def __init__(self, seed: int, rows_differ: float = 0.0, tails: float = 200.0) -> None:
        self.random, self.rows_differ, self.tails = np.random.default_rng(seed), rows_differ, tails
        self.loadings, self.scales = self.random.normal(size=(4, D)) / 4, scales(seed)

    def rows(self, n: int) -> np.ndarray:
        own = self.random.standard_t(self.tails, (n, D))
        shared = self.random.normal(size=(n, 4)) @ self.loadings
        return (own + shared) * self.scales * np.exp(self.rows_differ * self.random.normal(size=(n, 1)))


@pytest.mark.parametrize("n", [4, 9, 17, 60])
@pytest.mark.parametrize("kind", [{}, {"rows_differ": 0.4}, {"tails": 4.0}], ids=["gaussian", "rows differ", "tails"])
def test_intervals_cover_nine_of_ten_new_cells(n: int, kind: dict[str, float]) -> None:
    covered, expected = [], []
    for seed in range(25):
        world = World(seed, **kind)
        found, new = learnt(world.rows(n)), world.rows(300)
        covered.append(share_inside(deviations(new, found.sd(prediction(300)))))
        expected.append(found.validation_coverage)
    assert np.mean(covered) == pytest.approx(0.9, abs=0.02)
    assert np.mean(expected) == pytest.approx(0.9, abs=0.035)  # what the card says where no test rows are read


def test_scales_of_features_are_found_and_noise_shows() -> None:
    world = World(1)
    few, many = learnt(world.rows(17)), learnt(world.rows(400))
    true = world.scales * np.sqrt(1 + (world.loadings**2).sum(axis=0))
    np.testing.assert_allclose(many.residual_sd, true, rtol=0.15)
    own = np.sqrt((World(1).rows(17) ** 2).mean(axis=0))
    assert np.abs(np.log(few.residual_sd / true)).mean() < np.abs(np.log(own / true)).mean()  # shrunk, so nearer


def test_twice_the_error_is_twice_the_sd_in_any_unit() -> None:
    error = World(2).rows(17)
    once, twice = learnt(error), learnt(2 * error)
    np.testing.assert_allclose(twice.residual_sd, 2 * once.residual_sd, rtol=1e-6)
    unit = np.random.default_rng(3).uniform(0.01, 100, D)
    other = learnt(error * unit, unit=unit)
    np.testing.assert_allclose(other.residual_sd, once.residual_sd * unit, rtol=1e-9)
    assert other.validation_coverage == pytest.approx(once.validation_coverage)


def test_one_noisier_feature_gets_a_larger_sd_and_the_others_hardly_change() -> None:
    error = World(2).rows(26)
    noisier = error.copy()
    noisier[:, 7] *= 3
    before, after = learnt(error).residual_sd, learnt(noisier).residual_sd
    assert after[7] > 1.8 * before[7]
    np.testing.assert_allclose(np.delete(after, 7), np.delete(before, 7), rtol=0.03)


def test_the_order_of_rows_does_not_matter() -> None:
    error = World(4).rows(23)
    np.testing.assert_allclose(learnt(error[::-1]).residual_sd, learnt(error).residual_sd, rtol=1e-12)


def test_samples_of_one_person_are_no_witnesses_for_each_other() -> None:
    """Five persons with six samples each that err alike are five samples: new persons are covered all the same."""
    covered, expected, apart = [], [], []
    for seed in range(25):
        world, persons = World(seed), np.repeat(np.arange(5), 6)
        error = world.rows(5)[persons] + 0.1 * world.rows(30)
        found, new = learnt(error, persons=persons), world.rows(300)
        covered.append(share_inside(deviations(new, found.sd(prediction(300)))))
        expected.append(found.validation_coverage)
        apart.append(share_inside(deviations(new, learnt(error).sd(prediction(300)))))
    assert np.mean(covered) == pytest.approx(0.9, abs=0.02)
    assert np.mean(expected) == pytest.approx(0.9, abs=0.03)
    assert np.mean(apart) < 0.87


# ---------------------------------------------------------------------------------------------- levels


def test_every_level_holds_what_it_promises_where_errors_are_normal() -> None:
    world = World(0)
    found = learnt(world.rows(200))
    new = world.rows(300)
    tested = found.tested(prediction(300), new, np.arange(300))
    assert [(one.split, one.level) for one in tested.levels] == [
        (s, level) for s in ("val", "test") for level in LEVELS
    ]
    for one in tested.levels:
        assert one.observed == pytest.approx(one.level, abs=0.015)
        assert one.width == pytest.approx(2 * stats.norm.ppf((1 + one.level) / 2), rel=0.05)  # nothing was predicted
        assert (one.rows, one.cells) == ((200, 200 * D) if one.split == "val" else (300, 300 * D))
    assert tested.test_coverage == next(one.observed for one in tested.levels if one[:2] == ("test", 0.9))
    assert found.validation_coverage == next(one.observed for one in found.levels if one.level == 0.9)


def test_tails_show_at_the_levels_that_are_not_fitted() -> None:
    levels = {one.level: one for one in learnt(World(0, tails=2.5).rows(300)).levels}
    assert levels[0.9].observed == pytest.approx(0.9, abs=0.01)
    assert levels[0.5].observed > 0.55


def test_the_coverage_of_a_row_is_decided_without_it() -> None:
    """A row that is predicted ten times worse than all others is outside, as it would be if it were new."""
    error = World(0).rows(20)
    error[7] *= 10
    assert learnt(error).validation_coverage < 0.9 + 1 / 20


def test_the_error_of_a_coverage_is_that_of_persons_and_not_of_cells() -> None:
    found = [
        next(one for one in learnt(World(seed, rows_differ=0.5).rows(60)).levels if one.level == 0.9)
        for seed in range(40)
    ]
    of_new = []
    for seed in range(40):
        world = World(seed, rows_differ=0.5)
        sd = learnt(world.rows(2000)).sd(prediction(60))
        of_new.append(share_inside(deviations(world.rows(60), sd)))
    assert np.mean([one.error for one in found]) == pytest.approx(np.std(of_new), rel=0.35)
    assert np.mean([one.error for one in found]) > 3 * np.sqrt(0.09 / found[0].cells)


# ---------------------------------------------------------------------------------------------- spread


def test_spread_that_tells_is_followed_and_coverage_holds_where_it_is_large() -> None:
    shares, low, high = [], [], []
    for seed in range(10):
        random = np.random.default_rng(seed)

        def drawn(n: int, random: np.random.Generator = random) -> tuple[np.ndarray, np.ndarray]:
            spread = random.gamma(2.0, size=(n, D))
            return spread, np.sqrt(0.2 + spread) * random.normal(size=(n, D)) * scales()

        spread, error = drawn(26)
        found = learnt(error, spread)
        new_spread, new = drawn(300)
        sd = found.sd(prediction(300, new_spread))
        shares.append(found.follows_spread)
        large = new_spread > np.median(new_spread)
        inside = np.abs(new) <= HALF_WIDTH * sd
        low.append(inside[~large].mean())
        high.append(inside[large].mean())
    assert min(shares) >= 0.6
    assert np.mean(low) == pytest.approx(0.9, abs=0.04)
    assert np.mean(high) == pytest.approx(0.9, abs=0.04)


def test_spread_that_tells_nothing_is_not_followed() -> None:
    """Some samples are predicted worse than others, and others have more spread: by chance these may be the same."""
    shares = []
    for seed in range(20):
        spread = np.random.default_rng(seed + 100).gamma(2.0, size=(17, 1)) * np.ones(D)
        shares.append(learnt(World(seed, rows_differ=0.6).rows(17), spread).follows_spread)
    assert np.mean(shares) < 0.1


def test_more_spread_is_more_sd_and_none_is_the_residual_scale() -> None:
    random = np.random.default_rng(0)
    spread = random.gamma(2.0, size=(40, D))
    found = learnt(np.sqrt(spread) * random.normal(size=(40, D)), spread)
    assert found.follows_spread > 0
    less, more = (found.sd(prediction(40, factor * spread)) for factor in (1.0, 1.5))
    assert (more > less).all()
    plain = learnt(World(0).rows(40))
    assert plain.follows_spread == 0
    np.testing.assert_array_equal(plain.sd(prediction(2)), np.tile(plain.residual_sd, (2, 1)))


def test_disagreement_of_folds_adds_and_slopes_multiply() -> None:
    found = learnt(World(0).rows(20))
    plain = prediction(3)
    np.testing.assert_allclose(found.sd(plain._replace(slope=5 + plain.slope)), 6 * found.sd(plain))
    apart = found.sd(plain._replace(between_folds=plain.between_folds + 4.0))
    np.testing.assert_allclose(apart**2, found.sd(plain) ** 2 + 4)


# ---------------------------------------------------------------------------------------------- gaps


def test_a_missing_cell_says_nothing() -> None:
    random = np.random.default_rng(5)
    error = World(5).rows(30)
    error[random.random(error.shape) < 0.3] = np.nan
    error[:, 3] = np.nan
    error[:2, 4], error[2:, 4] = 1.0, np.nan
    found = learnt(error)
    assert found.n[3] == 0
    assert found.n[4] == 2
    assert np.isnan(found.corr[[3, 4]]).all()
    typical = np.median(found.residual_sd)
    assert 0.3 * typical < found.residual_sd[3] < 3 * typical  # that of the other features
    assert np.isfinite(found.residual_sd).all()


@pytest.mark.parametrize("n", [1, 2, 3])
def test_hardly_any_row_is_no_error(n: int) -> None:
    assert np.isfinite(learnt(World(0).rows(n)).residual_sd).all()


def test_nothing_measured_is_no_coverage() -> None:
    found = learnt(np.full((5, D), np.nan))
    assert np.isnan(found.validation_coverage)
    assert found.levels == ()
    assert np.isnan(found.corr).all()


def test_a_perfect_prediction_has_no_sd() -> None:
    found = learnt(np.zeros((9, D)))
    assert (found.residual_sd == 0).all()
    assert found.validation_coverage == 1
    assert np.isnan(found.levels[0].width)


def test_correlations_are_those_of_scipy() -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(size=(2, 12, D)) + 1e3
    y[random.random(y.shape) < 0.2] = np.nan
    x[:, 0], y[:, 1], y[2:, 2] = 5.0, 5.0, np.nan
    found = correlations(x, y)
    assert found[0] == 0
    assert np.isnan(found[[1, 2]]).all()
    for j in range(3, D):
        seen = ~np.isnan(y[:, j])
        assert found[j] == pytest.approx(stats.pearsonr(x[seen, j], y[seen, j]).statistic, abs=1e-9)
