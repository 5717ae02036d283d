"""What the documentation names exists, and every public name is documented with an example."""

import ast
import doctest
import importlib
import inspect
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import deepcluster_sk
from deepcluster_sk import (
    augment,
    callbacks,
    display,
    exceptions,
    losses,
    metrics,
    model_selection,
    networks,
    pairs,
    report,
)

ROOT = Path(__file__).parents[1]
PUBLIC_MODULES = (
    deepcluster_sk,
    augment,
    callbacks,
    display,
    exceptions,
    losses,
    metrics,
    model_selection,
    networks,
    pairs,
    report,
)
PUBLIC = {
    f"{module.__name__}.{name}": getattr(module, name)
    for module in PUBLIC_MODULES
    for name in module.__all__
    if not inspect.ismodule(getattr(module, name))
}
# Functions and classes; the rest are constants, type aliases and scorers, which say what they are where they stand.
CALLABLES = {name: thing for name, thing in PUBLIC.items() if inspect.isfunction(thing) or inspect.isclass(thing)}


@pytest.mark.parametrize("name", CALLABLES)
def test_public_name_has_a_docstring_with_an_example(name):
    docstring = inspect.getdoc(CALLABLES[name]) or ""
    assert "TODO" not in docstring
    assert re.search(r"^Examples\n-+\n", docstring, flags=re.MULTILINE), f"{name} has no Examples section"
    assert ">>> " in docstring


@pytest.mark.parametrize("name", [name for name, thing in CALLABLES.items() if inspect.isclass(thing)])
def test_public_method_has_a_docstring(name):
    for method, function in vars(CALLABLES[name]).items():
        if not method.startswith("_") and inspect.isfunction(function):
            assert inspect.getdoc(function), f"{name}.{method} has no docstring"


@pytest.mark.parametrize("name", CALLABLES)
def test_public_function_documents_its_parameters(name):
    thing = CALLABLES[name]
    docstring = inspect.getdoc(thing) or ""
    own_init = inspect.isfunction(thing) or "__init__" in vars(thing)
    parameters = [p for p in inspect.signature(thing).parameters if p != "self"] if own_init else []
    documented = {
        word.strip("* ")
        for line in re.findall(r"^(\S[^\n:]*?) *(?::|$)", docstring, flags=re.MULTILINE)
        for word in line.split(",")
    }
    assert set(parameters) <= documented, f"{name} lacks {set(parameters) - documented}"


def entries(estimator):
    """Text of each entry of the sections Parameters and Attributes."""
    found, name = {}, None
    for line in inspect.getdoc(estimator).partition("Parameters\n")[2].partition("\nRaises\n")[0].splitlines():
        if re.match(r"\w+(, \w+)* : ", line):
            name = line.partition(" : ")[0]
        if name is not None:
            found[name] = found.get(name, "") + line.strip() + " "
    return found


# What the methods do differ in, and so must say differently.
OWN = {
    "network",
    "max_epochs",
    "batch_size",
    "lr",
    "block_size",
    "passes_per_block",
    "n_neighbors",
    "module_",
    "converged_",
}


@pytest.mark.parametrize("other", [deepcluster_sk.DCCMClustering, deepcluster_sk.DCSSClustering])
def test_what_estimators_share_is_documented_alike(other):
    first, second = entries(deepcluster_sk.DACClustering), entries(other)
    shared = (set(first) & set(second)) - OWN
    assert len(shared) >= 12
    assert {name: first[name] for name in shared} == {name: second[name] for name in shared}


@pytest.mark.parametrize("module", PUBLIC_MODULES[1:], ids=lambda module: module.__name__)
def test_module_says_what_it_is_and_lists_its_public_names(module):
    assert module.__doc__
    own = {
        name
        for name, thing in vars(module).items()
        if not name.startswith("_")
        and (inspect.isfunction(thing) or inspect.isclass(thing))
        and thing.__module__ == module.__name__
    }
    not_listed = own - set(module.__all__)
    assert not_listed <= {"Standardize"}, f"{not_listed} should be in __all__, or begin with an underscore"


@pytest.mark.parametrize("name", PUBLIC)
def test_public_name_is_in_the_api_reference(name):
    thing = name.rpartition(".")[2]
    if thing.isupper() or thing == "Augmentation":  # tables and type aliases
        return
    listed = re.findall(r"^   (\w+)$", (ROOT / "docs/api.rst").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert thing in listed


def pages():
    return {path.name: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.rst"))}


def resolve(dotted):
    """Object of a dotted name, or None."""
    parts = dotted.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            thing = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for attribute in parts[cut:]:
            thing = getattr(thing, attribute, None)
        return thing
    return None


@pytest.mark.parametrize(("page", "text"), pages().items(), ids=list(pages()))
def test_functions_named_on_a_page_exist(page, text):
    roles = re.findall(r":(?:func|class|meth|mod):`~?([\w.]+)`", text)
    literals = re.findall(r"``(deepcluster_sk\.[\w.]+)``", text)
    for name in [*roles, *literals]:
        dotted = name if name.startswith("deepcluster_sk") else f"deepcluster_sk.{name}"
        assert resolve(dotted) is not None, f"{page} names {name}"


def test_tests_named_in_the_table_of_equations_exist():
    named = re.findall(r"``(tests/\w+\.py)::(\w+)``", pages()["equations.rst"])
    assert len(named) > 30
    for file, test in named:
        found = {
            node.name
            for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8")))
            if isinstance(node, ast.FunctionDef)
        }
        assert test in found, f"equations.rst names {file}::{test}"


def test_every_row_of_the_table_of_equations_names_a_test():
    text = pages()["equations.rst"]
    rows = [row for row in re.split(r"^   \* - ", text, flags=re.MULTILINE)[1:] if not row.startswith("what")]
    assert [row for row in rows if "``tests/" not in row] == []


@pytest.mark.parametrize("document", ["README.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.rst"))])
def test_files_that_a_document_shows_exist(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!http)([^)#]+)\)", text) + re.findall(r"\.\. image:: (\S+)", text)
    base = (ROOT / document).parent
    assert [link for link in links if not (base / link).exists()] == []


def test_examples_of_the_user_guide_do_what_they_show(digits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    images = digits[0][:60]
    for i, image in enumerate(images):
        Image.fromarray((image * 255).astype(np.uint8)).save(f"photos/{i:02}.png")
    Path("photos/broken.png").write_text("no image")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the file that cannot be read, and that two epochs are few
        result = doctest.testfile(str(ROOT / "docs/user_guide.rst"), module_relative=False, globs={"images": images})
    assert result.attempted > 10
    assert result.failed == 0


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("plot_*.py")), ids=lambda path: path.stem)
def test_example_is_short_and_uses_only_what_is_public(example):
    text = example.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 90
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("deepcluster_sk"):
            for alias in node.names:
                assert f"{node.module}.{alias.name}" in PUBLIC


@pytest.mark.parametrize("name", [name for name in display.__all__ if name.endswith("Display")])
def test_every_display_is_in_the_gallery(name):
    examples = [path.read_text(encoding="utf-8") for path in (ROOT / "examples").glob("plot_*.py")]
    assert any(f"{name}.from_" in example for example in examples)
