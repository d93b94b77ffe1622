"""Slow twins of the kernels and of the EM loop, written so that a reader can check them by eye."""

import math

import numpy as np


def dense(covariances, covariance_type, k, d):
    """Covariances of any type, as k matrices (d, d)."""
    matrices = []
    for component in range(k):
        if covariance_type == "full":
            matrices.append(covariances[component])
        elif covariance_type == "tied":
            matrices.append(covariances)
        elif covariance_type == "diag":
            matrices.append(np.diag(covariances[component]))
        else:
            matrices.append(covariances[component] * np.eye(d))
    return matrices


def log_densities(X, mean, covariance):
    """log N(x; mean, covariance) of every row x."""
    z = X - mean
    _, log_determinant = np.linalg.slogdet(covariance)
    distances = (z * np.linalg.solve(covariance, z.T).T).sum(axis=1)
    return -0.5 * (len(mean) * math.log(2 * math.pi) + log_determinant + distances)


def log_sum_exp(values):
    largest = max(values)
    return largest + math.log(sum(math.exp(value - largest) for value in values))


def responsibilities(X, weights, means, matrices):
    """Responsibilities (n, k) and log-densities (n,)."""
    joint = np.empty((len(X), len(weights)))  # log(weight_k N(x; k))
    for component, weight in enumerate(weights):
        log_weight = math.log(weight) if weight > 0 else -math.inf
        joint[:, component] = log_weight + log_densities(X, means[component], matrices[component])
    return shares(joint.tolist())


def statistics(X, sample_weight, weights, means, matrices):
    """Sums over rows of w r, w r z and w r z z' for each component, and of w log p."""
    r, log_p = responsibilities(X, weights, means, matrices)
    k, d = means.shape
    n_k, first, second = np.zeros(k), np.zeros((k, d)), np.zeros((k, d, d))
    for i, x in enumerate(X):
        share, z = sample_weight[i] * r[i], x - means
        n_k += share
        first += share[:, None] * z
        second += (share[:, None] * z)[:, :, None] * z[:, None, :]
    return n_k, first, second, float(sample_weight @ log_p)


def shape_scatter(second, covariance_type):
    """The part of the k full scatter matrices that a covariance type keeps."""
    if covariance_type == "full":
        return second
    if covariance_type == "tied":
        return second.sum(axis=0)[None]
    diagonals = np.array([np.diag(matrix) for matrix in second])
    return diagonals if covariance_type == "diag" else diagonals.sum(axis=1)


def m_step(X, sample_weight, r, covariance_type, reg_covar=0.0):
    """Maximum-likelihood weights, means and covariances given responsibilities, as in a textbook."""
    d = X.shape[1]
    weighted = r * sample_weight[:, None]
    n_k = weighted.sum(axis=0)
    means = (weighted.T @ X) / n_k[:, None]
    second = np.zeros((len(n_k), d, d))
    for k in range(len(n_k)):
        z = X - means[k]
        second[k] = (weighted[:, k, None] * z).T @ z
    if covariance_type == "full":
        covariances = second / n_k[:, None, None] + reg_covar * np.eye(d)
    elif covariance_type == "tied":
        covariances = second.sum(axis=0) / n_k.sum() + reg_covar * np.eye(d)
    else:
        covariances = np.array([np.diag(s) for s in second]) / n_k[:, None] + reg_covar
        if covariance_type == "spherical":
            covariances = covariances.mean(axis=1)
    return n_k / n_k.sum(), means, covariances


def adapt(X, sample_weight, weights, means, covariances, covariance_type, relevance, names):
    """Reynolds, Quatieri and Dunn (2000), eq. 11 to 14, row by row, with matrices for all types."""
    k, d = means.shape
    matrices = dense(covariances, covariance_type, k, d)
    r, _ = responsibilities(X, weights, means, matrices)
    n = sample_weight @ r
    new_weights, new_means, new_matrices = weights.copy(), means.copy(), [m.copy() for m in matrices]
    for j in range(k):
        if n[j] == 0:
            continue
        share = n[j] / (n[j] + relevance)
        mean = sum(sample_weight[i] * r[i, j] * x for i, x in enumerate(X)) / n[j]
        if "weights" in names:
            new_weights[j] = share * n[j] / n.sum() + (1 - share) * weights[j]
        if "means" in names:
            new_means[j] = share * mean + (1 - share) * means[j]
        if "covariances" in names:
            # Second moments about the new mean. For adapted means they are those about zero, less its square.
            gap = means[j] - new_means[j]
            moments = sum(
                sample_weight[i] * r[i, j] * np.outer(x - new_means[j], x - new_means[j])
                for i, x in enumerate(X)
            )
            new_matrices[j] = share * moments / n[j] + (1 - share) * (matrices[j] + np.outer(gap, gap))
    second = np.array(new_matrices)
    if covariance_type == "full" or "covariances" not in names:
        new = second if covariance_type == "full" else covariances
    elif covariance_type == "tied":
        new = np.einsum("k,kij->ij", n + relevance, second) / (n + relevance).sum()
    else:
        new = np.array([np.diag(matrix) for matrix in second])
        new = new.mean(axis=1) if covariance_type == "spherical" else new
    return new_weights / new_weights.sum(), new_means, new


