"""What a description of the scene says: descriptions by a vision-language model, read as emotions."""
