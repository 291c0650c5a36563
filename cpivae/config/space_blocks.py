"""Lines of a search space, and the conditions they stand under."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from cpivae.config.parameters import Parameter

Condition = tuple[str, str]
"""A setting's path and the value, as it is written, that it must have."""
Place = tuple[Condition, ...]
"""Where a line stands: the conditions around it, outermost first."""


@dataclass
class Block:
    """Lines that hold under the same conditions."""

    parameters: dict[str, Parameter] = field(default_factory=dict)
    branches: dict[Condition, Block] = field(default_factory=dict)

    def places(self, place: Place = ()) -> Iterator[tuple[Place, str, Parameter]]:
        """Yield every line of the block and of those under its conditions, with where it stands."""
        for path, parameter in self.parameters.items():
            yield place, path, parameter
        for condition, block in self.branches.items():
            yield from block.places((*place, condition))
