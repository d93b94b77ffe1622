"""fastem: mixture models fitted by Expectation-Maximization, on millions of points, in seconds."""

from fastem import plot
from fastem._api.adapt import adapt
from fastem._api.clusters import KMeans
from fastem._api.fit import fit
from fastem._api.gaussian import GaussianMixture
from fastem._api.interrupted import FitInterrupted
from fastem._api.kmeans import kmeans
from fastem._api.many import fit_many
from fastem._api.merging import MergeOrder
from fastem._api.mixture import Mixture
from fastem._api.models import load
from fastem._api.online import partial_fit
from fastem._api.prior import Prior
from fastem._api.select import select
from fastem._api.selection import Candidate, Selection
from fastem._api.silhouette import silhouette_samples, silhouette_score
from fastem._api.steps import e_step, m_step
from fastem._families.distribution import Distribution
from fastem._families.statistics import Statistics
from fastem._report import FitReport, FitStatus, FitWarning, KMeansReport, WarningCause
from fastem._sklearn.accelerate import accelerate

__all__ = [
    "Candidate",
    "Distribution",
    "FitInterrupted",
    "FitReport",
    "FitStatus",
    "FitWarning",
    "GaussianMixture",
    "KMeans",
    "KMeansReport",
    "MergeOrder",
    "Mixture",
    "Prior",
    "Selection",
    "Statistics",
    "WarningCause",
    "accelerate",
    "adapt",
    "e_step",
    "fit",
    "fit_many",
    "kmeans",
    "load",
    "m_step",
    "partial_fit",
    "plot",
    "select",
    "silhouette_samples",
    "silhouette_score",
]

__version__ = "0.1.0"
