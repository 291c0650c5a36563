"""Search spaces: the grammar, what is refused and why, and that a sampler's suggestions are always valid settings."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cpivae.config.draws import Dice
from cpivae.config.load import make_config, to_plain, with_values
from cpivae.config.space import Space, load_space, make_space
from cpivae.errors import ConfigError, CpivaeError

optuna.logging.set_verbosity(optuna.logging.ERROR)

CONFIG = make_config({}, "defaults")


def space(**parameters: Any) -> Space:
    return make_space({k.replace("__", "."): v for k, v in parameters.items()}, CONFIG, "space")


def problems(text: dict[Any, Any]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        make_space(text, CONFIG, "my_space.yaml")
    assert str(caught.value).startswith("my_space.yaml: ")
    return caught.value.problems


def suggestions(searched: Space, n: int) -> list[dict[str, Any]]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    return [searched.suggest(study.ask()) for _ in range(n)]


@dataclass
class Ends:
    """Proposes one end of every range, and writes down what it was asked."""

    end: int
    asked: dict[str, Any] = field(default_factory=dict)

    def suggest_categorical(self, name: str, choices: Sequence[Any], /) -> Any:
        self.asked[name] = tuple(choices)
        return choices[self.end]

    def suggest_float(
        self, name: str, low: float, high: float, /, *, step: float | None = None, log: bool = False
    ) -> float:
        self.asked[name] = ("float", low, high, step or log)
        return (low, high)[self.end]

    def suggest_int(self, name: str, low: int, high: int, /, *, step: int = 1, log: bool = False) -> int:
        self.asked[name] = ("int", low, high, step if step > 1 else log)
        return (low, high)[self.end]


KINDS = {
    "training.optimizer": ({"choice": ["adam", "adamw"]}, ("adam", "adamw")),
    "model.dropout_rate": ({"uniform": [0, 0.5]}, ("float", 0.0, 0.5, False)),
    "training.learning_rate": ({"loguniform": [1e-5, 1e-2]}, ("float", 1e-5, 1e-2, True)),
    "training.accumulate_grad_batches": ({"randint": [1, 4]}, ("int", 1, 4, False)),
    "model.latent_dim": ({"lograndint": [8, 64]}, ("int", 8, 64, True)),
    "training.batch_size": ({"quniform": [32, 256, 32]}, ("int", 32, 256, 32)),
    "training.gradient_clip_val": ({"quniform": [0.1, 0.7, 0.1]}, ("float", 0.1, 0.7, 0.1)),
}


@pytest.mark.parametrize("path", KINDS)
def test_each_kind_asks_for_its_range_and_both_ends_belong_to_it(path: str) -> None:
    spec, expected = KINDS[path]
    searched = make_space({path: spec}, CONFIG, "space")
    for end in (0, -1):
        asked = Ends(end)
        value = searched.suggest(asked)[path]
        assert asked.asked == {path: expected}
        assert value == (expected[end] if isinstance(expected[0], str) and len(expected) == 2 else expected[1:3][end])
        with_values(CONFIG, {path: value})
    assert list(searched.block.parameters[path].extremes()) == list(expected if len(expected) == 2 else expected[1:3])


def test_layers_are_a_depth_and_a_width_for_each() -> None:
    searched = space(model__encoder_layers={"layers": {"depth": [0, 2], "width": [16, 32]}})
    shallow, deep = Ends(0), Ends(-1)
    assert searched.suggest(shallow) == {"model.encoder_layers": []}
    assert searched.suggest(deep) == {"model.encoder_layers": [32, 32]}
    depth = {"model.encoder_layers.depth": ("int", 0, 2, False)}
    assert shallow.asked == depth
    assert deep.asked == depth | {"model.encoder_layers.0": (16, 32), "model.encoder_layers.1": (16, 32)}


def test_whole_ranges_reach_both_ends_in_a_real_study() -> None:
    drawn = suggestions(space(model__latent_dim={"randint": [3, 5]}), 100)
    assert {d["model.latent_dim"] for d in drawn} == {3, 4, 5}


def test_a_range_of_one_value_is_that_value() -> None:
    searched = space(model__latent_dim={"lograndint": [7, 7]}, training__learning_rate={"loguniform": [1e-3, 1e-3]})
    assert suggestions(searched, 1) == [{"model.latent_dim": 7, "training.learning_rate": 1e-3}]


def test_steps_reach_both_ends_and_nothing_between_them() -> None:
    searched = space(model__dropout_rate={"quniform": [0.1, 0.4, 0.1]}, training__batch_size={"quniform": [8, 24, 8]})
    drawn = suggestions(searched, 100)
    assert {round(d["model.dropout_rate"], 9) for d in drawn} == {0.1, 0.2, 0.3, 0.4}
    assert {d["training.batch_size"] for d in drawn} == {8, 16, 24}


def test_the_logarithmic_kinds_are_even_on_a_logarithmic_scale() -> None:
    drawn = suggestions(space(training__learning_rate={"loguniform": [1e-5, 1e-1]}), 400)
    below = sum(d["training.learning_rate"] < 1e-3 for d in drawn)
    assert 150 < below < 250


def test_the_space_is_kept_as_written() -> None:
    text = {"model.latent_dim": {"choice": [8, 16]}}
    assert make_space(text, CONFIG, "space").text == text


# ---------------------------------------------------------------------------------------------- refusals


MALFORMED = [
    (5, "must be one of choice, uniform, quniform, loguniform, randint, lograndint, layers"),
    (None, "must be one of"),
    ([0.1, 0.2], "must be one of"),
    ({}, "must be one of"),
    ({"uniform": [0, 1], "choice": [1]}, "must be one of"),
    ({"unifrom": [0, 1]}, "'unifrom' is no kind of parameter. Did you mean 'uniform'?"),
    ({"normal": [0, 1]}, "'normal' is no kind of parameter."),
    ({None: 1}, "'None' is no kind of parameter."),
    ({"choice": []}, "choice needs a list of at least one value"),
    ({"choice": 0.1}, "choice needs a list"),
    ({"choice": "ab"}, "choice needs a list"),
    ({"choice": [[1], [2]]}, "choice takes plain values; for lists of layer widths use layers"),
    ({"choice": [{"a": 1}]}, "choice takes plain values"),
    ({"choice": [{1}]}, "choice takes plain values"),
    ({"choice": [0.1, 0.1]}, "choice names a value twice"),
    ({"uniform": 0.1}, "uniform needs [low, high], got 0.1"),
    ({"uniform": [0.1]}, "uniform needs [low, high]"),
    ({"uniform": [0.1, 0.2, 0.3]}, "uniform needs [low, high]"),
    ({"uniform": {"low": 0, "high": 1}}, "uniform needs [low, high]"),
    ({"uniform": ["a", "b"]}, "uniform needs numbers, got 'a'"),
    ({"uniform": [True, 1]}, "uniform needs numbers, got True"),
    ({"uniform": [0.2, 0.1]}, "uniform: low (0.2) is above high (0.1)"),
    ({"uniform": [0, math.inf]}, "uniform needs finite numbers, got inf"),
    ({"uniform": [math.nan, 1]}, "uniform needs finite numbers, got nan"),
    ({"uniform": [0, 10**400]}, "uniform needs finite numbers"),
    ({"loguniform": [0, 1]}, "loguniform: low must be above 0 on a logarithmic scale, got 0"),
    ({"lograndint": [0, 8]}, "lograndint: low must be above 0"),
    ({"randint": [1, 2.5]}, "randint needs whole numbers, got 2.5"),
    ({"randint": [1.0, 2]}, "randint needs whole numbers, got 1.0"),
    ({"quniform": [0, 1]}, "quniform needs [low, high, step], got [0, 1]"),
    ({"quniform": [0, 1, 0]}, "quniform: no whole number of steps of 0 leads from 0 to 1"),
    ({"quniform": [0, 1, -0.5]}, "quniform: no whole number of steps of -0.5"),
    ({"quniform": [0, 1, 0.3]}, "quniform: no whole number of steps of 0.3 leads from 0 to 1"),
    ({"quniform": [0, 1, math.nan]}, "quniform needs finite numbers, got nan"),
    ({"quniform": [1, 0, 0.5]}, "quniform: low (1) is above high (0)"),
    ({"layers": [1, 2]}, "layers needs {depth: [low, high], width: [widths]}"),
    ({"layers": {"depth": [0, 2]}}, "layers needs"),
    ({"layers": {"depth": [0, 2], "width": [8], "step": 1}}, "layers needs"),
    ({"layers": {"depth": 2, "width": [8]}}, "depth needs [low, high]"),
    ({"layers": {"depth": [-1, 2], "width": [8]}}, "depth must lie between 0 and 64"),
    ({"layers": {"depth": [0, 65], "width": [8]}}, "depth must lie between 0 and 64"),
    ({"layers": {"depth": [0, 2], "width": 8}}, "choice needs a list"),
]


@pytest.mark.parametrize(("spec", "expected"), MALFORMED, ids=[repr(spec)[:40] for spec, _ in MALFORMED])
def test_malformed_parameters(spec: Any, expected: str) -> None:
    (problem,) = problems({"model.dropout_rate": spec})
    assert problem.startswith(f"model.dropout_rate: {expected}")


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("data.random_seed", "data.* cannot be searched: trials on other rows or another scale cannot be compared"),
        ("data.nonsense", "data.* cannot be searched"),
        ("tuning.n_trials", "tuning.* cannot be searched; only model.*, loss_weights.*, training.* can"),
        ("hardware.precision", "hardware.* cannot be searched"),
        ("training.seed", "is set by the sweep itself"),
        ("training.max_epochs", "is set by the sweep itself"),
        ("training.stop_epoch", "is set by the sweep itself"),
        ("model.latent_dims", "there is no such setting. Did you mean 'model.latent_dim'?"),
        ("latent_dim", "there is no such setting. Did you mean 'model.latent_dim'?"),
        ("training.data_augmentation", "there is no such setting."),
        ("model", "there is no such setting."),
        (7, "there is no such setting."),
    ],
)
def test_settings_that_cannot_be_searched(path: Any, reason: str) -> None:
    (problem,) = problems({path: {"choice": [1, 2]}})
    assert problem.startswith(f"{path}: {reason}")


@pytest.mark.parametrize(
    ("path", "spec", "refused"),
    [
        ("model.dropout_rate", {"uniform": [0, 1]}, ["model.dropout_rate: input should be less than 1, got 1.0"]),
        ("model.latent_dim", {"uniform": [8, 16]}, ["got 8.0", "got 16.0"]),
        ("model.activation", {"choice": ["gelu", "swish"]}, ["got 'swish' (text)"]),
        ("model.encoder_layers", {"layers": {"depth": [0, 1], "width": [0, 8]}}, ["model.encoder_layers.0: "]),
        ("model.encoder_layers", {"choice": [64]}, ["input should be a valid tuple, got 64"]),
        ("model.latent_dim", {"layers": {"depth": [0, 1], "width": [8]}}, ["got []", "got [8]"]),
        ("model.batch_norm", {"choice": [True, 0]}, ["input should be a valid boolean, got 0"]),
        ("model.model_type", {"choice": ["joint_vae", "joint_vea"]}, ["model 'joint_vea' is unknown"]),
        ("training.early_stopping_patience", {"randint": [0, 3]}, ["greater than or equal to 1, got 0"]),
    ],
)
def test_values_that_the_settings_refuse_are_named(path: str, spec: Any, refused: list[str]) -> None:
    found = problems({path: spec})
    assert len(found) == len(refused)
    for problem, part in zip(found, refused, strict=True):
        assert problem.startswith(path)
        assert part in problem


def test_combinations_that_a_value_makes_impossible_are_named() -> None:
    """One weight may well be zero, but not when it is the only one that counts."""
    lonely = make_config(
        {"loss_weights": {"kl_divergence": 0, "cross_reconstruction": 0, "latent_alignment": 0}}, "lonely"
    )
    space_text = {"loss_weights.reconstruction": {"uniform": [0, 1]}}
    make_space(space_text, CONFIG, "space")
    with pytest.raises(ConfigError, match=r"loss_weights\.reconstruction: 0\.0 is refused: .*every weight is zero"):
        make_space(space_text, lonely, "space")


def test_all_problems_are_reported_at_once() -> None:
    found = problems(
        {
            "model.latent_dim": {"choice": []},
            "data.splits.train": {"uniform": [0.5, 0.8]},
            "model.dropout_rate": {"uniform": [0, 2]},
            "training.learnin_rate": {},
        }
    )
    assert [line.split(":")[0] for line in found] == [
        "model.latent_dim",
        "data.splits.train",
        "training.learnin_rate",
        "model.dropout_rate",
    ]


def test_an_empty_space(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text("# nothing yet\n")
    with pytest.raises(ConfigError, match=r"empty\.yaml: the space is empty; name at least one setting to vary"):
        load_space(tmp_path / "empty.yaml", CONFIG)


def test_near_misses_of_shipped_spaces() -> None:
    with pytest.raises(ConfigError, match=r"smok: .*Did you mean 'smoke'\? Shipped: .*smoke"):
        load_space("smok", CONFIG)


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.sampled_from([10**400])
nested = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3),
    max_leaves=6,
)
kinds = st.sampled_from(["choice", "uniform", "quniform", "loguniform", "randint", "lograndint", "layers"])
layers = st.fixed_dictionaries({"depth": nested, "width": nested})
specs = nested | st.dictionaries(kinds, nested | st.lists(scalars, min_size=1, max_size=3) | layers, max_size=2)
known = st.sampled_from([f"{s}.{k}" for s in ("model", "loss_weights", "training") for k in to_plain(CONFIG)[s]])


lines = st.dictionaries(known | st.text(max_size=6) | scalars, specs, max_size=3)
branches = st.dictionaries(known | scalars, st.dictionaries(scalars, lines | scalars, max_size=2) | scalars, max_size=2)
conditions = st.fixed_dictionaries({}, optional={"when": branches, "extends": nested | st.just("smoke")})


@given(lines, conditions)
@settings(max_examples=400, deadline=None)
def test_any_data_is_a_space_or_answered(text: dict[Any, Any], conditional: dict[str, Any]) -> None:
    try:
        made = make_space(text | conditional, CONFIG, "fuzz")
    except CpivaeError as error:
        assert isinstance(error, ConfigError)
        assert error.problems
        return
    for values in suggestions(made, 3):
        with_values(CONFIG, values)
    for path, parameter in made.block.parameters.items():
        for value in parameter.extremes():
            with_values(CONFIG, {path: value})


def test_steps_never_lead_beyond_the_upper_end() -> None:
    """0.3 + 97 * 0.1 is 10.000000000000002, which the settings refuse."""
    path = "training.data_augmentation.gaussian_noise_std"
    made = make_space({path: {"quniform": [0.3, 10, 0.1]}}, CONFIG, "steps")
    dice = Dice(0)
    assert max(made.suggest(dice)[path] for _ in range(2000)) == 10
