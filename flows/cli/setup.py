"""What is set up: `dyad settings` prints it, `dyad doctor` examines it."""

import sys

from configs import DEFAULT_PROFILE
from flows.cli.options import ProfileOption


def settings(profile: ProfileOption = DEFAULT_PROFILE) -> None:
    """Print every setting with its value, as YAML to start your own profile from.

    Example: dyad settings > mine.yaml
    """
    import yaml

    from configs.settings import load_settings

    print(yaml.safe_dump(load_settings(profile).model_dump(mode="json"), sort_keys=False), end="")


def doctor() -> None:
    """Check the installation, devices and weights, and say what to do.

    Example: dyad doctor
    """
    from flows.doctor import examine

    sys.exit(examine())
