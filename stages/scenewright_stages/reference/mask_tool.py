"""``scenewright mask``: draws ``<name>.mask.png`` beside a photo, from a box and points.

The command line starts this module in a separate process, because segmentation needs OpenCV and possibly a model. With
``--page`` a local web page shows the cut-out while box and points are set (:mod:`.mask_page`).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2

from scenewright_stages.contract.errors import ConfigurationError, SampleError
from scenewright_stages.photographs.pictures import read_photograph
from scenewright_stages.reference.mask_page import serve
from scenewright_stages.reference.masking import MaskMaker, UnclearError, hints_of, save_mask, target_of

REFUSED = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the process; returns its exit code."""
    parser = argparse.ArgumentParser(prog="scenewright mask", description="Make the mask of an object in a photo.")
    add = parser.add_argument
    add("photo", type=Path, metavar="PHOTO", help="A photo of one object.")
    add("--box", default="", metavar="L,T,R,B", help="Box around the object: pixels, or fractions of width and height.")
    add("--point", action="append", default=[], metavar="X,Y", help="A point on the object. Repeatable.")
    add("--not", action="append", default=[], dest="beside", metavar="X,Y", help="A point beside it. Repeatable.")
    add(
        "--backend",
        choices=("classic", "sam2"),
        default="classic",
        help="classic has no weights; sam2 is read from the model cache.",
    )
    add("--output", type=Path, metavar="FILE", help="Where to write the mask. Default: NAME.mask.png beside the photo.")
    add("--page", action="store_true", help="Set box and points on a web page served by this machine.")
    add("--port", type=int, default=0, help="Port of the page. 0: any free port.")
    given = parser.parse_args(arguments)
    target = given.output or target_of(given.photo)
    try:
        photo = read_photograph(given.photo)
        size = (photo.pixels.shape[1], photo.pixels.shape[0])
        hints = hints_of(given.box, given.point, given.beside, size)
        maker = MaskMaker(photo, given.backend)
        if given.page:
            return serve(maker, hints, target, given.port)
        mask = maker.mask(hints)
    except (UnclearError, SampleError, ConfigurationError, OSError) as problem:
        sys.stderr.write(f"error: {given.photo}: {problem}\n")
        return REFUSED
    save_mask(mask, target)
    print(f"{target}: {float(mask.mean()):.1%} of the photo")
    return 0


if __name__ == "__main__":
    cv2.setNumThreads(2)
    sys.exit(main())
