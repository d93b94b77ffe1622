"""The types of arguments that the public functions share."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, TypedDict

from fastem._api.clusters import KMeans
from fastem._api.gaussian import GaussianMixture
from fastem._api.missing import Missing
from fastem._api.mixture import Mixture
from fastem._api.prior import Prior
from fastem._em.loop import StoppingRule
from fastem._families.distribution import Distribution
from fastem._typing import ArrayLike, CovarianceType, NoiseLike, ParametersLike, RngLike, RowsLike

# Names of starts, as in _em/starts and _em/seeds.
StartName: TypeAlias = Literal["auto", "k-means++", "kmeans", "random_from_data", "random"]
# A name, labels or responsibilities, a model, or some of its parameters by name.
InitLike: TypeAlias = StartName | ArrayLike | Mixture | ParametersLike
CentersInit: TypeAlias = Literal["auto", "k-means++", "random_from_data"] | ArrayLike | KMeans
RegCovar: TypeAlias = float | Literal["auto"]

Callback: TypeAlias = Callable[[int, float, Mixture], Any]
GaussianCallback: TypeAlias = Callable[[int, float, GaussianMixture], Any]


class _Options(TypedDict, total=False):
    """The keyword arguments that `fit` and `select` share, except `distribution`."""

    sample_weight: RowsLike
    labels: RowsLike
    assignment: Literal["soft", "hard"]
    columns: Sequence[str] | None
    cache_dir: str | os.PathLike[str] | None
    n_init: int
    tol: float | StoppingRule
    max_iter: int
    reg_covar: RegCovar
    acceleration: Literal["auto"] | None
    rng: RngLike
    n_threads: int | None
    progress: bool
    prior: Literal["default"] | Prior | None
    missing: Missing
    noise: NoiseLike


class KMeansOptions(TypedDict, total=False):
    """The keyword arguments of `kmeans`."""

    sample_weight: RowsLike
    columns: Sequence[str] | None
    cache_dir: str | os.PathLike[str] | None
    init: CentersInit
    n_init: int
    tol: float
    max_iter: int
    rng: RngLike
    n_threads: int | None
    callback: Callable[[int, float, KMeans], Any] | None
    progress: bool


class FitOptions(_Options, total=False):
    """The keyword arguments of `fit` except `distribution`, which decides the class of the result.

    The callback, which gets models of that class, is not among them either.
    """

    covariance_type: CovarianceType | None
    init: InitLike
    fixed: Sequence[str] | Mapping[str, Any]
    inference: Literal["em", "variational"]


class ManyOptions(TypedDict, total=False):
    """The keyword arguments of `fit` that are the same for all data sets of `fit_many`."""

    covariance_type: CovarianceType | None
    distribution: str | Mapping[Any, str] | Distribution
    assignment: Literal["soft", "hard"]
    columns: Sequence[str] | None
    cache_dir: str | os.PathLike[str] | None
    init: StartName | Mixture | ParametersLike
    n_init: int
    tol: float | StoppingRule
    max_iter: int
    reg_covar: RegCovar
    acceleration: Literal["auto"] | None
    fixed: Sequence[str] | Mapping[str, Any]
    prior: Literal["default"] | Prior | None
    noise_component: bool
    inference: Literal["em", "variational"]
    missing: Missing


class SelectOptions(_Options, total=False):
    """The keyword arguments of `select` except `distribution` and `callback`."""

    covariance_type: CovarianceType | Literal["mclust"] | Sequence[CovarianceType] | None
    criterion: Literal["bic", "icl", "aic", "held-out"]
    held_out: int | float
    init: StartName
