"""`python -m sparse_verify ARGUMENTS` is `verify ARGUMENTS`, where the folder of scripts is in no PATH."""

import os
import sys
import sysconfig

# "The environment failed", as `verify` has it. Python's own 1 would say that something was refuted.
ENVIRONMENT = 4


def candidates():
    """Paths at which an installer puts the program: of this environment, of the user, and of `pip install --target`."""
    beside = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    folders = [
        sysconfig.get_path("scripts"),
        sysconfig.get_path("scripts", os.name + "_user"),
        os.path.join(beside, "bin"),
    ]
    return [os.path.join(folder, "verify") for folder in folders]


def main():
    found = [path for path in candidates() if os.access(path, os.X_OK)]
    if not found:
        sys.stderr.write(
            f"error: `verify` is not where this package puts it: {', '.join(candidates())}\n"
            "hint: `python -m pip install --force-reinstall WHEEL` puts it back\n"
        )
        sys.exit(ENVIRONMENT)
    try:
        # This process becomes the program, so that signals and exit codes are its own.
        os.execv(found[0], [found[0], *sys.argv[1:]])
    except OSError as error:
        sys.stderr.write(f"error: failed to start {found[0]}: {error.strerror}\n")
        sys.exit(ENVIRONMENT)


if __name__ == "__main__":
    main()
