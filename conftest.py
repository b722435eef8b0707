"""Settings of pytest that hold for the whole repository."""

pytest_plugins = ["pytester"]
