"""Whole fits: their time, and the likelihood that they reach.

For asv lower numbers are better, and it compares ratios. So we track the negative log-likelihood, which is
positive for these data.
"""

import warnings

import numpy as np

import fastem
from fastem.datasets import old_faithful
from fastem.sklearn import BayesianGaussianMixture, GaussianMixture

from .common import TYPES, clusters, overlapping, rows


class Fit:
    """A fit to 200,000 rows as a user would make it."""

    params = (TYPES,)
    param_names = ("covariance_type",)

    def setup(self, covariance_type):
        self.X = clusters(200_000, 8, 8)
        self.time_fit(covariance_type)

    def time_fit(self, covariance_type):
        fastem.fit(self.X, 8, covariance_type=covariance_type, rng=0)

    def track_mean_negative_log_likelihood(self, covariance_type):
        return -fastem.fit(self.X, 8, covariance_type=covariance_type, rng=0).score(self.X)

    track_mean_negative_log_likelihood.unit = "nats"


class Select:
    """A table of four covariance types and nine sizes, and the likelihoods that it reaches."""

    params = (["Old Faithful", "100,000 rows"],)
    param_names = ("rows",)

    def setup(self, rows):
        self.X = old_faithful() if rows == "Old Faithful" else clusters(100_000, 4, 6)
        self.time_select(rows)

    def time_select(self, rows):
        return fastem.select(self.X, range(1, 10), rng=0)

    def track_mean_negative_log_likelihood(self, rows):
        table = self.time_select(rows).table
        return -sum(row.log_likelihood for row in table) / len(table) / len(self.X)

    track_mean_negative_log_likelihood.unit = "nats"


class KMeans:
    """k-means with many clusters, and the inertia that it reaches."""

    def setup(self):
        self.X = clusters(200_000, 16, 64)
        self.time_kmeans()

    def time_kmeans(self):
        fastem.kmeans(self.X, 64, rng=0)

    def track_inertia(self):
        return fastem.kmeans(self.X, 64, rng=0).inertia

    track_inertia.unit = "squared units"


class KMeansWide:
    """Five iterations of Lloyd with many centers in many features, from rows drawn at random."""

    def setup(self):
        self.X = clusters(20_000, 128, 256).astype("float32")
        self.time_lloyd()

    def time_lloyd(self):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fastem.kmeans(self.X, 256, init=self.X[:256], tol=0, max_iter=5)


class KMeansCloud(KMeans):
    """k-means where there are no clusters, and gains are small for long; the inertia that it reaches."""

    def setup(self):
        self.X = np.random.default_rng(0).normal(size=(50_000, 16))
        self.time_kmeans()


class Overlapping:
    """A fit to clusters 1.1 deviations apart, where EM converges slowly, with and without acceleration."""

    params = (["auto", None],)
    param_names = ("acceleration",)

    def setup(self, acceleration):
        self.X = overlapping(60_000, 4, 6, 1.1)
        few = fastem.fit(self.X, 6, tol=0, max_iter=300, acceleration=None, init="k-means++", rng=0)
        self.target = few.report.log_likelihood / len(self.X)
        self.time_to_the_same_likelihood(acceleration)

    def time_to_the_same_likelihood(self, acceleration):
        """Reach what 300 iterations of EM reach."""

        def reached(means):
            return means[-1] >= self.target

        options = {"init": "k-means++", "rng": 0, "max_iter": 500, "acceleration": acceleration}
        fastem.fit(self.X, 6, tol=reached, **options)


class NearlyAgree:
    """A float32 fit whose features nearly agree, so that passes compute in float64, and one whose do not."""

    params = ([1.0, 0.001],)
    param_names = ("difference",)

    def setup(self, difference):
        rng = np.random.default_rng(0)
        labels, first = rng.integers(2, size=rows(100_000)), rng.normal(size=rows(100_000))
        second = first + difference * (rng.normal(size=len(first)) + 8 * labels)
        self.X, self.labels = np.column_stack([first, second]).astype(np.float32), labels
        self.time_ten_iterations(difference)

    def time_ten_iterations(self, difference):
        fastem.fit(self.X, 2, init=self.labels, reg_covar=0, tol=0, max_iter=10, acceleration=None)


class DropIn:
    """Two fits with the estimator. Threads that the first fit leaves awake would slow down the second."""

    def setup(self):
        self.X = clusters(100_000, 2, 6)
        self.time_two_fits()

    def time_two_fits(self):
        for _ in range(2):
            GaussianMixture(6, random_state=0).fit(self.X)


