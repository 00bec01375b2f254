/* SPDX-License-Identifier: Apache-2.0 */
/* What items become: CSV, or a table of SQLite. (JSON lines they are already.) */
#ifndef EXPORT_SINK_H
#define EXPORT_SINK_H

#include "common/error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#define LIMIT_EXPORT_COLUMNS 1000 /* SQLite's own limit is 2000 */

struct sink_columns {
    char **names;
    size_t count;
    bool guessed; /* from the first item: then an item with another field is an error, not something to leave out */
};

struct sink;
struct sink_operations {
    bool (*write)(struct sink *sink, const json_t *const *values, struct error *error); /* one a column; NULL: absent */
    bool (*finish)(struct sink *sink, struct error *error);
    void (*close)(struct sink *sink);
};
struct sink {
    const struct sink_operations *operations;
    struct sink_columns columns;
};

struct sink *sink_csv_open(const char *path, const struct sink_columns *columns, struct error *error);
struct sink *sink_sqlite_open(const char *path, const struct sink_columns *columns, const char *table, struct error *error);

/* INVALID: the item is no object, or has a field that is no column; TRANSIENT: the disk. */
bool sink_write(struct sink *sink, const json_t *item, struct error *error);
/* On the disk when this returns. */
static inline bool sink_finish(struct sink *sink, struct error *error)
{
    return sink->operations->finish(sink, error);
}
static inline void sink_close(struct sink *sink) /* NULL is fine */
{
    if (sink != NULL) {
        sink->operations->close(sink);
    }
}

#endif
