"""The layout: imports go one way, and files and functions stay small enough to read."""

import ast
import io
import tokenize
from pathlib import Path

import pytest

import deepcluster_sk

PACKAGE = Path(deepcluster_sk.__file__).parent


def module_name(path):
    """Dotted name within the package: ``_data``, ``networks._layers``; a package is named without ``__init__``."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}

# A module imports only from rows above its own.
LAYERS = (
    {"exceptions", "_torch_state", "_distributed", "_drawn", "_signals", "_version", "_images", "_progress"},
    {"_validation", "_synced_batch_norm"},
    {"_lazy"},
    {"_scaling"},
    {"_data", "_input", "_checkpoint"},
    {"_fingerprint", "_regrouping"},
    {"_persistence", "_export"},
    {"augment", "pairs"},
    {"networks._layers", "losses", "metrics._labels", "metrics._neighbors"},
    {"metrics._scorers"},
    {"metrics"},
    {"networks._cluster", "networks._autoencoder", "networks._discriminator", "networks._dcss"},
    {"networks"},
    {"_monitor"},
    {"_engine"},
    {"_backbone", "_embedding_cache", "_image_source"},
    {"_embed"},
    {"_start"},
    {"_train_dac", "_train_dccm", "_train_dcss"},
    {"_diagnostics"},
    {"_prediction"},
    {"_after_fit"},
    {"_partial_fit"},
    {"_base"},
    {"_base_loop"},
    {"_encoders"},
    {"_dac", "_dccm", "_dcss"},
    {"callbacks", "model_selection", "_load"},
    {"_projection"},
    {"display._shared"},
    {
        "display._embedding",
        "display._feature_images",
        "display._graph",
        "display._grid",
        "display._histogram",
        "display._history",
        "display._label_features",
        "display._labels",
        "display._rejection",
        "display._search",
    },
    {"display"},
    {"report._choice", "report._pictures", "report._words"},
    {"report._content"},
    {"report._write"},
    {"report"},
    {"cli"},
    {"__init__"},
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}

# Modules below the estimators that name scikit-learn's base class, and why.
MAY_NAME_BASE = {"_validation": "annotates the estimator that it sets n_features_in_ on"}

MAX_FILE_LINES, MAX_BODY_LINES = 400, 40
LONG_BODIES = {
    "_dcss.DCSSClustering._train": "the phases in their order, every parameter passed by name",
}


def tree(name):
    return ast.parse(MODULES[name].read_text(encoding="utf-8"))


def imported(name):
    """Full dotted names that a module imports, wherever in it."""
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} uses a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_imports(name):
    """Modules of the package that a module imports; the package itself counts as ``__init__``."""
    for dotted in imported(name):
        package, *rest = dotted.split(".")
        if package == "deepcluster_sk":
            prefixes = [".".join(rest[:length]) for length in range(len(rest), 0, -1)]
            yield next((prefix for prefix in prefixes if prefix in MODULES), "__init__")


def test_every_module_has_its_place():
    assert sorted(MODULES) == sorted(name for names in LAYERS for name in names)


@pytest.mark.parametrize("name", MODULES)
def test_imports_come_from_layers_below(name):
    backward = [other for other in own_imports(name) if LEVEL[other] >= LEVEL[name]]
    assert not backward, f"{name} imports {backward}, which do not lie below it"


@pytest.mark.parametrize("name", [name for name in MODULES if LEVEL[name] < LEVEL["_prediction"]])
def test_scikit_learns_base_classes_stay_at_the_edge(name):
    found = [dotted for dotted in imported(name) if dotted.startswith("sklearn.base")]
    assert bool(found) == (name in MAY_NAME_BASE), f"{name} imports {found}"


def code_lines(source):
    """Numbers of the lines that hold more than comments and blanks."""
    skipped = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in skipped:
            lines.update(range(token.start[0], token.end[0] + 1))
    return lines


def body_sizes(name):
    """(qualified name, lines of code of the body without its docstring) of every function."""
    source = MODULES[name].read_text(encoding="utf-8")
    lines = code_lines(source)

    def walk(node, prefix):
        for child in ast.iter_child_nodes(node):
            path = f"{prefix}.{child.name}" if hasattr(child, "name") else prefix
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                body = child.body[1:] if ast.get_docstring(child) is not None else child.body
                if body:
                    yield path, len(lines & set(range(body[0].lineno, body[-1].end_lineno + 1)))
            yield from walk(child, path)

    return list(walk(ast.parse(source), name))


# Four lines of code in the body.
EXAMPLE = '''
class C:
    def f(
        self,
    ):
        """Doc."""

        # why
        a = [
            1,
        ]
        return a
'''


def test_body_sizes_leave_out_signature_docstring_comments_and_blank_lines(monkeypatch, tmp_path):
    path = tmp_path / "example.py"
    path.write_text(EXAMPLE)
    monkeypatch.setitem(MODULES, "example", path)
    assert body_sizes("example") == [("example.C.f", 4)]


def test_files_are_short():
    paths = [path for kind in ("py", "js", "css", "html") for path in PACKAGE.rglob(f"*.{kind}")]
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in paths}
    assert {path: n for path, n in lengths.items() if n > MAX_FILE_LINES} == {}


def test_function_bodies_are_short():
    sizes = {path: n for name in MODULES for path, n in body_sizes(name)}
    assert {path: n for path, n in sizes.items() if n > MAX_BODY_LINES and path not in LONG_BODIES} == {}
    assert {path for path in LONG_BODIES if sizes.get(path, 0) <= MAX_BODY_LINES} == set(), "no longer an exception"