def broadcast_e_step(X, weights, means, matrices):
    """Responsibilities and log-densities with (n, k, d) broadcasting."""
    inverses = np.linalg.inv(matrices)
    _, log_determinants = np.linalg.slogdet(matrices)
    z = X[:, None, :] - means
    maha = np.einsum("nki,kij,nkj->nk", z, inverses, z)
    joint = np.log(weights) - 0.5 * (X.shape[1] * np.log(2 * np.pi) + log_determinants + maha)
    largest = joint.max(axis=1, keepdims=True)
    log_p = largest + np.log(np.exp(joint - largest).sum(axis=1, keepdims=True))
    return np.exp(joint - log_p), log_p[:, 0]


def em_with_noise(X, sample_weight, weights, means, covariances, covariance_type, box, iterations):
    """EM with one more component, uniform on a box. The last of the weights is its own."""
    k, d = means.shape
    log_noise = -sum(math.log(high - low) for low, high in zip(*box, strict=True))
    history = []
    for iteration in range(iterations + 1):
        joint = np.empty((len(X), k + 1))
        for component, matrix in enumerate(dense(covariances, covariance_type, k, d)):
            joint[:, component] = math.log(weights[component]) + log_densities(X, means[component], matrix)
        joint[:, k] = math.log(weights[k]) + log_noise
        r, log_p = shares(joint.tolist())
        history.append(float(sample_weight @ log_p))
        if iteration < iterations:
            _, means, covariances = m_step(X, sample_weight, r[:, :k], covariance_type)
            weights = sample_weight @ r / sample_weight.sum()
    return (weights, means, covariances), history


def em(X, sample_weight, weights, means, covariances, covariance_type, iterations, reg_covar=0.0):
    """EM by broadcasting: the parameters after `iterations` iterations, and the total log-likelihoods."""
    k, d = means.shape
    history = []
    for _ in range(iterations):
        r, log_p = broadcast_e_step(X, weights, means, dense(covariances, covariance_type, k, d))
        history.append(float(sample_weight @ log_p))
        weights, means, covariances = m_step(X, sample_weight, r, covariance_type, reg_covar)
    _, log_p = broadcast_e_step(X, weights, means, dense(covariances, covariance_type, k, d))
    history.append(float(sample_weight @ log_p))
    return (weights, means, covariances), history


def over_relaxed(X, sample_weight, r, covariance_type, iterations, reg_covar=0.0):
    """EM whose M-steps take moments beyond those of the E-step (Salakhutdinov and Roweis 2003).

    Returns the parameters, and the mean log-likelihood of the last E-step.
    """
    k, d = r.shape[1], X.shape[1]
    features = np.column_stack([np.ones(len(X)), X, (X[:, :, None] * X[:, None]).reshape(len(X), d * d)])
    stretch, before, mean = 1.0, 0.0, 0.0
    path = (r * sample_weight[:, None]).T @ features
    parameters = parameters_of_moments(path, covariance_type, reg_covar)
    for iteration in range(1, iterations):
        r, log_p = broadcast_e_step(X, *parameters[:2], dense(parameters[2], covariance_type, k, d))
        gain = float(sample_weight @ log_p) / sample_weight.sum() - mean
        mean += gain
        if iteration == 1:
            gain = 0.0  # labels have no likelihood
        stretch = min(stretch * 1.3, 16) if iteration == 1 or gain > max(0.1 * before, 0) else 1.0
        before = gain
        moments = (r * sample_weight[:, None]).T @ features
        if iteration == iterations - 1:
            stretch = 1.0
        path = path + stretch * (moments - path)
        parameters = parameters_of_moments(path, covariance_type, reg_covar)
        if stretch > 1 and not is_wide(parameters, path, covariance_type, reg_covar):
            path, stretch = moments, 1.0
            parameters = parameters_of_moments(path, covariance_type, reg_covar)
    return parameters, mean


def is_wide(parameters, moments, covariance_type, reg_covar):
    """Whether the variance of each feature, given those before it, is at least ten times what was added."""
    k, d = parameters[1].shape
    if (moments[:, 0] <= 0).any():
        return False
    for matrix in dense(parameters[2], covariance_type, k, d):
        if (
            np.linalg.eigvalsh(matrix)[0] <= 0
            or (np.diag(np.linalg.cholesky(matrix)) ** 2 < 10 * reg_covar).any()
        ):
            return False
    return True


def parameters_of_moments(moments, covariance_type, reg_covar):
    """Parameters from sums over rows of responsibilities times 1, x and x x', (K, 1 + d + d d)."""
    n_k, d = moments[:, 0], int(np.sqrt(moments.shape[1] - 1))
    means = moments[:, 1 : 1 + d] / n_k[:, None]
    second = moments[:, 1 + d :].reshape(-1, d, d) / n_k[:, None, None]
    covariances = second - means[:, :, None] * means[:, None]
    if covariance_type == "tied":
        covariances = np.tensordot(n_k / n_k.sum(), covariances, 1)
    covariances += reg_covar * np.eye(d)
    if covariance_type in ("diag", "spherical"):
        covariances = np.diagonal(covariances, axis1=1, axis2=2)
    if covariance_type == "spherical":
        covariances = covariances.mean(axis=1)
    return n_k / n_k.sum(), means, covariances


