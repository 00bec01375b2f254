/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/actions/export/record.h"

#include "common/names.h"

#include <stdlib.h>
#include <string.h>

struct record_source *record_source_new(FILE *file, bool csv)
{
    struct record_source *source = calloc(1, sizeof *source);
    if (source == NULL) {
        abort();
    }
    source->file = file;
    source->csv = csv;
    source->next_line = 1;
    csv_row_init(&source->header);
    csv_row_init(&source->row);
    text_init(&source->json, 8 * (size_t)LIMIT_RECORD_LINE_BYTES); /* a row's bytes may each be escaped, its names repeat */
    return source;
}

void record_source_free(struct record_source *source)
{
    csv_row_fini(&source->header);
    csv_row_fini(&source->row);
    text_fini(&source->json);
    free(source);
}

/* ---------------------------------------------------------------- JSON lines */

/* One line into `json`. The rest of one that is too long is passed over, not kept. false: there is none. */
static bool take_line(struct record_source *source, size_t *size)
{
    int byte = getc_unlocked(source->file);
    text_clear(&source->json);
    source->line = source->next_line++;
    if (byte == EOF) {
        return false;
    }
    for (*size = 0; byte != EOF && byte != '\n'; byte = getc_unlocked(source->file)) {
        if (++*size <= LIMIT_RECORD_LINE_BYTES) {
            text_append_char(&source->json, (char)byte);
        }
    }
    return true;
}

static enum record_outcome read_line(struct record_source *source, struct error *error)
{
    size_t size = 0;
    do {
        if (!take_line(source, &size)) {
            return RECORD_END;
        }
    } while (strspn(text_string(&source->json), " \t\r") == size);
    if (size > LIMIT_RECORD_LINE_BYTES) {
        error_set(error, ERROR_INVALID, "longer than 1 MiB");
        return RECORD_BROKEN;
    }
    return RECORD_READ;
}

/* ---------------------------------------------------------------- CSV */

static void append_object(struct record_source *source)
{
    struct text *json = &source->json;
    text_append_char(json, '{');
    for (size_t i = 0; i < source->row.count; i++) {
        text_append_string(json, i > 0 ? "," : "");
        text_append_json_string(json, csv_field(&source->header, i));
        text_append_char(json, ':');
        text_append_json_string(json, csv_field(&source->row, i));
    }
    text_append_char(json, '}');
}

static enum record_outcome read_row(struct record_source *source, struct error *error)
{
    if (source->header.count == 0) {
        enum csv_outcome header = csv_read(source->file, &source->header, error);
        source->row.next_line = source->header.next_line;
        if (header != CSV_ROW) {
            source->line = 1;
            source->header.count = 1; /* what follows has another number of fields, or is one text */
            return header == CSV_END ? RECORD_END : RECORD_BROKEN;
        }
    }
    enum csv_outcome outcome = csv_read(source->file, &source->row, error);
    source->line = source->row.line;
    text_clear(&source->json);
    if (outcome == CSV_END) {
        return RECORD_END;
    }
    if (outcome == CSV_BROKEN || source->row.count != source->header.count) {
        if (outcome == CSV_ROW) {
            error_set(error, ERROR_INVALID, "%zu fields; the header has %zu", source->row.count, source->header.count);
        }
        text_append_span(&source->json, text_span(&source->row.bytes));
        return RECORD_BROKEN;
    }
    append_object(source);
    if (source->json.overflow) {
        error_set(error, ERROR_INVALID, "longer than 8 MiB as JSON");
        return RECORD_BROKEN;
    }
    return RECORD_READ;
}

enum record_outcome record_read(struct record_source *source, struct error *error)
{
    return source->csv ? read_row(source, error) : read_line(source, error);
}
