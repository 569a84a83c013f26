"""Hostile input: every file that mcore reads, fuzzed. `python -m fuzz --help` says how.

What must come of any input is success or a clear `McoreError`: no other exception, no hang, no
unbounded memory, no code run, nothing written or read outside of the run's folder.
"""
