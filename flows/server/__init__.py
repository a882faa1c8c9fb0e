"""The Prefect server that Dyad starts: its processes, deployments, watched folders and artifacts."""
