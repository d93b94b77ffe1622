"""Time of one pass, of scoring and of the start."""

import numpy as np

import fastem

from .common import DTYPES, TYPES, clusters, rows, start


class Pass:
    """An E-step and an M-step where every row has responsibilities above zero for all components."""

    params = (TYPES, DTYPES, [(2, 3, 500_000), (8, 16, 200_000), (16, 16, 100_000), (32, 32, 50_000)])
    param_names = ("covariance_type", "dtype", "d_k_n")

    def setup(self, covariance_type, dtype, size):
        d, k, n = size
        self.X = clusters(n, d, k, dtype)
        self.model = start(self.X, k, covariance_type)
        self.time_pass()

    def time_pass(self, *_):
        fastem.m_step(fastem.e_step(self.X, self.model))


class PassApart:
    """A pass when components have found their clusters. Responsibilities of zero are skipped."""

    params = (
        ["full", "diag"],
        DTYPES,
        [(8, 16, 200_000), (16, 16, 100_000), (32, 32, 50_000), (64, 16, 20_000)],
    )
    param_names = ("covariance_type", "dtype", "d_k_n")

    def setup(self, covariance_type, dtype, size):
        d, k, n = size
        self.X = clusters(n, d, k, dtype)
        self.model = fastem.fit(self.X, k, covariance_type=covariance_type, max_iter=5, tol=0, rng=0)

    def time_pass(self, *_):
        fastem.m_step(fastem.e_step(self.X, self.model))


class PassWithMissing:
    """A pass where a tenth of the numbers is missing, to compare with one where none is.

    With 30 features nearly every row has a pattern of its own.
    """

    params = (["full", "tied"], [(8, 16, 200_000), (30, 16, 20_000)], [0.0, 0.1])
    param_names = ("covariance_type", "d_k_n", "missing")

    def setup(self, covariance_type, size, missing):
        d, k, n = size
        self.X = clusters(n, d, k, "float64")
        model = start(self.X, k, covariance_type)
        self.X[np.random.default_rng(0).random(self.X.shape) < missing] = np.nan
        parameters = model.weights, model.means, model.covariances, covariance_type
        self.model = fastem.GaussianMixture(*parameters, missing="marginalise")
        self.time_pass()

    def time_pass(self, *_):
        fastem.m_step(fastem.e_step(self.X, self.model))


class PassesOfFitWithMissing:
    """Ten passes of a fit, which remembers the patterns that its first pass has found."""

    params = ([0.0, 0.1],)
    param_names = ("missing",)

    def setup(self, missing):
        X = clusters(500_000, 8, 16, "float64")
        model = start(X, 16, "full")
        self.X = X.copy()
        self.X[np.random.default_rng(0).random(X.shape) < missing] = np.nan
        self.model = fastem.GaussianMixture(
            model.weights, model.means, model.covariances, missing="marginalise"
        )
        self.options = {"missing": "marginalise", "tol": 0, "acceleration": None}
        fastem.fit(self.X, 16, init=self.model, max_iter=1, **self.options)

    def time_passes(self, *_):
        fastem.fit(self.X, 16, init=self.model, max_iter=10, **self.options)


class PassesOfMclust:
    """Six passes of models whose M-steps are more than a division, to compare with full and diag."""

    params = (["full", "VEE", "EVE", "VVE", "EEV", "VEV", "EVV", "diag", "VEI", "EVI"],)
    param_names = ("covariance_type",)

    def setup(self, covariance_type):
        self.X = clusters(100_000, 8, 16, "float64")
        means = start(self.X, 16, "diag").means
        self.options = {"covariance_type": covariance_type, "tol": 0, "acceleration": None}
        self.model = fastem.fit(self.X, 16, init={"means": means}, max_iter=1, rng=0, **self.options)

    def time_passes(self, *_):
        fastem.fit(self.X, 16, init=self.model, max_iter=5, **self.options)


class PassesWithNoise:
    """Passes with a uniform component for outliers, to compare with those of 15 and of 16 Gaussians."""

    params = (["full", "diag"], ["15", "16", "15 and noise"])
    param_names = ("covariance_type", "components")

    def setup(self, covariance_type, components):
        self.X, self.k = clusters(100_000, 8, 16, "float64"), int(components[:2])
        self.options = {"covariance_type": covariance_type, "tol": 0, "acceleration": None}
        self.options["noise_component"] = components.endswith("noise")
        self.model = fastem.fit(self.X, self.k, init="k-means++", max_iter=1, rng=0, **self.options)

    def time_passes(self, *_):
        fastem.fit(self.X, self.k, init=self.model, max_iter=10, **self.options)


