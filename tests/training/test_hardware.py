"""Settings that say exactly what a run used of the machine."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from cpivae.config.schema import Config
from cpivae.data.prepare import PreparedData
from cpivae.errors import ResourceError
from cpivae.training.hardware import cpus, gpus, resolve_hardware
from cpivae.training.run import fit

TinyConfig = Callable[..., Config]

without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@without_gpu
def test_auto_is_the_cpu_where_there_is_no_gpu(tiny_config: TinyConfig) -> None:
    assert gpus() == 0
    assert resolve_hardware(tiny_config(hardware__accelerator="auto")).hardware.accelerator == "cpu"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_auto_is_the_gpu_where_there_is_one(tiny_config: TinyConfig) -> None:
    assert resolve_hardware(tiny_config(hardware__accelerator="auto")).hardware.accelerator == "gpu"


def test_threads_are_recorded(tiny_config: TinyConfig) -> None:
    assert resolve_hardware(tiny_config(hardware__threads=None)).hardware.threads == cpus() >= 1
    assert resolve_hardware(tiny_config(hardware__threads=3)).hardware.threads == 3


def test_nothing_else_changes(tiny_config: TinyConfig) -> None:
    config = tiny_config(training__seed=9, hardware__precision="bf16-mixed")
    assert resolve_hardware(config) == config


@without_gpu
def test_a_gpu_that_is_not_there_is_refused_before_anything_is_written(
    tiny_config: TinyConfig, prepared: PreparedData, tmp_path: Path
) -> None:
    with pytest.raises(ResourceError, match=r"asks for 1 GPU.*this machine has 0.*accelerator to cpu"):
        fit(tiny_config(hardware__accelerator="gpu"), [prepared], tmp_path / "run", name="exp")
    assert list(tmp_path.iterdir()) == []


def test_more_gpus_than_there_are_are_refused(tiny_config: TinyConfig) -> None:
    with pytest.raises(ResourceError, match=f"asks for {gpus() + 1} GPU"):
        resolve_hardware(tiny_config(hardware__accelerator="gpu", hardware__devices=gpus() + 1))


def test_a_run_computes_with_the_threads_it_names(
    tiny_config: TinyConfig, prepared: PreparedData, tmp_path: Path
) -> None:
    torch.set_num_threads(2)
    fit(tiny_config(hardware__threads=1, training__max_epochs=1), [prepared], tmp_path / "run", name="exp")
    assert torch.get_num_threads() == 1


def test_a_run_in_a_job_of_slurm_is_the_run_it_is_anywhere(
    tiny_config: TinyConfig, prepared: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lightning would take the job's tasks for its processes, and recommend ``srun`` wherever there is one."""
    config = tiny_config(training__max_epochs=1)
    alone = fit(config, [prepared], tmp_path / "alone", name="exp")
    srun = tmp_path / "bin" / "srun"
    srun.parent.mkdir()
    srun.write_text("#!/bin/sh\n")
    srun.chmod(0o755)
    monkeypatch.setenv("PATH", str(srun.parent), prepend=":")
    in_a_job = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2", "SLURM_JOB_NAME": "sweep", "SLURM_PROCID": "0"}
    for name, value in in_a_job.items():
        monkeypatch.setenv(name, value)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        in_job = fit(config, [prepared], tmp_path / "in_job", name="exp")
        monkeypatch.delenv("SLURM_NTASKS")
        fit(config, [prepared], tmp_path / "beside_srun", name="exp")
    assert in_job.score == alone.score
