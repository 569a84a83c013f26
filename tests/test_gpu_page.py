"""The snippets of docs/gpu.md that need no CuPy are run as they stand."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

PAGE = Path(__file__).parents[1] / "docs" / "gpu.md"


@pytest.mark.usefixtures("emulated")
def test_a_token_as_a_graph() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (snippet,) = [block for block in blocks if "TokenGraph" in block]
    found: dict[str, Any] = {}
    exec(snippet, found)
    assert found["y"].shape == (2, 1, 4, 16)
    assert np.isfinite(found["y"].get()).all()
    assert found["graph"].replay().get().any()
