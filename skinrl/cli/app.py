"""The application: every command family, put together. Heavy imports stay inside the commands."""

from __future__ import annotations

import typer

from skinrl import __version__
from skinrl.cli import data, demo, doctor, evaluate, page, predict, rewards, taxonomy, train, view

app = typer.Typer(
    help="Dermatology vision-language models, trained by SFT and GRPO on a disease hierarchy. "
    "A research tool, not a medical device.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"skinrl {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Options of the command itself."""


app.command("sft")(train.sft)
app.command("grpo")(train.grpo)
app.command("eval")(evaluate.evaluate)
app.command("demo")(demo.demo)
app.command("predict")(predict.predict)
app.command("view")(view.view)
app.command("page")(page.page)
app.command("doctor")(doctor.doctor)
app.add_typer(data.app, name="data")
app.add_typer(taxonomy.app, name="taxonomy")
app.add_typer(rewards.app, name="rewards")
