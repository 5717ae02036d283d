"""
A fit that was killed goes on, and ends the same
================================================

With ``checkpoint_dir`` the same program, run again, goes on where it was killed. Here another process fits the
digits, and dies in the middle without a word, as in a power cut. Look at the epochs that are trained after it, and at
the labels.
"""

import subprocess
import sys
import tempfile

PROGRAM = """
import os, sys
import torch
from sklearn.datasets import load_digits
from deepcluster_sk import DACClustering

class PowerCut:  # a callback of scikit-learn's kind
    n_epochs = 0
    def setup(self, estimator, context): pass
    def teardown(self, estimator, context): pass
    def on_fit_task_begin(self, estimator, context): pass
    def on_fit_task_end(self, estimator, context):
        self.n_epochs += 1
        if self.n_epochs == 20:
            os._exit(1)

folder, dies = sys.argv[1], sys.argv[2] == "dies"
torch.set_num_threads(1)  # the same number in every process
images = load_digits(n_class=3).images[:300]
dac = DACClustering(3, max_epochs=12, random_state=0, checkpoint_dir=folder, checkpoint_every="1 epoch", verbose=1)
if dies:
    dac.set_callbacks(PowerCut())
print("labels", *dac.fit(images).labels_)
"""


def run(folder, how="lives"):
    """Labels, if the process lives to tell them."""
    command = [sys.executable, "-c", PROGRAM, folder, how]
    process = subprocess.run(command, capture_output=True, text=True, check=how == "lives")
    *lines, last = process.stdout.splitlines()
    epochs = [line.partition(",")[0] for line in (*lines, last) if " epoch " in line]
    print(f"exit code {process.returncode}; {len(epochs)} epochs trained, from {epochs[0]} to {epochs[-1]}")
    return last


# %%
# A fit that nothing disturbs
# ---------------------------

undisturbed = run(tempfile.mkdtemp())

# %%
# One that dies, and is run again
# -------------------------------

folder = tempfile.mkdtemp()
run(folder, "dies")
resumed = run(folder)
print("the same labels:", resumed == undisturbed)

# %%
# The second process went on from the last checkpoint, so at most one epoch was trained twice; and the labels are the
# same, every one. A fit that came to its end is found in the folder and not run again.
