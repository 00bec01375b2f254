/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/actions/export/sink.h"

#include "common/json.h"
#include "common/names.h"
#include "worker/actions/records/csv.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool has_only_columns(const struct sink *sink, const json_t *item, size_t found, struct error *error)
{
    const char *name = NULL;
    json_t *value = NULL;
    if (!sink->columns.guessed || found == json_object_size(item)) {
        return true;
    }
    json_object_foreach((json_t *)(uintptr_t)item, name, value)
    {
        size_t i = 0;
        while (i < sink->columns.count && strcmp(sink->columns.names[i], name) != 0) {
            i++;
        }
        if (i == sink->columns.count) {
            return error_set(error, ERROR_INVALID, "has a field '%s' that the first item has not; name the columns",
                             SHOWN(span_of(name)));
        }
    }
    return true;
}

bool sink_write(struct sink *sink, const json_t *item, struct error *error)
{
    const json_t *values[LIMIT_EXPORT_COLUMNS];
    size_t found = 0;
    if (!json_is_object(item)) {
        return error_set(error, ERROR_INVALID, "the filter makes %s of it; a row needs an object", json_type_name(item));
    }
    for (size_t i = 0; i < sink->columns.count; i++) {
        values[i] = json_object_get(item, sink->columns.names[i]);
        found += values[i] != NULL;
    }
    return has_only_columns(sink, item, found, error) && sink->operations->write(sink, values, error);
}

/* ---------------------------------------------------------------- CSV */

struct sink_csv {
    struct sink sink;
    FILE *file;
    struct text line;
};

static void append_value(struct text *line, const json_t *value)
{
    struct text json;
    if (value == NULL || json_is_null(value)) {
        return;
    }
    if (json_is_string(value)) {
        csv_append(line, (struct span){.bytes = json_string_value(value), .size = json_string_length(value)});
        return;
    }
    text_init(&json, LIMIT_RECORD_LINE_BYTES * (size_t)16);
    json_write(value, &json);
    csv_append(line, text_span(&json));
    text_fini(&json);
}

static bool write_line(struct sink_csv *csv, struct error *error)
{
    text_append_char(&csv->line, '\n');
    return fwrite(text_string(&csv->line), 1, csv->line.size, csv->file) == csv->line.size ||
           error_set(error, ERROR_TRANSIENT, "%s", strerror(errno));
}

static bool csv_write(struct sink *sink, const json_t *const *values, struct error *error)
{
    struct sink_csv *csv = (struct sink_csv *)sink;
    text_clear(&csv->line);
    for (size_t i = 0; i < sink->columns.count; i++) {
        text_append_string(&csv->line, i > 0 ? "," : "");
        append_value(&csv->line, values[i]);
    }
    if (csv->line.size == 0) { /* an empty line would be no row */
        text_append_string(&csv->line, "\"\"");
    }
    return write_line(csv, error);
}

static bool csv_finish(struct sink *sink, struct error *error)
{
    struct sink_csv *csv = (struct sink_csv *)sink;
    return (fflush(csv->file) == 0 && fdatasync(fileno(csv->file)) == 0) ||
           error_set(error, ERROR_TRANSIENT, "%s", strerror(errno));
}

static void csv_close(struct sink *sink)
{
    struct sink_csv *csv = (struct sink_csv *)sink;
    fclose(csv->file);
    text_fini(&csv->line);
    free(csv);
}

struct sink *sink_csv_open(const char *path, const struct sink_columns *columns, struct error *error)
{
    static const struct sink_operations operations = {.write = csv_write, .finish = csv_finish, .close = csv_close};
    FILE *file = fopen(path, "we");
    if (file == NULL) {
        error_set(error, ERROR_TRANSIENT, "%s: %s", path, strerror(errno));
        return NULL;
    }
    struct sink_csv *csv = calloc(1, sizeof *csv);
    if (csv == NULL) {
        abort();
    }
    *csv = (struct sink_csv){.sink = {.operations = &operations, .columns = *columns}, .file = file};
    text_init(&csv->line, SIZE_MAX / 2);
    for (size_t i = 0; i < columns->count; i++) {
        text_append_string(&csv->line, i > 0 ? "," : "");
        csv_append(&csv->line, span_of(columns->names[i]));
    }
    if (!write_line(csv, error)) {
        csv_close(&csv->sink);
        return NULL;
    }
    return &csv->sink;
}

/* ---------------------------------------------------------------- SQLite */

struct sink_sqlite {
    struct sink sink;
    sqlite3 *database;
    sqlite3_stmt *insert;
};

static bool fail_sqlite(struct sink_sqlite *sqlite, struct error *error)
{
    return error_set(error, ERROR_TRANSIENT, "SQLite: %s", sqlite3_errmsg(sqlite->database));
}

