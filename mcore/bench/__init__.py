"""Measurements of a spec on this machine: `mcore bench`.

clock     timing in turns, with the machine's own sgemm between the rounds
peak      what a call takes in memory
measure   a spec's memory layers, its training step, and a token of a stream
report    the numbers, as a table and as JSON
"""
