"""What a trial's process says of its failure is what the sweep reads."""

from __future__ import annotations

import pytest
import torch

from cpivae.errors import ConfigError
from cpivae.training.memory import ran_out_of_memory
from cpivae.tuning.causes import cause_of, described


def raised(error: Exception) -> Exception:
    try:
        raise error
    except type(error) as caught:
        return caught


def test_an_error_of_many_lines_is_one_cause() -> None:
    text = described(raised(ConfigError("trial", ["a: wrong", "b: also wrong"])))
    assert text.startswith("Traceback (most recent call last):")
    cause = "cpivae.errors.ConfigError: trial: 2 problems; - a: wrong; - b: also wrong"
    assert cause_of(text) == ("code_error", cause)


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
        MemoryError("Unable to allocate 4 GiB"),
        RuntimeError("CUDA error: out of memory\nCompile with `TORCH_USE_CUDA_DSA` to enable device-side assertions."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_full_memory_has_many_words(error: Exception) -> None:
    assert cause_of(described(raised(error)))[0] == "out_of_memory"


def test_a_tensor_that_fits_nowhere_is_full_memory() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(10**16)
    assert ran_out_of_memory(caught.value)
    assert not ran_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not ran_out_of_memory(ValueError("out of memory"))


@pytest.mark.parametrize("text", ["", "\n", "half a traceb"])
def test_a_process_that_was_killed_has_said_nothing(text: str) -> None:
    assert cause_of(text) == ("lost_worker", "its worker process died")
