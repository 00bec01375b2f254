/* SPDX-License-Identifier: Apache-2.0 */
/* The upload action: its steps, in order. What they do in common is in action.c, the sending in send.c. */
#include "common/limits.h"
#include "common/names.h"
#include "worker/actions/formatted.h"
#include "worker/actions/upload/listing.h"
#include "worker/actions/upload/metadata.h"
#include "worker/actions/upload/outputs.h"
#include "worker/actions/upload/rules.h"
#include "worker/actions/upload/units.h"
#include "worker/actions/upload/upload_params.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOUND "found" /* the listing as the source has it */
#define ORGANIZED "organized" /* with keys and units */
#define FILES_JOURNAL "files.journal"
#define UNITS_JOURNAL "units.journal"

static bool is_cancelled(void *state)
{
    return backstep_cancelled(state);
}

static bool is_choice(const struct action_call *call, const char *param, const char *value)
{
    return strcmp(value_text(&call->values, param), value) == 0;
}

/* ---------------------------------------------------------------- initialize */

static bool initialize(struct action_call *call, struct error *error)
{
    struct store_options options;
    struct stat status;
    const char *source = value_text(&call->values, "source");
    workspace_prune(&call->workspace, ACTION_KEEP_S);
    store_options_of(call, "target", &options);
    if (!store_check(&options, error)) {
        return false;
    }
    if (stat(source, &status) != 0) {
        return error_set(error, ERROR_INVALID, "source '%s': %s", source, strerror(errno));
    }
    text_append_string(&call->data, "{\"workspace\":");
    text_append_json_string(&call->data, span_of(call->workspace.path));
    text_append_char(&call->data, '}');
    return true;
}

/* What is not undone yet is known from here alone. */
static bool forget_all(struct action_call *call, struct error *error)
{
    if (workspace_has(&call->workspace, FILES_JOURNAL) || workspace_has(&call->workspace, UNITS_JOURNAL)) {
        return error_set(error, ERROR_TRANSIENT, "%s is kept: it says what is still to be taken back from the store",
                         call->workspace.path);
    }
    return workspace_remove(&call->workspace, error);
}

/* ---------------------------------------------------------------- process_metadata */

static bool has_no_metadata(struct action_call *call)
{
    return value_text(&call->values, "metadata") == NULL;
}

static bool process_metadata(struct action_call *call, struct error *error)
{
    size_t count = 0;
    const char *path = value_text(&call->values, "metadata");
    if (path == NULL) {
        return text_append_string(&call->data, "{\"records\":0}");
    }
    return metadata_import(path, &call->workspace, &count, error) && text_format(&call->data, "{\"records\":%zu}", count);
}

/* ---------------------------------------------------------------- analyze_collection */

static bool analyze_collection(struct action_call *call, struct error *error)
{
    struct listing listing;
    struct walk walk = {.source = value_text(&call->values, "source"),
                        .skip_special = is_choice(call, "special", "skip"),
                        .skip_hidden = is_choice(call, "hidden", "skip"),
                        .stop = is_cancelled,
                        .state = call->context};
    bool ok = listing_walk(&listing, &walk, error) && listing_write(&listing, &call->workspace, FOUND, error);
    uint64_t bytes = 0;
    for (size_t i = 0; i < listing.count; i++) {
        bytes += listing.files[i].size;
    }
    text_format(&call->data, "{\"files\":%zu,\"bytes\":%" PRIu64 ",\"left_out\":%zu}", listing.count, bytes, walk.left_out);
    listing_fini(&listing);
    return ok;
}

/* ---------------------------------------------------------------- organize_files */

static bool organize_files(struct action_call *call, struct error *error)
{
    struct listing listing;
    struct store_options options;
    size_t units = 0;
    store_options_of(call, "target", &options);
    struct store *store = store_open(&options, error);
    bool ok = store != NULL && listing_read(&listing, &call->workspace, FOUND, error);
    if (ok) {
        struct organize organize = {.layout = value_text(&call->values, "layout"),
                                    .by_stem = is_choice(call, "unit", "stem"),
                                    .units_key = value_text(&call->values, "units"),
                                    .store = store};
        ok = organize_listing(&listing, &organize, &units, error) && listing_write(&listing, &call->workspace, ORGANIZED, error);
        listing_fini(&listing);
    }
    store_close(store);
    text_format(&call->data, "{\"units\":%zu}", units);
    return ok;
}

/* ---------------------------------------------------------------- validate_files */

static bool validate_files(struct action_call *call, struct error *error)
{
    struct listing listing;
    if (!listing_read(&listing, &call->workspace, ORGANIZED, error)) {
        listing_fini(&listing);
        return false;
    }
    bool ok = rules_check(&listing, &call->values, error) && metadata_check(&listing, &call->workspace, error);
    text_format(&call->data, "{\"checked\":%zu}", listing.count);
    listing_fini(&listing);
    return ok;
}

/* ---------------------------------------------------------------- upload_files */

static char *visible(const char *path)
{
    struct text text;
    text_init(&text, SIZE_MAX / 2);
    text_append_visible(&text, span_of(path));
    char *name = text_take(&text);
    text_fini(&text);
    return name;
}

