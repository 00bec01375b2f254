/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRAIN_CONVERT_H
#define TRAIN_CONVERT_H

#include "worker/actions/train/dataset.h"
#include "worker/actions/workspace.h"

/* Write train.FORMAT and test.FORMAT: "csv" (the label last, with a header), "jsonl" ({"label": ..., "features": [...]}) or "libsvm" (the
 * class's number, then INDEX:VALUE from 1 for what is not 0). */
bool convert_dataset(const struct dataset *dataset, const char *format, const struct workspace *workspace, struct error *error);

#endif
