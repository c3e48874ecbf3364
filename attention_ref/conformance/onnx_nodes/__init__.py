"""Run the ONNX standard's tests of `Attention`, `RotaryEmbedding` and `RMSNormalization` on a subject of the kit.

    from attention_ref.conformance import onnx_nodes
    for outcome in onnx_nodes.run(subject): ...

Every test of the standard is translated into a call of our operations (`translate`), whose expected results, budgets
and clauses come from the specification (`node_truth`). The results of a subject are compared twice: with those of the
specification within their budgets and, translated back, with those of the standard within its tolerance. Needs onnx and
mpmath.
"""

from __future__ import annotations

from attention_ref.conformance.onnx_nodes.run_nodes import Outcome, run
from attention_ref.conformance.onnx_nodes.standard import OPERATORS, NodeTest, expanded, node_tests

__all__ = ["OPERATORS", "NodeTest", "Outcome", "expanded", "node_tests", "run"]
