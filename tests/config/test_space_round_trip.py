"""Random valid spaces: written and read they are the same, they draw what they say, and a broken line is named."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from cpivae.config import space as space_module
from cpivae.config.draws import sample
from cpivae.config.load import make_config, to_plain, with_values
from cpivae.config.parameters import Suggests
from cpivae.config.space import Space, load_space, make_space
from cpivae.config.space_check import leaves
from cpivae.config.yaml import dump_yaml, parse_yaml
from cpivae.errors import ConfigError

CONFIG = make_config({}, "defaults")
WHEN, MODEL = "when", "model.model_type"

Tree = dict[Any, Any]
Spec = dict[str, Any]

seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module", autouse=True)
def _few_combinations() -> Iterator[None]:
    """Try few combinations when a space is made: those that are tried here are the point, and hundreds take a while."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(space_module, "_TRIED", 3)
        yield


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("spaces") / "space.yaml"


# ------------------------------------------------------------------------------------------- settings

OPTIONS: dict[str, tuple[Any, ...]] = {
    "model.activation": ("relu", "leaky_relu", "elu", "gelu", "silu", "tanh"),
    "model.batch_norm": (True, False),
    "model.use_residual_blocks": (True, False),
    "model.linear_skip": ("none", "ridge"),
    "model.codebook_update": ("ema", "gradient"),
    "model.gradient_estimator": ("standard", "dreg"),
    "model.prior": ("normal", "laplace"),
    "model.decoder_type": ("ddpm", "gan"),
    "model.spectral_norm": (False, True),
    "training.optimizer": ("adam", "adamw"),
    "training.scheduler": ("none", "reduce_on_plateau", "cosine"),
    "training.batch_size": (16, 32, 64, 1024),
    "training.gradient_clip_val": (None, 0.5, 1, 1e-05),
    "training.learning_rate": (1e-05, 3e-4, 0.01, 1.0),
    "loss_weights.alignment_type": ("mse", "mmd"),
    "loss_weights.kl_divergence_ramp.shape": ("constant", "linear", "cyclical"),
}
"""Values that are possible whatever the other settings are."""
WHOLE = {
    "model.latent_dim": (1, 65_536),
    "model.code_dim": (1, 4096),
    "model.codebook_size": (2, 65_536),
    "model.n_draws": (1, 1024),
    "model.n_flows": (0, 64),
    "model.n_components": (1, 10_000),
    "model.diffusion_steps": (50, 10_000),
    "model.sampling_steps": (1, 50),
    "training.batch_size": (3, 4096),
    "training.accumulate_grad_batches": (1, 64),
    "training.early_stopping_patience": (1, 1000),
    "loss_weights.kl_divergence_ramp.epochs": (2, 1000),
}
WEIGHTS = ["linear_skip_residual", "reconstruction", "cross_reconstruction", "latent_alignment", "total_correlation",
           "commitment", "codebook", "importance_weighted_bound", "mmvae_bound", "cycle_reconstruction",
           "noise_prediction", "adversarial", "critic"]  # fmt: skip
REAL = {
    "model.dropout_rate": (0, 0.99),
    "model.codebook_decay": (0, 0.99),
    "model.sampling_noise": (0, 1),
    "model.noise_scale": (1e-4, 10),
    "model.free_bits": (0, 10),
    "model.critic_learning_rate_factor": (1e-3, 100),
    "training.learning_rate": (1e-8, 10),
    "training.weight_decay": (0, 1000),
    "training.gradient_clip_val": (1e-3, 1000),
    "training.data_augmentation.gaussian_noise_std": (0, 10),
    "loss_weights.kl_divergence": (0, 1000),
} | dict.fromkeys([f"loss_weights.{term}" for term in WEIGHTS], (1e-6, 1e6))  # above 0: something must count
LAYERS = ("model.encoder_layers", "model.decoder_layers", "model.generator_layers")
VARIANTS = ("joint_vae", "joint_vae_plus", "JointVAEVampPrior", "JointIWAE", "JointVQ", "JointMM", "res_unet",
            "generative_vae")  # fmt: skip
