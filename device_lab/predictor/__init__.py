"""Latency predicted from a table fitted to measured networks: to search on, and to audit afterwards."""

from akd_gym.device_lab.predictor.accuracy import Accuracy, cross_validate, judge
from akd_gym.device_lab.predictor.features import Form, Operator, operators_hash, read_operators, total_madds
from akd_gym.device_lab.predictor.fit import LatencyModel, fit_latency, fit_madds
from akd_gym.device_lab.predictor.meter import PredictedLatency
from akd_gym.device_lab.predictor.table_file import LatencyTable, MeasuredNetwork, read_table, write_table

__all__ = [  # noqa: RUF022  (grouped)
    # where predicted latencies come from
    "PredictedLatency",
    # a model as a table sees it
    "Form",
    "Operator",
    "read_operators",
    "operators_hash",
    "total_madds",
    # fitting, and how good the fit is
    "LatencyModel",
    "fit_latency",
    "fit_madds",
    "Accuracy",
    "cross_validate",
    "judge",
    # the file
    "LatencyTable",
    "MeasuredNetwork",
    "read_table",
    "write_table",
]
