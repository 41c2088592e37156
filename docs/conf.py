"""Configuration of the documentation, built by ``make docs``."""

import sys
import warnings
from pathlib import Path

import prammol

# Directives that write the reference from the program itself, and formulas as MathML.
sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "prammol"
author = "The prammol developers"
copyright = author  # noqa: A001  (Sphinx's name)
version = release = prammol.__version__
html_title = f"prammol {version}"

extensions = [
    "mathml",
    "myst_nb",
    "numpydoc",
    "prammol_reference",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
]
# Run times of the gallery would be the only pages that load anything from elsewhere.
# The notebooks of the gallery are for download; its pages are .rst.
exclude_patterns = [
    "_build",
    "_ext",
    "gallery",
    "auto_gallery/*.ipynb",
    "**sg_execution_times.rst",
]
# What is written as code in running text stays code: no default role, no guessing.
nitpicky = False

myst_enable_extensions = ["attrs_block", "colon_fence", "deflist", "dollarmath"]
# [text](page.md#heading) is checked down to headings of the third level.
myst_heading_anchors = 3

# Docstrings say types, shapes and units; the annotations would say the types again.
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autosummary_generate = True
numpydoc_show_class_members = False

# Notebooks are kept without outputs, and run at each build.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_merge_streams = True

html_theme = "furo"
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#00568f", "color-brand-content": "#0072b2"},
    "dark_css_variables": {"color-brand-primary": "#7cc4f0", "color-brand-content": "#7cc4f0"},
}
html_show_sourcelink = False
html_copy_source = False
# $ and the prompt of Python aren't copied.
copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True

# A DOI answers with a redirect to the publisher, and publishers turn robots away.
linkcheck_ignore = [r"https://doi\.org/"]
linkcheck_timeout = 20
linkcheck_retries = 2

# The examples are run at each build, in the order of their names.
sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "auto_gallery",
    "filename_pattern": r"/plot_",
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "capture_repr": (),
    "download_all_examples": False,
    "image_srcset": ["2x"],
    # Run times would make each build differ from the one before.
    "min_reported_time": 1e9,
    "remove_config_comments": True,
    "show_signature": False,
    "thumbnail_size": (400, 280),
}
# Pictures are kept by sphinx-gallery, not shown.
warnings.filterwarnings("ignore", message=r".*non-interactive.*", category=UserWarning)
