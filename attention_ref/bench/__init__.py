"""How fast the backends are, beside the attention and the models of their frameworks.

A workload is one computation at one size. Its contestants compute it from the same arrays, are timed in the same run,
one after the other in rounds of changing order, and are compared by the medians of those rounds. The machine's own rate
of matrix products and its memory bandwidth say how much faster anything could be.

The command is `attention-ref bench`; in Python, `bench.run(bench.attention("causal", 2048))` returns the same numbers.
"""

from __future__ import annotations

from attention_ref.bench.attention_workloads import KINDS, attention
from attention_ref.bench.layer_workloads import multi_head
from attention_ref.bench.machine import Machine, measure_machine
from attention_ref.bench.measurement import Measurement, run, scaling_exponents
from attention_ref.bench.model_workloads import MODELS, model
from attention_ref.bench.workload import Contestant, Workload

__all__ = [
    "KINDS",
    "MODELS",
    "Contestant",
    "Machine",
    "Measurement",
    "Workload",
    "attention",
    "measure_machine",
    "model",
    "multi_head",
    "run",
    "scaling_exponents",
]
