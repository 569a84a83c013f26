"""Text data: a pattern on the first line, the text of two files after it."""

import random
from pathlib import Path

from fuzz.mutate import WORDS, change_bytes


class TextFiles:
    """`data: {task: text, paths: [...]}`, with the paths of the input."""

    name = "text"

    def seeds(self) -> list[bytes]:
        """Files, patterns and folders."""
        patterns = (b"a.txt", b"*.txt", b"**/*", b"folder", b"folder/*", b"[ab].txt", b"./a.txt")
        return [pattern + b"\n" + b"to be or not to be " * 3 for pattern in patterns]

    def mutate(self, data: bytes, rng: random.Random) -> bytes:
        """Another pattern or other text."""
        pattern, _, text = data.partition(b"\n")
        if rng.random() < 0.3:
            pattern += str(rng.choice(WORDS)).encode("utf-8", "surrogatepass")
        elif rng.random() < 0.5:
            pattern = change_bytes(pattern, rng)
        else:
            text = change_bytes(text, rng)
        return pattern + b"\n" + text

    def run(self, data: bytes, folder: Path) -> None:
        """A batch for training, and all that is held out."""
        from mcore.data import make_task
        from mcore.spec.schema import TextSpec

        pattern, _, text = data.partition(b"\n")
        (folder / "folder").mkdir()
        (folder / "a.txt").write_bytes(text)
        (folder / "folder" / "b.txt").write_bytes(text[::2])
        (folder / "folder" / "loop").symlink_to(folder)
        path = pattern.decode("utf-8", "surrogateescape")
        if path.startswith(("/", "~")) or ".." in path:
            return  # any path may be named, and what lies there is read
        spec = TextSpec(task="text", paths=(path,), length=8, documents=len(text) % 2 == 1)
        task = make_task(spec, 2, 0)
        task.train_batch(1)
        list(task.eval_batches())
