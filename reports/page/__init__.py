"""The page that explains a clip's answer."""
