"""The error tree: exit statuses that scripts rely on, and words that help."""

import pytest

from cpivae import errors
from cpivae.errors import ConfigError, CpivaeError, did_you_mean, listed

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]


def test_every_error_is_a_cpivae_error_with_a_known_status() -> None:
    assert len(KINDS) >= 11
    assert all(issubclass(kind, CpivaeError) for kind in KINDS)
    statuses = {kind.__name__: kind.exit_status for kind in KINDS}
    others = {"TrainingDivergedError": 1, "SweepFailedError": 1, "InterruptedSweepError": 75}
    assert {name: status for name, status in statuses.items() if status != 2} == others


def test_config_errors_hold_one_line_for_each_problem() -> None:
    assert str(ConfigError("c.yaml", ["a: wrong"])) == "c.yaml: a: wrong"
    several = ConfigError("c.yaml", (p for p in ("a: wrong", "b: worse")))
    assert str(several) == "c.yaml: 2 problems\n  - a: wrong\n  - b: worse"
    assert several.problems == ["a: wrong", "b: worse"]


@pytest.mark.parametrize(
    ("word", "known", "expected"),
    [
        ("latent_dims", ["latent_dim", "dropout_rate"], " Did you mean 'latent_dim'?"),
        ("JOINT_VAE", ["joint_vae"], " Did you mean 'joint_vae'?"),
        ("jointvq", ["JointVQ", "JointMM"], " Did you mean 'JointVQ'?"),
        ("zebra", ["latent_dim"], ""),
        ("", ["latent_dim"], ""),
        ("latent_dim", [], ""),
    ],
)
def test_near_misses(word: str, known: list[str], expected: str) -> None:
    assert did_you_mean(word, known) == expected


@pytest.mark.parametrize(
    ("n", "limit", "expected"),
    [
        (0, 3, ""),
        (1, 3, "0"),
        (3, 3, "0, 1, 2"),
        (4, 3, "0, 1, 2 and 1 more"),
        (100, 2, "0, 1 and 98 more"),
    ],
)
def test_long_lists_are_counted(n: int, limit: int, expected: str) -> None:
    assert listed(range(n), limit) == expected
