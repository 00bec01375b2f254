/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/actions/upload/rules.h"

#include "common/names.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char *name_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

/* Without its dot; "": it has none. A leading dot makes no extension. */
static const char *extension_of(const char *path)
{
    const char *name = name_of(path);
    const char *dot = strrchr(name, '.');
    return dot != NULL && dot != name ? dot + 1 : "";
}

static char *key_of(const char *path, const char *layout)
{
    char *key = NULL;
    int size = 0;
    if (strcmp(layout, "type") == 0) {
        const char *extension = extension_of(path);
        size = asprintf(&key, "%s/%s", extension[0] != '\0' ? extension : "other", name_of(path));
    } else {
        size = asprintf(&key, "%s", strcmp(layout, "flat") == 0 ? name_of(path) : path);
    }
    if (size < 0) {
        abort();
    }
    return key;
}

static char *unit_of(const char *path, bool by_stem)
{
    const char *extension = extension_of(path);
    size_t cut = by_stem && extension[0] != '\0' ? strlen(extension) + 1 : 0;
    char *unit = strndup(path, strlen(path) - cut);
    if (unit == NULL) {
        abort();
    }
    return unit;
}

static int compare_keys(const void *a, const void *b)
{
    return strcmp((*(const struct listed *const *)a)->key, (*(const struct listed *const *)b)->key);
}

static int compare_units(const void *a, const void *b)
{
    return strcmp((*(const struct listed *const *)a)->unit, (*(const struct listed *const *)b)->unit);
}

/* Pointers to all, in some order; the caller owes free(). */
static const struct listed **sorted(const struct listing *listing, int (*compare)(const void *a, const void *b))
{
    const struct listed **files = calloc(listing->count + 1, sizeof *files);
    if (files == NULL) {
        abort();
    }
    for (size_t i = 0; i < listing->count; i++) {
        files[i] = &listing->files[i];
    }
    qsort(files, listing->count, sizeof *files, compare);
    return files;
}

static bool keys_differ(const struct listing *listing, struct error *error)
{
    const struct listed **files = sorted(listing, compare_keys);
    bool ok = true;
    for (size_t i = 1; ok && i < listing->count; i++) {
        if (strcmp(files[i]->key, files[i - 1]->key) == 0) {
            ok = error_set(error, ERROR_INVALID, "%s and %s would both be '%s' in the store; choose another layout",
                           SHOWN(span_of(files[i - 1]->path)), SHOWN(span_of(files[i]->path)), SHOWN(span_of(files[i]->key)));
        }
    }
    free(files);
    return ok;
}

static size_t count_units(const struct listing *listing)
{
    const struct listed **files = sorted(listing, compare_units);
    size_t units = listing->count > 0;
    for (size_t i = 1; i < listing->count; i++) {
        units += strcmp(files[i]->unit, files[i - 1]->unit) != 0;
    }
    free(files);
    return units;
}

bool organize_listing(struct listing *listing, const struct organize *organize, size_t *units, struct error *error)
{
    if (!store_check_key(organize->store, organize->units_key, error)) {
        return error_prefix(error, "param 'units'");
    }
    for (size_t i = 0; i < listing->count; i++) {
        struct listed *file = &listing->files[i];
        file->key = key_of(file->path, organize->layout);
        file->unit = unit_of(file->path, organize->by_stem);
        if (!store_check_key(organize->store, file->key, error)) {
            return error_prefix(error, "%s", SHOWN(span_of(file->path)));
        }
        if (strcmp(file->key, organize->units_key) == 0) {
            return error_set(error, ERROR_INVALID, "%s: that name is the list of units'; set 'units' to another",
                             SHOWN(span_of(file->path)));
        }
    }
    *units = count_units(listing);
    return keys_differ(listing, error);
}

/* ---------------------------------------------------------------- rules */

struct wanted {
    const char *extension;
    bool any, found;
};

static bool on_type(void *state, const char *item, size_t size)
{
    struct wanted *wanted = state;
    size_t dot = size > 0 && item[0] == '.';
    wanted->any = true;
    wanted->found =
        wanted->found || (strlen(wanted->extension) == size - dot && strncasecmp(wanted->extension, item + dot, size - dot) == 0);
    return true;
}

static bool check_file(const struct listed *file, const struct action_values *values, struct error *error)
{
    struct wanted wanted = {.extension = extension_of(file->path)};
    uint64_t least = (uint64_t)value_integer(values, "min_file_size"), most = (uint64_t)value_integer(values, "max_file_size");
    value_list(values, "types", on_type, &wanted);
    if (wanted.any && !wanted.found) {
        return error_set(error, ERROR_INVALID, "%s: files of type '%s' are not allowed", SHOWN(span_of(file->path)),
                         SHOWN(span_of(wanted.extension)));
    }
    if (file->size < least || file->size > most) {
        return error_set(error, ERROR_INVALID, "%s: has %" PRIu64 " bytes; %" PRIu64 " to %" PRIu64 " are allowed",
                         SHOWN(span_of(file->path)), file->size, least, most);
    }
    return true;
}

bool rules_check(const struct listing *listing, const struct action_values *values, struct error *error)
{
    int64_t least = value_integer(values, "min_files"), most = value_integer(values, "max_files");
    uint64_t total = 0, total_most = (uint64_t)value_integer(values, "max_total_size");
    if ((int64_t)listing->count < least || (int64_t)listing->count > most) {
        return error_set(error, ERROR_INVALID, "%zu files; %" PRId64 " to %" PRId64 " are allowed", listing->count, least, most);
    }
    for (size_t i = 0; i < listing->count; i++) {
        if (!check_file(&listing->files[i], values, error)) {
            return false;
        }
        total += listing->files[i].size;
    }
    return total <= total_most ||
           error_set(error, ERROR_INVALID, "%" PRIu64 " bytes altogether; %" PRIu64 " are allowed", total, total_most);
}
