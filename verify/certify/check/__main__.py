"""`python -m tinyadder.verify.certify.check FOLDER [CERTIFICATE]`."""

from __future__ import annotations

import sys
from pathlib import Path

from tinyadder.verify.certify.check import NUMERICS, Rejected, check


def main(arguments: list[str]) -> int:
    """Print the verdict; exit code 0 proved, 1 rejected, 2 usage."""
    if len(arguments) not in (1, 2) or arguments[0].startswith("-"):
        print(
            "usage: python -m tinyadder.verify.certify.check FOLDER [CERTIFICATE]", file=sys.stderr
        )
        return 2
    try:
        found = check(*(Path(a) for a in arguments))
    except Rejected as reason:
        print(f"REJECTED   {reason}")
        return 1
    options = ", ".join(f"{k}={v}" for k, v in found["task"]["options"].items())
    print(f"PROVED     {found['task']['name']} ({options}): all {found['problems']:,} problems")
    print(f"margin     {found['margin']:.6g} in logits, the smallest over all of them")
    print(f"weights    sha256 {found['sha256']}, {found['claims']} shortest paths checked")
    for key, value in NUMERICS.items():
        print(f"{key:10} {value}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
