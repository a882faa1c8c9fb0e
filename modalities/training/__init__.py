"""How the shipped weights are made: one file a model, plain functions that `dyad train` wraps in a flow."""
