"""A folder for a model hub: a model folder with a card, and what Hugging Face's classes read.

    AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)
    AutoTokenizer.from_pretrained(folder, trust_remote_code=True)

The code that comes along, hub_model.py, is forty lines around the machine of this package, which
has to be installed. The tokenizer is a stock one without code.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tinyadder.errors import TinyadderError
from tinyadder.escape import markdown, markdown_code
from tinyadder.io.digest import weights_digest
from tinyadder.io.export import ExportSource
from tinyadder.io.files import write_together
from tinyadder.io.folder import CERTIFICATE, model_files
from tinyadder.machine.config import Config
from tinyadder.tasks.base import Task
from tinyadder.tasks.custom import as_data

FILE = "{}-hub"
CODE = "modeling_tinyadder.py"
SPLIT = {
    "type": "Split",
    "pattern": {"Regex": r"[\s\S]"},
    "behavior": "Isolated",
    "invert": False,
}
"""Every character is a token."""


def write(source: ExportSource, path: Path) -> None:
    """Write the folder at one commit point; in one that is there, other files stay as they are."""
    files = model_files(
        source.model, source.task, name=source.name, options=source.options, program=source.program
    )
    files |= {
        "README.md": card(source).encode(),
        CODE: (Path(__file__).parent / "hub_model.py").read_bytes(),
        **{name: json.dumps(data, indent=2).encode() for name, data in _settings(source).items()},
    }
    if source.certificate is not None:
        files[CERTIFICATE] = source.certificate
    write_together(path, files, remove=[] if source.certificate else [CERTIFICATE])


def card(source: ExportSource) -> str:
    """The README.md of the folder: every count with its convention, every verdict with its type."""
    task, ((example, answer),) = source.task, source.examples(1)
    options = ", ".join(f"{key}={value}" for key, value in task.to_json()["options"].items())
    problem = task.show(example)
    known = (
        ""
        if answer is None
        else f" For {markdown_code(problem)} the right answer is {markdown_code(answer)}."
    )
    lines = [
        "---",
        "library_name: transformers",
        "tags: [tinyadder, interpretability, compiled-transformer]",
        "---",
        f"# {markdown(source.name)}",
        "",
        markdown(source.about),
        "",
        f"Task: {markdown(f'{task.name} ({options})')}.{known}",
        "",
        "Parameters, by convention:",
        "",
        "| convention | count | counts |",
        "|---|---|---|",
        *(f"| {rung} | {count:,} | {meaning} |" for rung, count, meaning in source.ladder),
        "",
        "Verdict on exactly these weights, this config and this task:",
        "",
        f"- {source.verdict or 'none: no certificate lay beside the model'}",
        "",
        "In this folder:",
        "",
        "```sh",
        f"tinyadder run . {_quoted(problem)}",
        f"tinyadder trace . {_quoted(problem)}",
        "tinyadder verify .",
        "tinyadder prove .",
        *(["python -m tinyadder.verify.certify.check ."] if source.certificate else []),
        "```",
        "",
        "With transformers (tinyadder has to be installed):",
        "",
        "```python",
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        'model = AutoModelForCausalLM.from_pretrained(".", trust_remote_code=True)',
        'tokenizer = AutoTokenizer.from_pretrained(".", trust_remote_code=True)',
        f"prompt = tokenizer({text_of(task, task.prompt(example))!a}, return_tensors='pt')",
        "print(tokenizer.decode(model.generate(**prompt)[0]))",
        "```",
        "",
    ]
    return "\n".join(lines)


def _quoted(problem: str) -> str:
    """`problem` as a word of a shell."""
    import shlex

    return shlex.quote("".join(c if c.isprintable() else " " for c in problem))


def text_of(task: Task, tokens: Any) -> str:
    """Tokens as the tokenizer reads them."""
    return ("" if _characters(task) else " ").join(tokens)


def _characters(task: Task) -> bool:
    return all(len(token) == 1 for token in task.vocabulary)


def _settings(source: ExportSource) -> dict[str, Any]:
    """The JSON files of Hugging Face's classes."""
    task, config = source.task, source.model.config
    dtype = str(source.model.embedding.dtype).removeprefix("torch.")
    end = None if task.end is None else config.vocabulary.index(task.end)
    model = {
        "model_type": "tinyadder",
        "architectures": ["TinyadderForCausalLM"],
        "auto_map": {
            "AutoConfig": "modeling_tinyadder.TinyadderConfig",
            "AutoModelForCausalLM": "modeling_tinyadder.TinyadderForCausalLM",
        },
        "dtype": dtype,
        "vocab_size": len(config.vocabulary),
        "eos_token_id": end,
        "tie_word_embeddings": config.shared > 0,
        "machine": config.to_json(),
        "task": as_data(task).to_json(),
        "weights": {"dtype": dtype, "sha256": weights_digest(source.model)},
    }
    generation = {
        "max_new_tokens": task.answer_length,
        "eos_token_id": end,
        "do_sample": False,
        "use_cache": False,
    }
    return {
        "config.json": model,
        "generation_config.json": generation,
        **tokenizer_files(task, config),
    }


def tokenizer_files(task: Task, config: Config, start: str | None = None) -> dict[str, Any]:
    """A stock tokenizer: one token a character, or a word. `start` is put in front of every text;
    its id is the first behind the vocabulary.

    Raises `TinyadderError` for tokens with spaces inside.
    """
    if not _characters(task) and any(set(token) & set(" \t\n") for token in task.vocabulary):
        raise TinyadderError(
            f"task '{task.name}' has tokens with spaces inside: no tokenizer for it"
        )
    ids = {token: i for i, token in enumerate(config.vocabulary)}
    tokenizer: dict[str, Any] = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": SPLIT if _characters(task) else {"type": "WhitespaceSplit"},
        "post_processor": None,
        "decoder": {"type": "Fuse"} if _characters(task) else None,
        "model": {"type": "WordLevel", "vocab": ids, "unk_token": "(unknown)"},
    }
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids"],
    }
    if start is not None:
        place = len(ids)
        flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        tokenizer["added_tokens"] = [{"id": place, "content": start, "special": True, **flags}]
        tokenizer["post_processor"] = {
            "type": "TemplateProcessing",
            "single": [
                {"SpecialToken": {"id": start, "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
            ],
            "pair": [{"Sequence": {"id": name, "type_id": 0}} for name in "AB"],
            "special_tokens": {start: {"id": start, "ids": [place], "tokens": [start]}},
        }
        settings["bos_token"] = start
    return {"tokenizer.json": tokenizer, "tokenizer_config.json": settings}
