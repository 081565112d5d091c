"""Count a model's parameters by every convention; --why lists each number, its place and its tie."""

from __future__ import annotations

from typing import Any

import click

from tinyadder.commands._common import (
    Loaded,
    construction_options,
    echo_json,
    json_option,
    load_model,
    name_argument,
    show_table,
    shown_model,
)


@click.command("count", short_help=__doc__)
@name_argument
@construction_options
@click.option("--why", is_flag=True, help="List every number, where it sits, what it is, how it is tied.")
@json_option
def command(name: str, options: dict[str, Any], why: bool, as_json: bool) -> None:
    """Count the parameters of NAME (a construction or a model folder) by every convention of the ladder."""
    from verify.count import ladder, numbers

    loaded = load_model(name, options)
    counts = ladder(loaded.model)
    listed = numbers(loaded.model) if why else []
    if as_json:
        data: dict[str, Any] = {"model": shown_model(loaded), "counts": counts}
        if why:
            data["numbers"] = [vars(number) for number in listed]
        echo_json(data)
    else:
        _show(loaded, counts, listed)


def _show(loaded: Loaded, counts: dict[str, int], listed: list[Any]) -> None:
    from verify.count import definition

    show_table(
        f"parameters of {shown_model(loaded)}, by convention",
        {"convention": "left", "count": "right", "what it counts": "left"},
        [(rung, f"{count:,}", definition(rung)) for rung, count in counts.items()],
    )
    if listed:
        show_table(
            "\nevery number; the first convention that counts it comes first",
            {"convention": "left", "value": "right", "place": "left", "tie": "left"},
            [(number.rung, f"{number.value:.9g}", number.place, number.tie) for number in listed],
        )
