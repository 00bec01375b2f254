/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/actions/upload/metadata.h"

#include "common/json.h"
#include "common/names.h"
#include "worker/actions/records/csv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define METADATA "metadata.jsonl"

static bool add_record(json_t *all, json_t *record, struct error *error)
{
    const char *file = json_string_value(json_object_get(record, "file"));
    if (file == NULL) {
        return error_set(error, ERROR_INVALID, "the field 'file' is missing, or no text");
    }
    if (json_object_get(all, file) != NULL) {
        return error_set(error, ERROR_INVALID, "'%s' has a record already", SHOWN(span_of(file)));
    }
    if (json_object_size(all) == LIMIT_METADATA_RECORDS) {
        return error_set(error, ERROR_INVALID, "more than %d records", LIMIT_METADATA_RECORDS);
    }
    return json_object_set(all, file, record) == 0 || error_set(error, ERROR_TRANSIENT, "out of memory");
}

/* ---------------------------------------------------------------- from CSV */

static json_t *record_of(const struct csv_row *header, const struct csv_row *row, struct error *error)
{
    if (row->count != header->count) {
        error_set(error, ERROR_INVALID, "%zu fields; the header has %zu", row->count, header->count);
        return NULL;
    }
    json_t *record = json_object();
    for (size_t i = 0; i < row->count; i++) {
        struct span name = csv_field(header, i), value = csv_field(row, i);
        if (json_object_setn_new(record, name.bytes, name.size, json_stringn(value.bytes, value.size)) != 0) {
            error_set(error, ERROR_INVALID, "field %zu is no UTF-8", i + 1);
            json_decref(record);
            return NULL;
        }
    }
    return record;
}

static bool read_csv_rows(FILE *file, struct csv_row *header, struct csv_row *row, json_t *all, struct error *error)
{
    enum csv_outcome outcome = csv_read(file, header, error);
    if (outcome != CSV_ROW) {
        return outcome == CSV_END ? error_set(error, ERROR_INVALID, "has no header") : error_prefix(error, "line 1");
    }
    row->next_line = header->next_line;
    while ((outcome = csv_read(file, row, error)) == CSV_ROW) {
        json_t *record = record_of(header, row, error);
        bool ok = record != NULL && add_record(all, record, error);
        json_decref(record);
        if (!ok) {
            return error_prefix(error, "line %llu", (unsigned long long)row->line);
        }
    }
    return outcome == CSV_END || error_prefix(error, "line %llu", (unsigned long long)row->line);
}

static bool read_csv(FILE *file, json_t *all, struct error *error)
{
    struct csv_row *rows = calloc(2, sizeof *rows);
    if (rows == NULL) {
        abort();
    }
    csv_row_init(&rows[0]);
    csv_row_init(&rows[1]);
    bool ok = read_csv_rows(file, &rows[0], &rows[1], all, error);
    csv_row_fini(&rows[0]);
    csv_row_fini(&rows[1]);
    free(rows);
    return ok;
}

/* ---------------------------------------------------------------- from JSON lines */

static bool read_json_lines(FILE *file, json_t *all, struct error *error)
{
    char *line = NULL;
    size_t capacity = 0, number = 0;
    bool ok = true;
    for (ssize_t size; ok && (size = getline(&line, &capacity, file)) > 0;) {
        number++;
        if (strspn(line, " \t\r\n") == (size_t)size) {
            continue;
        }
        json_t *record = json_read_object((struct span){.bytes = line, .size = (size_t)size}, error);
        ok = record != NULL && add_record(all, record, error);
        json_decref(record);
    }
    free(line);
    return ok || error_prefix(error, "line %zu", number);
}

/* ---------------------------------------------------------------- all of it */

static bool write_records(const json_t *all, const struct workspace *workspace, struct error *error)
{
    struct text text;
    const char *file = NULL;
    json_t *record = NULL;
    text_init(&text, SIZE_MAX / 2);
    json_object_foreach((json_t *)(uintptr_t)all, file, record)
    {
        json_write(record, &text);
        text_append_char(&text, '\n');
    }
    bool ok = workspace_write(workspace, METADATA, &text, error);
    text_fini(&text);
    return ok;
}

static json_t *read_path(const char *path, bool csv, struct error *error)
{
    json_t *all = json_object();
    FILE *file = fopen(path, "re");
    bool ok = file != NULL ? (csv ? read_csv(file, all, error) : read_json_lines(file, all, error))
                           : error_set(error, ERROR_INVALID, "%s", strerror(errno));
    if (file != NULL) {
        fclose(file);
    }
    if (!ok) {
        error_prefix(error, "%s", path);
        json_decref(all);
        return NULL;
    }
    return all;
}

bool metadata_import(const char *path, const struct workspace *workspace, size_t *count, struct error *error)
{
    size_t size = strlen(path);
    bool csv = size >= 4 && strcmp(path + size - 4, ".csv") == 0;
    json_t *all = read_path(path, csv, error);
    bool ok = all != NULL && write_records(all, workspace, error);
    *count = json_object_size(all);
    json_decref(all);
    return ok;
}

json_t *metadata_read(const struct workspace *workspace, struct error *error)
{
    if (!workspace_has(workspace, METADATA)) {
        return json_object();
    }
    char *path = workspace_file(workspace, METADATA);
    json_t *all = read_path(path, false, error);
    free(path);
    return all;
}

static int compare_paths(const void *key, const void *entry)
{
    return strcmp(key, ((const struct listed *)entry)->path);
}

bool metadata_check(const struct listing *listing, const struct workspace *workspace, struct error *error)
{
    const char *file = NULL;
    json_t *record = NULL;
    json_t *all = metadata_read(workspace, error);
    bool ok = all != NULL;
    json_object_foreach(all, file, record)
    {
        if (ok && bsearch(file, listing->files, listing->count, sizeof listing->files[0], compare_paths) == NULL) {
            ok = error_set(error, ERROR_INVALID, "the metadata has a record of '%s', which is not in the source",
                           SHOWN(span_of(file)));
        }
    }
    json_decref(all);
    return ok;
}