class PassWithMissingIndependent:
    """The same where features are independent given the component: complete rows in both ways, and gaps."""

    params = (["diag", "spherical", "poisson", "student diag"], ["complete", "complete, marginalise", "gaps"])
    param_names = ("kind", "rows")

    def setup(self, kind, which):
        name, missing = kind.split()[0], "error" if which == "complete" else "marginalise"
        gaussian = name in ("diag", "spherical")
        options = {} if name == "poisson" else {"covariance_type": kind.split()[-1]}
        self.X = clusters(200_000, 8, 16, "float64")
        if name == "poisson":
            self.X = np.floor(np.exp(self.X / np.abs(self.X).max()) * 10)
        if which == "gaps":
            self.X[np.random.default_rng(0).random(self.X.shape) < 0.1] = np.nan
        self.model = fastem.fit(
            self.X,
            16,
            distribution="gaussian" if gaussian else name,
            init="k-means++",
            max_iter=1,
            missing=missing,
            rng=0,
            **options,
        )
        self.time_pass()

    def time_pass(self, *_):
        fastem.m_step(fastem.e_step(self.X, self.model))


class PassWithMeasurementNoise:
    """A pass where each row has known noise, and so a matrix of its own for each component."""

    params = (["matrices", "variances"], [(2, 16, 100_000), (6, 16, 100_000), (30, 16, 5_000)])
    param_names = ("noise", "d_k_n")

    def setup(self, noise, size):
        d, k, n = size
        self.X = clusters(n, d, k, "float64")
        self.model = start(self.X, k, "full" if noise == "matrices" else "diag")
        factors = np.random.default_rng(0).normal(size=(len(self.X), d, d)) / d
        self.noise = factors @ factors.transpose(0, 2, 1)
        if noise == "variances":
            self.noise = np.einsum("nii->ni", self.noise).copy()
        self.time_pass()

    def time_pass(self, *_):
        fastem.e_step(self.X, self.model, noise=self.noise)

    def time_denoise(self, *_):
        self.model.denoise(self.X, self.noise)


class PassOfManyTied:
    """A pass where the scatter between many tied components took as long as the kernels."""

    params = ([16, 256],)
    param_names = ("k",)

    def setup(self, k):
        self.X = clusters(20_000, 64, k, "float32")
        self.model = start(self.X, k, "tied")
        self.time_pass()

    def time_pass(self, *_):
        fastem.m_step(fastem.e_step(self.X, self.model))


class PassOfMany:
    """A pass of many components in many features, whose steps are matrix products."""

    params = (["spherical", "diag", "tied"], [256, 1024], [0.6, 1.2])
    param_names = ("covariance_type", "k", "spread")

    def setup(self, covariance_type, k, spread):
        rng, d = np.random.default_rng(0), 128
        means = rng.standard_normal((k, d)) * spread
        self.X = (means[rng.integers(k, size=rows(20_000))] + rng.standard_normal((rows(20_000), d))).astype(
            np.float32
        )
        covariances = {"spherical": np.ones(k), "diag": np.ones((k, d)), "tied": np.eye(d)}[covariance_type]
        self.model = fastem.GaussianMixture(np.full(k, 1 / k), means, covariances, covariance_type)
        self.time_pass()

    def time_pass(self, *_):
        fastem.m_step(fastem.e_step(self.X, self.model))


class PassOfFewRows:
    """A hundred passes over few rows, of which what surrounds the kernel takes most of the time."""

    params = (TYPES, [(200, 2, 2), (1000, 5, 5)])
    param_names = ("covariance_type", "shape")

    def setup(self, covariance_type, shape):
        n, d, k = shape
        self.X, self.k = clusters(n, d, k, "float64"), k
        self.options = {"covariance_type": covariance_type, "tol": 0, "acceleration": None, "n_threads": 1}
        self.model = fastem.fit(self.X, k, max_iter=1, rng=0, **self.options)
        self.time_passes(covariance_type, shape)

    def time_passes(self, *_):
        fastem.fit(self.X, self.k, init=self.model, max_iter=100, **self.options)


