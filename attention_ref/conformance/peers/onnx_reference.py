"""The ONNX operator `Attention` run by the standard's reference evaluator."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from attention_ref.conformance.errors import Unsupported
from attention_ref.conformance.peers import onnx_model


def _run(model: bytes, inputs: onnx_model.Arrays) -> Sequence[np.ndarray]:
    if 0 in inputs["K"].shape:
        raise Unsupported("no keys: the evaluator raises ValueError")
    with np.errstate(all="ignore"):
        return _evaluator(model).run(None, inputs)


@cache
def _evaluator(model: bytes) -> Any:
    from onnx.reference import ReferenceEvaluator

    return ReferenceEvaluator(model)


attention = onnx_model.adapter(_run)
