"""The one parameter tree: made, checked, saved and loaded without any framework."""

from attention_ref.weights.files import load, save
from attention_ref.weights.tree import check, init

__all__ = ["check", "init", "load", "save"]
