"""The ONNX operator `Attention` by ONNX Runtime on the CPU."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from attention_ref.conformance.errors import Unsupported
from attention_ref.conformance.peers import onnx_model

SILENT = 4


def run(model: bytes, inputs: onnx_model.Arrays) -> Sequence[np.ndarray]:
    """Run a model; an error of the runtime means unsupported, with its message."""
    from onnxruntime import RunOptions
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    options = RunOptions()
    options.log_severity_level = SILENT
    try:
        return _session(model).run(None, inputs, options)
    except (errors.Fail, errors.InvalidArgument, errors.InvalidGraph, errors.NotImplemented) as error:
        message = str(error).strip().splitlines()[-1]
        raise Unsupported(re.split(r" was false\. |, Error |Status Message: ", message)[-1]) from error


@cache
def _session(model: bytes) -> Any:
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.log_severity_level = SILENT
    return InferenceSession(model, options, providers=["CPUExecutionProvider"])


attention = onnx_model.adapter(run)
