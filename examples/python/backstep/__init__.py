# SPDX-License-Identifier: Apache-2.0
"""Steps of Backstep in Python: a step is a function.

    import backstep

    @backstep.step
    def resize(context):
        for done, name in enumerate(context.params["files"], 1):
            shrink(name)
            context.progress(done, len(context.params["files"]))
        return {"resized": done}

    @resize.rollback
    def restore(context):
        ...

    if __name__ == "__main__":
        backstep.main()
"""

from .program import main
from .step import Cancelled, Context, Permanent, Skip, Step, step

__all__ = ["Cancelled", "Context", "Permanent", "Skip", "Step", "main", "step"]
