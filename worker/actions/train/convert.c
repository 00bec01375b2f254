/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/actions/train/convert.h"

#include "worker/actions/formatted.h"
#include "worker/actions/records/csv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void append_csv(struct text *text, const struct dataset *dataset, const float *values, uint32_t label)
{
    for (size_t i = 0; i < dataset->features; i++) {
        text_format(text, "%.9g,", (double)values[i]);
    }
    csv_append(text, span_of(dataset->names[label]));
}

static void append_json(struct text *text, const struct dataset *dataset, const float *values, uint32_t label)
{
    text_append_string(text, "{\"label\":");
    text_append_json_string(text, span_of(dataset->names[label]));
    text_append_string(text, ",\"features\":[");
    for (size_t i = 0; i < dataset->features; i++) {
        text_format(text, "%s%.9g", i > 0 ? "," : "", (double)values[i]);
    }
    text_append_string(text, "]}");
}

static void append_libsvm(struct text *text, const struct dataset *dataset, const float *values, uint32_t label)
{
    text_format(text, "%u", label);
    for (size_t i = 0; i < dataset->features; i++) {
        if (values[i] < 0 || values[i] > 0) {
            text_format(text, " %zu:%.9g", i + 1, (double)values[i]);
        }
    }
}

static const struct format {
    const char *name;
    void (*append)(struct text *text, const struct dataset *dataset, const float *values, uint32_t label);
    bool header;
} formats[] = {{"csv", append_csv, true}, {"jsonl", append_json, false}, {"libsvm", append_libsvm, false}};

static const struct format *format_of(const char *name)
{
    size_t i = 0;
    while (strcmp(formats[i].name, name) != 0) { /* the param's choices are these */
        i++;
    }
    return &formats[i];
}

static bool write_rows(FILE *file, const struct format *format, const struct dataset *dataset, size_t begin, size_t end)
{
    struct text text;
    text_init(&text, SIZE_MAX / 2);
    for (size_t i = 0; format->header && i < dataset->features; i++) {
        fprintf(file, "f%zu,%s", i, i + 1 == dataset->features ? "label\n" : "");
    }
    for (size_t i = begin; i < end; i++) {
        size_t row = dataset->order[i];
        text_clear(&text);
        format->append(&text, dataset, dataset->values + row * dataset->features, dataset->labels[row]);
        text_append_char(&text, '\n');
        fwrite(text_string(&text), 1, text.size, file);
    }
    text_fini(&text);
    return !ferror(file);
}

static bool write_part(const struct dataset *dataset, const struct format *format, const struct workspace *workspace, bool held_out,
                       struct error *error)
{
    char *name = formatted("%s.%s", held_out ? "test" : "train", format->name);
    char *path = workspace_file(workspace, name);
    FILE *file = fopen(path, "we");
    bool ok = file != NULL &&
              write_rows(file, format, dataset, held_out ? dataset->train_rows : 0, held_out ? dataset->rows : dataset->train_rows);
    ok = (file == NULL || fclose(file) == 0) && ok;
    ok = ok || error_set(error, ERROR_TRANSIENT, "%s: %s", path, strerror(errno));
    free(name);
    free(path);
    return ok;
}

bool convert_dataset(const struct dataset *dataset, const char *format, const struct workspace *workspace, struct error *error)
{
    return write_part(dataset, format_of(format), workspace, false, error) &&
           write_part(dataset, format_of(format), workspace, true, error);
}
