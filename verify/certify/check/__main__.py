"""`python -m tinyadder.verify.certify.check FOLDER [CERTIFICATE]`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tinyadder.verify.certify.check import Rejected, check


def shown(text: str) -> str:
    """`text` on one line of ASCII: what came from a file cannot end the line nor hide in it."""
    return "".join(c if " " <= c <= "~" else c.encode("unicode_escape").decode() for c in text)


def main(arguments: list[str]) -> int:
    """Print the verdict; exit code 0 proved, 1 rejected, 2 usage."""
    if len(arguments) not in (1, 2) or arguments[0].startswith("-"):
        usage = "usage: python -m tinyadder.verify.certify.check FOLDER [CERTIFICATE]"
        print(usage, file=sys.stderr)
        return 2
    try:
        found = check(*(Path(a) for a in arguments))
    except Rejected as reason:
        print(f"REJECTED   {shown(str(reason))[:400]}")
        return 1
    name, options = found["task"]["name"], found["task"]["options"]
    listed = ", ".join(f"{key}={value}" for key, value in options.items())
    print(f"PROVED     {shown(f'{name} ({listed})')}: all {found['problems']:,} problems")
    print(f"margin     {found['margin']:.6g} in {found['unit']}, the smallest over all of them")
    print(f"model      sha256 {found['sha256']} of weights, config and task")
    print(f"checked    {found['claims']} {found['counted']}, under these assumptions:")
    for key, value in found["numerics"].items():
        print(f"{key:10} {value}")
    return 0


def run(arguments: list[str]) -> int:
    """`main`, where what reads the output may be gone (141, as of a signal) or full (2)."""
    try:
        code = main(arguments)
        sys.stdout.flush()
        return code
    except OSError as error:
        # what is still to be written goes nowhere, so that the interpreter can end in peace
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return 141
        print(f"error: cannot write the verdict: {error.strerror}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
