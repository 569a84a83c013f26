"""A pytest plug-in: one test for each theorem about your kernel.

    import mcore.testing

    mcore_kernel = mcore.testing.Kernel(forward, backward, recurrence="linear", readout="grm")

    def test_kernel(mcore_theorem):
        mcore_theorem()

`mcore_theorem` stands for one theorem after the other that says something about `mcore_kernel`;
calling it tries the theorem, and fails the test with the smallest counterexample found. The plug-in
is loaded with pytest and imports nothing else of mcore until a test asks for it.
"""

from collections.abc import Callable

import pytest

__all__ = ["mcore_theorem", "pytest_generate_tests"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test per theorem for each function that takes `mcore_theorem`."""
    if "mcore_theorem" not in metafunc.fixturenames:
        return
    kernel = getattr(metafunc.module, "mcore_kernel", None)
    if kernel is None:
        raise pytest.UsageError(
            f"{metafunc.module.__name__}: mcore_theorem is about `mcore_kernel`, which this module "
            "does not have; e.g. mcore_kernel = mcore.testing.Kernel(forward, readout='grm')"
        )
    from mcore.testing.theorems import THEOREMS

    names = [name for name, theorem in THEOREMS.items() if theorem.missing(kernel) is None]
    metafunc.parametrize("mcore_theorem", names, indirect=True)


@pytest.fixture
def mcore_theorem(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Tries one theorem on the module's `mcore_kernel`; takes an `Effort`, if another is wanted."""
    from mcore.testing.theorems import THEOREMS
    from mcore.testing.theorems.outcome import Report
    from mcore.testing.theorems.search import Effort, search
    from mcore.testing.theorems.words import explanation

    kernel, theorem = request.module.mcore_kernel, THEOREMS[request.param]

    def check(effort: Effort | None = None) -> None:
        report = Report(kernel.name, [search(theorem, kernel, effort or Effort())])
        if not report.ok:
            pytest.fail("\n".join(explanation(report)), pytrace=False)

    return check
