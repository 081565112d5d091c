"""Write LEADERBOARD.md and LEADERBOARD.json: every model of ours as measured, the public field as claimed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from tinyadder.commands._common import echo_json, json_option, use_device


@click.command("report", short_help=__doc__)
@click.option("--fresh", is_flag=True, help="Make the verdicts anew instead of taking them from results/.")
@click.option("--missing", is_flag=True, help="Like --fresh, for models without results for their present weights.")
@click.option("--only", "names", metavar="NAME", multiple=True, help="Measure these models only.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the fresh verdicts.")
@click.option(
    "--root", type=click.Path(path_type=Path, file_okay=False, exists=True), default=Path("."), show_default=True,
    help="Where results/, baselines/ and README.md are, and the leaderboard goes.",
)  # fmt: skip
@json_option
def command(fresh: bool, missing: bool, names: tuple[str, ...], seed: int, root: Path, as_json: bool) -> None:
    """Count every construction and trained baseline by every convention, and put the verdicts beside the counts.

    The table between the marks of README.md, where it has them, is made anew as well.
    """
    from verify import leaderboard
    from verify.results import read_results

    use_device("cpu")
    models = leaderboard.own_models(root / "baselines")
    results = read_results(root / "results")
    wanted = {model.name for model in leaderboard.own_models(root / "baselines", names)}
    for model in models:
        known = leaderboard.row(model, results).of("times") if missing and not fresh else None
        if model.name in wanted and known is None and (fresh or missing):
            click.echo(f"measuring {model.name}", err=True)
            leaderboard.measure(model, root / "results", seed=seed)
    results = read_results(root / "results")
    rows = [leaderboard.row(model, results) for model in models]
    data = leaderboard.report_json(rows)
    if as_json:
        echo_json(data)
    _write(root / "LEADERBOARD.json", json.dumps(data, indent=1, ensure_ascii=False) + "\n")
    _write(root / "LEADERBOARD.md", leaderboard.report_markdown(rows))
    readme = root / "README.md"
    if readme.is_file():
        text = readme.read_text()
        made = leaderboard.between_marks(text, leaderboard.readme_table(rows))
        if made != text:
            _write(readme, made)


def _write(path: Path, text: str) -> None:
    beside = path.with_name(f".{path.name}.part")
    beside.write_text(text)
    os.replace(beside, path)
    click.echo(f"wrote {path}", err=True)
