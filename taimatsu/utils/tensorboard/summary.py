"""What is written besides numbers: the hyperparameters of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.plugins.hparams import api_pb2, metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import (
    HParamsPluginData,
    SessionEndInfo,
    SessionStartInfo,
)

__all__ = ["hparams"]


def _summary(tag: str, **data: Any) -> Summary:
    content = HParamsPluginData(version=metadata.PLUGIN_DATA_VERSION, **data).SerializeToString()
    plugin = SummaryMetadata.PluginData(plugin_name=metadata.PLUGIN_NAME, content=content)
    described = SummaryMetadata(plugin_data=plugin)
    return Summary(value=[Summary.Value(tag=tag, metadata=described)])


def _typed(name: str, value: Any) -> tuple[Any, str, Any]:
    """A hyperparameter as TensorBoard has it: its type, the field for it, the value."""
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, (bool, np.bool_)):
        return api_pb2.DATA_TYPE_BOOL, "bool_value", bool(value)
    if isinstance(value, (int, float)):
        return api_pb2.DATA_TYPE_FLOAT64, "number_value", float(value)
    if isinstance(value, str):
        return api_pb2.DATA_TYPE_STRING, "string_value", value
    raise ValueError(
        f"hparams: value should be one of int, float, str, bool, or torch.Tensor; got {name} of "
        f"type {type(value).__name__}"
    )


def hparams(
    hparam_dict: Mapping[str, Any],
    metric_dict: Mapping[str, Any],
    hparam_domain_discrete: Mapping[str, Sequence[Any]] | None = None,
) -> tuple[Summary, Summary, Summary]:
    """The hyperparameters of a run: what the experiment has, that it began, and that it ended.

    `metric_dict` names the scalars to compare runs by; hyperparameters of None are left out, and
    `hparam_domain_discrete` lists the values that one may have. TypeError for what isn't a dict,
    ValueError for values that are neither numbers, bools nor strings.
    """
    for given in (hparam_dict, metric_dict):
        if not isinstance(given, Mapping):
            raise TypeError(
                "hparams: hparam_dict and metric_dict should be dictionaries, nothing logged; got "
                f"{type(given).__name__}"
            )
    start, infos = SessionStartInfo(), []
    for name, value in hparam_dict.items():
        if value is None:
            continue
        kind, field, value = _typed(name, value)
        setattr(start.hparams[name], field, value)
        info = api_pb2.HParamInfo(name=name, type=kind)
        for allowed in (hparam_domain_discrete or {}).get(name, ()):
            info.domain_discrete.values.add(**dict([_typed(name, allowed)[1:]]))
        infos.append(info)
    metrics = [
        api_pb2.MetricInfo(name=api_pb2.MetricName(tag=tag)) for tag in metric_dict
    ]
    experiment = api_pb2.Experiment(hparam_infos=infos, metric_infos=metrics)
    end = SessionEndInfo(status=api_pb2.STATUS_SUCCESS)
    return (
        _summary(metadata.EXPERIMENT_TAG, experiment=experiment),
        _summary(metadata.SESSION_START_INFO_TAG, session_start_info=start),
        _summary(metadata.SESSION_END_INFO_TAG, session_end_info=end),
    )
