"""
A folder of your own images, damaged files and all
==================================================

X may be the path of a folder. Images of any format and size are decoded, turned upright, cropped and resized; a file
that cannot be read is named, and costs nothing but itself.
"""

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from deepcluster_sk import DCCMClustering
from deepcluster_sk.display import ClusterGridDisplay

# %%
# A folder to try it on: digits as PNG and JPEG files of two sizes. Two of them are damaged.

folder = Path(tempfile.mkdtemp())
digits = load_digits(n_class=5)
for i, image in enumerate(digits.images[:500]):
    picture = Image.fromarray((image * 15.9).astype(np.uint8)).resize((16, 20) if i % 2 else (24, 24))
    picture.save(folder / f"{i:03}.{'png' if i % 3 else 'jpg'}")
(folder / "007.png").write_bytes(b"not an image")
(folder / "100.png").write_bytes((folder / "100.png").read_bytes()[:50])

# %%
# Cluster it
# ----------
# With ``on_error="raise"``, which is the default, the damaged files would have stopped the fit before it began.

dccm = DCCMClustering(n_clusters=5, image_size=16, on_error="skip", max_epochs=8, random_state=0).fit(folder)
for path, reason in dccm.unreadable_.items():
    print(f"left out: {Path(path).name}: {reason}")
for path, label in list(zip(dccm.paths_, dccm.labels_, strict=True))[:5]:
    print(f"{Path(path).name} is in cluster {label}")

# %%
# Look at the clusters
# --------------------

ClusterGridDisplay.from_estimator(dccm, dccm.paths_)

# %%
# The command does all of this, and writes the labels, the model and a report::
#
#     deepcluster-sk cluster photos --n-clusters 5 --image-size 16 --out result
