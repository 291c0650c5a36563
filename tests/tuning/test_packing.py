"""What a trial gets where the settings say auto: the choice from measured numbers, and the measuring."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cpivae.config.load import make_config, with_values
from cpivae.config.schema import Config
from cpivae.config.space import load_space
from cpivae.config.tuning import AUTO, TuningSettings
from cpivae.data.prepare import PreparedData
from cpivae.errors import ResourceError
from cpivae.training import busy
from cpivae.training.busy import GpuTime, covered
from cpivae.training.probe import Probe, gpu_seconds, probe
from cpivae.training.run import try_epochs
from cpivae.tuning import packing
from cpivae.tuning.folder import SweepFolder
from cpivae.tuning.packing import CONTEXT, MOST, best_threads, cpus_beside, fraction, trials_per_gpu, with_numbers
from cpivae.tuning.place import Node, Place, this_machine
from cpivae.tuning.sweep import sweep_config

TinyConfig = Callable[..., Config]
GiB = 2**30
H100 = 79.1

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")


def taking(gib: float, busy: float, of: float = H100) -> Probe:
    return Probe(seconds_per_epoch=1, peak_bytes=int(gib * GiB), device_bytes=int(of * GiB), busy=busy)


nodes_with_gpus = st.lists(st.builds(Node, st.integers(1, 256), st.integers(1, 8)), min_size=1, max_size=4)
probes = st.builds(taking, st.floats(0, 80), st.floats(0, 1))
of_cpus = st.sampled_from([0.5, 1.0, 2.0, 7.0])


@pytest.mark.parametrize(
    ("result", "nodes", "expected", "limit"),
    [
        (taking(3.1, 0.18), [Node(64, 4)], 6, "wait for each other"),
        (taking(3.1, 0.02), [Node(64, 4)], 16, "CPUs"),
        (taking(3.1, 0.02), [Node(256, 4)], 18, "memory"),
        (taking(3.1, 0.02), [Node(256, 4), Node(8, 4)], 2, "CPUs"),
        (taking(3.1, 0.0), [Node(64, 4)], 1, "wait for each other"),  # a share that could not be measured
        (taking(75.0, 0.02), [Node(64, 4)], 1, "memory"),  # runs, but not with all margins
        (taking(0.01, 0.001), [Node(2, 4)], 1, "CPUs"),
        (taking(0.01, 0.001), [Node(1000, 1)], MOST, "Ray"),
        (taking(0.01, 0.001), [Node(64, 0), Node(12, 1)], 12, "CPUs"),  # the first takes no part
    ],
)
def test_trials_share_a_gpu_until_something_runs_out(
    result: Probe, nodes: list[Node], expected: int, limit: str
) -> None:
    n, why = trials_per_gpu(result, nodes, 1.0)
    assert n == expected
    assert limit in why


@given(probes, nodes_with_gpus, of_cpus)
def test_never_more_than_there_is(result: Probe, nodes: list[Node], cpus: float) -> None:
    n, _ = trials_per_gpu(result, nodes, cpus)
    assert 1 <= n <= MOST
    if n > 1:
        assert n * (result.peak_bytes + CONTEXT) <= result.device_bytes
        assert all(n * node.gpus * cpus <= node.cpus for node in nodes)
        assert n * result.busy <= packing.CROWDING


@given(probes, nodes_with_gpus, of_cpus, st.floats(0, 40), st.floats(0, 1))
def test_whoever_needs_more_is_never_packed_closer(
    result: Probe, nodes: list[Node], cpus: float, gib: float, longer: float
) -> None:
    more = taking(result.peak_bytes / GiB + gib, min(1.0, result.busy + longer) if result.busy else 0.0)
    assert trials_per_gpu(more, nodes, cpus)[0] <= trials_per_gpu(result, nodes, cpus)[0]
    assert trials_per_gpu(result, nodes, 2 * cpus)[0] <= trials_per_gpu(result, nodes, cpus)[0]


@given(st.integers(1, MOST), st.integers(1, 8))
def test_a_part_of_a_gpu_holds_as_many_as_were_meant(n: int, gpus: int) -> None:
    part = fraction(n)
    assert part == round(part, 4)
    in_rays_units = round(10_000 * part)
    assert 10_000 // in_rays_units == n
    assert Node(1000, gpus).trials(TuningSettings(gpus_per_trial=part)) == n * gpus


def test_a_part_is_a_part_of_one_gpu() -> None:
    assert Node(16, 2).on_gpus(0.4) == 4  # not five
    assert Node(16, 2).on_gpus(1) == 2
    assert Node(16, 4).on_gpus(2) == 2


@given(nodes_with_gpus, st.integers(1, MOST))
def test_cpus_beside_gpus_are_all_used_and_never_exceeded(nodes: list[Node], n: int) -> None:
    cpus = cpus_beside(nodes, fraction(n))
    assert cpus >= 1
    assert cpus == int(cpus)
    if cpus > 1:
        assert all(cpus * n * node.gpus <= node.cpus for node in nodes)
    assert any((cpus + 1) * n * node.gpus > node.cpus for node in nodes)


@pytest.mark.parametrize(
    ("seconds", "place", "tuning", "expected"),
    [
        ({1: 1.0, 2: 0.6, 4: 0.4}, [Node(4)], {}, 1),  # side by side is better than threads that scale badly
        ({1: 1.0, 2: 0.6, 4: 0.2}, [Node(4)], {}, 4),
        ({1: 1.0, 2: 0.5}, [Node(2)], {}, 1),  # a tie
        ({1: 1.0, 2: 0.49}, [Node(2)], {}, 1),  # no better than noise
        ({1: 1.0, 2: 0.6, 4: 0.4}, [Node(4)], {"max_concurrent": 1}, 4),
        ({1: 1.0, 2: 0.6, 4: 0.4}, [Node(4)], {"max_concurrent": 2}, 2),
        ({1: 1.0, 2: 0.6, 4: 0.4}, [Node(8)] * 4, {"n_trials": 8}, 4),  # CPUs for more trials than there are
        ({1: 1.0, 2: 1.5}, [Node(2)], {"n_trials": 1}, 1),
    ],
)
def test_threads_are_those_that_end_the_sweep_first(
    seconds: dict[int, float], place: list[Node], tuning: dict[str, int], expected: int
) -> None:
    assert best_threads(seconds, TuningSettings(**{"n_trials": 40, **tuning}), Place(tuple(place))) == expected


@given(
    st.dictionaries(st.sampled_from([1, 2, 4, 8]), st.floats(0.01, 10), min_size=1),
    st.lists(st.builds(Node, st.integers(8, 64)), min_size=1, max_size=3),
    st.integers(1, 100),
)
def test_no_other_number_of_threads_is_better_by_more_than_noise(
    seconds: dict[int, float], nodes: list[Node], n_trials: int
) -> None:
    tuning, place = TuningSettings(n_trials=n_trials), Place(tuple(nodes))

    def whole(threads: int) -> float:
        at_a_time = min(n_trials, sum(int(n.cpus) // threads for n in nodes))
        return math.ceil(n_trials / at_a_time) * seconds[threads]

    chosen = best_threads(seconds, tuning, place)
    assert all(whole(chosen) <= packing.TIE * whole(other) * (1 + 1e-9) for other in seconds)


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)).map(sorted), max_size=8))
def test_time_that_kernels_share_counts_once(spans: list[list[int]]) -> None:
    seconds = {second for start, end in spans for second in range(start, end)}
    assert covered([(a, b) for a, b in spans]) == len(seconds)


def asking(**values: object) -> Config:
    return make_config({"tuning": {"gpus_per_trial": AUTO, "cpus_per_trial": AUTO}, **values}, "test")


def numbers(config: Config) -> tuple[float, float]:
    return config.tuning.cpus, config.tuning.gpus


def test_before_anything_is_measured_a_trial_has_a_gpu_to_itself_where_there_is_one() -> None:
    gpu_nodes, cpu_nodes = Place((Node(32, 4), Node(24, 4))), Place((Node(16),))
    assert numbers(with_numbers(asking(), gpu_nodes, None)) == (6, 1)
    assert numbers(with_numbers(asking(), cpu_nodes, None)) == (1, 0)
    assert numbers(with_numbers(asking(hardware={"accelerator": "cpu"}), gpu_nodes, None)) == (1, 0)
    quarter = with_values(asking(), {"tuning.gpus_per_trial": 0.25})
    assert numbers(with_numbers(quarter, gpu_nodes, None)) == (1, 0.25)
    with pytest.raises(ResourceError, match="asks for 1 GPU"):
        sweep_config(with_numbers(asking(hardware={"accelerator": "gpu"}), cpu_nodes, None), cpu_nodes)


def test_a_sweep_that_goes_on_keeps_its_numbers_where_a_machine_has_so_much(tmp_path: Path) -> None:
    cluster, laptop = Place((Node(32, 4), Node(24, 4))), Place((Node(8),))
    begun = SweepFolder(tmp_path / "sweep")
    begun.create()
    begun.describe(with_values(asking(), {"tuning.gpus_per_trial": 0.25, "tuning.cpus_per_trial": 2.0}), {})
    assert numbers(with_numbers(asking(), cluster, begun)) == (2, 0.25)
    assert numbers(with_numbers(asking(), laptop, begun)) == (1, 0)
    begun.describe(with_values(asking(), {"tuning.gpus_per_trial": 0.0, "tuning.cpus_per_trial": 1.0}), {})
    assert numbers(with_numbers(asking(), cluster, begun)) == (6, 1), "it is back where there are GPUs"
    assert numbers(with_numbers(asking(hardware={"accelerator": "cpu"}), cluster, begun)) == (1, 0)


def test_auto_goes_nowhere_but_where_it_is_measured() -> None:
    with pytest.raises(ResourceError, match="is auto, which is measured where"):
        sweep_config(asking())


def test_what_is_chosen_from_a_gpu_is_told(prepared: PreparedData, monkeypatch: pytest.MonkeyPatch) -> None:
    measured_here: list[Config] = []

    def as_if(configs: list[Config], _folds: object, **also: bool) -> list[Probe]:
        assert also == {"busy": True}
        measured_here.extend(configs)
        return [taking(3.1, 0.18)]

    monkeypatch.setattr(packing, "probe", as_if)
    monkeypatch.setattr(packing, "gpus", lambda: 4)
    place = Place((Node(32, 4),), "the cluster at head:1", "head:1")
    asked = asking()
    assumed = sweep_config(with_numbers(asked, place, None), place)
    space = load_space("smoke", assumed)
    chosen = packing.measured(asked, assumed, space, [prepared], place)
    assert numbers(chosen.config) == (1, 0.1666)
    assert chosen.lines == [
        "gpus_per_trial: 0.1666, because the largest configuration takes 3.1 of 79.1 GiB and keeps the GPU busy 18 % "
        "of the time (more would wait for each other); 24 trials at a time",
        "cpus_per_trial: 1, because a node has as many for each trial that its GPUs hold; 24 trials at a time",
    ]
    assert [c.hardware.accelerator for c in measured_here] == ["gpu"]
    monkeypatch.setattr(packing, "gpus", lambda: 0)
    with pytest.raises(ResourceError, match="this machine has no GPU to measure on, as nodes of the cluster at head:1"):
        packing.measured(asked, assumed, space, [prepared], place)


def test_elsewhere_nothing_is_measured(prepared: PreparedData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "probe", None)
    place = Place((Node(32, 4),), "the job", here=False)
    assumed = sweep_config(with_numbers(asking(), place, None), place)
    chosen = packing.measured(asking(), assumed, load_space("smoke", assumed), [prepared], place)
    assert numbers(chosen.config) == (8, 1)
    assert chosen.lines == [
        "gpus_per_trial: auto, measured where the trials run; estimates here take it for 1",
        "cpus_per_trial: auto, measured where the trials run; estimates here take it for 8",
    ]


@pytest.mark.parametrize(("threads", "expected"), [({1: 1.0, 2: 0.3}, 2), ({1: 1.0, 2: 2.0}, 1)])
def test_what_is_chosen_from_cpus_is_told(
    prepared: PreparedData, monkeypatch: pytest.MonkeyPatch, threads: dict[int, float], expected: int
) -> None:
    def as_if(configs: list[Config], _folds: object) -> list[Probe]:
        return [Probe(seconds_per_epoch=threads[c.hardware.threads or 0]) for c in configs]

    monkeypatch.setattr(packing, "probe", as_if)
    monkeypatch.setattr(packing, "cpus", lambda: 2)
    place = Place((Node(2),))
    assumed = sweep_config(with_numbers(asking(), place, None), place)
    space = load_space("smoke", assumed)
    chosen = packing.measured(asking(), assumed, space, [prepared], place)
    assert numbers(chosen.config) == (expected, 0)
    assert sweep_config(chosen.config, place).hardware.threads == expected
    first, second = chosen.lines
    assert first.startswith("gpus_per_trial: 0, because this machine has none; ")
    assert second.startswith(
        f"cpus_per_trial: {expected}, because an epoch of the largest configuration takes 1 s with 1 thread"
    )
    monkeypatch.setattr(packing, "probe", lambda *_: [Probe("it is ill")])
    with pytest.raises(ResourceError, match="does not run: it is ill"):
        packing.measured(asking(), assumed, space, [prepared], place)


class Counted:
    """A profiler that has seen two kernels of 1 ms, half of each at the same time, and what is not to be counted."""

    started = 0

    def __init__(self, activities: object) -> None:
        del activities

    def start(self) -> None:
        Counted.started += 1

    def stop(self) -> None:
        pass

    def events(self) -> list[SimpleNamespace]:
        return [
            event("CUDA", 0, 1000),
            event("CUDA", 500, 1500),
            event("CUDA", 0, 9000, is_user_annotation=True),
            event("CPU", 0, 9000),
        ]


def event(device: str, start: float, end: float, **more: bool) -> SimpleNamespace:
    kind = getattr(torch._C._autograd.DeviceType, device)
    return SimpleNamespace(device_type=kind, time_range=SimpleNamespace(start=start, end=end), **more)


def test_a_gpus_time_is_counted_by_batches_of_training_and_of_validation(
    prepared: PreparedData, tiny_config: TinyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(busy, "profile", Counted)
    time = GpuTime()
    try_epochs(tiny_config(training__batch_size=64), [prepared], 1, time)
    n_train = math.ceil(len(prepared.rows("train")) / 64)
    assert n_train > 1
    assert Counted.started == 2
    assert time.batch == pytest.approx({"train": 0.0015 / n_train, "val": 0.0015})


@without_gpu
@pytest.mark.filterwarnings("ignore:CUDA is not available")
def test_a_gpu_that_cannot_be_counted_is_busy_for_an_unknown_time(
    prepared: PreparedData, tiny_config: TinyConfig
) -> None:
    assert gpu_seconds(tiny_config(), [prepared], {"train": 3, "val": 1}) == 0


@pytest.mark.gpu
@needs_gpu
def test_a_gpu_is_busy_for_a_share_and_its_memory_is_each_configurations(
    prepared: PreparedData, tiny_config: TinyConfig
) -> None:
    small = tiny_config(hardware__accelerator="gpu")
    large = with_values(small, {"model.encoder_layers": [4096, 4096], "model.decoder_layers": [4096, 4096]})
    first, second, third = probe([small, large, small], [prepared], busy=True)
    assert [first.problem, second.problem, third.problem] == ["", "", ""]
    assert all(0 < p.busy <= 1 for p in (first, second, third))
    assert second.peak_bytes > first.peak_bytes + 4 * 2 * 4096**2 * 4
    assert third.peak_bytes == pytest.approx(first.peak_bytes, abs=64 * 2**20)
    assert second.peak_bytes < second.device_bytes


@pytest.mark.gpu
@needs_gpu
@pytest.mark.slow
def test_trials_share_this_machines_gpu(prepared: PreparedData, tmp_path: Path) -> None:
    from cpivae.tuning.sweep import run_sweep

    tuning = {"gpus_per_trial": AUTO, "n_trials": 6, "max_epochs": 2}
    asked = make_config({"tuning": tuning, "model": {"latent_dim": 4}, "training": {"batch_size": 32}}, "test")
    place = this_machine()
    assumed = sweep_config(with_numbers(asked, place, None), place)
    space = load_space("smoke", assumed)
    chosen = packing.measured(asked, assumed, space, [prepared], place)
    assert 0 < chosen.config.tuning.gpus < 1, chosen.lines
    config = sweep_config(chosen.config, place)
    done = run_sweep(config, space, lambda: [prepared], SweepFolder(tmp_path / "sweep"), study_name="packed")
    assert {r.state for r in done.records} <= {"complete", "stopped"}
