/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/actions/train/dataset.h"

#include "common/names.h"
#include "worker/actions/formatted.h"
#include "worker/actions/records/csv.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---------------------------------------------------------------- chance */

/* SplitMix64. source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014 */
uint64_t random_next(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

double random_unit(uint64_t *state)
{
    return (double)(random_next(state) >> 11) * 0x1p-53;
}

size_t random_below(uint64_t *state, size_t bound)
{
    return (size_t)(random_unit(state) * (double)bound);
}

void random_shuffle(uint64_t *state, uint32_t *items, size_t count)
{
    for (size_t i = count; i > 1; i--) {
        size_t j = random_below(state, i);
        uint32_t item = items[i - 1];
        items[i - 1] = items[j];
        items[j] = item;
    }
}

/* ---------------------------------------------------------------- reading */

struct reading {
    struct dataset *dataset;
    struct csv_row *row;
    size_t label; /* column */
    size_t capacity; /* rows */
    char **texts; /* the labels as they stand there, by row */
};

static void *need(void *memory)
{
    if (memory == NULL) {
        abort();
    }
    return memory;
}

static bool to_number(struct span field, double *value)
{
    char text[64], *end = NULL;
    if (field.size == 0 || field.size >= sizeof text) {
        return false;
    }
    memcpy(text, field.bytes, field.size);
    text[field.size] = '\0';
    *value = strtod(text, &end);
    while (*end == ' ') {
        end++;
    }
    return end != text && *end == '\0' && isfinite(*value);
}

/* A first row in which no feature is a number says what the columns are called. */
static bool is_header(const struct csv_row *row)
{
    double value = 0;
    for (size_t i = 0; i < row->count; i++) {
        if (to_number(csv_field(row, i), &value)) {
            return false;
        }
    }
    return true;
}

static bool find_label(struct reading *reading, const char *label, bool header, struct error *error)
{
    char *end = NULL;
    size_t count = reading->row->count;
    reading->label = label != NULL ? strtoul(label, &end, 10) : count - 1;
    if (label == NULL || (*label != '\0' && *end == '\0' && reading->label < count)) {
        return true;
    }
    for (size_t i = 0; header && i < count; i++) {
        struct span name = csv_field(reading->row, i);
        if (name.size == strlen(label) && memcmp(name.bytes, label, name.size) == 0) {
            reading->label = i;
            return true;
        }
    }
    return error_set(error, ERROR_INVALID, "has no column '%s': %zu columns%s", SHOWN(span_of(label)), count,
                     header ? "" : " without names");
}

/* Labels that are whole numbers are called so, however they are written. */
static char *label_text(struct span field)
{
    double value = 0;
    if (to_number(field, &value) && value == trunc(value) && fabs(value) < 1e15) {
        return formatted("%.0f", value);
    }
    return formatted("%.*s", SPAN_ARGS(field));
}

static void grow(struct reading *reading)
{
    struct dataset *dataset = reading->dataset;
    if (dataset->rows == reading->capacity) {
        reading->capacity = reading->capacity > 0 ? reading->capacity * 2 : 256;
        dataset->values = need(realloc(dataset->values, reading->capacity * (dataset->features + 1) * sizeof(float)));
        reading->texts = need(realloc(reading->texts, reading->capacity * sizeof(char *)));
    }
}

static bool add_row(struct reading *reading, struct error *error)
{
    struct dataset *dataset = reading->dataset;
    double value = 0;
    if (reading->row->count != dataset->features + 1) {
        return error_set(error, ERROR_INVALID, "%zu columns; the first row has %zu", reading->row->count, dataset->features + 1);
    }
    if ((dataset->rows + 1) * (dataset->features + 1) > LIMIT_DATASET_VALUES) {
        return error_set(error, ERROR_INVALID, "more than %d values altogether", LIMIT_DATASET_VALUES);
    }
    grow(reading);
    float *values = dataset->values + dataset->rows * dataset->features;
    for (size_t i = 0; i <= dataset->features; i++) {
        struct span field = csv_field(reading->row, i);
        if (i == reading->label) {
            continue;
        }
        if (!to_number(field, &value)) {
            return error_set(error, ERROR_INVALID, "column %zu: expected a number, found '%s'", i, SHOWN(field));
        }
        *values++ = (float)value;
    }
    reading->texts[dataset->rows++] = label_text(csv_field(reading->row, reading->label));
    return true;
}

static bool read_rows(struct reading *reading, FILE *file, const char *label, struct error *error)
{
    enum csv_outcome outcome;
    for (bool first = true; (outcome = csv_read(file, reading->row, error)) == CSV_ROW; first = false) {
        bool header = first && is_header(reading->row);
        if (first) {
            reading->dataset->features = reading->row->count - 1;
            if (!find_label(reading, label, header, error)) {
                return false;
            }
        }
        if (!header && !add_row(reading, error)) {
            return error_prefix(error, "line %" PRIu64, reading->row->line);
        }
    }
    return outcome == CSV_END || error_prefix(error, "line %" PRIu64, reading->row->line);
}

/* Numbers in their order, then the others. */
static int by_name(const void *a, const void *b)
{
    const char *first = *(char *const *)a, *second = *(char *const *)b;
    double x = 0, y = 0;
    bool is_first = to_number(span_of(first), &x), is_second = to_number(span_of(second), &y);
    if (is_first != is_second) {
        return is_first ? -1 : 1;
    }
    return is_first && x != y ? (x < y ? -1 : 1) : strcmp(first, second);
}

static bool name_classes(struct reading *reading, struct error *error)
{
    struct dataset *dataset = reading->dataset;
    if (dataset->rows == 0) {
        return error_set(error, ERROR_INVALID, "has no rows");
    }
    char **sorted = need(calloc(dataset->rows + 1, sizeof *sorted));
    memcpy(sorted, reading->texts, dataset->rows * sizeof *sorted);
    qsort(sorted, dataset->rows, sizeof *sorted, by_name);
    dataset->names = need(calloc(dataset->rows + 1, sizeof *dataset->names));
    for (size_t i = 0; i < dataset->rows; i++) {
        if (i == 0 || by_name(&sorted[i], &sorted[i - 1]) != 0) {
            dataset->names[dataset->classes++] = need(strdup(sorted[i]));
        }
    }
    free(sorted);
    if (dataset->classes < 2 || dataset->classes > LIMIT_DATASET_CLASSES) {
        return error_set(error, ERROR_INVALID, "%zu classes; 2 to %d are allowed: is the label in another column?",
                         dataset->classes, LIMIT_DATASET_CLASSES);
    }
    dataset->labels = need(calloc(dataset->rows, sizeof *dataset->labels));
    for (size_t i = 0; i < dataset->rows; i++) {
        char **found = bsearch(&reading->texts[i], dataset->names, dataset->classes, sizeof *dataset->names, by_name);
        dataset->labels[i] = (uint32_t)(found - dataset->names);
    }
    return true;
}

bool dataset_read_csv(struct dataset *dataset, FILE *file, const char *label, struct error *error)
{
    struct reading reading = {.dataset = dataset, .row = need(calloc(1, sizeof *reading.row))};
    *dataset = (struct dataset){0};
    csv_row_init(reading.row);
    bool ok = read_rows(&reading, file, label, error) && name_classes(&reading, error);
    if (ok && dataset->features == 0) {
        ok = error_set(error, ERROR_INVALID, "one column only: there is nothing to learn from");
    }
    for (size_t i = 0; reading.texts != NULL && i < dataset->rows; i++) {
        free(reading.texts[i]);
    }
    free(reading.texts);
    csv_row_fini(reading.row);
    free(reading.row);
    return ok;
}

bool dataset_split(struct dataset *dataset, double test_share, uint64_t seed, struct error *error)
{
    size_t held_out = (size_t)(test_share * (double)dataset->rows + 0.5);
    if (held_out == 0 || held_out >= dataset->rows) {
        return error_set(error, ERROR_INVALID, "of %zu rows, a share of %g held out leaves a part empty", dataset->rows,
                         test_share);
    }
    dataset->order = need(calloc(dataset->rows, sizeof *dataset->order));
    for (size_t i = 0; i < dataset->rows; i++) {
        dataset->order[i] = (uint32_t)i;
    }
    random_shuffle(&seed, dataset->order, dataset->rows);
    dataset->train_rows = dataset->rows - held_out;
    return true;
}

void dataset_shuffle_labels(struct dataset *dataset, uint64_t seed)
{
    uint32_t *labels = need(calloc(dataset->train_rows, sizeof *labels));
    for (size_t i = 0; i < dataset->train_rows; i++) {
        labels[i] = dataset->labels[dataset->order[i]];
    }
    random_shuffle(&seed, labels, dataset->train_rows);
    for (size_t i = 0; i < dataset->train_rows; i++) {
        dataset->labels[dataset->order[i]] = labels[i];
    }
    free(labels);
}

/* ---------------------------------------------------------------- on the disk: a line of counts, a line a class, then bytes */

bool dataset_save(const struct dataset *dataset, const char *path, struct error *error)
{
    char *fresh = formatted("%s.new", path);
    FILE *file = fopen(fresh, "we");
    bool ok = file != NULL;
    if (ok) {
        fprintf(file, "dataset 1 %zu %zu %zu %zu\n", dataset->rows, dataset->features, dataset->classes, dataset->train_rows);
        for (size_t i = 0; i < dataset->classes; i++) {
            fprintf(file, "%s%c", dataset->names[i], '\0');
        }
        fwrite(dataset->values, sizeof(float), dataset->rows * dataset->features, file);
        fwrite(dataset->labels, sizeof(uint32_t), dataset->rows, file);
        fwrite(dataset->order, sizeof(uint32_t), dataset->rows, file);
        ok = fflush(file) == 0 && !ferror(file) && fdatasync(fileno(file)) == 0;
        ok = fclose(file) == 0 && ok && rename(fresh, path) == 0;
    }
    ok = ok || error_set(error, ERROR_TRANSIENT, "%s: %s", path, strerror(errno));
    free(fresh);
    return ok;
}

static bool load_names(struct dataset *dataset, FILE *file)
{
    dataset->names = need(calloc(dataset->classes, sizeof *dataset->names));
    for (size_t i = 0; i < dataset->classes; i++) {
        size_t capacity = 0;
        if (getdelim(&dataset->names[i], &capacity, '\0', file) < 1) {
            return false;
        }
    }
    return true;
}

static bool load_rows(struct dataset *dataset, FILE *file)
{
    size_t rows = dataset->rows, values = rows * dataset->features;
    dataset->values = need(calloc(values, sizeof(float)));
    dataset->labels = need(calloc(rows, sizeof(uint32_t)));
    dataset->order = need(calloc(rows, sizeof(uint32_t)));
    if (fread(dataset->values, sizeof(float), values, file) != values ||
        fread(dataset->labels, sizeof(uint32_t), rows, file) != rows ||
        fread(dataset->order, sizeof(uint32_t), rows, file) != rows) {
        return false;
    }
    for (size_t i = 0; i < rows; i++) {
        if (dataset->labels[i] >= dataset->classes || dataset->order[i] >= rows) {
            return false;
        }
    }
    return true;
}

static bool load(struct dataset *dataset, FILE *file)
{
    char line[128];
    return fgets(line, sizeof line, file) != NULL &&
           sscanf(line, "dataset 1 %zu %zu %zu %zu", &dataset->rows, &dataset->features, &dataset->classes, &dataset->train_rows) ==
               4 &&
           dataset->rows > 0 && dataset->features > 0 && dataset->rows <= LIMIT_DATASET_VALUES / (dataset->features + 1) &&
           dataset->classes >= 2 && dataset->classes <= LIMIT_DATASET_CLASSES && dataset->train_rows > 0 &&
           dataset->train_rows < dataset->rows && load_names(dataset, file) && load_rows(dataset, file);
}

bool dataset_load(struct dataset *dataset, const char *path, struct error *error)
{
    *dataset = (struct dataset){0};
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return error_set(error, errno == ENOENT ? ERROR_INVALID : ERROR_TRANSIENT, "%s: %s", path, strerror(errno));
    }
    bool ok = load(dataset, file) || error_set(error, ERROR_INVALID, "%s: is no data set, or cut off", path);
    fclose(file);
    return ok;
}

void dataset_fini(struct dataset *dataset)
{
    for (size_t i = 0; dataset->names != NULL && i < dataset->classes; i++) {
        free(dataset->names[i]);
    }
    free(dataset->names);
    free(dataset->values);
    free(dataset->labels);
    free(dataset->order);
    *dataset = (struct dataset){0};
}
