"""Students in the layouts of other tools; one format per file."""
