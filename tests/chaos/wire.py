# SPDX-License-Identifier: Apache-2.0
"""The protocol's messages, made from proto/ where they are needed."""

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

_proto = Path(os.environ["BACKSTEP_SOURCE"]) / "proto"
_generated = Path(tempfile.mkdtemp(prefix="backstep-test-proto-"))
atexit.register(shutil.rmtree, _generated, ignore_errors=True)
subprocess.run(["protoc", f"--proto_path={_proto}", f"--python_out={_generated}", "backstep.proto"], check=True)
sys.path.insert(0, str(_generated))
from backstep_pb2 import *  # noqa: E402, F401, F403
