"""EM in Spark partitions: python spark_em.py FOLDER START.npz RESULT.npz"""

import sys

import pyarrow as pa
from pyspark.sql import SparkSession

import fastem

folder, start, result = sys.argv[1:]
spark = SparkSession.builder.getOrCreate()
model = fastem.load(start)
rows = spark.read.parquet(folder).select(*model.feature_names)
before = float("-inf")


def e_step(batches):
    """Make one row of each partition that has any rows: the bytes of its statistics."""
    tables = (pa.Table.from_batches([batch]) for batch in batches)
    statistics = sum(fastem.e_step(table, model, n_threads=1) for table in tables)
    if statistics:
        yield pa.record_batch([[statistics.to_bytes()]], names=["statistics"])


for _ in range(200):
    parts = rows.mapInArrow(e_step, "statistics binary").collect()
    statistics = sum(fastem.Statistics.from_bytes(part.statistics) for part in parts)
    mean = statistics.log_likelihood / statistics.total_weight
    if mean - before < 1e-4:
        break
    before = mean
    model = fastem.m_step(statistics)
model.save(result)
