"""Import paths in recipes: what they lead to, and what is said when they lead nowhere."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from skinrl.errors import PluginError
from skinrl.plugins import call_factory, check_reward_signature, resolve


@pytest.fixture(autouse=True)
def import_state() -> Iterator[None]:
    """Leave the import path and the loaded modules as they were."""
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def write(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def test_an_import_path_leads_to_the_object() -> None:
    import os.path

    assert resolve("os.path:join") is os.path.join
    assert resolve("pathlib:Path.exists") is Path.exists


def test_a_file_is_found_relative_to_the_recipe_and_its_functions_pickle(tmp_path: Path) -> None:
    write(
        tmp_path,
        "mine/house_rewards.py",
        "from helper_of_mine import HALF\ndef half(completions, **kwargs):\n    return [HALF] * len(completions)\n",
    )
    write(tmp_path, "mine/helper_of_mine.py", "HALF = 0.5\n")
    half = resolve("./mine/house_rewards.py:half", base=tmp_path)
    assert half(completions=["a", "b"]) == [0.5, 0.5]
    assert pickle.loads(pickle.dumps(half)) is half
    assert resolve("mine/house_rewards.py:half", base=tmp_path) is half
    assert resolve(f"{tmp_path}/mine/house_rewards.py:half") is half


def test_a_pickled_function_of_a_file_loads_in_a_spawned_process(tmp_path: Path) -> None:
    write(tmp_path, "spawned_reward.py", "def seven(completions, **kwargs):\n    return [7.0 for _ in completions]\n")
    program = write(
        tmp_path,
        "program.py",
        "import multiprocessing\nfrom pathlib import Path\nfrom skinrl.plugins import resolve\n"
        "if __name__ == '__main__':\n"
        f"    seven = resolve('./sub/../spawned_reward.py:seven', Path({str(tmp_path)!r}))\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "        print(pool.apply(seven, (['x', 'y'],)))\n",
    )
    (tmp_path / "sub").mkdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, cwd=elsewhere, timeout=120)
    assert done.stdout.strip() == "[7.0, 7.0]", done.stderr


def test_a_users_folder_does_not_hide_installed_modules(tmp_path: Path) -> None:
    write(tmp_path, "json.py", "def f(completions, **kwargs):\n    return []\n")
    with pytest.raises(PluginError, match=r"another module is already called json .*rename your file"):
        resolve("./json.py:f", base=tmp_path)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("os.path.join", r"did you mean os\.path:join\?"),
        ("join", r"expected package\.module:name or \./file\.py:name"),
        (":join", "expected package.module:name"),
        ("no_such_package_at_all:f", "no module no_such_package_at_all"),
        ("skinrl.plugin:resolve", r"no module skinrl\.plugin .*nearest: plugins"),
        ("skinrl.plugins:resolv", r"has no 'resolv' \(nearest: resolve"),
        ("./nothing.py:f", r"no file .*nothing\.py"),
        ("./no_folder/nothing.py:f", "its folder does not exist either"),
    ],
)
def test_a_wrong_reference_says_what_was_tried(reference: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=message):
        resolve(reference, base=tmp_path)


def test_the_nearest_file_is_named(tmp_path: Path) -> None:
    write(tmp_path, "my_rewards.py", "")
    with pytest.raises(PluginError, match=r"nearest: my_rewards\.py"):
        resolve("./my_reward.py:f", base=tmp_path)


def test_a_file_that_cannot_be_imported_is_told_apart_from_a_missing_one(tmp_path: Path) -> None:
    write(tmp_path, "needs_more.py", "import a_library_nobody_has\n")
    write(tmp_path, "broken_syntax.py", "def f(:\n")
    write(tmp_path, "broken_import.py", "from json import no_such_name\n")
    write(tmp_path, "broken_code.py", "1 / 0\n")
    write(tmp_path, "not-a-name.py", "")
    with pytest.raises(PluginError, match="was found, but it needs a_library_nobody_has"):
        resolve("./needs_more.py:f", base=tmp_path)
    with pytest.raises(PluginError, match="importing it failed"):
        resolve("./broken_syntax.py:f", base=tmp_path)
    with pytest.raises(PluginError, match="importing it failed"):
        resolve("./broken_import.py:f", base=tmp_path)
    with pytest.raises(PluginError, match="is no module name"):
        resolve("./not-a-name.py:f", base=tmp_path)
    with pytest.raises(ZeroDivisionError):  # broken code keeps its own traceback
        resolve("./broken_code.py:f", base=tmp_path)


def good(
    completions: list[str], gold_nodes: list[list[str]], finished: object = None, **kwargs: object
) -> list[float]:
    return [1.0 for _ in completions]


class Parametrised:
    def __init__(self, taxonomy: object, measure: str = "default") -> None:
        self.taxonomy, self.measure = taxonomy, measure

    def __call__(self, completions: list[str], **kwargs: object) -> list[float]:
        return [0.0 for _ in completions]


def test_what_trl_can_call_is_accepted() -> None:
    assert check_reward_signature(good, "good") is good
    reward = Parametrised(None)
    assert check_reward_signature(reward, "parametrised") is reward
    assert check_reward_signature(lambda completions, site, **_: [], "columns", columns=("site",))


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        (3, "expected something callable, found int 3"),
        (Parametrised, "this is a class.*factory"),
        (lambda completions, gold_nodes: [], r"takes \(completions, gold_nodes\) and no \*\*kwargs"),
        (lambda completions, gold_node, **_: [], r"requires gold_node \(nearest: gold_nodes"),
        (lambda text, **_: [], r"requires text.*factory"),
        (lambda gold_nodes, **_: [], "has no parameter `completions`"),
        (lambda completions, /, **_: [], "completions cannot be given by keyword"),
    ],
)
def test_what_trl_cannot_call_is_refused_with_the_reason(reward: object, message: str) -> None:
    with pytest.raises(PluginError, match=message):
        check_reward_signature(reward, "r")


def test_a_factory_gets_what_it_names_and_the_recipes_arguments() -> None:
    taxonomy = object()
    reward = call_factory(Parametrised, "p", {"measure": "wu_palmer"}, {"taxonomy": taxonomy})
    assert reward.taxonomy is taxonomy
    assert reward.measure == "wu_palmer"
    assert call_factory(lambda scale=1.0: scale, "plain", {"scale": 2.0}, {"taxonomy": taxonomy}) == 2.0


@pytest.mark.parametrize(
    ("kwargs", "provided", "message"),
    [
        ({"measur": "x"}, {"taxonomy": 1}, r"unknown argument measur \(nearest: measure\); it takes measure"),
        ({"taxonomy": "x"}, {"taxonomy": 1}, "set by skinrl itself"),
        ({}, {}, "needs taxonomy; set it under `kwargs:`"),
    ],
)
def test_a_factorys_wrong_arguments_are_named(
    kwargs: dict[str, object], provided: dict[str, object], message: str
) -> None:
    with pytest.raises(PluginError, match=message):
        call_factory(Parametrised, "p", kwargs, provided)
