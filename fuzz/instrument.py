"""Which modules count as coverage: those that read, none that compute."""

MODULES = (
    "mcore.spec",
    "mcore.snapshot",
    "mcore.session",
    "mcore.training",
    "mcore.data",
    "mcore.weights",
    "mcore.live",
    "mcore.conflicts",
    "mcore.axes",
    "mcore.cache",
    "mcore.stream",
    "mcore.model",
)