class PassesWithPrior:
    """Passes that maximise the posterior, or keep the means, to compare with those that do neither."""

    params = (["full", "diag"], ["plain", "prior", "fixed"])
    param_names = ("covariance_type", "what")

    def setup(self, covariance_type, what):
        self.X = clusters(100_000, 8, 16, "float64")
        means = start(self.X, 16, "diag").means
        self.options = {"covariance_type": covariance_type, "tol": 0, "acceleration": None}
        self.model = fastem.fit(self.X, 16, init={"means": means}, max_iter=1, rng=0, **self.options)
        self.options |= {"plain": {}, "prior": {"prior": "default"}, "fixed": {"fixed": ("means",)}}[what]

    def time_passes(self, *_):
        fastem.fit(self.X, 16, init=self.model, max_iter=10, **self.options)


class PassOfStudent:
    """The same with t distributions, to compare with `Pass` for d = 16."""

    params = (TYPES, DTYPES)
    param_names = ("covariance_type", "dtype")

    def setup(self, covariance_type, dtype):
        self.X = clusters(100_000, 16, 16, dtype)
        gaussian = start(self.X, 16, covariance_type)
        parameters = {
            "means": gaussian.means,
            "scales": gaussian.covariances,
            "degrees_of_freedom": 5,
        }
        self.model = fastem.Mixture(gaussian.weights, parameters, "student", covariance_type=covariance_type)
        self.time_pass()

    def time_pass(self, *_):
        fastem.m_step(fastem.e_step(self.X, self.model))


class PassOfCounts:
    """A pass over counts, with the compiled family and with the same distribution written in NumPy."""

    params = (["poisson", "written"], DTYPES)
    param_names = ("distribution", "dtype")

    def setup(self, distribution, dtype):
        rng = np.random.default_rng(0)
        rates = rng.gamma(2.0, 3.0, size=(16, 16))
        self.X = rng.poisson(rates[rng.integers(16, size=rows(100_000))]).astype(dtype)
        kind = "poisson" if distribution == "poisson" else WrittenPoisson()
        self.model = fastem.Mixture(np.full(16, 1 / 16), {"rates": rates}, kind, n_features=16)
        self.time_pass()

    def time_pass(self, *_):
        fastem.m_step(fastem.e_step(self.X, self.model))


class PassOfCategories:
    """A pass over 16 columns of categories, which are consecutive numbers or must be searched for."""

    params = ([5, 200], [1, 0.5], DTYPES)
    param_names = ("categories", "spacing", "dtype")

    def setup(self, categories, spacing, dtype):
        rng = np.random.default_rng(0)
        probabilities = rng.dirichlet(np.ones(categories), (16, 16))
        values = [spacing * np.arange(categories)] * 16
        parameters = {"probabilities": probabilities}
        self.model = fastem.Mixture(np.full(16, 1 / 16), parameters, "categorical", categories=values)
        self.X = self.model.sample(rows(100_000), rng=0)[0].astype(dtype)
        self.time_pass()

    def time_pass(self, *_):
        fastem.m_step(fastem.e_step(self.X, self.model))


class PassOfAmounts:
    """A pass over amounts and columns of 0 and 1, with the compiled families."""

    params = (["bernoulli", "exponential", "gamma", "lognormal"], DTYPES)
    param_names = ("distribution", "dtype")

    def setup(self, distribution, dtype):
        rng = np.random.default_rng(0)
        shares, ones = rng.uniform(0.1, 0.9, size=(16, 16)), np.ones((16, 16))
        parameters = {
            "bernoulli": {"probabilities": shares},
            "exponential": {"rates": shares},
            "gamma": {"shapes": 3 * ones, "rates": shares},
            "lognormal": {"means": shares, "variances": ones},
        }[distribution]
        self.model = fastem.Mixture(np.full(16, 1 / 16), parameters, distribution)
        self.X = self.model.sample(rows(100_000), rng=0)[0].astype(dtype)
        self.time_pass()

    def time_pass(self, *_):
        fastem.m_step(fastem.e_step(self.X, self.model))


class PassOfMixed:
    """A pass over columns of four kinds, four of each."""

    params = (DTYPES,)
    param_names = ("dtype",)

    def setup(self, dtype):
        rng = np.random.default_rng(0)
        parameters = {
            "gaussian_means": rng.normal(size=(16, 4)),
            "gaussian_covariances": np.ones((16, 4)),
            "poisson_rates": rng.gamma(4.0, 1.0, (16, 4)),
            "bernoulli_probabilities": rng.uniform(0.1, 0.9, (16, 4)),
            "categorical_probabilities": rng.dirichlet(np.ones(5), (16, 4)),
        }
        kinds = dict(enumerate(np.repeat(["gaussian", "poisson", "bernoulli", "categorical"], 4).tolist()))
        self.model = fastem.Mixture(np.full(16, 1 / 16), parameters, kinds)
        self.X = self.model.sample(rows(100_000), rng=0)[0].astype(dtype)
        self.time_pass()

    def time_pass(self, *_):
        fastem.m_step(fastem.e_step(self.X, self.model))


