"""The exact results of attention and the expected sizes of its rounding errors, at realistic sizes.

The specification's tape (`attention_ref.spec.trace`) records every operation, which no memory holds at 4096 keys. For
attention its sums of squares have a closed form, which costs a few matrix products more than attention itself. It is
computed here in NumPy and float64, over tiles of queries, so that memory grows linearly with the length.
"""

from attention_ref.oracle.backward import gradients
from attention_ref.oracle.forward import attention
from attention_ref.oracle.result import Result, Rounding, Truth

__all__ = ["Result", "Rounding", "Truth", "attention", "gradients"]
