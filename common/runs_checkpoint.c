/* SPDX-License-Identifier: Apache-2.0 */
#include "common/runs.h"

#include <inttypes.h>
#include <stdio.h>

void runs_checkpoint_write(const struct runs_checkpoint *checkpoint, char metadata[RUNS_CHECKPOINT_BYTES])
{
    snprintf(metadata, RUNS_CHECKPOINT_BYTES, "epoch=%" PRId64 " time=%" PRId64 " ids=%" PRId64, checkpoint->epoch,
             checkpoint->epoch_ms, checkpoint->ids);
}

bool runs_checkpoint_read(struct runs_checkpoint *checkpoint, int64_t offset, const char *metadata)
{
    *checkpoint = (struct runs_checkpoint){.offset = offset, .epoch = -1, .ids = -1};
    return sscanf(metadata, "epoch=%" SCNd64 " time=%" SCNd64 " ids=%" SCNd64, &checkpoint->epoch, &checkpoint->epoch_ms,
                  &checkpoint->ids) == 3;
}
