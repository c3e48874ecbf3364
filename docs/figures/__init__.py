"""Figures of the site that are computed: `python -m docs.figures` writes them into `docs/_static`."""