static void bind_text(sqlite3_stmt *statement, int index, const json_t *value)
{
    struct text json;
    text_init(&json, LIMIT_RECORD_LINE_BYTES * (size_t)16);
    json_write(value, &json);
    sqlite3_bind_text64(statement, index, text_string(&json), json.size, SQLITE_TRANSIENT, SQLITE_UTF8);
    text_fini(&json);
}

static void bind(sqlite3_stmt *statement, int index, const json_t *value)
{
    if (json_is_integer(value)) {
        sqlite3_bind_int64(statement, index, json_integer_value(value));
    } else if (json_is_real(value)) {
        sqlite3_bind_double(statement, index, json_real_value(value));
    } else if (json_is_boolean(value)) {
        sqlite3_bind_int64(statement, index, json_is_true(value));
    } else if (json_is_string(value)) {
        sqlite3_bind_text64(statement, index, json_string_value(value), json_string_length(value), SQLITE_TRANSIENT, SQLITE_UTF8);
    } else if (value == NULL || json_is_null(value)) {
        sqlite3_bind_null(statement, index);
    } else {
        bind_text(statement, index, value);
    }
}

static bool sqlite_write(struct sink *sink, const json_t *const *values, struct error *error)
{
    struct sink_sqlite *sqlite = (struct sink_sqlite *)sink;
    for (size_t i = 0; i < sink->columns.count; i++) {
        bind(sqlite->insert, (int)i + 1, values[i]);
    }
    bool ok = sqlite3_step(sqlite->insert) == SQLITE_DONE || fail_sqlite(sqlite, error);
    sqlite3_reset(sqlite->insert);
    return ok;
}

static bool sqlite_finish(struct sink *sink, struct error *error)
{
    struct sink_sqlite *sqlite = (struct sink_sqlite *)sink;
    sqlite3_finalize(sqlite->insert);
    sqlite->insert = NULL;
    return sqlite3_exec(sqlite->database, "COMMIT", NULL, NULL, NULL) == SQLITE_OK || fail_sqlite(sqlite, error);
}

static void sqlite_close(struct sink *sink)
{
    struct sink_sqlite *sqlite = (struct sink_sqlite *)sink;
    sqlite3_finalize(sqlite->insert);
    sqlite3_close(sqlite->database);
    free(sqlite);
}

static void append_quoted(struct text *sql, const char *name)
{
    text_append_char(sql, '"');
    for (const char *at = name; *at != '\0'; at++) {
        text_append_string(sql, *at == '"' ? "\"\"" : (const char[]){*at, '\0'});
    }
    text_append_char(sql, '"');
}

static void append_columns(struct text *sql, const struct sink_columns *columns, bool marks)
{
    for (size_t i = 0; i < columns->count; i++) {
        text_append_string(sql, i > 0 ? ", " : "(");
        if (marks) {
            text_append_char(sql, '?');
        } else {
            append_quoted(sql, columns->names[i]);
        }
    }
    text_append_char(sql, ')');
}

/* The file is nobody's before it is whole: it needs no journal of its own. */
static bool prepare(struct sink_sqlite *sqlite, const char *table, struct error *error)
{
    struct text sql;
    text_init(&sql, SIZE_MAX / 2);
    text_append_string(&sql, "PRAGMA journal_mode = OFF; PRAGMA synchronous = NORMAL; BEGIN; CREATE TABLE ");
    append_quoted(&sql, table);
    append_columns(&sql, &sqlite->sink.columns, false);
    bool ok = sqlite3_exec(sqlite->database, text_string(&sql), NULL, NULL, NULL) == SQLITE_OK;
    text_clear(&sql);
    text_append_string(&sql, "INSERT INTO ");
    append_quoted(&sql, table);
    text_append_string(&sql, " VALUES ");
    append_columns(&sql, &sqlite->sink.columns, true);
    ok = ok && sqlite3_prepare_v2(sqlite->database, text_string(&sql), -1, &sqlite->insert, NULL) == SQLITE_OK;
    text_fini(&sql);
    return ok || fail_sqlite(sqlite, error);
}

struct sink *sink_sqlite_open(const char *path, const struct sink_columns *columns, const char *table, struct error *error)
{
    static const struct sink_operations operations = {.write = sqlite_write, .finish = sqlite_finish, .close = sqlite_close};
    struct sink_sqlite *sqlite = calloc(1, sizeof *sqlite);
    if (sqlite == NULL) {
        abort();
    }
    sqlite->sink = (struct sink){.operations = &operations, .columns = *columns};
    unlink(path); /* of an attempt before */
    bool ok = sqlite3_open(path, &sqlite->database) == SQLITE_OK || fail_sqlite(sqlite, error);
    if (!ok || !prepare(sqlite, table, error)) {
        sqlite_close(&sqlite->sink);
        return NULL;
    }
    return &sqlite->sink;
}
