"""The six kinds of evidence: each file owns one modality's preprocessing and backends. Knows nothing of Prefect or fusion."""

import os

from modalities.loading import torchvision_cpu

# Torch's threads that wait for each other in a busy loop starve those of the other modalities (a minute of speech: 10 s
# instead of 0.5 s on 2 cores). Read once, when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
torchvision_cpu.install()
