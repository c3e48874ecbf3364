"""Attention kernels at real sizes: right ones, wrong ones, and such that cheat."""
