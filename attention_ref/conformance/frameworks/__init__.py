"""The array frameworks that a subject may use: how arrays are made, read, moved and differentiated in each."""
