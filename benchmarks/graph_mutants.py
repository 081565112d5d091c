"""Certificates of graphs against the truth: `python -m benchmarks.graph_mutants [--count N]
[--seconds S] [--digits D] [--seed N] [--save]`.

Small torch transformers (one family a norm and an activation) are trained here to compare two
numbers of D digits [1] until all problems are right; then one weight of a mutant is set to zero, to
its negative, to a neighbouring float, or scaled, or all are shifted a little. Each mutant is asked
every problem, and its graph is put to the checker, text by text. Unsound is a mutant whose
certificate is accepted although it answers a problem wrongly. Returns 1 if anything is unsound.

`--save` adds the counts to `benchmarks/graph_mutants.json`.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import nn

import tinyadder
from tinyadder.tasks import task_from_json
from tinyadder.verify.certify.check import graph_texts
from tinyadder.verify.certify.check.graph import Graph
from tinyadder.verify.certify.check.intervals import Rejected
from tinyadder.verify.certify.check.tokens import NAME
from tinyadder.verify.certify.modules import TokenTexts
from tinyadder.verify.certify.strangers import NoGraph, read_data
from tinyadder.verify.external.graph import Constants, one_pass

KEPT = Path(__file__).with_suffix(".json")
ORDER = ("tried", "right", "proved", "rejected", "no graph", "unsound")
FAMILIES = ("layer-gelu", "rms-silu", "layer-relu", "rms-tanh", "none-relu")
COMPARED = 4
"""Texts on which graph and mutant are compared."""


class Comparer(nn.Module):
    """One block: norm, attention, norm, MLP, norm, readout; learned positions."""

    def __init__(self, family: str, tokens: int, length: int, width: int = 16) -> None:
        super().__init__()
        norm, act = family.split("-")
        kinds = {"layer": nn.LayerNorm, "rms": nn.RMSNorm, "none": nn.Identity}
        self.norms = nn.ModuleList(kinds[norm](width) for _ in range(3))
        self.embedding, self.place = nn.Embedding(tokens, width), nn.Embedding(length, width)
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.act = getattr(nn.functional, act) if act != "tanh" else torch.tanh
        self.readout = nn.Linear(width, tokens)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embedding(tokens) + self.place.weight[: tokens.shape[1]]
        y = self.norms[0](x)
        weights = torch.softmax(self.query(y) @ self.key(y).transpose(1, 2), -1)
        x = x + weights @ self.value(y)
        x = x + self.down(self.act(self.up(self.norms[1](x))))
        return self.readout(self.norms[2](x))


def asked(texts: TokenTexts) -> tuple[torch.Tensor, torch.Tensor]:
    """Every prompt, and the logit that is right behind it."""
    drawn = texts.drawn(texts.size, 0)
    prompts = torch.tensor([[int(t) for t in text[:-1]] for text, _ in drawn])
    return prompts, torch.tensor([texts.logits.index(text[-1]) for text, _ in drawn])


def wrong(model: nn.Module, prompts: torch.Tensor, right: torch.Tensor) -> int:
    """How many problems the module answers wrongly."""
    with torch.no_grad():
        return int((model(prompts)[:, -1].argmax(-1) != right).sum())


def trained(family: str, texts: TokenTexts, seed: int, steps: int = 3000) -> nn.Module:
    """A module that is right on every problem. Raises `RuntimeError` where training ends wrong."""
    torch.manual_seed(seed)
    prompts, right = asked(texts)
    model = Comparer(family, len(texts.vocabulary), prompts.shape[1])
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3, weight_decay=0.01)
    for step in range(steps):
        some = torch.randperm(len(prompts))[:512]
        loss = nn.functional.cross_entropy(model(prompts[some])[:, -1], right[some])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 50 == 49 and loss.item() < 2e-2 and wrong(model, prompts, right) == 0:
            return model.eval()
    raise RuntimeError(f"{family}, seed {seed}: wrong after {steps} steps")


def mutant(model: nn.Module, random: Random) -> tuple[nn.Module, str]:
    """A changed copy, and what was done."""
    found = copy.deepcopy(model)
    names = [name for name, _ in found.named_parameters()]
    with torch.no_grad():
        if random.random() < 0.3:
            size = 2.0 ** -random.randint(3, 9)
            torch.manual_seed(random.randrange(1 << 30))
            for weight in found.parameters():
                weight.add_(size * torch.randn_like(weight))
            return found, f"all weights shifted by {size:g}"
        name = random.choice(names)
        flat = found.get_parameter(name).view(-1)
        n, how = random.randrange(len(flat)), random.choice(("zero", "minus", "next", "scaled"))
        value = float(flat[n])
        flat[n] = {
            "zero": 0.0,
            "minus": -value,
            "next": float(torch.nextafter(flat[n], torch.tensor(torch.inf))),
            "scaled": value * (1 + random.choice((-1, 1)) * 2.0 ** -random.randint(0, 6)),
        }[how]
        return found, f"{name}[{n}] {how}"


def accepted(model: nn.Module, texts: TokenTexts) -> str:
    """What the checker says of the graph of a module."""
    prompts, _ = asked(texts)
    some = prompts[:: max(1, len(prompts) // COMPARED)][:COMPARED]
    with torch.no_grad():
        logits = torch.cat([model(text[None])[:, -1] for text in some])
        constants = Constants(logits.dtype)
        part = one_pass(model, some, -1, None, constants)
    data = {
        "exported": False,
        "why": "watched",
        "fused": 0.0,
        "dtype": "float32",
        "constants": b"".join(constants.values),
        "passes": [part],
        "logits": [logits.numpy().tobytes()],
    }
    try:
        read = read_data(data, {"name": NAME, "options": texts.options}, "")
        graph_texts.smallest_margin(Graph(read.graph), texts.logits, texts.asked)
    except NoGraph:
        return "no graph"
    except Rejected:
        return "rejected"
    return "proved"


def main(arguments: list[str] | None = None) -> int:
    """Try mutants; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--digits", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", action="store_true")
    given = parser.parse_args(arguments)
    task = task_from_json({"name": "comparison", "options": {"digits": given.digits}})
    texts = TokenTexts(task, task.vocabulary, task.vocabulary)
    prompts, right = asked(texts)
    random, began = Random(given.seed), time.monotonic()
    models: dict[str, nn.Module] = {}
    tally: dict[str, Counter[str]] = {}
    for n in range(given.count):
        if time.monotonic() - began > given.seconds:
            break
        family = FAMILIES[n % len(FAMILIES)]
        if family not in models:
            models[family] = trained(family, texts, given.seed)
            tally[family] = Counter()
        model, how = mutant(models[family], random) if n >= len(FAMILIES) else (models[family], "")
        said, misses = accepted(model, texts), wrong(model, prompts, right)
        counts = tally[family]
        counts.update({"tried": 1, "right": int(misses == 0), said: 1})
        if said == "proved" and misses:
            counts["unsound"] += 1
            print(f"UNSOUND {family}: {how}: proved, {misses} wrong")
    for family, counts in tally.items():
        print(f"{family:11}", " · ".join(f"{counts[key]:,} {key}" for key in ORDER))
    if given.save:
        save(tally, given)
    return int(any(counts["unsound"] for counts in tally.values()))


def save(tally: dict[str, Counter[str]], given: Any) -> None:
    """Add a campaign to what is kept."""
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else []
    kept.append(
        {
            "command": f"python -m benchmarks.graph_mutants --count {given.count}"
            f" --digits {given.digits} --seed {given.seed}",
            "families": {f: {key: counts[key] for key in ORDER} for f, counts in tally.items()},
            "date": datetime.now(UTC).date().isoformat(),
            "versions": {"tinyadder": tinyadder.__version__, "torch": torch.__version__},
        }
    )
    KEPT.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