KINDS = ("choice", "uniform", "quniform", "loguniform", "randint", "lograndint", "layers")

SETTINGS = frozenset([*OPTIONS, *WHOLE, *REAL, *LAYERS])


def known_by(variant: str) -> frozenset[str]:
    plain = to_plain(make_config({"model": {"model_type": variant}}, variant))
    return SETTINGS & {path for path, _ in leaves(plain)}


KNOWN = {variant: known_by(variant) for variant in VARIANTS}
OWN = {variant: known - KNOWN["joint_vae"] for variant, known in KNOWN.items()}


# ------------------------------------------------------------------------------------------- valid spaces


def specs(path: str) -> st.SearchStrategy[Spec]:
    """Lines that are valid for a setting, of every kind that it can have."""

    def choice(values: st.SearchStrategy[Any], least: int = 1) -> st.SearchStrategy[Spec]:
        return st.lists(values, min_size=least, max_size=4, unique=True).map(lambda options: {"choice": options})

    def ranges(kind: str, number: st.SearchStrategy[Any]) -> st.SearchStrategy[Spec]:
        ends = st.tuples(number, number).map(sorted).filter(lambda e: e[0] > 0 or not kind.startswith("log"))
        return ends.map(lambda ends: {kind: ends})

    kinds: list[st.SearchStrategy[Spec]] = []
    if path == MODEL:
        kinds += [choice(st.sampled_from(VARIANTS), least=2)]
    if path in OPTIONS:
        kinds += [choice(st.sampled_from(OPTIONS[path]))]
    if path in WHOLE:
        whole = st.integers(*WHOLE[path])
        kinds += [ranges("randint", whole), ranges("lograndint", whole), steps(*WHOLE[path], (0, 3)), choice(whole)]
    if path in REAL:
        low, high = REAL[path]
        number = st.floats(low, high) | st.integers(math.ceil(low), math.floor(high))
        kinds += [ranges("uniform", number), ranges("loguniform", number), steps(low, high, (-4, 1)), choice(number)]
    if path in LAYERS:
        depth = st.tuples(st.integers(0, 4), st.integers(0, 4)).map(sorted)
        width = st.lists(st.integers(1, 4096), min_size=1, max_size=3, unique=True)
        kinds += [st.fixed_dictionaries({"depth": depth, "width": width}).map(lambda layers: {"layers": layers})]
    return st.one_of(kinds)


@st.composite
def steps(draw: st.DrawFn, low: float, high: float, magnitudes: tuple[int, int]) -> Spec:
    """Draw steps in a few decimals, as people write them: from 0.1 to 0.7 by 0.1.  The last is below ``high``."""
    lowest, highest = Decimal(str(low)), Decimal(str(high))
    step = Decimal(1).scaleb(draw(st.integers(*magnitudes))) * draw(st.sampled_from([1, 2, 3, 7]))
    while step * math.ceil(lowest / step) >= highest:
        step = step.scaleb(-1) if magnitudes[0] < 0 else Decimal(1)
    most = math.ceil(highest / step) - 1
    first = draw(st.integers(math.ceil(lowest / step), most))
    last = draw(st.integers(first, most))
    return {"quniform": [int(x) if magnitudes[0] == 0 else float(x) for x in (first * step, last * step, step)]}


@st.composite
def spaces(draw: st.DrawFn) -> Tree:
    """Spaces that are valid with the default settings, conditions nested up to two deep."""
    if not draw(st.booleans()):
        return block(draw, KNOWN["joint_vae"], {}, 2)
    model = draw(specs(MODEL))
    everywhere = frozenset.intersection(KNOWN["joint_vae"], *(KNOWN[variant] for variant in model["choice"]))
    return block(draw, everywhere, {}, 2, {MODEL: model})


