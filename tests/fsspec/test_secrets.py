# SPDX-License-Identifier: Apache-2.0
"""No text of a file system shows a secret, and no pickle holds a signed URL."""

from __future__ import annotations

import json
import logging
import pickle
import traceback
from pathlib import Path

import fsspec
import pytest

from backlotfs.emulator import Emulator, Fault
from backlotfs.fsspec import BacklotFileSystem
from tests.fsspec.conftest import CLIP, MakeFs
from tests.support.expected_bytes import origin_bytes

SIGNED = ("Signature=", "AWSAccessKeyId", "Expires=")


def test_texts_of_a_file_system(emulator: Emulator, make_fs: MakeFs) -> None:
    """Its repr, its options, JSON and the tokens of Dask."""
    fs = make_fs()
    with fs.open("/clip.mov") as file:
        texts = [repr(fs), str(fs), f"{fs}", repr(fs.storage_options), repr(file)]
    texts += [fs.to_json(), json.dumps(fs.to_dict()), str(fs.__dask_tokenize__())]
    texts += [repr(fsspec.open("backlot:///clip.mov", **fs.storage_options))]
    for text in texts:
        for secret in (emulator.api_secret, emulator.api_key, *SIGNED):
            assert secret not in text


def test_json_takes_the_account_from_elsewhere(profile: Path) -> None:
    """Of a profile the name is enough."""
    fs = fsspec.filesystem("backlot", profile="main")
    again = BacklotFileSystem.from_json(fs.to_json())
    assert again.cat_file("/clip.mov", 0, 10) == origin_bytes(CLIP, 0, 10)


def test_a_pickle_holds_what_the_caller_gave(
    emulator: Emulator, make_fs: MakeFs, profile: Path
) -> None:
    """The secret only if it was an argument; no URL ever."""
    by_name = fsspec.filesystem("backlot", profile="main")
    by_arguments = make_fs()
    for fs in (by_name, by_arguments):
        with fs.open("/clip.mov") as file:
            file.read(10)
            pickled = pickle.dumps((fs, file))
        assert not any(sign.encode() in pickled for sign in SIGNED)
        assert (emulator.api_secret.encode() in pickled) == (fs is by_arguments)
        again, opened = pickle.loads(pickled)
        assert again.storage_options == fs.storage_options
        assert repr(again.storage_options) == repr(fs.storage_options)
        assert opened.read(10) == origin_bytes(CLIP, 10, 10)


def test_exceptions_and_logs(
    emulator: Emulator, make_fs: MakeFs, caplog: pytest.LogCaptureFixture
) -> None:
    """Of a host that refuses, and of one that breaks off; also at debug."""
    caplog.set_level(logging.DEBUG)
    fs = make_fs()
    texts = []
    for fault in (Fault.of("access_denied"), Fault.status(404), Fault.status(500)):
        emulator.faults.add(fault, route="source")
        with pytest.raises(OSError, match=r".+") as caught:
            fs.cat_file("/film.mov")
        texts += traceback.format_exception(caught.value)
        pickle.loads(pickle.dumps(caught.value))
        emulator.faults.clear()
    for text in [*texts, caplog.text]:
        for secret in (emulator.api_secret, *SIGNED):
            assert secret not in text
