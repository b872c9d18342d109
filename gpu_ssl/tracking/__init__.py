"""Experiment trackers, such as MLflow, and what they are sent of a run, a model or a sweep."""
