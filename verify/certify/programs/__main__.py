"""Judge the certificate of a compiled program.

    python -m tinyadder.verify.certify.programs FOLDER

Exit code 0 proved, 1 rejected, 2 usage.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tinyadder.verify.certify.check.__main__ import shown
from tinyadder.verify.certify.check.files import parse, read
from tinyadder.verify.certify.check.intervals import Rejected
from tinyadder.verify.certify.programs import check, computer


def main(arguments: list[str]) -> int:
    """Print the verdict."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print("usage: python -m tinyadder.verify.certify.programs FOLDER", file=sys.stderr)
        return 2
    folder = Path(arguments[0])
    try:
        certificate = parse(read(folder / "certificate.json"))
        if type(certificate) is dict and certificate.get("format") == computer.FORMAT:
            found = computer.check(folder)
            said = f"every program and input, texts of at most {found['length']:,} tokens"
        else:
            found = check.check(folder)
            said = f"all {found['problems']:,} texts of at most {found['length']} tokens"
            said += ", wherever the program has a value" if found["partial"] else ""
    except (Rejected, OSError) as reason:
        print(f"REJECTED   {shown(str(reason))[:400]}")
        return 1
    print(f"PROVED     {said}, margin {found['margin']:.6g}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