def block(draw: st.DrawFn, free: frozenset[str], around: Mapping[str, Spec], depth: int, first: Tree = {}) -> Tree:  # noqa: B006
    """Draw lines and conditions; only ``free`` settings may be given here or decide, so that blocks that hold at once
    never give the same setting."""
    chosen = draw(st.lists(st.sampled_from(sorted(free)), min_size=not around, max_size=3, unique=True)) if free else []
    made: Tree = first | {path: draw(specs(path)) for path in chosen}
    scope = {**around, **made}
    choices = [path for path in sorted(free | first.keys()) if "choice" in scope.get(path, ())]
    if not depth or not choices:
        return made
    deciding = draw(st.lists(st.sampled_from(choices), max_size=2, unique=True))
    if MODEL in first:
        deciding = [MODEL, *(path for path in deciding if path != MODEL)][:2]
    shared_out = sorted(free.difference(deciding))
    to_second = draw(st.integers(0, 2 ** len(shared_out) - 1)) if len(deciding) == 2 else 0
    conditions: Tree = {}
    for i, path in enumerate(deciding):
        share = frozenset(p for bit, p in enumerate(shared_out) if (to_second >> bit & 1) == i)
        conditions[path] = {}
        for values in draw(partitions(scope[path]["choice"])):
            own = frozenset.intersection(*(KNOWN[v] for v in values)) - free if path == MODEL else frozenset()
            of_model = (
                {p: draw(specs(p)) for p in draw(st.lists(st.sampled_from(sorted(own)), max_size=1))} if own else {}
            )
            key = values[0] if len(values) == 1 else " | ".join(map(named, values))
            conditions[path][key] = block(draw, share | own, scope, depth - 1, of_model)
    return made | ({WHEN: conditions} if conditions else {})


@st.composite
def partitions(draw: st.DrawFn, options: list[Any]) -> list[list[Any]]:
    """Draw which options have lines of their own, and which of them share theirs."""
    chosen = draw(st.lists(st.sampled_from(options), min_size=1, max_size=3, unique=True))
    together = draw(st.integers(1, len(chosen)))
    return [chosen[:together], *([option] for option in chosen[together:])]


def named(value: Any) -> str:
    """Return a value as it is written in YAML."""
    return (
        {None: "null", True: "true", False: "false"}[value]
        if value is None or value is True or value is False
        else str(value)
    )


def blocks(tree: Tree, depth: int = 0) -> Iterator[tuple[int, Tree]]:
    """Yield every block with the number of conditions around it."""
    yield depth, tree
    for branches in tree.get(WHEN, {}).values():
        for inner in branches.values():
            yield from blocks(inner, depth + 1)


def lines(tree: Tree) -> Iterator[tuple[Tree, str]]:
    """Yield every line: the block that it stands in, and its setting."""
    for _, inner in blocks(tree):
        for path in inner:
            if path != WHEN:
                yield inner, path


# ------------------------------------------------------------------------------------------- what they mean


def spelt_out(tree: Tree) -> Tree:
    """Return a tree with one branch per value."""
    conditions = {
        path: {value: spelt_out(inner) for key, inner in branches.items() for value in named(key).split(" | ")}
        for path, branches in tree.get(WHEN, {}).items()
    }
    own = {path: spec for path, spec in tree.items() if path != WHEN}
    return own | ({WHEN: conditions} if conditions else {})


def holding(tree: Tree, values: Mapping[str, Any]) -> dict[str, Spec]:
    """Return the lines that hold while the settings have these values, the innermost of each setting."""
    held = {path: spec for path, spec in tree.items() if path != WHEN}
    for path, branches in tree.get(WHEN, {}).items():
        for key, inner in branches.items():
            if named(values[path]) in named(key).split(" | "):
                held |= holding(inner, values)
    return held


