"""Sphinx configuration: python -m sphinx -W --keep-going -b html docs docs/_build/html"""

import warnings

from deepcluster_sk import __version__

project = "deepcluster_sk"
author = "deepcluster_sk developers"
copyright = "2026, deepcluster_sk developers"
version = release = __version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "_templates"]
default_role = "literal"
nitpicky = True  # a link to a name that does not exist is a warning, and so an error
# numpydoc makes a link of an attribute that is a property, to a page of its own that classes have no need of.
nitpick_ignore = [("py:obj", "runs"), ("py:obj", "best_n_clusters")]

autosummary_generate = True
autodoc_default_options = {"members": True}
autodoc_typehints = "none"  # numpydoc's sections give the types
numpydoc_class_members_toctree = False
numpydoc_show_class_members = False
numpydoc_show_inherited_class_members = False

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": "/plot_",
    "within_subsection_order": "ExampleTitleSortKey",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "remove_config_comments": True,
    "reference_url": {"deepcluster_sk": None},
    "doc_module": ("deepcluster_sk",),
    "backreferences_dir": None,
}
# Examples end with plt.show(), for readers who run them on a screen.
warnings.filterwarnings("ignore", message="FigureCanvasAgg is non-interactive", category=UserWarning)

html_theme = "pydata_sphinx_theme"
html_title = "deepcluster_sk"
html_theme_options = {
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "show_prev_next": False,
}
html_show_sourcelink = False
