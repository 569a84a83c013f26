"""What the metadata of a graph says of where it comes from and what bounds it."""

from mcore.export.memory import MemoryForm
from mcore.segmentation import Given


def facts(source: str, notes: list[str]) -> dict[str, str]:
    """Version, what it was made of, and what to mind."""
    from mcore import __version__

    found = {"mcore.version": __version__, "mcore.spec": source}
    return found | ({"mcore.notes": "\n".join(notes)} if notes else {})


def notes_on(form: MemoryForm) -> list[str]:
    """Where a memory's graph differs from the memory."""
    memory, notes = form.memory, []
    if form.slots and memory.cache.limit is None and not isinstance(memory.segmentation, Given):
        notes.append(
            f"holds {form.slots} checkpoints, and drops the oldest beyond them; mcore keeps all"
        )
    return notes
