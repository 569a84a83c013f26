"""What came of fuzzing, as text."""

from collections.abc import Sequence

from fuzz.runner import Report


def table(reports: Sequence[Report]) -> str:
    """A line for each target, then its findings."""
    lines = [f"{'target':<18} {'executions':>10} {'edges':>7} {'features':>9} {'findings':>9}"]
    for report in reports:
        edges = (
            f"{report.coverage:>7} {report.features:>9}" if report.guided else f"{'-':>7} {'-':>9}"
        )
        lines.append(f"{report.name:<18} {report.executions:>10} {edges} {len(report.findings):>9}")
    for report in reports:
        for found in report.findings:
            place = f"{found['kind']} at {found['place']}" if found["place"] else found["kind"]
            lines.append(f"{report.name}: {place}: {found['message'][:200]!r} {found['input']}")
    return "\n".join(lines)
