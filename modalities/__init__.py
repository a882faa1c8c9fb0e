"""The six kinds of evidence: each file owns one modality's preprocessing and backends. Knows nothing of Prefect or fusion."""

from modalities import torchvision_cpu

torchvision_cpu.install()
