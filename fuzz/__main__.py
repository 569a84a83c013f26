"""`python -m fuzz [--minutes M] [target ...]`: fuzz what mcore reads, each target on its own."""

import argparse
import sys
from pathlib import Path

from fuzz.report import table
from fuzz.runner import hunt

NAMES = (
    "spec",
    "overrides",
    "snapshot",
    "session",
    "kernels",
    "run-json",
    "result-json",
    "metrics-jsonl",
    "spec-yaml",
    "last-safetensors",
    "carried",
    "text",
    "series-csv",
    "series-npy",
    "series-npz",
    "series-ts",
    "series-parquet",
    "rnn",
    "onnx",
    "wav",
    "stream-lines",
    "stream-state",
)


def main() -> int:
    """Fuzz, print a table, and return 1 if anything was found."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="target", help=f"of {', '.join(NAMES)}; all")
    parser.add_argument("--minutes", type=float, default=1.0, help="for each target (1)")
    parser.add_argument("--seed", type=int, default=0, help="of the mutations (0)")
    parser.add_argument("--keep", type=Path, default=Path("runs/fuzz"), help="folder of findings")
    parser.add_argument("--plain", action="store_true", help="without atheris, if it is here too")
    args = parser.parse_args()
    wrong = sorted({*args.targets} - {*NAMES})
    if wrong:
        parser.error(f"{', '.join(wrong)}: no such target; there are {', '.join(NAMES)}")
    reports = []
    for name in args.targets or NAMES:
        print(f"{name} ...", file=sys.stderr, flush=True)
        reports.append(hunt(name, 60 * args.minutes, args.seed, args.keep.resolve(), args.plain))
    print(table(reports))
    return int(any(report.findings for report in reports))


if __name__ == "__main__":
    sys.exit(main())
