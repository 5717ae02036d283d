"""Small fitted estimators, and what a report holds, for the tests of reports."""

import json
import re

import numpy as np
from PIL import Image

from deepcluster_sk import DACClustering, DCCMClustering, DCSSClustering
from deepcluster_sk.report import write_report

# Names that break out of elements, attributes, scripts or JSON where these are not escaped.
HOSTILE = (
    "<script>alert(1)<%2Fscript>.png",
    "<img src=x onerror=alert(2)>.png",
    "\"quoted\" & 'single' `tick` ${alert(3)}.png",
    "]]>--><!-- \u2028 \u202e.png",
)
# A slash cannot stand in a name, but the folder before it can end so that the path closes a script.
HOSTILE_FOLDER = "<"
HOSTILE_IN_FOLDER = "script><b onclick=alert(4)>.png"


def content_of(path):
    """Block of data of a page."""
    (block,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', path.read_text("ascii"))
    return json.loads(block)


def report_of(estimator, X, folder, **options):
    """Path and content of a report."""
    path = folder / "report.html"
    write_report(estimator, X, path, **options)
    return path, content_of(path)


def write_images(folder, names, side=12):
    """Files of random pixels; the paths in order."""
    rng = np.random.default_rng(0)
    paths = []
    for name in names:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(path)
        paths.append(str(path))
    return paths


def fitted_on_digits(images):
    """DAC, two restarts."""
    return DACClustering(n_clusters=4, max_epochs=2, n_init=2, random_state=0).fit(images)


def fitted_on_vectors(images):
    """DCSS on the digits as vectors."""
    return DCSSClustering(n_clusters=3, max_epochs=2, random_state=0).fit(images.reshape(len(images), -1))


def fitted_on_files(paths):
    """DCCM, without warnings of unreadable files."""
    return DCCMClustering(n_clusters=3, max_epochs=1, image_size=12, on_error="skip", random_state=0).fit(paths)