class WrittenPoisson(fastem.Distribution):
    """A Poisson distribution as a user would write it, without the factorials."""

    def log_density(self, X, parameters):
        rates = parameters["rates"]
        return X @ np.log(rates).T - rates.sum(axis=1)

    def statistics(self, X, responsibilities, parameters):
        return responsibilities.sum(axis=0), responsibilities.T @ X

    def maximise(self, statistics, parameters):
        weights, sums = statistics
        return {"rates": sums / weights[:, None]}

    def n_parameters(self, k, d):
        return k * d


class Adaptation:
    """MAP adaptation of a background model of the size that speaker recognition uses."""

    params = (DTYPES,)
    param_names = ("dtype",)

    def setup(self, dtype):
        self.X = clusters(20_000, 40, 512, dtype)
        self.model = start(self.X, min(512, len(self.X)), "diag")
        self.time_adapt()

    def time_adapt(self, *_):
        fastem.adapt(self.model, self.X)


class Score:
    """The scoring methods of a fitted model."""

    params = (TYPES, DTYPES)
    param_names = ("covariance_type", "dtype")

    def setup(self, covariance_type, dtype):
        self.X = clusters(100_000, 16, 16, dtype)
        self.model = start(self.X, 16, covariance_type)
        self.model.predict(self.X)

    def time_predict(self, *_):
        self.model.predict(self.X)

    def time_predict_proba(self, *_):
        self.model.predict_proba(self.X)

    def time_score_samples(self, *_):
        self.model.score_samples(self.X)


class Regress:
    """Some features given others, of rows in memory."""

    params = (["full", "diag"], DTYPES, [(2, 1, 2), (8, 7, 16), (8, 4, 16)], [False, True])
    param_names = ("covariance_type", "dtype", "d_given_k", "return_cov")

    def setup(self, covariance_type, dtype, size, return_cov):
        d, given, k = size
        X = clusters(200_000, d, k, dtype)
        self.model = start(X, k, covariance_type)
        self.X, self.given = X[:, :given].copy(), list(range(given))
        self.time_regress(covariance_type, dtype, size, return_cov)

    def time_regress(self, *parameters):
        self.model.regress(self.X, self.given, return_cov=parameters[-1])


class MergeOrder:
    """A pass over the rows for each merger."""

    def setup(self):
        self.X = clusters(100_000, 4, 8)
        self.model = start(self.X, 8, "full")
        self.time_merge_order()

    def time_merge_order(self):
        self.model.merge_order(self.X)


class Start:
    """The initial model, without any iteration."""

    params = (["auto", "k-means++", "kmeans", "random", "random_from_data"], [16, 128])
    param_names = ("init", "k")

    def setup(self, init, k):
        self.X = clusters(100_000, 8, k)
        self.time_start(init, k)

    def time_start(self, init, k):
        fastem.fit(self.X, k, init=init, max_iter=0, rng=0)


class StartOfMany:
    """The initial model of many components in many features."""

    params = (["auto", "means"], [128, 256])
    param_names = ("init", "k")

    def setup(self, init, k):
        rng = np.random.default_rng(0)
        centres = 1.2 * rng.normal(size=(k, 128))
        labels = rng.integers(k, size=rows(60_000))
        self.X = (centres[labels] + rng.normal(size=(len(labels), 128))).astype(np.float32)
        self.init = "auto" if init == "auto" else {"means": centres}
        self.time_start(init, k)

    def time_start(self, init, k):
        fastem.fit(self.X, k, covariance_type="diag", init=self.init, max_iter=0, rng=0)


class StartOfDear:
    """The initial model of components whose passes over the sample take most of the time."""

    def setup(self):
        rng = np.random.default_rng(0)
        labels = rng.integers(32, size=rows(60_000))
        self.X = 1.2 * rng.normal(size=(32, 32))[labels] + rng.normal(size=(len(labels), 32))
        self.time_start()

    def time_start(self):
        fastem.fit(self.X, 32, max_iter=0, rng=0)


class Silhouette:
    """All distances between 12,000 rows."""

    params = (DTYPES,)
    param_names = ("dtype",)

    def setup(self, dtype):
        self.X = clusters(12_000, 8, 5, dtype)
        self.labels = np.arange(len(self.X)) % 5
        self.time_silhouette()

    def time_silhouette(self, *_):
        fastem.silhouette_samples(self.X, self.labels)
