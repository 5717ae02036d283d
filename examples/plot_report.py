"""
A report in one file, to look at and to pass on
===============================================

``write_report`` makes one HTML page: sizes and doubts in words, the surest, typical and least sure images of each
cluster, clusters that are easily confused, a map to move about in, and training curves. It needs no network and no
server.
"""

import tempfile
from pathlib import Path

from sklearn.datasets import load_digits

from deepcluster_sk import DCCMClustering
from deepcluster_sk.display import ClusterGridDisplay
from deepcluster_sk.report import write_report

images = load_digits().images[:600]
dccm = DCCMClustering(n_clusters=10, max_epochs=10, random_state=0).fit(images)
page = Path(tempfile.mkdtemp()) / "digits.html"
write_report(dccm, images, page, title="Digits")
print(f"{page.name}: {page.stat().st_size / 1e6:.1f} MB, open it in a browser")

# %%
# The rows of its gallery are like these, with the least certain images beside the surest.

ClusterGridDisplay.from_estimator(dccm, images)

# %%
# The command writes one too: ``deepcluster-sk report result photos --out report.html``.