def log_poisson(x, rates):
    """log of the product over features of Poisson(x_j; rate_j). With a rate of 0 only x_j = 0 is possible."""
    total = 0.0
    for count, rate in zip(x, rates, strict=True):
        if rate > 0:
            total += count * math.log(rate) - rate - math.lgamma(count + 1)
        elif count > 0:
            total = -math.inf
    return total


def linear_statistics(x, params):
    """t(x) of one row."""
    u = [(value - m) * a for value, m, a in zip(x, params.shift, params.inverse_scale, strict=True)]
    if not len(params.columns):
        return u
    t = []
    for column, transform, centre, factor in zip(*params[4:], strict=True):
        if transform == 2:
            t.append(t[column] ** 2)
        elif transform == 3:
            t.append(u[column] - centre - math.log2(u[column]) * factor)
        else:
            t.append(((math.log2(u[column]) if transform == 1 else u[column]) - centre) * factor)
    return t


def linear_joint(t, log_weights, etas):
    """log_weight_k + <eta_k, t> for every k."""
    return (log_weights + etas @ t).tolist()


def shares(joints):
    """Responsibilities (n, k) and log-densities (n,) from the joint log-densities, row by row."""
    log_p = [log_sum_exp(joint) for joint in joints]
    r = [[math.exp(v - total) for v in joint] for joint, total in zip(joints, log_p, strict=True)]
    return np.array(r), np.array(log_p)


def linear_sums(T, sample_weight, r):
    """Sums over rows of w r and w r t for each component."""
    n_k, first = np.zeros(r.shape[1]), np.zeros((r.shape[1], T.shape[1]))
    for i, t in enumerate(T):
        share = sample_weight[i] * r[i]
        n_k += share
        first += share[:, None] * t
    return n_k, first


def log_bernoulli(x, probabilities):
    """log of the product over features of p_j where x_j is 1, and 1 - p_j where it is 0."""
    chances = [p if value == 1 else 1 - p for value, p in zip(x, probabilities, strict=True)]
    return sum(math.log(chance) for chance in chances) if min(chances) > 0 else -math.inf


def log_exponential(x, rates):
    return sum(math.log(rate) - rate * value for value, rate in zip(x, rates, strict=True))


def log_gamma(x, shapes, rates):
    """log of the product over features of rate^shape x^(shape - 1) exp(-rate x) / Gamma(shape)."""
    return sum(
        a * math.log(b) - math.lgamma(a) + (a - 1) * math.log(value) - b * value
        for value, a, b in zip(x, shapes, rates, strict=True)
    )


def log_lognormal(x, means, variances):
    """The density of the logarithm, divided by x."""
    return sum(
        -0.5 * (math.log(2 * math.pi * v) + (math.log(value) - m) ** 2 / v) - math.log(value)
        for value, m, v in zip(x, means, variances, strict=True)
    )


def log_factorials(X):
    """sum_j log(x_j!) of each row, computed one factor at a time."""
    return np.array([sum(math.log(factor) for x in row for factor in range(2, int(x) + 1)) for row in X])


def nearest_centres(X, centres):
    """Labels of rows, and squared distances to the nearest and the second nearest centre."""
    labels, nearest, second = [], [], []
    for x in X:
        distances = ((x - centres) ** 2).sum(axis=1).tolist()
        order = sorted(range(len(centres)), key=lambda k: distances[k])
        labels.append(order[0])
        nearest.append(distances[order[0]])
        second.append(distances[order[1]] if len(centres) > 1 else 1e300)
    return np.array(labels), np.array(nearest), np.array(second)


def lloyd_until_settled(X, weights, centres, iterations):
    """Lloyd's iterations until one lowers the error by less than a thousandth."""
    before, centres = math.inf, centres.copy()
    for _ in range(iterations):
        found = nearest_centres(X, centres)
        labels, nearest, _ = found
        error = float(weights @ nearest)
        for k in range(len(centres)):
            mine = labels == k
            if weights[mine].sum() > 0:
                centres[k] = np.average(X[mine], axis=0, weights=weights[mine])
        if not error < before * (1 - 1e-3):
            return centres, error, found
        before = error
    return centres, before, found


def least_useful(centres, uses, count):
    """Which `count` centres to remove: those of least use, and of near neighbours only one."""
    K = len(centres)
    gaps = np.array([[((a - b) ** 2).sum() for b in centres] for a in centres])
    np.fill_diagonal(gaps, np.inf)
    near = (1.1 * np.sqrt(gaps.min(axis=1)).mean()) ** 2
    removed, protected = [], set()
    for _ in range(count):
        free = [k for k in range(K) if k not in removed and k not in protected]
        removed.append(min(free, key=lambda k: uses[k]))
        for k in range(K):
            others = k not in removed and k not in protected
            if others and len(protected) + count < K and gaps[removed[-1], k] < near:
                protected.add(k)
    return removed


