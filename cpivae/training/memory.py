"""Telling errors of full memory from all others: torch has many words for it."""

from __future__ import annotations

_WORDS = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")


def ran_out_of_memory(error: Exception) -> bool:
    """Say whether an error means that the memory of the GPU, or of the machine, was full."""
    import torch  # who reads a sweep's causes of failure has no error, and need not wait for it

    if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _WORDS)
