#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The steps of examples/files/files.c in Python: count the words of files in a working directory of the run's own."""

import shutil
from pathlib import Path

import backstep


def work_of(context):
    return Path(f"/tmp/backstep-files-{context.run_id}")


@backstep.step
def prepare(context):
    work_of(context).mkdir(mode=0o700, exist_ok=True)  # run twice, as after a crash, it finds its own
    return {"directory": str(work_of(context))}


@prepare.rollback
def undo_prepare(context):
    shutil.rmtree(work_of(context), ignore_errors=True)


@backstep.step
def count(context):
    files, words = context.params["files"], 0
    context.metrics(unit="files")
    with open(work_of(context) / "counts", "w") as counts:
        for done, path in enumerate(files, 1):
            try:
                more = len(Path(path).read_bytes().split())
            except OSError as failure:
                raise backstep.Permanent(f"{path}: {failure.strerror}") from None
            print(more, path, file=counts)
            words += more
            context.log(event="counted", file=path, words=more)
            context.progress(done, len(files))
    return {"files": len(files), "words": words}


@backstep.step
def clean_up(context):
    shutil.rmtree(work_of(context))


if __name__ == "__main__":
    backstep.main()
