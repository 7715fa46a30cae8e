"""A reward that raises stops the run: which reward it was, on which completion, and where the batch is kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from skinrl.errors import RunError
from skinrl.grpo.bad_batch import RewardShapeError, check_values
from skinrl.grpo.failed_batch import save_failed_batch

_SHOWN = 160  # characters of the completion in the message; the file has all of it
_PLAIN = (str, int, float, bool, type(None))


class RewardError(RunError):
    """A reward raised. The cause is the reward's own exception; the batch is kept already."""


class _RaisedError(Exception):
    """Carries reward, arguments and cause out of TRL's loop over the rewards; never leaves this module."""

    def __init__(self, name: str, reward: Callable[..., Any] | None, arguments: Mapping[str, Any], cause: Exception):
        super().__init__(name)
        self.name, self.reward, self.arguments, self.cause = name, reward, arguments, cause


def row_as_json(row: Mapping[str, Any]) -> str:
    """The plain columns of a dataset row as JSON text, for the completions log: without prompt, images and the like.

    Text, because every tracker takes it; ``skinrl rewards score`` reads it back.
    """
    return json.dumps({key: value for key, value in row.items() if key != "prompt" and _is_plain(value)})


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_is_plain, value.values()))
    return all(map(_is_plain, value)) if isinstance(value, list | tuple) else isinstance(value, _PLAIN)


@contextmanager
def failures_named(trainer: Any, rows: Sequence[Mapping[str, Any]], completions: Sequence[Any]) -> Iterator[None]:
    """While open, an exception of one of the trainer's rewards becomes a `RewardError`, and its batch is kept.

    Args:
        trainer: a ``GRPOTrainer``; kept is the batch if its ``args.keep_failed_batch`` says so.
        rows: dataset rows, one per completion.
    """
    functions = trainer.reward_funcs
    trainer.reward_funcs = [
        function if isinstance(function, torch.nn.Module) else _named(function, name)
        for function, name in zip(functions, trainer.reward_func_names, strict=True)
    ]
    try:
        yield
    except _RaisedError as raised:
        raise _explain(trainer, raised, rows, completions) from raised.cause
    finally:
        trainer.reward_funcs = functions


def _named(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    from trl.trainer.grpo_trainer import is_async_callable

    if is_async_callable(function):

        async def later(**arguments: Any) -> Any:
            try:
                values = await function(**arguments)
            except Exception as error:
                raise _RaisedError(name, None, arguments, error) from error
            return _checked(name, values, arguments)

        return later

    def now(**arguments: Any) -> Any:
        try:
            values = function(**arguments)
        except Exception as error:
            raise _RaisedError(name, function, arguments, error) from error
        return _checked(name, values, arguments)

    return now


def _checked(name: str, values: Any, arguments: Mapping[str, Any]) -> Any:
    try:
        check_values(values, len(arguments["completions"]))
    except RewardShapeError as error:
        raise _RaisedError(name, None, arguments, error) from error
    return values


def _explain(
    trainer: Any, raised: _RaisedError, rows: Sequence[Mapping[str, Any]], completions: Sequence[Any]
) -> RewardError:
    texts = [one if isinstance(one, str) else one[-1]["content"] for one in completions]
    index = _first_that_raises(raised, len(texts))
    if index is None:
        place = f"on a batch of {len(texts)} completions, and on none of them alone"
    else:
        shown = texts[index] if len(texts[index]) <= _SHOWN else texts[index][:_SHOWN] + " ..."
        place = f"on completion {index + 1} of {len(texts)} (row {rows[index].get('id', index)!r}), {shown!r}"
    folder = None
    if trainer.args.keep_failed_batch:
        kept = [{**row, "completion": text} for row, text in zip(rows, texts, strict=True)]
        step, rank = trainer.state.global_step + 1, trainer.accelerator.process_index
        folder = save_failed_batch(trainer.args.output_dir, raised.cause, kept, None, step=step, rank=rank)
    where = f"rows, completions and traceback are kept in {folder}" if folder else "the batch was not kept"
    if isinstance(raised.cause, RewardShapeError):
        return RewardError(f"reward {raised.name!r} {raised.cause}. Nothing was trained on it; {where}")
    return RewardError(
        f"reward {raised.name!r} raised {type(raised.cause).__name__}: {raised.cause}, {place}; {where}. "
        "A reward gives 0 for a wrong answer and None for a prompt that cannot be scored; `skinrl rewards check` "
        "finds such faults before a run"
    )


def _first_that_raises(raised: _RaisedError, count: int) -> int | None:
    """The first completion on which the reward raises the same error by itself; `None` where none does."""
    if raised.reward is None:  # asynchronous: its event loop belongs to TRL
        return None
    silent = {name: (lambda *_: None) for name in ("log_extra", "log_metric")}
    for index in range(count):
        alone = {
            key: [value[index]] if isinstance(value, list | tuple) and len(value) == count else value
            for key, value in raised.arguments.items()
        }
        try:
            raised.reward(**{**alone, **silent})
        except type(raised.cause):
            return index
    return None
