"""A data set: which clips, what was done, one clip at a time, what comes out."""
