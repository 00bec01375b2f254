/* SPDX-License-Identifier: Apache-2.0 */
/* CSV as RFC 4180 has it, one row at a time: fields quoted or not, quotes doubled, line breaks within quotes; LF and CRLF.
 *
 * A row that is broken is said to be so, and the next one begins on the next line: one bad row spoils no other. */
#ifndef CSV_H
#define CSV_H

#include "common/error.h"
#include "common/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define LIMIT_CSV_FIELDS 4096 /* a row becomes an object in memory */
#define LIMIT_RECORD_LINE_BYTES (1 << 20) /* a row or a JSON line: held whole */

struct csv_row {
    struct text bytes;
    size_t ends[LIMIT_CSV_FIELDS]; /* of each field in `bytes` */
    size_t count;
    uint64_t line; /* where it begins, from 1 */
    uint64_t next_line;
};

enum csv_outcome { CSV_ROW, CSV_BROKEN, CSV_END };

void csv_row_init(struct csv_row *row);
void csv_row_fini(struct csv_row *row);
/* Empty lines are passed over. BROKEN: `error` says why; go on. */
enum csv_outcome csv_read(FILE *file, struct csv_row *row, struct error *error);
struct span csv_field(const struct csv_row *row, size_t index);

/* Append one field, quoted where it has to be. */
bool csv_append(struct text *text, struct span field);

#endif