def breathing_k_means(X, weights, seeds, noise, depth, least=1, budget=200):
    """K-means that breathes (Fritzke 2020): its labels and their error."""
    K = len(seeds)

    def per_centre(found, values, size):
        return np.bincount(found[0], weights * values, minlength=size)

    kept, error, found = lloyd_until_settled(X, weights, seeds, budget)
    current, count, breaths = kept, min(depth, K), 0
    while count >= least and error > 0:
        errors = per_centre(found, found[1], K)
        step = 0.01 * math.sqrt(error / weights.sum())
        more = list(current)
        for t in range(count):
            worst = int(np.argmax(errors))
            errors[worst] = -1
            more.append(current[worst] + step * noise[(breaths * depth + t) % len(noise)])
        more, _, found = lloyd_until_settled(X, weights, np.array(more), 20)
        uses = per_centre(found, found[2] - found[1], K + count)
        fewer = np.delete(more, least_useful(more, uses, count), axis=0)
        fewer, lower, found = lloyd_until_settled(X, weights, fewer, 20)
        if lower < error * (1 - 1e-3):
            kept, current, error = fewer, fewer, lower
        else:
            count = count // 2 if count > 5 else count - 1
            current, found = kept, nearest_centres(X, kept)
        breaths += 1
    labels, nearest, _ = nearest_centres(X, kept)
    return labels, float(weights @ nearest)


def log_normal(x, means, variances):
    """log of the product over features of N(x_j; mean_j, variance_j)."""
    return sum(
        -0.5 * (math.log(2 * math.pi * v) + (value - m) ** 2 / v)
        for value, m, v in zip(x, means, variances, strict=True)
    )


def joints_of_observed(X, weights, log_density, *parameters):
    """log(weight_k p(what is observed | k)) of every row, with features independent given the component.

    log_density takes some numbers of a row, and of each of the parameters (k, d, ...) what belongs to these.
    """
    joints = []
    for x in X:
        there = np.flatnonzero(~np.isnan(x))
        joints.append([])
        for k, weight in enumerate(weights):
            own = [values[k][there] for values in parameters]
            joints[-1].append(math.log(weight) + (log_density(x[there], *own) if len(there) else 0.0))
    return joints


def telling(X, sample_weight):
    """The weights of rows, which are 0 for those without any number."""
    return np.array([0.0 if np.isnan(x).all() else w for x, w in zip(X, sample_weight, strict=True)])


def observed_sums(X, sample_weight, r, statistic):
    """Sums over rows of w r, and for each feature of w r and w r t(x) where it is observed."""
    sample_weight = telling(X, sample_weight)
    (n, d), k = X.shape, r.shape[1]
    n_k, observed, first = np.zeros(k), np.zeros((k, d)), np.zeros((k, d))
    for i in range(n):
        n_k += sample_weight[i] * r[i]
        for j in range(d):
            if not math.isnan(X[i, j]):
                observed[:, j] += sample_weight[i] * r[i]
                first[:, j] += sample_weight[i] * r[i] * statistic(X[i, j])
    return n_k, observed, first


def expected_moments(X, sample_weight, r, means, variances):
    """Sums over rows of w r z and w r z^2 with z = x - mean, or what the component expects of a gap."""
    first, second = np.zeros(means.shape), np.zeros(means.shape)
    for x, weight, row in zip(X, telling(X, sample_weight), r, strict=True):
        for k, share in enumerate(row):
            for j, value in enumerate(x):
                z, square = 0.0, variances[k, j]
                if not math.isnan(value):
                    z = value - means[k, j]
                    square = z * z
                first[k, j] += weight * share * z
                second[k, j] += weight * share * square
    return first, second


def log_student_of_observed(x, mean, variances, nu):
    """log p of the features of one row that are observed, whose size all of them share."""
    there = ~np.isnan(x)
    return log_student(x[there], mean[there], np.diag(variances[there]), nu) if there.any() else 0.0


def expected_student_sums(X, sample_weight, r, means, variances, degrees):
    """Sums over rows of w r, w r E[log tau], w r u, w r E[tau z] and w r E[tau z^2] for each component.

    The logarithms have a number of nu and d added, so that a row with all features has log u.
    """
    from scipy.special import digamma

    def gap(a):
        return math.log(a) - digamma(a)

    k, d = means.shape
    n_k, logarithms, scaled, first, second = (np.zeros((k, *shape)) for shape in ((), (), (), (d,), (d,)))
    for x, weight, row in zip(X, telling(X, sample_weight), r, strict=True):
        there = ~np.isnan(x)
        for c in range(k):
            nu, z = degrees[c], np.where(there, x - means[c], 0.0)
            u = (nu + there.sum()) / (nu + (z * z / variances[c]).sum())
            n_k[c] += weight * row[c]
            logarithms[c] += weight * row[c] * (math.log(u) - gap((nu + there.sum()) / 2) + gap((nu + d) / 2))
            scaled[c] += weight * row[c] * u
            first[c] += weight * row[c] * u * z
            second[c] += weight * row[c] * np.where(there, u * z * z, variances[c])
    return n_k, logarithms, scaled, first, second


def log_categorical(codes, probabilities):
    """log p of the codes of one row, given probabilities (d, C)."""
    total = 0.0
    for j, code in enumerate(codes):
        p = probabilities[j][code]
        total += math.log(p) if p > 0 else -math.inf
    return total


def category_sums(codes, sample_weight, r, most):
    """Sums over rows of w r for each component (k,), and for each component, column and code (k, d, most)."""
    n_k, counts = np.zeros(r.shape[1]), np.zeros((r.shape[1], codes.shape[1], most))
    for i, row in enumerate(codes):
        share = sample_weight[i] * r[i]
        n_k += share
        for j, code in enumerate(row):
            counts[:, j, code] += share
    return n_k, counts


