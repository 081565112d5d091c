"""Is it an autoregressive transformer that does the work itself? Eight checks, each a small
function with a `Finding`.

For our own models the verifier owns the loop; a `Decode` under test (by default `answers` through
the whole forward pass) is watched while it runs. Of a submission file only what can be observed
from outside is judged (`foreign`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import torch
from torch import Tensor, nn

from tinyadder.machine.answers import answers, share_right
from tinyadder.machine.encoder import EncoderDecoder, empty_model
from tinyadder.machine.tensors import BUFFERS, stored_name
from tinyadder.machine.transformer import Transformer
from tinyadder.tasks.base import Draw, Problem, Task
from tinyadder.tasks.lengths import by_length

TOLERANCE = {True: 1e-6, False: 1e-3}
"""Of the largest logit, for float64 and for less: what summing in another order may change."""
CHANCE = 0.05
"""How far above always giving the commonest answer a model may be that is said to know nothing."""

MASKING = -1e4
"""A score of at most this masks; a tensor that has no other number but 0 and 1 is a mask."""

Decode = Callable[[Transformer, Task, Sequence[Problem]], Sequence[Sequence[str]]]


@dataclass(frozen=True)
class Finding:
    """What one check found: passed, failed, or (None) not observed, a figure where there is one,
    and in words.
    """

    check: str
    passed: bool | None
    measured: float | None
    said: str

    def __str__(self) -> str:
        mark = {True: "ok", False: "FAILS", None: "not observed"}[self.passed]
        return f"{mark:13} {self.check}: {self.said}"


def reference(
    model: Transformer, task: Task, problems: Sequence[Problem]
) -> Sequence[Sequence[str]]:
    """The decoder that is judged by default: greedy, one forward pass over the whole text for every
    token.
    """
    return answers(model, task, problems, cache=False)


def legality(
    model: Transformer,
    task: Task,
    problems: Sequence[Problem],
    *,
    seed: int = 0,
    decode: Decode = reference,
) -> list[Finding]:
    """All checks of a model of ours on these problems."""
    return [
        prefix_consistency(model, task, problems, seed=seed),
        one_token_per_pass(model, task, problems, decode=decode),
        feedback(model, task, problems, seed=seed),
        attention_ablation(model, task, problems),
        buffers(model),
        dtype(model),
        decode_honesty(model, task, problems, seed=seed, decode=decode),
        weight_swap(model, task, problems, seed=seed, decode=decode),
    ]


# ---- texts ---------------------------------------------------------------------------------------


def _tags(task: Task, problems: Sequence[Problem]) -> bool:
    """Whether the answer is read at positions of the prompt, so that nothing is generated."""
    return task.read_at(problems[0]) is not None


def _groups(
    model: Transformer, task: Task, problems: Sequence[Problem]
) -> Iterator[tuple[Tensor, int, Tensor]]:
    """Batches of one shape: token ids of prompt + right answer (of a tagger the prompt), the
    position that chooses the first answer token, and the ids of the right answers.
    """
    pairs = [(task.prompt(problem), task.answer(problem)) for problem in problems]
    whole = not _tags(task, problems)
    for group in by_length(pairs):
        texts = [[*pairs[i][0], *(pairs[i][1] if whole else ())] for i in group]
        right = torch.from_numpy(task.encode([pairs[i][1] for i in group]))
        first = task.forced(problems[group[0]])[1]
        device = model.outputs.device
        yield torch.from_numpy(task.encode(texts)).to(device), first, right.to(device)


def _guessing(task: Task, problems: Sequence[Problem]) -> float:
    """The share of the commonest right answer: what a model gets that ignores the prompt.

    Of a tagger that of the commonest of each length, which the prompt gives away.
    """
    tags = _tags(task, problems)
    commonest: dict[int, Counter[tuple[str, ...]]] = {}
    for problem in problems:
        answer = tuple(task.answer(problem))
        commonest.setdefault(len(answer) if tags else 0, Counter())[answer] += 1
    return sum(found.most_common(1)[0][1] for found in commonest.values()) / len(problems)


# ---- the checks ----------------------------------------------------------------------------------


@torch.inference_mode()
def prefix_consistency(
    model: Transformer, task: Task, problems: Sequence[Problem], *, seed: int = 0
) -> Finding:
    """Logits of a prefix do not change when tokens follow it: cut off, and replaced by random ones.

    Measured: the largest change, in units of the largest logit at that position.
    """
    random = torch.Generator().manual_seed(seed)
    worst, decided = 0.0, True
    for texts, chooses, _ in _groups(model, task, problems[:64]):
        whole = model(texts)
        # an encoder reads the whole prompt
        first = chooses + 1 if isinstance(model, EncoderDecoder) else 1
        for end in range(first, texts.shape[1]):
            tail = torch.randint(
                len(task.vocabulary), (len(texts), texts.shape[1] - end), generator=random
            )
            cut = model(texts[:, :end])
            other = model(torch.cat([texts[:, :end], tail.to(texts.device)], 1))
            for part in (cut, other[:, :end]):
                kept = whole[:, first - 1 : end]
                size = kept.abs().amax(-1, keepdim=True).clamp(min=1e-300)
                worst = max(worst, float(((part[:, first - 1 :] - kept).abs() / size).max()))
                if end > chooses:
                    same = part[:, chooses:].argmax(-1) == whole[:, chooses:end].argmax(-1)
                    decided &= bool(same.all())
    passed = decided and worst <= TOLERANCE[whole.dtype == torch.float64]
    said = f"logits change by at most {worst:.1e} of the largest when tokens follow"
    return Finding(
        "prefix consistency", passed, worst, said if passed else f"{said}: it looks ahead"
    )


@contextmanager
def _watched(model: nn.Module, seen: Callable[[Tensor, Tensor], Tensor]) -> Iterator[None]:
    """Call `seen(tokens, logits)` at every forward pass; what it returns is taken for the
    logits.
    """
    forward = model.forward
    model.forward = lambda tokens, **rest: seen(tokens, forward(tokens, **rest))  # type: ignore[method-assign]
    try:
        yield
    finally:
        del model.forward


def one_token_per_pass(
    model: Transformer, task: Task, problems: Sequence[Problem], *, decode: Decode = reference
) -> Finding:
    """Every emitted token has a forward pass of its own, over the text so far, whose argmax it is.
    Of a tagger: all are the argmax, each at its position, of one pass over the prompt.

    Watched is the decoding of single problems. Measured: forward passes per emitted token.
    """
    passes, tokens, faults = 0, 0, []
    for problem in problems[:8]:
        read = task.read_at(problem)
        log: list[tuple[list[int], list[int]]] = []

        def note(
            text: Tensor,
            logits: Tensor,
            log: list[tuple[list[int], list[int]]] = log,
            read: range | None = read,
        ) -> Tensor:
            at = logits[0, -1:] if read is None else logits[0, read.start : read.stop]
            log.append((text[0].tolist(), model.outputs[at.argmax(-1)].tolist()))
            return logits

        with _watched(model, note):
            emitted = list(decode(model, task, [problem])[0])
        ids = [task.vocabulary.index(token) for token in emitted]
        text = [task.vocabulary.index(token) for token in task.prompt(problem)]
        passes, tokens = passes + len(log), tokens + len(ids)
        if read is None:
            fine = log[: len(ids)] == [(text + ids[:k], [chosen]) for k, chosen in enumerate(ids)]
        else:
            fine = log == [(text, ids)]
        if not fine:
            faults.append(task.show(problem))
    said = f"{passes} forward passes for {tokens} tokens"
    if faults:
        said += f"; the tokens emitted for {faults[0]} are not the argmax of one pass " + (
            "over the prompt, each at its position"
            if _tags(task, problems)
            else "each over the text so far"
        )
    return Finding("one token per pass", not faults, passes / max(tokens, 1), said)


@torch.inference_mode()
def feedback(
    model: Transformer, task: Task, problems: Sequence[Problem], *, seed: int = 0
) -> Finding:
    """How often the next token is still right when every token before it is replaced by a random
    wrong one.

    A model that carries on from what it wrote cannot be right always; one that is computes the
    whole answer at once and ignores its own output. Measured: the share of right tokens, the first
    of each answer aside.
    """
    if _tags(task, problems):
        return Finding("feedback", None, None, "a tagger writes nothing that it could read")
    random = Random(seed)
    right = count = 0
    said = sorted({token for p in problems for token in task.answer(p) if token != task.end})
    ids = [task.vocabulary.index(token) for token in said]
    for texts, chooses, _ in _groups(model, task, problems):
        start = chooses + 1
        fed = texts.clone()
        for k in range(start, texts.shape[1]):
            if k > start:
                chosen = model.outputs[model(fed[:, :k])[:, -1].argmax(-1)]
                right, count = right + int((chosen == texts[:, k]).sum()), count + len(texts)
            for row in range(len(texts)):
                other = [i for i in ids if i != int(texts[row, k])]
                fed[row, k] = random.choice(other) if other else fed[row, k]
    if not count or len(ids) < 2:
        return Finding(
            "feedback",
            None,
            None,
            "answers of one token, or of one kind of token, are never fed back",
        )
    share = right / count
    said_share = f"after random tokens the next is right in {share:.0%}"
    return Finding(
        "feedback",
        share < 1,
        share,
        said_share + ("" if share < 1 else ": it ignores its own output"),
    )


@torch.inference_mode()
def attention_ablation(model: Transformer, task: Task, problems: Sequence[Problem]) -> Finding:
    """Without attention (all weights zero) or with blind attention (all positions equal) the
    accuracy is gone.

    Where every head attends to all positions equally by itself, the second shows nothing and is
    left out. Measured: the higher of the two accuracies.
    """
    blind = True

    def zero(name: str, value: Tensor) -> Tensor:
        return torch.zeros_like(value) if name.endswith("hook_pattern") else value

    def uniform(name: str, value: Tensor) -> Tensor:
        if not name.endswith("hook_pattern"):
            return value
        nonlocal blind
        queries, keys = value.shape[-2:]
        seen = torch.ones_like(value).tril(keys - queries)
        same = seen / seen.sum(-1, keepdim=True)
        blind &= bool((value - same * value.sum(-1, keepdim=True)).abs().max() <= value.max() / 1e6)
        return same

    found = {}
    for name, hook in (("no attention", zero), ("uniform attention", uniform)):
        right = 0
        for texts, first, answer in _groups(model, task, problems):
            logits = model(texts[:, : first + answer.shape[1]], hook=hook)[:, first:]
            right += int((model.outputs[logits.argmax(-1)] == answer).all(1).sum())
        found[name] = right / len(problems)
    if blind:
        found.pop("uniform attention")
    guessing, worst = _guessing(task, problems), max(found.values())
    said = ", ".join(f"{share:.0%} right with {name}" for name, share in found.items())
    allowed = guessing + CHANCE + 3 * (guessing * (1 - guessing) / len(problems)) ** 0.5
    return Finding(
        "attention ablation", worst <= allowed, worst, f"{said}; guessing gives {guessing:.0%}"
    )


def buffers(model: nn.Module) -> Finding:
    """Floating-point numbers outside the parameters: slopes and 0/1 wiring are known, anything else
    fails.

    Measured: how many numbers other than 0, 1, infinity and the one of a mask are kept there.
    """
    from tinyadder.verify.count import kept_beside

    other = Counter[str]()
    known = 0
    for rung, name, _, values in kept_beside(model):
        odd = values[(values != 0) & (values != 1) & values.isfinite()].unique()
        mask = len(odd) == 1 and float(odd) <= MASKING
        if rung == BUFFERS and len(odd) and not mask:
            other[name] += int(torch.isin(values, odd).sum())
        known += int(values.count_nonzero()) if rung != BUFFERS else 0
    if not other:
        return Finding(
            "buffers",
            True,
            0,
            f"{known} positions and wires, no other numbers outside the parameters",
        )
    listed = ", ".join(f"{count:,} in {name}" for name, count in other.most_common(4))
    return Finding(
        "buffers", False, sum(other.values()), f"numbers outside the parameters: {listed}"
    )


def dtype(model: nn.Module) -> Finding:
    """All parameters and floating-point buffers have one type, an IEEE one of at most 64 bits."""
    from tinyadder.verify.count import other_tensors

    every = [(name, p.dtype) for name, p in model.named_parameters()] + [
        (n, t.dtype) for n, t in other_tensors(model)
    ]
    kinds = Counter(str(kind).removeprefix("torch.") for _, kind in every)
    said = ", ".join(f"{count} tensors {kind}" for kind, count in kinds.most_common())
    passed = len(kinds) == 1 and set(kinds) <= {"float64", "float32", "float16", "bfloat16"}
    return Finding("dtype", passed, len(kinds), said or "no floating-point tensors")


def decode_honesty(
    model: Transformer,
    task: Task,
    problems: Sequence[Problem],
    *,
    seed: int = 0,
    decode: Decode = reference,
) -> Finding:
    """With random logits the decoder gives random answers. Measured: the share that is right
    nevertheless.
    """
    random = torch.Generator().manual_seed(seed)

    def noise(_: Tensor, logits: Tensor) -> Tensor:
        return torch.rand(logits.shape, generator=random, dtype=logits.dtype).to(logits.device)

    with _watched(model, noise):
        share = share_right(task, problems, decode(model, task, problems))
    # A coin is right half of the time: what is allowed is what guessing the tokens gives, and some
    # luck.
    lengths = [len(task.answer(p)) for p in problems]
    luck = sum(len(model.outputs) ** -float(n) for n in lengths) / len(lengths)
    allowed = luck + 3 * (luck / len(problems)) ** 0.5 + CHANCE
    said = f"{share:.0%} of the answers are right with random logits; luck gives {luck:.0%}"
    return Finding("decode honesty", share <= allowed, share, said)


@dataclass(frozen=True)
class Relabelled(Task):
    """A task in a code: every token of its texts is replaced by another one."""

    task: Task
    code: tuple[tuple[str, str], ...]

    def __post_init__(self) -> None:
        """Made here, of a task that was checked."""

    def _coded(self, text: Sequence[str]) -> Any:
        code = dict(self.code)
        tokens = tuple(code.get(token, token) for token in text)
        return "".join(tokens) if isinstance(text, str) else tokens

    @property
    def vocabulary(self) -> tuple[str, ...]:
        return self.task.vocabulary

    @property
    def end(self) -> str | None:
        return self.task.end

    @property
    def answer_length(self) -> int:
        return self.task.answer_length

    def prompt(self, problem: Problem) -> Any:
        return self._coded(self.task.prompt(problem))

    def answer(self, problem: Problem) -> Any:
        return self._coded(self.task.answer(problem))

    def check(self, problem: Any) -> Problem:
        return self.task.check(problem)

    def parse(self, text: str) -> Problem:
        return self.task.parse(text)

    def show(self, problem: Problem) -> str:
        return self.task.show(problem)

    def show_answer(self, answer: Sequence[str]) -> str:
        return self.task.show_answer(answer)

    def draws(self) -> Sequence[Draw]:
        return self.task.draws()

    def uniform(self, random: Random, count: int) -> list[Problem]:
        return self.task.uniform(random, count)

    def hard(self) -> list[Problem]:
        return self.task.hard()


def relabelled(model: Transformer, code: dict[int, int]) -> Transformer:
    """The same model for coded texts: rows of the embedding and ids of the outputs are permuted,
    nothing else.
    """
    config, width = model.config, model.config.width
    row = [code.get(i, i) for i in range(len(config.vocabulary))]
    ties = tuple(
        (name, row[flat // width] * width + flat % width if name == "embedding" else flat, source)
        for name, flat, source in config.ties
    )
    made = empty_model(
        replace(config, outputs=tuple(row[i] for i in config.outputs), ties=ties),
        next(model.parameters()).dtype,
    )
    state = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    for name in ("embedding", stored_name("embedding")):
        if name in state:
            state[name][torch.tensor(row)] = model.state_dict()[name].cpu().to(state[name].device)
    made.load_state_dict(state)
    return made.to(model.outputs.device).eval()


def weight_swap(
    model: Transformer,
    task: Task,
    problems: Sequence[Problem],
    *,
    seed: int = 0,
    decode: Decode = reference,
) -> Finding:
    """The same code with other weights does another task: here the same one in a code, its digits
    mixed up.

    A loop that computes the answer itself would answer the problem that the coded prompt seems to
    ask. Measured: the share of coded answers that are right.
    """
    said = {token for p in problems for token in task.answer(p)} & {
        token for p in problems for token in task.prompt(p)
    }
    tokens = sorted(said - {task.end})
    if len(tokens) < 2:
        return Finding(
            "weight swap", None, None, "prompts and answers have fewer than two tokens in common"
        )
    start = Random(seed).randrange(1, len(tokens))
    pairs = tuple((token, tokens[(i + start) % len(tokens)]) for i, token in enumerate(tokens))
    code = {task.vocabulary.index(a): task.vocabulary.index(b) for a, b in pairs}
    before = share_right(task, problems, decode(model, task, problems))
    coded = Relabelled(task, pairs)
    share = share_right(coded, problems, decode(relabelled(model, code), coded, problems))
    words = (
        f"{share:.0%} right with its digits mixed up in weights and texts alike; {before:.0%}"
        " before"
    )
    return Finding("weight swap", share >= before - CHANCE, share, words)
