"""Sphinx configuration."""

import sys
from pathlib import Path

import fastem

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "fastem"
author = "the fastem authors"
copyright = "2026, the fastem authors"
version = release = fastem.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "gallery",
]
exclude_patterns = ["_build", "**/jupyter_execute", "data"]
html_theme = "furo"
html_title = "fastem"
html_static_path = ["_static"]
html_css_files = ["site.css"]
nitpicky = False

myst_enable_extensions = ["dollarmath", "amsmath", "deflist", "colon_fence"]
myst_heading_anchors = 3
nb_execution_mode = "cache"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True

autodoc_typehints = "none"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_google_docstring = False
napoleon_use_rtype = False
