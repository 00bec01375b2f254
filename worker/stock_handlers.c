/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/stock_handlers.h"

#include <stddef.h>

const char *const stock_handlers[] = {
    "upload.initialize",
    "upload.metadata",
    "upload.analyze",
    "upload.organize",
    "upload.validate",
    "upload.files",
    "upload.units",
    "upload.cleanup",
    "export.initialize",
    "export.fetch",
    "export.prepare",
    "export.convert",
    "export.save",
    "export.finalize",
    "train.dataset",
    "train.convert",
    "train.train",
    "train.upload",
    NULL,
};

bool stock_handler_is(struct span handler)
{
    for (size_t i = 0; stock_handlers[i] != NULL; i++) {
        if (span_equal(span_of(stock_handlers[i]), handler)) {
            return true;
        }
    }
    return false;
}
