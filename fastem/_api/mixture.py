"""Mixtures of any distribution, with known parameters."""

from __future__ import annotations

import os
import reprlib
from collections.abc import Mapping, Sequence
from html import escape
from types import MappingProxyType
from typing import Any, Generic, TypeVar

import numpy as np

from fastem import _io
from fastem._api.imputing import Imputes
from fastem._api.merging import Merges
from fastem._api.missing import Missing, how_to_ask_models, name_of, with_missing
from fastem._api.parameters import check_mixing_weights, check_names
from fastem._api.scores import Densities
from fastem._api.scoring import Scorer
from fastem._api.summary import summary
from fastem._api.thresholds import Thresholds
from fastem._api.translations import HOLDS_PARAMETERS, MIXTURE_NAMES, advised
from fastem._checks import (
    check_feature_names,
    check_integer,
    check_rng,
)
from fastem._families.base import Family
from fastem._families.distribution import Distribution
from fastem._families.registry import measured_family, other_family
from fastem._io import StoredMixture
from fastem._report import FitReport, R
from fastem._sources.open import source_of
from fastem._sources.passes import Source
from fastem._typing import (
    Array,
    ArrayLike,
    CovarianceType,
    DataLike,
    FloatArray,
    IntArray,
    NoiseLike,
    ParametersLike,
    RngLike,
    RowsLike,
)

M = TypeVar("M", bound="Mixture[Any]")


