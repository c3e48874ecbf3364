"""Trees of parameters: make, check, save and load them, and read released models, without any framework."""

from attention_ref.weights.checkpoint import read, write
from attention_ref.weights.files import load, save
from attention_ref.weights.layer_weights import read_layer, write_layer
from attention_ref.weights.tree import check, init

__all__ = ["check", "init", "load", "read", "read_layer", "save", "write", "write_layer"]
