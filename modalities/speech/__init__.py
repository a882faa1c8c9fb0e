"""Who speaks when, and the windows of speech that voices are recognised in."""
