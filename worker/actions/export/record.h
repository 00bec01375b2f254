/* SPDX-License-Identifier: Apache-2.0 */
/* What is exported, one record at a time, in constant memory: JSON lines, or CSV, whose rows become objects of texts. */
#ifndef EXPORT_RECORD_H
#define EXPORT_RECORD_H

#include "worker/actions/records/csv.h"

struct record_source {
    FILE *file; /* borrowed */
    bool csv;
    struct csv_row header, row;
    struct text json; /* RECORD: the record; BROKEN: what of it can be shown */
    uint64_t line; /* where it begins, from 1 */
    uint64_t next_line;
};

enum record_outcome { RECORD_READ, RECORD_BROKEN, RECORD_END };

struct record_source *record_source_new(FILE *file, bool csv); /* aborts without memory; caller owes record_source_free() */
void record_source_free(struct record_source *source);
/* Empty lines are passed over. BROKEN: `error` says why; go on. Whether a JSON line is JSON is for its reader to find out. */
enum record_outcome record_read(struct record_source *source, struct error *error);

#endif
