"""A plan as text."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mcore.spec.plan import Plan


def plan_text(plan: "Plan") -> str:
    """Tables of parts and of the dial, with totals; plain text, 80 columns or a little more."""
    lines = [f"{'part':<18} {'what':<34} {'parameters':>11} {'FLOPs/token':>12} {'state':>9}"]
    for row in plan.rows:
        lines.append(
            f"{row.name:<18} {row.what:<34} {row.parameters:>11,} "
            f"{count(row.flops):>12} {size(row.state_bytes):>9}"
        )
    lines.append(
        f"{'total':<18} {f'{plan.tokens} tokens per sequence':<34} {plan.parameters:>11,} "
        f"{count(plan.flops):>12} {size(plan.state_bytes):>9}"
    )
    lines += ["", "A training step costs three times the forward FLOPs."]
    if plan.dial:
        lines += [
            "",
            "The dial, for one memory layer (N = 1: a recurrent network; N = T: attention)",
        ]
        lines.append(f"{'segments N':>10} {'length':>8} {'FLOPs/token':>12} {'state':>9}")
        lines += [
            f"{row.segments:>10} {row.length:>8} {count(row.flops):>12} {size(row.state_bytes):>9}"
            for row in plan.dial
        ]
    lines += ["", *plan.caches] if plan.caches else []
    lines += ["", plan.device] if plan.device else []
    return "\n".join([*lines, "", *plan.forms, *(f"note: {note}" for note in plan.notes)])


def count(number: float) -> str:
    """1234567 as 1.23M."""
    for unit, name in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= unit:
            return f"{number / unit:.3g}{name}"
    return f"{number:.0f}"


def size(number: int) -> str:
    """Bytes with a binary unit."""
    for power, name in ((5, "PiB"), (4, "TiB"), (3, "GiB"), (2, "MiB"), (1, "KiB")):
        if number >= 1024**power:
            return f"{number / 1024**power:.1f} {name}"
    return f"{number} B"
