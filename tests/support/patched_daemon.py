# SPDX-License-Identifier: Apache-2.0
"""A mount whose process runs some Python first, to watch it or to show it another kernel."""

from __future__ import annotations

from pathlib import Path

from tests.support import commands


def patched(folder: Path, program: str) -> dict[str, str]:
    """The environment of such a mount.

    :param folder: a new folder for ``program``, which must work in every Python that is started.
    """
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(program, "utf-8")
    return {"PYTHONPATH": f"{folder}:{commands.ROOT}"}
