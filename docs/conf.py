"""How Sphinx builds these pages; ``python3 dev.py docs`` turns its warnings into errors."""

import ptykill

project = "ptykill"
author = "ptykill contributors"
copyright = f"2026, {author}"  # noqa: A001 - Sphinx's name
version = release = ptykill.__version__

extensions = ["sphinx.ext.autodoc", "myst_parser"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

# `Session.wait` in a docstring is a link where there is something to link to.
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"

html_theme = "furo"
html_title = "ptykill"
html_static_path = ["_static"]
html_css_files = ["wide.css"]
