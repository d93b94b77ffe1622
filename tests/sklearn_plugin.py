"""pytest plugin: scikit-learn's own tests meet fastem's GaussianMixture under scikit-learn's name."""

import sklearn.mixture

from fastem.sklearn import GaussianMixture

sklearn.mixture.GaussianMixture = GaussianMixture
