"""The judge of kernels: attention at real sizes, drawn from a fresh seed, asked of a process that nothing is told."""

from attention_ref.conformance.judge.judge_function import judge
from attention_ref.conformance.judge.judgement import Judgement

__all__ = ["Judgement", "judge"]