class Swap:
    """The estimator with default settings on 6,000 rows, where scikit-learn takes milliseconds."""

    params = (TYPES,)
    param_names = ("covariance_type",)

    def setup(self, covariance_type):
        self.X = clusters(6_000, 4, 6)
        self.time_fit(covariance_type)

    def time_fit(self, covariance_type):
        return GaussianMixture(6, covariance_type=covariance_type, random_state=0).fit(self.X)

    def track_mean_negative_log_likelihood(self, covariance_type):
        fits = (
            GaussianMixture(6, covariance_type=covariance_type, random_state=seed).fit(self.X)
            for seed in range(5)
        )
        return -sum(fit.score(self.X) for fit in fits) / 5

    track_mean_negative_log_likelihood.unit = "nats"


class Bayesian:
    """Variational Bayes by the estimator: 20 iterations on few rows, where Python counts, and on many."""

    params = (TYPES, [2_000, 100_000])
    param_names = ("covariance_type", "rows")

    def setup(self, covariance_type, rows):
        self.X = clusters(rows, 8, 16)
        self.time_fit(covariance_type, rows)

    def time_fit(self, covariance_type, rows):
        options = {"tol": 0, "max_iter": 20, "random_state": 0}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it does not converge
            BayesianGaussianMixture(n_components=16, covariance_type=covariance_type, **options).fit(self.X)


class RightFits:
    """Default fits to 50 clusters, and how many of a hundred leave a cluster without a component."""

    def setup(self):
        rng = np.random.default_rng(0)
        self.centres = 9 * rng.permutation(np.stack(np.meshgrid(range(8), range(8)), -1).reshape(-1, 2))[:50]
        self.X = self.centres[rng.integers(50, size=rows(20_000))] + rng.normal(size=(rows(20_000), 2))
        self.time_five_fits()

    def time_five_fits(self):
        for seed in range(5):
            fastem.fit(self.X, 50, rng=seed)

    def track_percent_wrong(self):
        wrong = 0
        for seed in range(20):
            means = fastem.fit(self.X, 50, rng=seed).means
            nearest = np.linalg.norm(self.centres[:, None] - means, axis=2).argmin(axis=1)
            wrong += len(set(nearest.tolist())) < 50
        return 5 * wrong

    track_percent_wrong.unit = "%"


class SmallFit:
    """Many starts on 272 rows. This measures the cost of the Python code around the kernels."""

    def setup(self):
        self.X = old_faithful()
        self.time_twenty_starts()

    def time_twenty_starts(self):
        fastem.fit(self.X, 2, n_init=20, rng=0)

    def track_negative_log_likelihood(self):
        return -fastem.fit(self.X, 3, n_init=20, tol=1e-8, max_iter=2000, rng=0).report.log_likelihood

    track_negative_log_likelihood.unit = "nats"


class SmallAuto:
    """One fit from the start "auto" on 272 rows, which makes EM from many labellings."""

    params = (TYPES,)
    param_names = ("covariance_type",)

    def setup(self, covariance_type):
        self.X = old_faithful()
        self.time_fit(covariance_type)

    def time_fit(self, covariance_type):
        fastem.fit(self.X, 3, covariance_type=covariance_type, init="auto", rng=0)

    def track_negative_log_likelihood(self, covariance_type):
        fit = fastem.fit(
            self.X, 3, covariance_type=covariance_type, init="auto", tol=1e-8, max_iter=2000, rng=0
        )
        return -fit.report.log_likelihood

    track_negative_log_likelihood.unit = "nats"


class ManyFits:
    """Small fits to many data sets, side by side in threads if they are worth it."""

    params = ([200, 1000], ["apart", "overlapping"])
    param_names = ("rows", "clusters")

    def setup(self, rows, kind):
        d, k = (2, 2) if rows == 200 else (4, 4)
        X = clusters(60 * rows, d, k) if kind == "apart" else overlapping(60 * rows, d, k, 1.2)
        self.sets, self.k = np.array_split(X, 60), k
        fastem.fit_many(self.sets[:2], k, rng=0)

    def time_fit_many(self, rows, kind):
        fastem.fit_many(self.sets, self.k, rng=0)

    def time_loop(self, rows, kind):
        for X in self.sets:
            fastem.fit(X, self.k, rng=0)
