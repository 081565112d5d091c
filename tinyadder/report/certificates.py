"""Certificates as committed files, and what the checker says of one today.

`results/certificates/` holds one for each proved row of the leaderboard, as it was written, in
gzip. Nothing repeats "proved" because a file says so: the checker is asked, about the model at
hand.
"""

from __future__ import annotations

import gzip
import io
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tinyadder.errors import TinyadderError
from tinyadder.io.files import atomic_write, read_bytes
from tinyadder.io.folder import save
from tinyadder.machine.transformer import Transformer
from tinyadder.report.results import check_model_name
from tinyadder.tasks.base import Task
from tinyadder.verify.certify.check import Rejected, check
from tinyadder.verify.verdict import Proved, Unknown

CERTIFICATE = "certificate.json"
LARGEST = 2**28
"""Bytes of a certificate; nothing larger is read or unpacked."""


def certificate_file(results: Path, model: str, options: Mapping[str, Any]) -> Path:
    """Where the certificate of `model`, built with these options, is kept.

    >>> certificate_file(Path("results"), "multiply", {"second": 1}).as_posix()
    'results/certificates/multiply-second=1.json.gz'
    """
    label = "".join(f"-{key}={value}" for key, value in sorted(options.items()))
    return results / "certificates" / f"{check_model_name(model)}{label}.json.gz"


def keep_certificate(source: Path, target: Path) -> None:
    """Copy the certificate `source` to `target` in gzip; the same one gives the same bytes."""
    with atomic_write(target, way_out="free some space, or mend the permissions") as part:
        part.write_bytes(gzip.compress(read_certificate(source), 9, mtime=0))


def recheck(model: Transformer, task: Task, certificate: Path) -> Proved | Unknown:
    """What the checker says of this certificate (`.json`, or in gzip) and this model.

    It reads the model from files, so `model` is written to a folder first: proved is about exactly
    these weights, this config and this task. Unknown, with the reason, for everything else.
    """
    if not certificate.is_file():
        return Unknown(f"there is no certificate {certificate.name} for the checker to read")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "model"
        try:
            save(model, task, folder, name="model", options={})
            (folder / CERTIFICATE).write_bytes(read_certificate(certificate))
            return Proved.by_checker(check(folder), str(certificate))
        except Rejected as reason:
            return Unknown(f"the checker rejects {certificate.name}: {reason}")
        except (OSError, EOFError, TinyadderError) as error:
            return Unknown(f"{certificate.name} cannot be read: {error}")


def read_certificate(certificate: Path) -> bytes:
    """The content of a certificate (`.json`, or in gzip), of at most `LARGEST` bytes."""
    content = read_bytes(certificate, most=LARGEST)
    if certificate.suffix != ".gz":
        return content
    with gzip.open(io.BytesIO(content)) as file:
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise TinyadderError(f"it unpacks to more than {LARGEST:,} bytes")
    return content
