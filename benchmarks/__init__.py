"""Measurements; run as modules, e.g. `python -m benchmarks.layer`."""
