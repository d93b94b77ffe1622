"""Models as pictures see them."""

from typing import Any

import numpy as np

from fastem._api.mixture import Mixture, new_model, parts_of
from fastem._plot.subject import Subject
from fastem._typing import Array, Rows


def subject_of(model: Any) -> Subject:
    """Return what pictures need of a mixture, or of anything with `predict` and centres, such as k-means."""
    if isinstance(model, Mixture):
        return _of_mixture(model)
    centres = getattr(model, "centers", getattr(model, "cluster_centers_", None))
    if centres is None or not callable(getattr(model, "predict", None)):
        remedy = " Pass fastem.GaussianMixture.from_sklearn(model)." if hasattr(model, "means_") else ""
        raise TypeError(
            "model must be a fastem.Mixture, or have predict and centers as k-means has; "
            f"got {type(model).__name__}.{remedy}"
        )
    centres = np.array(centres, np.float64)
    return Subject(
        n_components=len(centres),
        n_features=centres.shape[1],
        feature_names=getattr(model, "feature_names", None),
        labels=lambda rows: np.asarray(model.predict(rows.X)),
        centres=centres,
    )


def _of_mixture(model: Mixture) -> Subject:
    family, user, scorer = parts_of(model)
    ellipsoids = family.ellipsoids(user)

    def marginal(columns: Array) -> Subject | None:
        found = family.marginal(user, columns)
        return None if found is None else _of_mixture(new_model(Mixture, *found, None, None))

    def labels(rows: Rows) -> Array:
        return scorer.labels(rows, None)

    return Subject(
        n_components=model.n_components,
        n_features=model.n_features,
        feature_names=model.feature_names,
        vocabulary=family.vocabulary,
        categories=family.categories,
        weights=model.weights,
        labels=labels,
        responsibilities=lambda rows: scorer.responsibilities(rows, None),
        log_densities=lambda rows: scorer.log_densities(rows, None),
        component_log_densities=lambda rows: scorer.component_log_densities(rows, None),
        centres=None if ellipsoids is None else ellipsoids[0],
        matrices=None if ellipsoids is None else ellipsoids[1],
        discrete=family.discrete,
        missing=family.missing,
        marginal=marginal,
        sample=lambda n, rng: model.sample(n, rng)[0],
    )
