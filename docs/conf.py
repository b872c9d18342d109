"""Configuration of Sphinx; `scripts/docs` builds the site."""

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

import gpu_ssl
from gpu_ssl import doctor, records
from gpu_ssl.fitted import records as fitted_records
from gpu_ssl.sweep import summary
from gpu_ssl.training.checkpoint import CHECKPOINT


def schema_of(record: Any) -> int:
    """Return the version of the schema that a record is written with."""
    return int(record.model_fields["schema_version"].default)


project = "gpu-ssl"
author = "The gpu-ssl authors"
release = version = gpu_ssl.__version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "numpydoc",
    "architecture",
    "cli_reference",
]
exclude_patterns = ["_build", "_ext"]
html_show_copyright = False
html_theme = "furo"
html_title = "gpu-ssl"
html_static_path: list[str] = []
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "substitution"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
# Of scikit-learn, which documents them itself.
autodoc_default_options = {"exclude-members": "set_fit_request, set_score_request, set_predict_request"}
autodoc_typehints = "none"  # numpydoc shows the types that docstrings name
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
myst_substitutions = {
    "model_schema": schema_of(fitted_records.ModelRecord),
    "report_schema": schema_of(records.Report),
    "checkpoint_schema": CHECKPOINT.schema,
    "sweep_schema": schema_of(summary.SweepRecord),
    "doctor_schema": schema_of(doctor.Diagnosis),
}
