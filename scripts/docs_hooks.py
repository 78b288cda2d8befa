"""What mkdocs adds when it builds: the equations of the model, made from the model."""

from __future__ import annotations

from typing import Any

from mkdocs.structure.files import File, Files


def on_files(files: Files, config: Any) -> Files:
    """Add ``equations.html``: every equation with all drugs, as the installed package has it."""
    from icans.mechanism.emit.equations import equations_html
    from icans.mechanism.patient import available_drugs, patient_model

    page = equations_html(patient_model(available_drugs()))
    files.append(File.generated(config, "equations.html", content=page))
    return files
