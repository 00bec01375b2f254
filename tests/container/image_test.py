# SPDX-License-Identifier: Apache-2.0
"""The image builds from the Dockerfile, is small, and holds both programs, for a user who is not root."""

import engine

SIZE_LIMIT_BYTES = 120_000_000


def says(*command):
    return engine.podman("run", "--rm", "--network=none", "--read-only", engine.IMAGE, *command).stdout.strip()


with engine.opened():
    image = engine.build_image()

    print(f"note: the image has {image['Size'] / 1e6:.1f} MB")
    if image["Size"] > SIZE_LIMIT_BYTES:
        engine.fail(f"the image has {image['Size']} bytes, more than {SIZE_LIMIT_BYTES}")
    if image["Config"]["User"].partition(":")[0] in ("", "0", "root"):
        engine.fail(f"the image runs as user '{image['Config']['User']}'")

    if says("id", "-u") == "0":
        engine.fail("a container of the image is root")
    for tool in "backstep", "backstep-worker", "jq", "sha256sum":
        print(says("sh", "-c", f"command -v {tool}"))
    for wasted in "/usr/share/man/man1", "/usr/share/locale/de", "/var/lib/apt/lists/partial", "/usr/bin/python3":
        if says("sh", "-c", f"ls -A {wasted} 2>/dev/null || :"):
            engine.fail(f"the image holds {wasted}")
    print(says("backstep", "version"))
