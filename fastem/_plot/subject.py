"""What pictures need of a model and of its rows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastem._checks import check_features, check_integer, check_rng
from fastem._sources.chunk_checks import raise_not_finite
from fastem._sources.open import source_of
from fastem._sources.texts import Vocabulary
from fastem._typing import Array, FloatArray, Rows

MOST_FEATURES = 6  # in a grid, unless the user names more


@dataclass(frozen=True)
class Subject:
    """A model as pictures see it. What is None, the model does not have."""

    n_components: int
    n_features: int
    feature_names: tuple[str, ...] | None
    labels: Callable[[Rows], Array]
    vocabulary: Vocabulary | None = None
    categories: tuple[Array | None, ...] | None = None  # the values of each feature that has categories
    weights: FloatArray | None = None
    responsibilities: Callable[[Rows], Array] | None = None
    log_densities: Callable[[Rows], Array] | None = None
    component_log_densities: Callable[[Rows], FloatArray] | None = None
    centres: FloatArray | None = None  # (K, d)
    matrices: FloatArray | None = None  # (K, d, d) of the ellipsoids one deviation from the centres
    discrete: bool = False  # whether rows hold whole numbers alone
    missing: bool = False  # whether NaN in rows means not observed
    marginal: Callable[[Array], "Subject | None"] = lambda columns: None  # the model of some columns
    sample: Callable[[int, int], Array] | None = None  # draws rows (n, d), by a seed

    def over(self, columns: Sequence[int]) -> "Subject | None":
        """Return the model of these columns alone, or None if it is not known."""
        if list(columns) == list(range(self.n_features)):
            return self
        return self.marginal(np.array(columns))

    def has_ellipses(self, pair: Sequence[int]) -> bool:
        return self.matrices is not None and bool(np.isfinite(self.matrices[:, pair[0], pair[1]]).all())


@dataclass(frozen=True)
class Drawn:
    """The rows that a picture shows."""

    rows: Rows
    n_samples: int  # of all rows
    names: tuple[str, ...] | None

    @property
    def X(self) -> Array:
        return self.rows.X

    @property
    def note(self) -> str:
        """Say what is not shown."""
        shown = len(self.rows.X)
        return "" if shown == self.n_samples else f"{shown:,} of {self.n_samples:,} rows"


def check_max_points(max_points: Any) -> int:
    return check_integer("max_points", max_points, 1, "Pass the number of rows to draw at most.")


def drawn_rows(
    X: Any,
    subject: Subject,
    max_points: Any,
    rng: Any,
    *,
    sample_weight: Any = None,
    labels: Any = None,
    columns: Sequence[str] | None = None,
) -> Drawn:
    """Draw at most `max_points` rows of anything that `fit` takes.

    The weights, labels and columns are those of `fit`, which may be names of columns of X. They tell which
    columns are features.
    """
    max_points = check_max_points(max_points)
    rng = check_rng(rng)
    source = source_of(
        X,
        sample_weight,
        None,
        columns=columns,
        labels=labels,
        k=subject.n_components,
        n_features=subject.n_features,
        feature_names=subject.feature_names,
        vocabulary=subject.vocabulary,
        missing=subject.missing,
    )
    rows = source.sample(max_points, rng)
    if subject.missing:  # points that have no place are left out
        rows = rows._replace(X=rows.X[~np.isnan(rows.X).any(axis=1)])
    if not np.isfinite(np.asarray(rows.X, np.float64)).all():
        raise_not_finite([rows])
    rows = rows._replace(weight=None, labels=None)  # a picture shows what the model alone says
    return Drawn(rows, source.n_samples, subject.feature_names or source.feature_names)


def rows_at(points: Array) -> Rows:
    """Return points (m, d) as rows, for a model."""
    return Rows("the points of the picture", 0, np.ascontiguousarray(points, np.float64))


def plain(text: str) -> str:
    """Return a text for matplotlib to draw as it is, and not as a formula between dollar signs."""
    return text.replace("$", r"\$")


def name_of(column: int, names: tuple[str, ...] | None) -> str:
    """Return the name of a feature as text for matplotlib."""
    return f"feature {column}" if names is None else plain(names[column])


def chosen_features(features: Any, d: int, names: tuple[str, ...] | None) -> list[int]:
    """Return the numbers of the features that a picture shows."""
    if features is None:
        return list(range(min(d, MOST_FEATURES)))
    return check_features("features", features, d, names)


def which_features(columns: Sequence[int], d: int) -> str:
    """Say for a title which of d features are shown, if not all are."""
    shown = len(columns)
    if shown == d:
        return ""
    first = "the first " if list(columns) == list(range(shown)) else ""
    return f"{first}{shown} of {d} features"


def chosen_pair(features: Any, d: int, names: tuple[str, ...] | None) -> list[int]:
    if d < 2:
        raise ValueError(
            "The model must have at least two features for this picture; it has one. "
            "classification and density draw a curve instead."
        )
    columns = chosen_features(features, d, names)
    if len(columns) != 2:
        raise ValueError(f"features must be two columns for this picture; got {features!r}.")
    return columns
