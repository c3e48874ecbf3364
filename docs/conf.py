"""How Sphinx builds the site: `python -m nox -s docs`. Every code cell runs, every warning is an error."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

from jupyter_cache import get_cache

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS.parent), str(DOCS)]

from attention_ref import __version__

project = "attention_ref"
author = "the authors of attention_ref"
project_copyright = "2026, the authors of attention_ref; Apache-2.0"
release = __version__

SCRATCH = Path(tempfile.mkdtemp(prefix="attention_ref-"))
atexit.register(shutil.rmtree, SCRATCH, ignore_errors=True)

extensions = ["myst_nb", "sphinx_design", "sphinx_copybutton", "_generate"]
exclude_patterns = ["_build", "**/.ipynb_checkpoints"]
nitpicky = True
add_module_names = False
toc_object_entries_show_parents = "hide"

myst_enable_extensions = ["attrs_block", "colon_fence", "deflist", "dollarmath", "fieldlist"]
myst_heading_anchors = 3
myst_dmath_allow_labels = False
html_math_renderer = "mathml"
myst_links_external_new_tab = False

# Every build runs every cell, but those of a page and of its translation, which are the same, only once.
nb_execution_mode = "cache"
nb_execution_cache_path = str(SCRATCH / "cache")
get_cache(nb_execution_cache_path).db.dispose()  # makes its database, before processes that read pages make it at once
nb_execution_timeout = 1800  # a limit for what hangs, however busy the machine is
nb_execution_in_temp = True
nb_execution_raise_on_error = False  # a failing cell is a warning, and warnings are errors: all of them are shown
nb_execution_show_tb = True
nb_merge_streams = True
nb_output_stderr = "remove"  # the frameworks' notices about processors
nb_render_error_lexer = "text"
nb_ipywidgets_js = {}  # would be fetched from elsewhere

html_theme = "furo"
pygments_dark_style = "monokai"
html_title = f"attention_ref {release}"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_copy_source = False
html_show_sphinx = False
templates_path: list[str] = []
copybutton_exclude = ".linenos, .gp, .go"

# An error is shown by what it says, without the frames of a framework.
PROFILE = SCRATCH / "ipython" / "profile_default" / "ipython_config.py"
PROFILE.parent.mkdir(parents=True)
PROFILE.write_text('c.InteractiveShell.xmode = "Minimal"\n')
os.environ["IPYTHONDIR"] = str(SCRATCH / "ipython")

# What the cells run with: this checkout, tests/ included; one thread, the fastest for models of this size.
os.environ["PYTHONPATH"] = os.pathsep.join([str(DOCS.parent), str(DOCS), os.environ.get("PYTHONPATH", "")]).rstrip(":")
DEFAULTS = {
    "JAX_ENABLE_X64": "1",
    "JAX_PLATFORMS": "cpu",
    "KERAS_BACKEND": "tensorflow",
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "OMP_NUM_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "TF_ENABLE_ONEDNN_OPTS": "0",
}
for name, value in DEFAULTS.items():
    os.environ.setdefault(name, value)
