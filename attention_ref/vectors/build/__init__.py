"""From recipes to vectors: inputs, the truth in 50 digits, sizes of rounding errors, and the JSON that holds them."""
