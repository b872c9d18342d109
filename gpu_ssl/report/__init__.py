"""Output of runs and models: tables, plots, pages, files."""
