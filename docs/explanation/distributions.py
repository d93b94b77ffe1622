"""How long passes of each distribution take, and other libraries.

python docs/explanation/distributions.py            passes, in turn with those of Gaussians
python docs/explanation/distributions.py --peers    StepMix, studenttmixture and NumPy, which take minutes

The peers need ``pip install stepmix studenttmixture``.
"""

import sys
import time
import warnings
from functools import partial

import numpy as np

import fastem

ROUNDS = 5
PASSES = 10


def seconds(X, model, passes, **options):
    """Seconds of a fit of so many iterations from this model."""
    options.setdefault("covariance_type", getattr(model, "covariance_type", None))
    began = time.perf_counter()
    fastem.fit(
        X,
        model.n_components,
        distribution=model.distribution,
        init=model,
        max_iter=passes,
        tol=0,
        acceleration=None,
        **options,
    )
    return time.perf_counter() - began


def pass_times(cases):
    """Seconds of one pass of each case, by the difference of a long and a short fit. The least of ROUNDS."""
    least = dict.fromkeys(cases, np.inf)
    for _ in range(ROUNDS):
        for name, (X, model, options) in cases.items():
            long = seconds(X, model, 1 + PASSES, **options)
            short = seconds(X, model, 1, **options)
            least[name] = min(least[name], (long - short) / PASSES)
    return least


def gaussian(rng, n, d, k, covariance_type, dtype=np.float64):
    """Overlapping clusters, whose centres are about three deviations apart."""
    centres = 3 / np.sqrt(2 * d) * rng.normal(size=(k, d))
    X = (centres[rng.integers(k, size=n)] + rng.normal(size=(n, d))).astype(dtype)
    shape = {"full": np.tile(np.eye(d), (k, 1, 1)), "tied": np.eye(d), "diag": np.ones((k, d))}
    covariances = shape.get(covariance_type, np.ones(k))
    return X, fastem.GaussianMixture(np.full(k, 1 / k), centres, covariances, covariance_type)


def others(rng, n, d, k):
    """A mixture of each other distribution, with rows of it."""
    equal = np.full(k, 1 / k)
    parameters = {
        "bernoulli": {"probabilities": rng.uniform(0.1, 0.9, (k, d))},
        "poisson": {"rates": rng.gamma(4.0, 1.0, (k, d))},
        "exponential": {"rates": rng.gamma(4.0, 1.0, (k, d))},
        "gamma": {"shapes": rng.gamma(4.0, 1.0, (k, d)), "rates": rng.gamma(4.0, 1.0, (k, d))},
        "lognormal": {"means": rng.normal(size=(k, d)), "variances": rng.uniform(0.5, 2, (k, d))},
        "categorical": {"probabilities": rng.dirichlet(np.ones(5), (k, d))},
    }
    for name, values in parameters.items():
        model = fastem.Mixture(equal, values, name)
        yield name, model.sample(n, rng=0)[0], model


def passes():
    n, d, k = 1_000_000, 16, 16
    rng = np.random.default_rng(0)
    X, diag = gaussian(rng, n, d, k, "diag")
    reference = {"diag": (X, diag, {})}
    print(f"one pass at {n:,} x {d}, K = {k}, in units of the Gaussian pass")
    for name, rows, model in others(rng, n, d, k):
        least = pass_times({**reference, name: (rows, model, {})})
        print(f"{name:>12} {least[name] / least['diag']:6.2f} x diag ({least['diag']:.4f} s)")
    for covariance_type in ("full", "tied", "diag", "spherical"):
        X, model = gaussian(rng, n, d, k, covariance_type)
        values = {"means": model.means, "scales": model.covariances, "degrees_of_freedom": np.full(k, 8.0)}
        t = fastem.Mixture(model.weights, values, "student", covariance_type=covariance_type)
        cases = {"gaussian": (X, model, {}), "student": (X, t, {"covariance_type": covariance_type})}
        least = pass_times(cases)
        print(f"student {covariance_type:>9} {least['student'] / least['gaussian']:6.2f} x Gaussian")


