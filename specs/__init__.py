"""Runnable presets, installed as `mcore.specs`."""
