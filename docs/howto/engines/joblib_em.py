"""EM on the processes of one machine: python joblib_em.py FOLDER START.npz RESULT.npz"""

import sys
from pathlib import Path

from joblib import Parallel, delayed

import fastem

folder, start, result = sys.argv[1:]
files = sorted(Path(folder).glob("*.parquet"))
model = fastem.load(start)
before = float("-inf")

with Parallel(n_jobs=2, return_as="generator") as parallel:
    for _ in range(200):
        parts = parallel(delayed(fastem.e_step)(file, model, n_threads=1) for file in files)
        statistics = sum(parts)
        mean = statistics.log_likelihood / statistics.total_weight
        if mean - before < 1e-4:
            break
        before = mean
        model = fastem.m_step(statistics)
model.save(result)