class Mixture(Thresholds, Merges, Imputes, Densities, Generic[R]):
    """A mixture with known parameters: p(x) = sum_k weights[k] p(x | parameters of component k).

    The model is immutable. Its arrays are read-only copies, in float64 and in the units of the data.
    Densities and responsibilities of rows X are float32 if X is float32, and float64 otherwise.

    Parameters
    ----------
    weights : array of shape (k,)
        Mixing weights. They must be at least 0 and sum to 1.
    parameters : dict of str to array
        Parameters of the components, with the components along the first axis. For ``"poisson"`` and
        ``"exponential"`` they are ``rates`` (k, d), for ``"bernoulli"`` ``probabilities``, for ``"gamma"``
        ``shapes`` and ``rates``, for ``"lognormal"`` ``means`` and ``variances`` of the logarithms, and for
        ``"categorical"`` ``probabilities`` (k, d, C), where C is the largest number of categories of a
        column; columns with fewer have zeros at the end. For ``"student"`` they are ``means`` (k, d),
        ``scales`` in the shape of covariances, and ``degrees_of_freedom``, a number or (k,), from 0.1 to
        1000. For columns of different kinds, each name has the kind before it: ``poisson_rates``. For a
        `Distribution` they are what its `maximise` returns.
    distribution : str or Distribution
        Distribution of the components. For Gaussian mixtures, use `GaussianMixture`.
    covariance_type : {"full", "tied", "diag", "spherical"}, optional
        Shape of the ``scales`` of ``"student"``: (k, d, d) full, (d, d) tied, (k, d) diag, (k,) spherical.
    categories : sequence of d arrays, optional
        The categories of each column, sorted, for ``"categorical"`` alone. They are numbers or strings. By
        default they are 0, 1, ..., C - 1 in each column.
    n_features : int, optional
        Number of columns, d. It must be given for a `Distribution`, since its parameters do not tell d.
    report, feature_names : optional
        How the parameters were fitted. The d names of the columns, which tables that are scored must have.
    missing : {"error", "marginalise"}
        What becomes of NaN in rows that are scored. ``"marginalise"``: a number that is missing, and the
        density is that of what is observed.

    Attributes
    ----------
    weights, parameters, report, feature_names, missing
        The parameters above. `report` is None if the model was not fitted, and a type checker knows which:
        `fit` returns a ``Mixture[FitReport]``, and a ``Mixture`` alone may be either. `feature_names` is a
        tuple, or None if the model was not fitted to a table.
    distribution : str or Distribution
        The parameter above. It is ``"gaussian"`` for a `GaussianMixture`.
    categories : tuple of d arrays, or None
        The categories of each column, in the order of ``probabilities``. None for other distributions.
    noise_box : array of shape (2, d), or None
        The box of the component of noise, if the model has one, as only `fit` makes it. Then `weights` has
        k + 1 entries, the noise last.
    n_components, n_features, n_parameters : int
        k and d, and the number of free parameters, as `bic` and `aic` count them.

    Raises
    ------
    ValueError, TypeError
        If the shapes disagree or the parameters are not valid.

    Examples
    --------
    >>> import fastem
    >>> model = fastem.Mixture([0.5, 0.5], {"rates": [[1.0], [9.0]]}, "poisson")
    >>> model.predict([[0], [12]])
    array([0, 1])
    """

    _elsewhere = MIXTURE_NAMES
    weights: FloatArray
    parameters: Mapping[str, FloatArray]
    report: R
    feature_names: tuple[str, ...] | None
    _family: Family[Any, Any]
    _user: Any  # the parameters as a NamedTuple of the family, in user units
    _scorer: Scorer

    @advised(about=HOLDS_PARAMETERS)
    def __init__(
        self,
        weights: ArrayLike,
        parameters: ParametersLike,
        distribution: str | Mapping[Any, str] | Distribution,
        *,
        covariance_type: CovarianceType | None = None,
        categories: Sequence[Any] | None = None,
        n_features: int | None = None,
        report: R = None,  # type: ignore[assignment]
        feature_names: Sequence[str] | None = None,
        missing: Missing = "error",
    ) -> None:
        family = other_family(distribution, covariance_type)
        check_names(family, parameters)
        family = with_missing(family.with_categories(categories, parameters), missing)
        self._set(family, weights, parameters, n_features, report, feature_names)

    def _set(
        self,
        family: Family[Any, Any],
        weights: Any,
        parameters: Mapping[str, Any],
        n_features: int | None,
        report: FitReport | None,
        feature_names: Sequence[str] | None,
    ) -> None:
        """Check everything and set the attributes."""
        check_names(family, parameters)
        if n_features is not None:
            n_features = check_integer("n_features", n_features, 1, "Pass the number of columns.")
        user = family.check(check_mixing_weights(weights), parameters, n_features)
        if n_features not in (None, family.n_features(user)):
            raise ValueError(
                f"n_features must be that of the parameters, {family.n_features(user)}; got {n_features}. "
                "Leave it out."
            )
        self._own(family, user, report, feature_names)

    def _own(
        self,
        family: Family[Any, Any],
        user: Any,
        report: FitReport | None,
        feature_names: Sequence[str] | None,
    ) -> None:
        """Set the attributes from valid parameters, whose arrays nothing else has."""
        values = family.values(user)
        for array in (user.weights, *values.values()):
            array.flags.writeable = False
        self._keep(
            weights=user.weights,
            parameters=MappingProxyType(values),
            report=report,
            feature_names=check_feature_names(feature_names, family.n_features(user)),
            _family=family,
            _user=user,
            _scorer=Scorer(family, user, remedy=how_to_ask_models(family)),
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return new_model, (type(self), self._family, self._user, self.report, self.feature_names)

    def __repr__(self) -> str:
        names = "" if self.feature_names is None else f", feature_names={reprlib.repr(self.feature_names)}"
        missing = f", missing={self.missing!r}" if self._family.missing else ""
        return (
            f"{type(self).__name__}(n_components={self.n_components}, n_features={self.n_features}, "
            f"{self._family.label}{names}{missing})"
        )

    @property
    def distribution(self) -> str | dict[Any, str] | Distribution:
        kinds: str | dict[Any, str] | Distribution = self._family.distribution
        return dict(kinds) if isinstance(kinds, dict) else kinds

    @property
    def n_components(self) -> int:
        return len(self.weights) - self._family.extra

    @property
    def n_features(self) -> int:
        return self._family.n_features(self._user)

    @property
    def categories(self) -> tuple[Array, ...] | None:
        return self._family.categories

    @property
    def noise_box(self) -> FloatArray | None:
        return self._family.box

    @property
    def missing(self) -> Missing:
        return name_of(self._family)

    @property
    def n_parameters(self) -> int:
        k = self.n_components
        return self._family.n_parameters(k, self.n_features) + k - 1

    @advised()
    def sample(self, n: int, rng: RngLike = None) -> tuple[FloatArray, IntArray]:
        """Draw independent rows from the mixture.

        Parameters
        ----------
        n : int
        rng : None, int or numpy.random.Generator

        Returns
        -------
        X : array of shape (n, d)
        labels : array of shape (n,), int64
            The component that each row was drawn from, and -1 for noise.

        Raises
        ------
        NotImplementedError
            If the distribution is your own and has no method `sample`.
        """
        n = check_integer("n", n, 0)
        generator = check_rng(rng)
        labels = generator.choice(len(self.weights), n, p=self.weights / self.weights.sum())
        X = self._family.sample(self._user, labels, generator)
        return X, np.where(labels < self.n_components, labels, -1)

    def summary(self) -> str:
        """Return a table of the mixture as text, with a column for each component.

        It shows the standard deviations of Gaussian components, and not their correlations.
        """
        about = self.n_parameters, self.feature_names, self.report
        return summary(type(self).__name__, self._family, self._user, *about)

    def _repr_html_(self) -> str:
        return f"<pre>{escape(self.summary())}</pre>"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to one ``.npz`` file, without pickles. `fastem.load` reads it."""
        options = {
            "family": self._family.name,
            "n_features": self.n_features,
            "feature_names": self.feature_names,
            "missing": self.missing,
        }
        _io.write(path, self.weights, dict(self.parameters), self._family.state(), options, self.report)

    def _advice_on(self, name: str) -> str | None:
        parameter = name.removesuffix("_")
        if parameter in self.__dict__.get("parameters", ()):
            return f"Use {parameter if hasattr(type(self), parameter) else f'parameters[{parameter!r}]'}."
        return super()._advice_on(name)

    def _source(
        self,
        X: DataLike,
        sample_weight: RowsLike,
        n_threads: int | None,
        empty: bool = False,
        missing: bool = False,
        noise: NoiseLike = None,
    ) -> Source:
        return source_for(self, X, sample_weight, n_threads, empty=empty, missing=missing, noise=noise)


def parts_of(model: Mixture[Any]) -> tuple[Family[Any, Any], Any, Scorer]:
    """Return the family, the parameters in user units, and the scorer of a model."""
    return model._family, model._user, model._scorer


def new_model(
    kind: type[M],
    family: Family[Any, Any],
    user: Any,
    report: FitReport | None,
    feature_names: Sequence[str] | None,
) -> M:
    """Make a model of this class from the parameters of a family, in user units."""
    stored = StoredMixture(
        user.weights, family.values(user), {}, family.name, family.n_features(user), feature_names, report
    )
    return read_model(kind, family, stored)


def fitted_model(
    kind: type[M],
    family: Family[Any, Any],
    user: Any,
    report: FitReport | None,
    feature_names: Sequence[str] | None,
) -> M:
    """Make a model of this class from parameters that a fit has found, in user units."""
    own = family.copies(user)
    if own is None:
        return new_model(kind, family, user, report, feature_names)
    model = kind.__new__(kind)
    model._own(family, own, report, feature_names)
    return model


def read_model(kind: type[M], family: Family[Any, Any], stored: StoredMixture) -> M:
    """Make a model of this class from the content of a file, and check it."""
    model = kind.__new__(kind)
    model._set(
        family, stored.weights, stored.parameters, stored.n_features, stored.report, stored.feature_names
    )
    return model


def source_for(
    model: Mixture[Any],
    X: Any,
    sample_weight: Any,
    n_threads: int | None,
    *,
    labels: Any = None,
    empty: bool = False,
    missing: bool = False,
    remedy: str | None = None,
    noise: Any = None,
) -> Source:
    """Open X as a source for this model, which sets the number and names of the features.

    `noise` is the known noise of the rows, if there is any. With `missing`, X may have NaN even if the model
    takes none.
    """
    if noise is not None:
        measured_family(model._family)  # which raises an error where there is none
    return source_of(
        X,
        sample_weight,
        n_threads,
        n_features=model.n_features,
        feature_names=model.feature_names,
        vocabulary=model._family.vocabulary,
        labels=labels,
        k=model.n_components,
        empty=empty,
        missing=missing or model._family.missing,
        remedy=how_to_ask_models(model._family) if remedy is None else remedy,
        noise=noise,
    )