def log_student(x, mean, scale, nu):
    """log of the multivariate t density of one row (Kotz and Nadarajah 2004, eq. 1.1)."""
    d, z = len(mean), x - mean
    distance = float(z @ np.linalg.solve(scale, z))
    constant = math.lgamma((nu + d) / 2) - math.lgamma(nu / 2) - 0.5 * d * math.log(nu * math.pi)
    return constant - 0.5 * np.linalg.slogdet(scale)[1] - 0.5 * (nu + d) * math.log1p(distance / nu)


def student_joints(X, weights, means, matrices, degrees):
    """log(weight_k t(x; k)) of every row and component."""
    components = list(zip(weights, means, matrices, degrees, strict=True))
    return [[math.log(w) + log_student(x, m, s, nu) for w, m, s, nu in components] for x in X]


def student_sums(X, sample_weight, r, means, matrices, degrees):
    """Sums over rows of w r, w r log u, w r u, w r u z and w r u z z' for each component."""
    k, d = means.shape
    n_k, logarithms, scaled, first, second = (np.zeros((k, *shape)) for shape in ((), (), (), (d,), (d, d)))
    for x, weight, row in zip(X, sample_weight, r, strict=True):
        for j in range(k):
            z = x - means[j]
            u = (degrees[j] + d) / (degrees[j] + z @ np.linalg.solve(matrices[j], z))
            n_k[j] += weight * row[j]
            logarithms[j] += weight * row[j] * math.log(u)
            scaled[j] += weight * row[j] * u
            first[j] += weight * row[j] * u * z
            second[j] += weight * row[j] * u * np.outer(z, z)
    return n_k, logarithms, scaled, first, second


def student_em(X, sample_weight, weights, means, scales, degrees, covariance_type, iterations):
    """EM of t mixtures by broadcasting: the parameters after `iterations`, and the total log-likelihoods."""
    from scipy.optimize import brentq
    from scipy.special import digamma, gammaln

    def gap(a):
        return math.log(a) - digamma(a)

    def solve(equation):
        if equation(0.05) <= 0 or equation(500.0) >= 0:
            return 0.1 if equation(0.05) <= 0 else 1000.0
        return 2 * brentq(equation, 0.05, 500.0, xtol=1e-14, rtol=1e-14)

    (k, d), history = means.shape, []
    while True:
        matrices = np.array(dense(scales, covariance_type, k, d))
        z = X[:, None, :] - means
        distances = np.einsum("nki,kij,nkj->nk", z, np.linalg.inv(matrices), z)
        joint = gammaln((degrees + d) / 2) - gammaln(degrees / 2) - d / 2 * np.log(degrees * np.pi)
        joint = joint - np.linalg.slogdet(matrices)[1] / 2 - (degrees + d) / 2 * np.log1p(distances / degrees)
        joint += np.log(weights)
        log_p = np.logaddexp.reduce(joint, axis=1)
        history.append(float(sample_weight @ log_p))
        if len(history) > iterations:
            return (weights, means, scales, degrees), history
        r = np.exp(joint - log_p[:, None]) * sample_weight[:, None]
        u = (degrees + d) / (degrees + distances)
        n_k, ru = r.sum(axis=0), r * u
        mean, logarithm = ru.sum(axis=0) / n_k, (r * np.log(u)).sum(axis=0) / n_k
        _, means, per_u = m_step(X, np.ones(len(X)), ru, covariance_type)
        weights = n_k / n_k.sum()
        if covariance_type == "tied":
            alpha = (n_k * degrees) @ mean / (n_k @ degrees)
            scales = per_u * ru.sum() / (alpha * n_k.sum())
            s = mean / alpha - 1 + np.log(alpha) - logarithm
            s = [one + gap((nu + d) / 2) for one, nu in zip(s, degrees, strict=True)]
            degrees = np.array([solve(lambda a, one=one: gap(a) - one) for one in s])
        else:
            scales, s = per_u, np.log(mean) - logarithm
            degrees = np.array([solve(lambda a, one=one: gap(a) - gap(a + d / 2) - one) for one in s])


def lloyd_pass(X, sample_weight, centers):
    """The first nearest center c of each row; sums of w and w (x - c) by center; the sum of w |x - c|^2."""
    k, d = centers.shape
    labels, weights, first, inertia = [], np.zeros(k), np.zeros((k, d)), 0.0
    for x, w in zip(X, sample_weight, strict=True):
        squares = [sum((x[j] - center[j]) ** 2 for j in range(d)) for center in centers]
        label = squares.index(min(squares))
        labels.append(label)
        weights[label] += w
        first[label] += w * (x - centers[label])
        inertia += w * squares[label]
    return labels, weights, first, inertia


def silhouettes(X, labels, weights):
    """Silhouettes of rows that stand for `weights` equal rows each (Rousseeuw 1987), row by row."""
    values = np.zeros(len(X))
    X, labels, weights = X.tolist(), labels.tolist(), weights.tolist()
    for i, x in enumerate(X):
        sums, sizes = {}, {}
        for y, label, weight in zip(X, labels, weights, strict=True):
            sums[label] = sums.get(label, 0.0) + weight * math.dist(x, y)
            sizes[label] = sizes.get(label, 0.0) + weight
        others = sizes[labels[i]] - min(weights[i], 1.0)
        if others > 0:
            own = sums[labels[i]] / others
            next_one = min(sums[k] / sizes[k] for k in sums if k != labels[i] and sizes[k] > 0)
            if max(own, next_one) > 0:
                values[i] = (next_one - own) / max(own, next_one)
    return values


