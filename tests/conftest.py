"""Every test runs offline: a network name that gets looked up is a failure, not a download."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is kept between runs (encoded prompts) lies in a folder of the session, not in the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANTI_I2V_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
