"""
Embeddings first, then the right head
=====================================

For photographs two steps work: a network that was trained elsewhere turns images into vectors, once
(:func:`~deepcluster_sk.embed_images`), and a clusterer finds groups among these: which one, the vectors say.
"""

import tempfile
import time

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.preprocessing import normalize
from torch import nn

from deepcluster_sk import DACClustering, embed_images
from deepcluster_sk.display import EmbeddingDisplay
from deepcluster_sk.model_selection import compare_with_baselines

# Things lie anywhere, as in photographs: digits of 8 x 8 pixels within 16 x 16.
digits = load_digits()
X, y = np.zeros((len(digits.target), 16, 16), np.uint8), digits.target
corners = np.random.default_rng(0).integers(0, 9, (len(y), 2))
for image, digit, (top, left) in zip(X, digits.images, corners, strict=True):
    image[top : top + 8, left : left + 8] = digit * (255 / 16)

# %%
# A backbone
# ----------
# With photographs this is a name, as in ``embed_images(folder, "resnet50")``. To download nothing, a small network that
# learns the digits 0 to 4 by their labels stands in for it. The digits 5 to 9 are new to it; they are to be clustered.

seen, new = y < 5, y >= 5
batch = torch.from_numpy(X[seen])[:, None].float().expand(-1, 3, -1, -1) / 255
torch.manual_seed(0)
backbone = nn.Sequential(
    *(nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
    *(nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten()),
)
classifier = nn.Sequential(backbone, nn.Linear(64, 5))
optimizer = torch.optim.Adam(classifier.parameters(), lr=2e-3)
for _ in range(15):
    for rows in torch.randperm(len(batch)).split(64):
        loss = nn.functional.cross_entropy(classifier(batch[rows]), torch.from_numpy(y[seen])[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

# %%
# The embeddings, once
# --------------------
# ``cache`` keeps them on the disk, part by part: a run that was stopped goes on, and the second time takes no time.

with tempfile.TemporaryDirectory() as cache:
    for _ in range(2):
        start = time.perf_counter()
        embeddings = np.array(embed_images(X[new], backbone, mean=0, std=1, cache=cache))
        print(f"{embeddings.shape} {embeddings.dtype} in {time.perf_counter() - start:.2f} s")

# %%
# The head
# --------
# On the embeddings as they come, and as unit vectors: our default from 64 features on. ``y`` only scores.

rows = []
heads = (("as they come", embeddings, "euclidean"), ("unit vectors", normalize(embeddings), "cosine"))
for what, vectors, metric in heads:
    dac = DACClustering(n_clusters=5, metric=metric, random_state=0)
    table = compare_with_baselines(dac, vectors, y[new], embedding=X[new].reshape(len(vectors), -1), random_states=[0])
    table["method"][2] = "k-means on pixels"
    rows += [(what, *row) for row in zip(*(table[c] for c in ("method", "acc", "nmi", "seconds")), strict=True)]
for row in rows:
    print("{:13s} {:18s} ACC {:.3f}  NMI {:.3f}  {:5.1f} s".format(*row))

# %%
# What to conclude: take the simplest head that nothing beats by much.

pixels = rows[2][2]
simple = max(acc for _, method, acc, *_ in rows if method in ("k-means", "PCA + k-means"))
deep = max(acc for _, method, acc, *_ in rows if method == "DACClustering")
print(f"k-means gets {pixels:.2f} from pixels and {simple:.2f} from embeddings.")
print(f"DAC gets {deep:.2f}: " + ("it earns its seconds." if deep > simple + 0.02 else "no more, so take k-means."))

# %%
# The embedding that DAC learns of the directions, by true digit.

dac.fit(embeddings)
EmbeddingDisplay.from_estimator(dac, embeddings, y=y[new])
