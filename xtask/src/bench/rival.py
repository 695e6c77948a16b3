"""facenet-pytorch's side of `cargo xtask bench`.

rival.py picture SOURCE WIDTH HEIGHT OUT   scales a picture, or puts a folder's sample photos side by side
rival.py measure IMAGE MIN_FACE THREADS REPEATS prints how long MTCNN.detect takes, as JSON
"""

import json
import sys
import time
from pathlib import Path

from PIL import Image


def picture(source, width, height, out):
    if not Path(source).is_dir():
        Image.open(source).convert("RGB").resize((width, height), Image.Resampling.BILINEAR).save(out)
        return
    side_by_side = Image.new("RGB", (width, height), (127, 127, 127))
    x = 0
    for name in ("obama.jpg", "biden.jpg", "obama2.jpg"):
        photo = Image.open(Path(source) / name).convert("RGB")
        photo = photo.resize((round(photo.width * height / photo.height), height), Image.Resampling.BILINEAR)
        side_by_side.paste(photo, (x, 0))
        x += photo.width
    side_by_side.save(out)


def measure(image, min_face, threads, repeats):
    # Imported here, as it takes seconds that composing a picture need not wait for.
    import facenet_pytorch
    import numpy
    import torch
    from importlib.metadata import version

    torch.set_num_threads(threads)
    detector = facenet_pytorch.MTCNN(keep_all=True, min_face_size=min_face, device="cpu")
    # An array saves detect the conversion from a PIL image.
    pixels = numpy.asarray(Image.open(image).convert("RGB"))
    times_ms = []
    for index in range(repeats + 2):
        start = time.perf_counter()
        boxes, probabilities, _ = detector.detect(pixels, landmarks=True)
        # The first two warm up.
        if index >= 2:
            times_ms.append((time.perf_counter() - start) * 1000)
    print(
        json.dumps(
            {
                "facenet_pytorch": version("facenet-pytorch"),
                "torch": torch.__version__,
                "python": sys.version.split()[0],
                "faces": 0 if boxes is None else len(boxes),
                "times_ms": times_ms,
            }
        )
    )


if sys.argv[1] == "picture":
    picture(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
else:
    measure(sys.argv[2], float(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))