def numpy_em(X, k, log_density, m_step, start, iterations, rows):
    """EM by matrix products, on so many rows at a time: all of them, or as many as stay in the cache."""
    weights, parameters = np.full(k, 1 / k), start
    for _ in range(iterations):
        n_k, first = np.zeros(k), np.zeros((k, X.shape[1]))
        for begin in range(0, len(X), rows):
            chunk = X[begin : begin + rows]
            joint = log_density(chunk, parameters) + np.log(weights)
            peak = joint.max(axis=1, keepdims=True)
            r = np.exp(joint - peak)
            r /= r.sum(axis=1, keepdims=True)
            n_k += r.sum(axis=0)
            first += r.T @ chunk
        weights, parameters = n_k / n_k.sum(), m_step(n_k, first)
    return weights, parameters


NUMPY = {
    "poisson": (
        "rates",
        lambda X, rates: X @ np.log(rates).T - rates.sum(axis=1),
        lambda n_k, first: first / n_k[:, None],
    ),
    "bernoulli": (
        "probabilities",
        lambda X, p: X @ (np.log(p) - np.log1p(-p)).T + np.log1p(-p).sum(axis=1),
        lambda n_k, first: first / n_k[:, None],
    ),
}


def against_numpy():
    n, d, k = 1_000_000, 16, 16
    for name, X, model in others(np.random.default_rng(0), n, d, k):
        if name not in NUMPY:
            continue
        parameter, log_density, m_step = NUMPY[name]
        arguments = X, k, log_density, m_step, model.parameters[parameter]
        for rows in (n, 8192):

            def theirs(passes, arguments=arguments, rows=rows):
                began = time.perf_counter()
                numpy_em(*arguments, passes, rows)
                return time.perf_counter() - began

            compare(
                f"{name}, NumPy on {rows:,} rows at a time",
                theirs,
                partial(seconds, X, model),
                (1, 3),
                (1, 11),
            )


def against_stepmix():
    from stepmix import StepMix

    rng = np.random.default_rng(0)
    n, d, k = 100_000, 20, 6
    truth = fastem.Mixture(
        np.full(k, 1 / k), {"probabilities": rng.dirichlet(np.ones(4), (k, d))}, "categorical"
    )
    X = truth.sample(n, rng=0)[0].astype(int)

    def theirs(iterations):
        model = StepMix(
            k,
            measurement="categorical",
            n_init=1,
            max_iter=iterations,
            abs_tol=0,
            rel_tol=0,
            random_state=0,
            progress_bar=0,
            verbose=0,
        )
        began = time.perf_counter()
        model.fit(X)
        return time.perf_counter() - began

    compare("latent classes, StepMix", theirs, partial(seconds, X.astype(float), truth), (2, 7), (1, 41))


def against_student():
    n, d, k = 200_000, 8, 6
    X, model = gaussian(np.random.default_rng(0), n, d, k, "full")
    values = {"means": model.means, "scales": model.covariances, "degrees_of_freedom": np.full(k, 8.0)}
    ours = partial(seconds, X, fastem.Mixture(model.weights, values, "student"))

    def studenttmixture(passes):
        from studenttmixture import EMStudentMixture

        estimator = EMStudentMixture(k, tol=1e-300, max_iter=passes, fixed_df=False, df=8.0, random_state=0)
        began = time.perf_counter()
        estimator.fit(X)
        return time.perf_counter() - began

    compare("t distributions, studenttmixture", studenttmixture, ours, (2, 5), (1, 21))


def compare(name, theirs, ours, their_passes, our_passes):
    """Print the ratio of the times of an iteration, by the difference of a long and a short fit."""
    iterations = []
    for run, lengths in ((theirs, their_passes), (ours, our_passes)):
        short, long = (min(run(passes) for _ in range(5)) for passes in lengths)
        iterations.append((long - short) / (lengths[1] - lengths[0]))
    other, own = iterations
    print(f"{name}: {other / own:.0f} times as long an iteration ({other:.4f} and {own:.5f} s)")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    if "--peers" in sys.argv:
        against_numpy()
        against_stepmix()
        against_student()
    else:
        passes()