def belongs(value: Any, spec: Spec) -> bool:
    """Say whether a line can draw a value."""
    ((kind, arguments),) = spec.items()
    if kind == "choice":
        return any(type(value) is type(option) and value == option for option in arguments)
    if kind == "layers":
        low, high = arguments["depth"]
        return type(value) is list and low <= len(value) <= high and set(value) <= set(arguments["width"])
    low, high, *step = arguments
    whole = kind in ("randint", "lograndint") or (step and all(type(a) is int for a in arguments))
    if type(value) is not (int if whole else float):
        return False
    if step:
        taken, most = (value - low) / step[0], (high - low) / step[0]
        # As near as numbers of that size lie to each other.
        near = 1e-6 + 4 * math.ulp(max(abs(low), abs(high))) / step[0]
        return -near < taken < most + near and abs(taken - round(taken)) < near
    return low <= value <= high


class Recorder:
    """Passes on what it is asked, and writes down which ranges it was asked for by which name."""

    def __init__(self, proposing: Suggests) -> None:
        self.proposing = proposing
        self.asked: dict[str, set[Any]] = {}

    def suggest_categorical(self, name: str, choices: Any, /) -> Any:
        self.asked.setdefault(name, set()).add(("choice", tuple(choices)))
        return self.proposing.suggest_categorical(name, choices)

    def suggest_float(self, name: str, low: float, high: float, /, **how: Any) -> float:
        self.asked.setdefault(name, set()).add(("float", low, high, *sorted(how.items())))
        return self.proposing.suggest_float(name, low, high, **how)

    def suggest_int(self, name: str, low: int, high: int, /, **how: Any) -> int:
        self.asked.setdefault(name, set()).add(("int", low, high, *sorted(how.items())))
        return self.proposing.suggest_int(name, low, high, **how)


def drawn(space: Space, seed: int) -> tuple[list[dict[str, Any]], dict[str, set[Any]]]:
    """Draw both corners and six random points; also return {name: the ranges it stood for}."""
    drawn, asked = [], {}
    for proposing in sample(6, seed):
        recorder = Recorder(proposing)
        drawn.append(space.suggest(recorder))
        for name, ranges in recorder.asked.items():
            asked.setdefault(name, set()).update(ranges)
    return drawn, asked


# ------------------------------------------------------------------------------------------- tests


def test_every_setting_of_the_random_spaces_exists() -> None:
    assert frozenset.union(*KNOWN.values()) == SETTINGS


def test_the_random_spaces_have_all_that_a_space_can_have() -> None:
    seen: set[str] = set()

    @given(spaces())
    @settings(max_examples=150, deadline=None, derandomize=True, phases=[Phase.generate])
    def collect(tree: Tree) -> None:
        seen.update(kind for inner, path in lines(tree) for kind in inner[path])
        seen.update(f"of {variant}" for _, path in lines(tree) for variant in VARIANTS if path in OWN[variant])
        for depth, inner in blocks(tree):
            seen.update([f"depth {depth}"] if inner else [])
            seen.update(["given again"] if depth and inner.keys() & tree.keys() - {WHEN} else [])
            seen.update(["two conditions"] if len(inner.get(WHEN, ())) == 2 else [])
            for branches in inner.get(WHEN, {}).values():
                seen.update("either" if " | " in named(key) else type(key).__name__ for key in branches)

    collect()
    assert seen >= {
        *KINDS,
        "depth 1",
        "depth 2",
        "given again",
        "two conditions",
        "either",
        "str",
        "bool",
        "int",
        "float",
    }
    assert sum(f"of {variant}" in seen for variant in VARIANTS) >= 4


