"""Release of the vectors: export to a folder, verification of an export, and errata."""
