"""What is set up: `dyad settings` prints it, `dyad doctor` examines it."""

import sys

from configs import DEFAULT_PROFILE
from flows.cli.options import ProfileOption, SettingsOption


def settings(profile: ProfileOption = DEFAULT_PROFILE, single: SettingsOption = None) -> None:
    """Print every setting with its value and what it means, as YAML to start your own profile from.

    Example: dyad settings > mine.yaml
    """
    from configs.explained import with_comments
    from configs.settings import load_settings

    print("\n".join(with_comments(load_settings(profile, single=single or ()))))


def doctor() -> None:
    """Check the installation, devices and weights, and say what to do.

    Example: dyad doctor
    """
    from flows.doctor import examine

    sys.exit(examine())
