"""What the face networks of the literature share."""