def regression(X, responsibilities, slopes, intercepts, within):
    """The mean and covariance of some features given others, row by row, by the law of total covariance."""
    means, covariances = [], []
    for x, shares in zip(X, responsibilities, strict=True):
        each = [c + B @ x for B, c in zip(slopes, intercepts, strict=True)]
        mean = sum(r * m for r, m in zip(shares, each, strict=True))
        parts = zip(shares, each, within, strict=True)
        means.append(mean)
        covariances.append(sum(r * (S + np.outer(m - mean, m - mean)) for r, m, S in parts))
    return np.array(means), np.array(covariances)


def log_prior_density(weights, means, covariances, covariance_type, prior):
    """The log-density of a normal-inverse-Wishart and Dirichlet prior, up to a constant.

    prior: a dict with the names of fastem.Prior, without None. "EEI" and "EII" are diagonal and spherical
    covariances that all components share; of such there is one prior.
    """
    (k, d), nu, scale = means.shape, prior["degrees_of_freedom"], prior["covariance"]
    storage = {"EEI": "diag", "EII": "spherical"}.get(covariance_type, covariance_type)
    total = (prior["weight_concentration"] - 1) * np.log(weights).sum()
    for mean, covariance in zip(means, dense(covariances, storage, k, d), strict=True):
        gap = mean - prior["mean"]
        total -= 0.5 * np.linalg.slogdet(covariance)[1]
        total -= 0.5 * prior["mean_precision"] * gap @ np.linalg.solve(covariance, gap)
    distinct = [covariances] if covariance_type == "tied" else list(covariances)
    if covariance_type in ("EEI", "EII"):
        distinct = distinct[:1]
    for covariance in distinct:
        if storage in ("full", "tied"):
            total -= (nu + d + 1) / 2 * np.linalg.slogdet(covariance)[1]
            total -= 0.5 * np.trace(np.linalg.solve(covariance, scale))
        else:  # each variance has an inverse gamma distribution
            total -= (nu + 2) / 2 * np.log(covariance).sum() + 0.5 * (scale / covariance).sum()
    return float(total)


def map_step(X, sample_weight, r, covariance_type, prior=None, fixed_means=None):
    """Parameters that maximise the expected log-posterior, or the likelihood if there is no prior.

    fixed_means (k, d): NaN where the mean is free. The divisors are those of Fraley and Raftery (2007).
    """
    d, k, r = X.shape[1], r.shape[1], r * sample_weight[:, None]
    counts = r.sum(axis=0)
    kappa, centre, alpha, scale = 0.0, np.zeros(d), 1.0, 0.0
    if prior is not None:
        kappa, centre = prior["mean_precision"], prior["mean"]
        nu, scale, alpha = prior["degrees_of_freedom"], prior["covariance"], prior["weight_concentration"]
    weights = (counts + alpha - 1) / (counts.sum() + k * (alpha - 1))
    means, scatters = np.empty((k, d)), np.empty((k, d, d))
    for component in range(k):
        mean = (r[:, component] @ X + kappa * centre) / (counts[component] + kappa)
        if fixed_means is not None and not np.isnan(fixed_means[component]).any():
            mean = fixed_means[component]
        z, gap = X - mean, mean - centre
        means[component] = mean
        scatters[component] = (r[:, component, None] * z).T @ z + kappa * np.outer(gap, gap)
    spreads = np.diagonal(scatters, axis1=1, axis2=2)
    known = prior is not None
    if covariance_type == "full":
        more = nu + d + 2 if known else 0
        covariances = (scatters + scale) / (counts + more)[:, None, None]
    elif covariance_type == "tied":
        covariances = (scatters.sum(axis=0) + scale) / (counts.sum() + (nu + d + 1 + k if known else 0))
    elif covariance_type == "diag":
        covariances = (spreads + scale) / (counts + (nu + 3 if known else 0))[:, None]
    elif covariance_type == "spherical":
        covariances = (spreads.sum(axis=1) + scale) / (counts * d + (nu + d + 2 if known else 0))
    elif covariance_type == "EEI":
        divisor = counts.sum() + (nu + k + 2 if known else 0)
        covariances = np.tile((spreads.sum(axis=0) + scale) / divisor, (k, 1))
    else:
        assert covariance_type == "EII"
        divisor = counts.sum() * d + (nu + k * d + 2 if known else 0)
        covariances = np.full(k, (spreads.sum() + scale) / divisor)
    return weights, means, covariances


def map_em(X, sample_weight, parameters, covariance_type, iterations, prior=None, fixed_means=None):
    """The parameters after so many iterations, and the log-likelihood and log-posterior at each."""
    storage = {"EEI": "diag", "EII": "spherical"}.get(covariance_type, covariance_type)
    history = []
    for iteration in range(iterations + 1):
        weights, means, covariances = parameters
        r, log_p = responsibilities(X, weights, means, dense(covariances, storage, *means.shape))
        likelihood = float(sample_weight @ log_p)
        about = log_prior_density(*parameters, covariance_type, prior) if prior is not None else 0.0
        history.append((likelihood, likelihood + about))
        if iteration < iterations:
            parameters = map_step(X, sample_weight, r, covariance_type, prior, fixed_means)
    return parameters, history


