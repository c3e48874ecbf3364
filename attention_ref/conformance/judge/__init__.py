"""The judge of kernels: calls of attention at real sizes from a random seed, run in a separate process."""

from attention_ref.conformance.judge.judge_function import judge
from attention_ref.conformance.judge.judgement import Judgement

__all__ = ["Judgement", "judge"]
