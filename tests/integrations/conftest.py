"""Tests in `legacy_keras` need a process of their own, see `test_legacy_keras.py`."""

import os

is_legacy = os.environ.get("TF_USE_LEGACY_KERAS") == "1"
collect_ignore = [] if is_legacy else ["legacy_keras"]