# --- variational Bayes


def log_wishart_norm(scale, nu):
    """ln B(W, nu), for the matrix `scale` = inv(W) (Bishop 2006, eq. B.79)."""
    d = len(scale)
    value = 0.5 * nu * np.linalg.slogdet(scale)[1]
    value -= 0.5 * nu * d * math.log(2) + 0.25 * d * (d - 1) * math.log(math.pi)
    return value - sum(math.lgamma(0.5 * (nu + 1 - i)) for i in range(1, d + 1))


def variational_bound(X, r, alpha, beta, means, nu, scales, prior):
    """The terms of Bishop (2006), eq. 10.71 to 10.77, for a Dirichlet distribution and full covariances.

    `prior` is a tuple (alpha0, beta0, m0, nu0, scale0); scales are inv(W).
    """
    from scipy.special import digamma, gammaln

    alpha0, beta0, m0, nu0, scale0 = prior
    k, d = means.shape
    log_pi = digamma(alpha) - digamma(alpha.sum())
    bound = gammaln(k * alpha0) - k * gammaln(alpha0) + (alpha0 - 1) * log_pi.sum()  # 10.73
    bound -= ((alpha - 1) * log_pi).sum() + gammaln(alpha.sum()) - gammaln(alpha).sum()  # 10.76
    for c in range(k):
        w = np.linalg.inv(scales[c])
        log_lambda = sum(digamma(0.5 * (nu[c] + 1 - i)) for i in range(1, d + 1))
        log_lambda += d * math.log(2) + np.linalg.slogdet(w)[1]  # 10.65
        for x, share in zip(X, r[:, c], strict=True):
            gap = x - means[c]
            distance = d / beta[c] + nu[c] * gap @ w @ gap  # 10.64
            bound += share * 0.5 * (log_lambda - distance - d * math.log(2 * math.pi))  # 10.71
            bound += share * log_pi[c]  # 10.72
            if share > 0:
                bound -= share * math.log(share)  # 10.75
        gap = means[c] - m0
        bound += 0.5 * (d * math.log(beta0 / (2 * math.pi)) + log_lambda)  # 10.74
        bound -= 0.5 * (d * beta0 / beta[c] + beta0 * nu[c] * gap @ w @ gap)
        bound += log_wishart_norm(scale0, nu0) + 0.5 * (nu0 - d - 1) * log_lambda
        bound -= 0.5 * nu[c] * np.trace(scale0 @ w)
        entropy = -log_wishart_norm(scales[c], nu[c]) - 0.5 * (nu[c] - d - 1) * log_lambda + 0.5 * nu[c] * d
        bound -= 0.5 * log_lambda + 0.5 * d * math.log(beta[c] / (2 * math.pi)) - 0.5 * d - entropy  # 10.77
    return bound


def observed_moments(X, sample_weight):
    """The weight of the numbers of each column, and their mean and variance. NaN is no number."""
    weights, means, variances = [], [], []
    for column in X.T:
        there = ~np.isnan(column)
        w, x = sample_weight[there], column[there].astype(np.float64)
        weights.append(w.sum())
        means.append((w * x).sum() / w.sum())
        variances.append((w * (x - means[-1]) ** 2).sum() / w.sum())
    return np.array(weights), np.array(means), np.array(variances)


def incomplete_statistics(X, sample_weight, weights, means, matrices, degrees=None):
    """Expected sums over rows with NaN (Ghahramani and Jordan 1994), and the weighted sum of log p.

    With `degrees`, of t distributions: r u in place of r, but for the covariance of what is missing
    (Liu and Rubin 1995).
    Returns sums of r, r u, r u z, r u z z' and log-densities (n,), responsibilities (n, k).
    """
    k, d = means.shape
    n_k, scaled, first, second = np.zeros(k), np.zeros(k), np.zeros((k, d)), np.zeros((k, d, d))
    joints, expected = np.empty((len(X), k)), []
    for i, x in enumerate(X):
        o = ~np.isnan(x)
        for j in range(k):
            V, z = matrices[j], x[o] - means[j][o]
            R = V[:, o] @ np.linalg.inv(V[np.ix_(o, o)])  # what all features are expected to be, given o
            q = z @ np.linalg.solve(V[np.ix_(o, o)], z)
            u = 1.0
            log_determinant = np.linalg.slogdet(V[np.ix_(o, o)])[1]
            if degrees is None:
                log_p = -0.5 * (o.sum() * math.log(2 * math.pi) + log_determinant + q)
            else:
                nu, count = degrees[j], int(o.sum())
                u = (nu + count) / (nu + q)
                log_p = math.lgamma((nu + count) / 2) - math.lgamma(nu / 2) - 0.5 * log_determinant
                log_p -= 0.5 * count * math.log(nu * math.pi) + 0.5 * (nu + count) * math.log1p(q / nu)
            joints[i, j] = math.log(weights[j]) + log_p
            expected.append((R @ z, V - R @ V[o], u))
    r, log_p = shares(joints.tolist())
    sample_weight = telling(X, sample_weight)
    for i in range(len(X)):
        for j in range(k):
            z, B, u = expected[i * k + j]
            share = sample_weight[i] * r[i, j]
            n_k[j] += share
            scaled[j] += share * u
            first[j] += share * u * z
            second[j] += share * (u * np.outer(z, z) + B)
    return n_k, scaled, first, second, log_p, r


