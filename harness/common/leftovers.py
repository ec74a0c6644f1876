"""What file managers, editors and file systems leave in folders: nobody's data, wherever it lies."""

from __future__ import annotations

NAMES = frozenset(
    (
        "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r",
        "__macosx", "__pycache__", "@eadir", "@recycle", "#recycle", "$recycle.bin",
        "system volume information", "lost+found",
    )
)  # fmt: skip


def is_leftover(name: str) -> bool:
    """Whether a file or folder of this name is passed over in silence: hidden, a backup, or a name of `NAMES`."""
    return name.startswith(".") or name.endswith("~") or name.lower() in NAMES
