"""The ONNX standard's own tests of `Attention`, `RotaryEmbedding` and `RMSNormalization`, for whatever the kit checks.

    from attention_ref.conformance import onnx_nodes
    for outcome in onnx_nodes.run(subject): ...

Every test of the standard becomes a call of ours (`translate`), which has its truth, its budget and its clauses from
the specification like any case (`truth`). What a subject answers is compared with both: with the truth by the budget,
and, put back into ONNX's words, with what the standard expects by the standard's tolerance. Needs onnx and mpmath.
"""

from __future__ import annotations

from attention_ref.conformance.onnx_nodes.run_nodes import Outcome, run
from attention_ref.conformance.onnx_nodes.standard import OPERATORS, NodeTest, expanded, node_tests

__all__ = ["OPERATORS", "NodeTest", "Outcome", "expanded", "node_tests", "run"]