def em_by_pattern(X, weights, means, covariances):
    """One iteration of EM for rows with NaN, as one writes it with care in NumPy: group rows by pattern.

    Returns the new parameters, and the log-likelihood of the old ones.
    """
    X = X[~np.isnan(X).all(axis=1)]
    k, d = means.shape
    n_k, first, second, log_likelihood = np.zeros(k), np.zeros((k, d)), np.zeros((k, d, d)), 0.0
    patterns, of_row = np.unique(np.isnan(X) @ (1 << np.arange(d)), return_inverse=True)
    order = np.argsort(of_row, kind="stable")
    ends = np.cumsum(np.bincount(of_row))
    for pattern, rows in zip(patterns, np.split(order, ends[:-1]), strict=True):
        o = (pattern >> np.arange(d)) & 1 == 0
        some, joint, kept = X[rows][:, o], np.empty((len(rows), k)), []
        for j in range(k):
            factor = np.linalg.cholesky(covariances[j][np.ix_(o, o)])
            inverse = np.linalg.inv(factor)
            z = some - means[j][o]
            y = z @ inverse.T
            joint[:, j] = np.log(weights[j]) + np.log(np.diag(inverse)).sum() - 0.5 * (y * y).sum(axis=1)
            half = inverse @ covariances[j][o]
            kept.append((z, half.T @ inverse, covariances[j] - half.T @ half))
        joint -= 0.5 * o.sum() * np.log(2 * np.pi)
        peak = joint.max(axis=1, keepdims=True)
        r = np.exp(joint - peak)
        total = r.sum(axis=1, keepdims=True)
        log_likelihood += float((peak + np.log(total)).sum())
        r /= total
        for j, (z, R, B) in enumerate(kept):
            n_k[j] += r[:, j].sum()
            first[j] += R @ (r[:, j] @ z)
            second[j] += R @ ((r[:, j, None] * z).T @ z) @ R.T + r[:, j].sum() * B
    shift = first / n_k[:, None]
    second = second / n_k[:, None, None] - shift[:, :, None] * shift[:, None, :]
    return n_k / n_k.sum(), means + shift, second, log_likelihood


# --- rows with known noise and with missing numbers (NaN)


def noise_matrices(noise, n, d):
    """The covariance of the noise of each row, (n, d, d), from what `fit` takes."""
    if noise is None:
        return np.zeros((n, d, d))
    noise = np.asarray(noise, float)
    if noise.shape in ((d,), (n, d)):
        noise = noise[..., None] * np.eye(d)
    return np.broadcast_to(noise, (n, d, d))


def behind(x, noise, mean, covariance):
    """ln p(x | k), and the mean and covariance of the true values given x (Bovy et al. 2011, eq. 20, 21)."""
    seen = ~np.isnan(x)
    if not seen.any():
        return 0.0, mean, covariance
    total = (covariance + noise)[np.ix_(seen, seen)]
    gain = np.linalg.solve(total, covariance[seen]).T
    true = mean + gain @ (x - mean)[seen]
    return log_densities(x[None, seen], mean[seen], total)[0], true, covariance - gain @ covariance[seen]


def observed_e_step(X, noise, sample_weight, weights, means, matrices):
    """ln of weight times density (n, k), expected true values (n, d), and sums as in `statistics`."""
    (n, d), k = X.shape, len(weights)
    joint, true, spread = np.zeros((n, k)), np.zeros((n, k, d)), np.zeros((n, k, d, d))
    for i, x in enumerate(X):
        for c in range(k):
            log_p, true[i, c], spread[i, c] = behind(x, noise[i], means[c], matrices[c])
            joint[i, c] = math.log(weights[c]) + log_p
    r, log_p = shares(joint)
    shifted = true - means
    scatter = np.einsum("ik,ikab->kab", sample_weight[:, None] * r, spread)
    scatter += np.einsum("ik,ika,ikb->kab", sample_weight[:, None] * r, shifted, shifted)
    sums = sample_weight @ r, np.einsum("ik,ika->ka", sample_weight[:, None] * r, shifted), scatter
    return joint, log_p, np.einsum("ik,ika->ia", r, true), sums


def observed_em(X, noise, sample_weight, weights, means, matrices, shape, iterations):
    """Parameters and log-likelihoods of EM (eq. 25). `shape` makes (k, d, d) covariances obey their type."""
    history, sample_weight = [], telling(X, sample_weight)
    for iteration in range(iterations + 1):
        _, log_p, _, (n_k, first, scatter) = observed_e_step(
            X, noise, sample_weight, weights, means, matrices
        )
        history.append(float(sample_weight @ log_p))
        if iteration < iterations:
            shift = first / n_k[:, None]
            matrices = shape(scatter / n_k[:, None, None] - shift[:, :, None] * shift[:, None, :], n_k)
            weights, means = n_k / n_k.sum(), means + shift
    return weights, means, matrices, history


def component_products(rows, offsets, points):
    """Offset + row . point for each component and each point (points are columns)."""
    return np.array(
        [[offset + sum(row * x) for x in points.T] for row, offset in zip(rows, offsets, strict=True)]
    )
