"""Article C in its text: what is said of projections."""

from __future__ import annotations


def kernel_first(array, kernel):
    """W X, though tokens are rows."""
    return kernel @ array


def kernel_last(array, kernel):
    """X W: each row of X is a token."""
    return array @ kernel
