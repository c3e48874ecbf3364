"""Generation of vectors from recipes: inputs, expected results in 50 digits, sizes of rounding errors, JSON."""
