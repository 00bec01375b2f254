/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/actions/upload/units.h"

#include "common/json.h"
#include "common/names.h"
#include "worker/actions/encoding.h"
#include "worker/actions/upload/metadata.h"
#include "worker/actions/upload/send_journal.h"

#include <stdlib.h>
#include <string.h>

/* A file of the listing, and what the journal knows of it. */
struct member {
    const struct listed *listed;
    const struct send_file *sent;
};

struct writing {
    struct send_job *job;
    struct store *store;
    const json_t *metadata;
    struct text text;
};

static int compare_members(const void *a, const void *b)
{
    const struct member *first = a, *second = b;
    int order = strcmp(first->listed->unit, second->listed->unit);
    return order != 0 ? order : strcmp(first->listed->path, second->listed->path);
}

static bool is_stored(struct writing *writing, const struct send_file *file, struct error *error)
{
    struct store_object object = {0};
    bool looked = false;
    for (uint32_t i = 0; i < writing->job->tries && !looked; i++) {
        looked = store_look(writing->store, file->key, &object, error);
    }
    if (!looked) {
        return error_prefix(error, "%s", file->name);
    }
    if (!object.exists || (object.size != file->size && object.size != 0)) {
        return error_set(error, ERROR_TRANSIENT, "%s: the store does not have it any more as it was put there", file->name);
    }
    return true;
}

static void append_name(struct text *text, const char *name, bool *encoded)
{
    char *plain = utf8_is_valid(span_of(name)) ? NULL : percent_encode(name, true);
    *encoded = *encoded || plain != NULL;
    text_append_json_string(text, span_of(plain != NULL ? plain : name));
    free(plain);
}

static void append_file(struct writing *writing, const struct member *member)
{
    bool encoded = false;
    struct text *text = &writing->text;
    text_append_string(text, "{\"file\":");
    append_name(text, member->listed->path, &encoded);
    text_append_string(text, ",\"key\":");
    append_name(text, member->listed->key, &encoded);
    text_format(text, ",\"size\":%llu,\"sha256\":\"%s\"%s}", (unsigned long long)member->listed->size,
                member->sent->sha256 != NULL ? member->sent->sha256 : "", encoded ? ",\"encoded\":true" : "");
}

static void append_metadata(struct writing *writing, const struct member *members, size_t count)
{
    bool any = false;
    for (size_t i = 0; i < count; i++) {
        const json_t *record = json_object_get(writing->metadata, members[i].listed->path);
        if (record != NULL) {
            text_append_string(&writing->text, any ? "," : ",\"metadata\":{");
            text_append_json_string(&writing->text, span_of(members[i].listed->path));
            text_append_char(&writing->text, ':');
            json_write(record, &writing->text);
            any = true;
        }
    }
    text_append_string(&writing->text, any ? "}" : "");
}

static bool append_unit(struct writing *writing, const struct member *members, size_t count, struct error *error)
{
    bool encoded = false;
    text_append_string(&writing->text, "{\"unit\":");
    append_name(&writing->text, members[0].listed->unit, &encoded);
    text_append_string(&writing->text, ",\"files\":[");
    for (size_t i = 0; i < count; i++) {
        if (!is_stored(writing, members[i].sent, error)) {
            return false;
        }
        text_append_string(&writing->text, i > 0 ? "," : "");
        append_file(writing, &members[i]);
    }
    text_append_char(&writing->text, ']');
    append_metadata(writing, members, count);
    return text_append_string(&writing->text, "}\n");
}

static bool append_units(struct writing *writing, const struct member *members, size_t count, size_t *units, struct error *error)
{
    for (size_t begin = 0, end = 0; begin < count; begin = end) {
        while (end < count && strcmp(members[end].listed->unit, members[begin].listed->unit) == 0) {
            end++;
        }
        if (!append_unit(writing, members + begin, end - begin, error)) {
            return false;
        }
        ++*units;
        backstep_set_progress(writing->job->context, (int64_t)end, (int64_t)count);
        if (backstep_cancelled(writing->job->context)) {
            return error_set(error, ERROR_TRANSIENT, "it was cancelled");
        }
    }
    return true;
}

static bool is_cancelled(void *state)
{
    return backstep_cancelled(state);
}

static bool write_all(struct writing *writing, const struct listing *listing, size_t *units, struct error *error)
{
    struct member *members = calloc(listing->count + 1, sizeof *members);
    if (members == NULL) {
        abort();
    }
    for (size_t i = 0; i < listing->count; i++) {
        members[i] = (struct member){.listed = &listing->files[i], .sent = &writing->job->files[i]};
    }
    qsort(members, listing->count, sizeof *members, compare_members);
    bool ok = append_units(writing, members, listing->count, units, error) &&
              workspace_write(writing->job->workspace, UNITS_FILE, &writing->text, error);
    free(members);
    return ok;
}

bool units_write(const struct listing *listing, struct send_job *job, size_t *units, struct error *error)
{
    struct send_directories directories;
    bool ok = send_journal_read(job, &directories, error);
    send_directories_fini(&directories);
    json_t *metadata = ok ? metadata_read(job->workspace, error) : NULL;
    job->store.stop = is_cancelled;
    job->store.state = job->context;
    struct store *store = metadata != NULL ? store_open(&job->store, error) : NULL;
    struct writing writing = {.job = job, .store = store, .metadata = metadata};
    text_init(&writing.text, SIZE_MAX / 2);
    *units = 0;
    ok = store != NULL && write_all(&writing, listing, units, error);
    text_fini(&writing.text);
    store_close(store);
    json_decref(metadata);
    return ok;
}
