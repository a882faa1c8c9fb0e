"""How the face networks of the literature are trained."""
