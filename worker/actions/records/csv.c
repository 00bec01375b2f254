/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/actions/records/csv.h"

#include <string.h>

void csv_row_init(struct csv_row *row)
{
    row->count = 0;
    row->line = 0;
    row->next_line = 1;
    text_init(&row->bytes, LIMIT_RECORD_LINE_BYTES);
}

void csv_row_fini(struct csv_row *row)
{
    text_fini(&row->bytes);
}

struct span csv_field(const struct csv_row *row, size_t index)
{
    size_t begin = index > 0 ? row->ends[index - 1] : 0;
    return (struct span){.bytes = text_string(&row->bytes) + begin, .size = row->ends[index] - begin};
}

static const char *end_field(struct csv_row *row)
{
    if (row->count == LIMIT_CSV_FIELDS) {
        return "more than 4096 fields";
    }
    row->ends[row->count++] = row->bytes.size;
    return NULL;
}

enum place { FRESH, PLAIN, QUOTED, QUOTE_SEEN };

/* One byte of a row; moves `*place`. Returns what is wrong with it, or NULL. A carriage return counts only before a line break. */
static const char *take_byte(struct csv_row *row, enum place *place, int byte)
{
    switch (*place) {
    case QUOTED:
        *place = byte == '"' ? QUOTE_SEEN : QUOTED;
        if (byte != '"') {
            text_append_char(&row->bytes, (char)byte);
        }
        return NULL;
    case QUOTE_SEEN:
        if (byte == '"') {
            text_append_char(&row->bytes, '"');
            *place = QUOTED;
            return NULL;
        }
        if (byte == '\r') {
            return NULL;
        }
        if (byte != ',') {
            return "text follows a closing quote";
        }
        break;
    case FRESH:
        if (byte == '"') {
            *place = QUOTED;
            return NULL;
        }
        break;
    case PLAIN: break;
    }
    if (byte == ',') {
        *place = FRESH;
        return end_field(row);
    }
    *place = PLAIN;
    text_append_char(&row->bytes, (char)byte);
    return NULL;
}

static void drop_carriage_return(struct csv_row *row, enum place place)
{
    size_t begin = row->count > 0 ? row->ends[row->count - 1] : 0;
    if (place == PLAIN && row->bytes.size > begin && row->bytes.bytes[row->bytes.size - 1] == '\r') {
        row->bytes.bytes[--row->bytes.size] = '\0';
    }
}

/* Read to the end of the row. `*wrong`: the first thing that is. */
static bool read_row(FILE *file, struct csv_row *row, const char **wrong)
{
    enum place place = FRESH;
    bool any = false;
    for (int byte; (byte = getc_unlocked(file)) != EOF; any = true) {
        row->next_line += byte == '\n';
        if (byte == '\n' && (place != QUOTED || *wrong != NULL)) {
            drop_carriage_return(row, place);
            *wrong = *wrong != NULL ? *wrong : end_field(row);
            return true;
        }
        const char *problem = *wrong == NULL ? take_byte(row, &place, byte) : NULL;
        *wrong = *wrong != NULL ? *wrong : problem;
    }
    if (any && *wrong == NULL) {
        *wrong = place == QUOTED ? "a quote is not closed" : end_field(row);
    }
    return any;
}

static bool is_empty(const struct csv_row *row)
{
    return row->count == 1 && row->ends[0] == 0;
}

enum csv_outcome csv_read(FILE *file, struct csv_row *row, struct error *error)
{
    const char *wrong = NULL;
    do {
        wrong = NULL;
        text_clear(&row->bytes);
        row->count = 0;
        row->line = row->next_line;
        if (!read_row(file, row, &wrong)) {
            return CSV_END;
        }
    } while (wrong == NULL && is_empty(row) && !row->bytes.overflow);
    if (wrong == NULL && row->bytes.overflow) {
        wrong = "longer than 1 MiB";
    }
    if (wrong != NULL) {
        error_set(error, ERROR_INVALID, "%s", wrong);
        return CSV_BROKEN;
    }
    return CSV_ROW;
}

bool csv_append(struct text *text, struct span field)
{
    bool quoted = memchr(field.bytes, ',', field.size) != NULL || memchr(field.bytes, '"', field.size) != NULL ||
                  memchr(field.bytes, '\n', field.size) != NULL || memchr(field.bytes, '\r', field.size) != NULL;
    if (!quoted) {
        return text_append_span(text, field);
    }
    text_append_char(text, '"');
    for (size_t i = 0; i < field.size; i++) {
        if (field.bytes[i] == '"') {
            text_append_char(text, '"');
        }
        text_append_char(text, field.bytes[i]);
    }
    return text_append_char(text, '"');
}
