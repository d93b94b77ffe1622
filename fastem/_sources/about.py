"""What is given about the rows of X beside X, as arrays or as names of its columns."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from fastem._sources.measurements import joined, names_of_noise
from fastem._typing import Array


class About(NamedTuple):
    """Each is an array, a name (of noise: names, one for each feature), or None."""

    sample_weight: Any = None
    labels: Any = None
    noise: Any = None

    @property
    def named(self) -> tuple[tuple[str, ...], ...]:
        """The names of the columns of each, which are none if it is an array or None."""
        if self.sample_weight is None and self.labels is None and self.noise is None:
            return (), (), ()
        single = ((given,) if isinstance(given, str) else () for given in self[:2])
        return (*single, names_of_noise(self.noise) or ())

    @property
    def names(self) -> tuple[str, ...]:
        weight, labels, noise = self.named
        return weight + labels + noise

    @property
    def arrays(self) -> tuple[Any, Any, Any]:
        """What is no name."""
        weight, labels, noise = self.named
        return (
            None if weight else self.sample_weight,
            None if labels else self.labels,
            None if noise else self.noise,
        )

    def with_columns(self, columns: Iterable[Array]) -> "About":
        """Return the same with columns in place of `names`."""
        found = iter(columns)
        return About(*self._each(found))

    def _each(self, found: Iterator[Array]) -> Iterator[Any]:
        for given, names in zip(self, self.named, strict=True):
            own = [next(found) for _ in names]
            yield given if not own else own[0] if given is not self.noise else joined(own, names)
