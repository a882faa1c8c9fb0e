"""What each stage does with files: read the inputs, call the domain's function, write the outputs. One module a stage, so that
what a module imports is what its stage depends on."""
