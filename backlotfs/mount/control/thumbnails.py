"""What a running mount answers to ``thumbnails``: the preview image of a file, as it came.

The mount fetches, since it knows the library and who may be asked; the command decodes, so that
nothing in an image can harm a mount.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from backlotfs.concurrency.clock import Deadline, SystemClock
from backlotfs.errors import NoSuchEntry
from backlotfs.mount.control.server import Handler
from backlotfs.mount.stack import Stack

#: The command waits a little longer.
IMAGE_S = 30.0


def preview_handlers(stack: Stack) -> Mapping[str, Handler]:
    """``preview``, of a ``path`` inside the mount: the image in base64, or null if it has none."""

    def preview(request: dict[str, Any]) -> dict[str, Any]:
        try:
            asset = stack.namespace.asset(str(request["path"]))
        except NoSuchEntry:  # a file beside the sources, which has no asset
            asset = None
        if asset is None or not asset.preview_image_url:
            return {"image": None}
        image = stack.previews.fetch(asset.preview_image_url, Deadline(IMAGE_S, SystemClock()))
        return {"image": base64.b64encode(image).decode("ascii")}

    return {"preview": preview}