KEYS: Tree = {
    "training.gradient_clip_val": {"choice": [None, 1, 1.5, 1e-05]},
    WHEN: {
        "training.gradient_clip_val": {
            None: {"training.learning_rate": {"loguniform": [1e-05, 1e-3]}},
            1: {},
            "1.5 | 1e-05": {"training.learning_rate": {"uniform": [1, 2]}},
        }
    },
}
"""Values that YAML might take for others."""
DEEP: Tree = {
    "model.linear_skip": {"choice": ["none", "ridge"]},
    "model.batch_norm": {"choice": [True, False]},
    "model.activation": {"choice": ["relu", "gelu"]},
    "model.latent_dim": {"randint": [1, 2]},
    WHEN: {
        "model.linear_skip": {
            "none": {
                WHEN: {
                    "model.batch_norm": {
                        True: {"model.latent_dim": {"randint": [3, 4]}},
                        False: {"model.latent_dim": {"randint": [5, 6]}},
                    }
                }
            },
            "ridge": {
                WHEN: {
                    "model.batch_norm": {
                        True: {WHEN: {"model.activation": {"relu": {"model.latent_dim": {"randint": [7, 8]}}}}},
                        False: {"model.latent_dim": {"randint": [9, 10]}},
                    }
                }
            },
        }
    },
}
"""One setting under conditions that begin or end alike, one of them three deep and decided at the top."""
AGREEING: Tree = {
    "model.batch_norm": {"choice": [True, False]},
    "model.use_residual_blocks": {"choice": [True, False]},
    WHEN: {
        path: {True: {"model.latent_dim": {"randint": [3, 4]}}}
        for path in ("model.batch_norm", "model.use_residual_blocks")
    },
}
"""The same range under two conditions that may hold at once."""


@pytest.mark.slow
@example(tree=KEYS, seed=0)
@example(tree=DEEP, seed=0)
@example(tree=AGREEING, seed=0)
@given(tree=spaces(), seed=seeds)
@settings(max_examples=200, deadline=None)
def test_a_space_written_and_read_is_the_same_space(file: Path, tree: Tree, seed: int) -> None:
    made = make_space(tree, CONFIG, "made")
    assert made.text == spelt_out(tree)
    record = dump_yaml(made.text)
    file.write_text(record, encoding="utf-8")
    again = load_space(file, CONFIG)
    assert repr(again.text) == repr(made.text)  # whole numbers stay whole, and the order is kept
    assert again.block == made.block
    assert list(again.names.items()) == list(made.names.items())
    assert repr(drawn(again, seed)) == repr(drawn(made, seed))
    assert repr(parse_yaml(dump_yaml(tree), "as it was")) == repr(tree)  # numbers and truth values as keys too


@example(tree=KEYS, seed=0)
@example(tree=DEEP, seed=0)
@example(tree=AGREEING, seed=0)
@given(tree=spaces(), seed=seeds)
@settings(max_examples=200, deadline=None)
def test_what_is_drawn_are_valid_settings_whose_conditions_hold_from_their_innermost_lines_by_names_of_their_own(
    tree: Tree, seed: int
) -> None:
    space = make_space(tree, CONFIG, "made")
    suggestions, asked = drawn(space, seed)
    for values in suggestions:
        held = holding(tree, values)
        assert set(values) == set(held)
        for path, value in values.items():
            assert belongs(value, held[path]), (path, value, held[path])
        plain = dict(leaves(to_plain(with_values(CONFIG, values))))
        assert {path: plain[path] for path in values} == values
    assert all(len(ranges) == 1 for ranges in asked.values()), asked
    assert {re.sub(r"\.(depth|\d)$", "", name) for name in asked} <= set(space.names.values())
    assert len(set(space.names.values())) == len(space.names)
    assert {path for path, _ in space.names} == {path for _, path in lines(tree)}
    for (path, _), name in space.names.items():
        alone = sum(p == path for p, _ in space.names) == 1
        assert name == path or (name.startswith(f"{path} (") and not alone)


# ------------------------------------------------------------------------------------------- broken lines