static char *source_path(const char *source, const char *path)
{
    struct stat status;
    char *whole = NULL;
    bool single = stat(source, &status) == 0 && S_ISREG(status.st_mode);
    int size = single ? asprintf(&whole, "%s", source) : asprintf(&whole, "%s/%s", source, path);
    if (size < 0) {
        abort();
    }
    return whole;
}

/* Caller owes send_files_free(). */
static struct send_file *files_of(const struct listing *listing, const char *source)
{
    struct send_file *files = calloc(listing->count + 1, sizeof *files);
    for (size_t i = 0; files != NULL && i < listing->count; i++) {
        const struct listed *listed = &listing->files[i];
        files[i] = (struct send_file){.path = source_path(source, listed->path),
                                      .key = strdup(listed->key),
                                      .size = listed->size,
                                      .mtime_ns = listed->mtime_ns,
                                      .name = visible(listed->path)};
    }
    if (files == NULL) {
        abort();
    }
    return files;
}

static void fill_job(struct send_job *job, struct action_call *call, const char *journal)
{
    job_of(job, call, journal);
    job->existing = is_choice(call, "existing", "same") ? SEND_SAME : SEND_REFUSE;
}

static bool open_job(struct send_job *job, struct action_call *call, struct error *error)
{
    struct listing listing;
    bool ok = listing_read(&listing, &call->workspace, ORGANIZED, error);
    fill_job(job, call, FILES_JOURNAL);
    if (ok) {
        job->files = files_of(&listing, value_text(&call->values, "source"));
        job->count = listing.count;
    }
    listing_fini(&listing);
    return ok;
}

static void close_job(struct send_job *job)
{
    send_files_free(job->files, job->count);
}

static bool upload_files(struct action_call *call, struct error *error)
{
    struct send_job job;
    struct send_counts counts = {0};
    bool ok = open_job(&job, call, error) && send_run(&job, &counts, error);
    text_format(&call->data, "{\"uploaded\":%zu,\"skipped\":%zu,\"bytes_sent\":%" PRIu64 "}", counts.success, counts.skipped,
                counts.bytes_sent);
    close_job(&job);
    return ok;
}

static bool take_files_back(struct action_call *call, struct error *error)
{
    struct send_job job;
    if (!workspace_has(&call->workspace, FILES_JOURNAL)) {
        return call->skipped = true;
    }
    bool ok = open_job(&job, call, error) && job_take_back(&job, call, error);
    close_job(&job);
    return ok;
}

/* ---------------------------------------------------------------- generate_data_units */

static bool open_units_job(struct send_job *job, struct action_call *call, struct error *error)
{
    const char *key = value_text(&call->values, "units");
    fill_job(job, call, UNITS_JOURNAL);
    job_reserve(job, 1);
    return job_add_output(job, UNITS_FILE, formatted("%s", key)) ||
           error_set(error, ERROR_TRANSIENT, "%s/" UNITS_FILE " is not there", call->workspace.path);
}

static bool generate_data_units(struct action_call *call, struct error *error)
{
    struct send_job files, job;
    struct listing listing;
    size_t units = 0;
    bool ok = open_job(&files, call, error) && listing_read(&listing, &call->workspace, ORGANIZED, error);
    if (ok) {
        ok = workspace_has(&call->workspace, UNITS_FILE) || units_write(&listing, &files, &units, error);
        listing_fini(&listing);
    }
    close_job(&files);
    if (!ok || !open_units_job(&job, call, error)) {
        return false;
    }
    struct send_counts counts;
    ok = send_run(&job, &counts, error);
    text_format(&call->data, "{\"units\":%zu}", units);
    close_job(&job);
    return ok;
}

static bool take_units_back(struct action_call *call, struct error *error)
{
    struct send_job job;
    if (!workspace_has(&call->workspace, UNITS_JOURNAL)) {
        return call->skipped = true;
    }
    bool ok = open_units_job(&job, call, error) && job_take_back(&job, call, error);
    close_job(&job);
    return ok;
}

/* ---------------------------------------------------------------- cleanup */

/* Nothing but the files is left in the store; how to take them back is kept for a while. */
static bool cleanup(struct action_call *call, struct error *error)
{
    struct send_job job;
    fill_job(&job, call, FILES_JOURNAL);
    return send_settle(&job, error) && workspace_settle(&call->workspace, error);
}

/* ---------------------------------------------------------------- the table */

static const struct action_part parts[] = {
    {"initialize", "upload.initialize", 1, upload_params, initialize, forget_all, NULL, true},
    {"process_metadata", "upload.metadata", 2, upload_params, process_metadata, NULL, has_no_metadata, false},
    {"analyze_collection", "upload.analyze", 1, upload_params, analyze_collection, NULL, NULL, false},
    {"organize_files", "upload.organize", 2, upload_params, organize_files, NULL, NULL, false},
    {"validate_files", "upload.validate", 1, upload_params, validate_files, NULL, NULL, false},
    {"upload_files", "upload.files", 34, upload_params, upload_files, take_files_back, NULL, false},
    {"generate_data_units", "upload.units", 58, upload_params, generate_data_units, take_units_back, NULL, false},
    {"cleanup", "upload.cleanup", 1, upload_params, cleanup, NULL, NULL, false},
};

static struct backstep_step steps[ACTION_PARTS_MAX], handlers[ACTION_PARTS_MAX];
struct action upload_action = {
    .name = "upload", .parts = parts, .count = sizeof parts / sizeof *parts, .steps = steps, .handlers = handlers};
