"""What ``predict`` and ``score`` find for each row of a file, chunk by chunk."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fastem._api.clusters import KMeans
from fastem._api.inside import with_feature_names
from fastem._api.mixture import Mixture
from fastem._api.models import load
from fastem._checks import row_ranges
from fastem._sources.measurements import OfRows
from fastem._tools.files import DataFile
from fastem._tools.written import Columns
from fastem._typing import Array


def open_model(path: Path, columns: tuple[str, ...] | None) -> Mixture | KMeans:
    """Read a model. If `columns` are given, they are the names of its features."""
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise FileNotFoundError(
            f"MODEL must be a file that fit, select or kmeans has saved with -o; {str(path)!r} {what}."
        )
    model: Mixture | KMeans = load(path)
    if columns is None:
        return model
    if len(columns) != model.n_features:
        raise ValueError(
            f"--columns must name {model.n_features} columns, as many as the model has features; "
            f"got {', '.join(columns)}."
        )
    if isinstance(model, KMeans):
        return named_clusters(model, columns)
    return with_feature_names(model, columns)


def named_clusters(model: KMeans, names: tuple[str, ...] | None) -> KMeans:
    """Return the clusters with these names of their features, without the labels of the rows."""
    return KMeans(
        model.centers, sizes=model.sizes, inertia=model.inertia, report=model.report, feature_names=names
    )


def components(model: Mixture | KMeans, data: DataFile, *, proba: bool) -> Iterator[Columns]:
    """Yield the label of each row and, with `proba`, its responsibilities."""
    if not proba:
        for labels in _chunks(model.predict, data):
            yield {"label": labels}
        return
    assert isinstance(model, Mixture)
    k = model.n_components
    names = [f"component_{number}" for number in range(k)] + ["noise"] * (len(model.weights) - k)
    for shares in _chunks(model.predict_proba, data):
        labels = shares.argmax(axis=1)
        yield {"label": np.where(labels < k, labels, -1), **dict(zip(names, shares.T, strict=True))}


def densities(model: Mixture, data: DataFile, threshold: float | None) -> Iterator[Columns]:
    """Yield the log-density of each row and, if there is a threshold, whether it lies below."""
    for log_densities in _chunks(model.score_samples, data):
        flagged = {} if threshold is None else {"flagged": log_densities < threshold}
        yield {"log_density": log_densities, **flagged}


def _chunks(score: Callable[..., Any], data: DataFile) -> Iterator[Array]:
    if isinstance(data.X, np.ndarray):
        for rows in row_ranges(len(data.X)):
            if data.noise is None:
                yield score(data.X[rows])
            else:
                yield score(data.X[rows], noise=OfRows(data.noise.values[rows]))
        return
    found = (
        score(data.X) if data.noise is None else score(data.X, noise=data.noise)
    )  # an array for what has been read into memory, as a .csv is
    if isinstance(found, np.ndarray):
        yield from (found[rows] for rows in row_ranges(len(found)))
    else:
        yield from found