MALFORMED: list[tuple[Any, str]] = [
    (None, "must be one of choice, uniform"),
    ([1, 2], "must be one of choice, uniform"),
    ({"uniform": [0, 1], "choice": [1]}, "must be one of choice, uniform"),
    ({"choice": []}, "choice needs a list of at least one value"),
    ({"choice": 1}, "choice needs a list of at least one value"),
    ({"choice": [[1], [2]]}, "choice takes plain values"),
    ({"choice": [1, 1]}, "choice names a value twice"),
    ({"uniform": [0.2, 0.1]}, "low (0.2) is above high (0.1)"),
    ({"uniform": 0.1}, "uniform needs [low, high], got 0.1"),
    ({"uniform": [0, 1, 2]}, "uniform needs [low, high], got [0, 1, 2]"),
    ({"uniform": ["a", "b"]}, "uniform needs numbers, got 'a'"),
    ({"uniform": [True, 1]}, "uniform needs numbers, got True"),
    ({"uniform": [0, math.inf]}, "uniform needs finite numbers"),
    ({"loguniform": [0, 1]}, "low must be above 0"),
    ({"lograndint": [0, 8]}, "low must be above 0"),
    ({"randint": [1, 2.5]}, "randint needs whole numbers, got 2.5"),
    ({"quniform": [0, 1]}, "quniform needs [low, high, step]"),
    ({"quniform": [0, 1, 0.3]}, "no whole number of steps of 0.3 leads from 0 to 1"),
    ({"quniform": [0, 1, 0]}, "no whole number of steps of 0"),
    ({"layers": {"depth": [0, 2]}}, "layers needs {depth: [low, high], width: [widths]}"),
    ({"layers": {"depth": [0, 65], "width": [8]}}, "depth must lie between 0 and 64"),
]


def refused(path: str) -> Spec:
    """Return a line that is well formed, one of whose values the setting refuses."""
    if path in WHOLE:
        return {"randint": [-1, WHOLE[path][1]]}
    if path in REAL:
        return {"uniform": [-1, 0.5]}
    if path in LAYERS:
        return {"layers": {"depth": [1, 2], "width": [8, 0]}}
    return {"choice": [*OPTIONS.get(path, VARIANTS), "nonsense"]}


def broken(draw: st.DrawFn, way: str, tree: Tree) -> tuple[str, str]:
    """Break one line of a tree; return its setting and what is to be said of it."""
    if way == "a condition that cannot be met":
        _, inner = draw(st.sampled_from(list(blocks(tree))))
        path = draw(
            st.sampled_from(sorted({MODEL, *SETTINGS})) | st.sampled_from(sorted(inner.keys() - {WHEN}) or [MODEL])
        )
        conditions = inner.setdefault(WHEN, {}).setdefault(path, {})
        key = draw(st.sampled_from(["nonsense", *conditions]))
        conditions["nonsense" if key == "nonsense" else f"{named(key)} | nonsense"] = conditions.pop(key, {})
        return path, f"{path} is nonsense): "
    inner, path = draw(st.sampled_from(list(lines(tree))))
    if way == "no kind":
        inner[path] = {"unifrom": [0, 1]}
        return path, "'unifrom' is no kind of parameter. Did you mean 'uniform'?"
    if way == "wrong arguments":
        inner[path], reason = draw(st.sampled_from(MALFORMED))
        return path, reason
    if way == "no setting":
        renamed = {f"{path}_x" if p == path else p: spec for p, spec in inner.items()}
        inner.clear()
        inner |= renamed
        return path, "there is no such setting."
    inner[path] = refused(path)
    return path, "nonsense" if "choice" in inner[path] else "should be greater than"


@pytest.mark.parametrize(
    "way", ["no kind", "wrong arguments", "no setting", "a refused value", "a condition that cannot be met"]
)
@given(st.data())
@settings(max_examples=100, deadline=None)
def test_a_broken_line_is_named_with_the_reason_and_no_other_line_is(way: str, data: st.DataObject) -> None:
    tree = copy.deepcopy(data.draw(spaces()))
    path, reason = broken(data.draw, way, tree)
    with pytest.raises(ConfigError) as caught:
        make_space(tree, CONFIG, "broken.yaml")
    problems = caught.value.problems
    assert problems
    assert all(problem.startswith(path) for problem in problems), problems
    assert any(reason in problem for problem in problems), problems
