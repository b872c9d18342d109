"""What a run leaves behind: records, table, plots, files."""
