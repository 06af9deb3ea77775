"""The suites of other libraries run under their own plugins, where these are installed."""

from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    if config.pluginmanager.hasplugin("asyncio"):
        config.option.asyncio_mode = "auto"  # their asynchronous tests carry no marks
