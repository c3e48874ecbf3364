"""Releasing the vectors: writing them to a folder, verifying such a folder, and what was corrected since a release."""
