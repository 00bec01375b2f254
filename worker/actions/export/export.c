/* SPDX-License-Identifier: Apache-2.0 */
/* The export action: its steps, in order. */
#include "common/expression.h"
#include "common/json.h"
#include "common/limits.h"
#include "common/names.h"
#include "worker/actions/digest.h"
#include "worker/actions/export/aside.h"
#include "worker/actions/export/record.h"
#include "worker/actions/export/sieve.h"
#include "worker/actions/export/sink.h"
#include "worker/actions/export/spool.h"
#include "worker/actions/formatted.h"
#include "worker/actions/upload/outputs.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SPOOL_FILE "spool"
#define FETCHED_FILE "fetched" /* what was fetched, as "SIZE MTIME PATH": the same file must be there later */
#define PREPARED_FILE "prepared" /* how many records there are */
#define ITEMS_FILE "items.jsonl" /* what the filter made of them */
#define OUTPUT_FILE "output" /* in the format asked for */
#define FAILED_FILE "failed.jsonl" /* what could not be exported */
#define CHECKSUM_FILE OUTPUT_FILE ".sha256"
#define SAVE_JOURNAL "save.journal"
#define TELL_ITEMS 1000

static const struct action_param export_params[] = {
    {.name = "source",
     .kind = PARAM_TEXT,
     .required = true,
     .unit = "path",
     .help = "JSON lines or CSV; - is standard input, kafka:TOPIC a range of a topic"},
    {.name = "source_format",
     .kind = PARAM_CHOICE,
     .choices = "auto|jsonl|csv",
     .fallback = "auto",
     .help = "auto: CSV where the source's name ends with .csv"},
    {.name = "brokers",
     .kind = PARAM_TEXT,
     .fallback = "127.0.0.1:9092",
     .unit = "HOST:PORT,...",
     .help = "Kafka: where the topic is"},
    {.name = "connection",
     .kind = PARAM_TEXT,
     .unit = "name",
     .help = "Kafka: NAME.conf in the worker's BACKSTEP_KAFKA_CONNECTIONS, with TLS and users; goes before brokers"},
    {.name = "partition",
     .kind = PARAM_INTEGER,
     .fallback = "0",
     .least = 0,
     .most = INT32_MAX,
     .help = "Kafka: which of the topic's"},
    {.name = "from",
     .kind = PARAM_INTEGER,
     .fallback = "0",
     .least = 0,
     .most = INT64_MAX,
     .unit = "offset",
     .help = "Kafka: the first record"},
    {.name = "to",
     .kind = PARAM_INTEGER,
     .fallback = "-1",
     .least = -1,
     .most = INT64_MAX,
     .unit = "offset",
     .help = "Kafka: the first record left out; -1: the end as it stands"},
    {.name = "filter",
     .kind = PARAM_TEXT,
     .fallback = ".",
     .unit = "jq",
     .help = "what becomes of a record: nothing, an item, or several"},
    {.name = "target",
     .kind = PARAM_TEXT,
     .required = true,
     .unit = "path or URL",
     .help = "the file to write: DIR/NAME, http(s)://.../NAME, s3://BUCKET/NAME"},
    {.name = "format",
     .kind = PARAM_CHOICE,
     .choices = "auto|jsonl|csv|sqlite",
     .fallback = "auto",
     .help = "auto: by the target's extension (.csv, .db, .sqlite), else JSON lines"},
    {.name = "columns",
     .kind = PARAM_LIST,
     .unit = "names",
     .help = "CSV and SQLite: the columns; none: the fields of the first item"},
    {.name = "table", .kind = PARAM_TEXT, .fallback = "items", .unit = "name", .help = "SQLite: the table"},
    {.name = "max_failed",
     .kind = PARAM_INTEGER,
     .fallback = "1000",
     .least = 0,
     .most = INT64_MAX,
     .unit = "records",
     .help = "kept aside in TARGET.failed.jsonl; more fail the export"},
    STORE_PARAMS,
    ACTION_PARAMS_COMMON("export"),
    {.name = NULL},
};

static bool fail_path(const char *path, struct error *error)
{
    return error_set(error, ERROR_TRANSIENT, "%s: %s", path, strerror(errno));
}

static bool ends_with(const char *text, const char *end)
{
    size_t size = strlen(text), end_size = strlen(end);
    return size >= end_size && strcmp(text + size - end_size, end) == 0;
}

static const char *format_of(const struct action_call *call)
{
    const char *format = value_text(&call->values, "format"), *target = value_text(&call->values, "target");
    if (strcmp(format, "auto") != 0) {
        return format;
    }
    return ends_with(target, ".csv") ? "csv" : ends_with(target, ".db") || ends_with(target, ".sqlite") ? "sqlite" : "jsonl";
}

static bool is_csv_source(const struct action_call *call)
{
    const char *format = value_text(&call->values, "source_format");
    return strcmp(format, "csv") == 0 || (strcmp(format, "auto") == 0 && ends_with(value_text(&call->values, "source"), ".csv"));
}

static bool is_spooled(const struct action_call *call)
{
    const char *source = value_text(&call->values, "source");
    return strcmp(source, "-") == 0 || strncmp(source, "kafka:", 6) == 0;
}

/* The caller owes free(). */
static char *source_path(const struct action_call *call)
{
    return is_spooled(call) ? workspace_file(&call->workspace, SPOOL_FILE) : formatted("%s", value_text(&call->values, "source"));
}

/* ---------------------------------------------------------------- the target: where it stands, and what it is called there */

struct target {
    char *place, *name;
};

static void target_of(const struct action_call *call, struct target *target)
{
    const char *whole = value_text(&call->values, "target");
    const char *slash = strrchr(whole, '/');
    target->name = formatted("%s", slash != NULL ? slash + 1 : whole);
    target->place = slash == NULL    ? formatted(".")
                    : slash == whole ? formatted("/")
                                     : formatted("%.*s", (int)(slash - whole), whole);
}

static void target_fini(struct target *target)
{
    free(target->place);
    free(target->name);
}

/* ---------------------------------------------------------------- initialize */

static bool check_target(const struct action_call *call, struct error *error)
{
    struct target target;
    struct store_options options;
    struct store_object object;
    target_of(call, &target);
    store_options_of(call, "target", &options);
    options.target = target.place;
    struct store *store = store_open(&options, error);
    bool ok = store != NULL;
    if (ok && target.name[0] == '\0') {
        ok = error_set(error, ERROR_INVALID, "param 'target': names a directory, not a file");
    }
    ok = ok && store_check_key(store, target.name, error) && store_look(store, target.name, &object, error);
    if (ok && object.exists) {
        ok = error_set(error, ERROR_INVALID, "%s: is there already", value_text(&call->values, "target"));
    }
    store_close(store);
    target_fini(&target);
    return ok;
}

static bool initialize(struct action_call *call, struct error *error)
{
    workspace_prune(&call->workspace, ACTION_KEEP_S);
    const char *filter = value_text(&call->values, "filter");
    return (expression_check(span_of(filter), error) || error_prefix(error, "param 'filter'")) && check_target(call, error);
}

static bool forget_all(struct action_call *call, struct error *error)
{
    if (workspace_has(&call->workspace, SAVE_JOURNAL)) {
        return error_set(error, ERROR_TRANSIENT, "%s is kept: it says what is still to be taken back", call->workspace.path);
    }
    return workspace_remove(&call->workspace, error);
}

/* ---------------------------------------------------------------- fetch_results */

static bool fetch_topic(struct action_call *call, const char *path, struct error *error)
{
    uint64_t count = 0;
    struct spool_range range = {.brokers = value_text(&call->values, "brokers"),
                                .connection = value_text(&call->values, "connection"),
                                .topic = value_text(&call->values, "source") + strlen("kafka:"),
                                .partition = (int32_t)value_integer(&call->values, "partition"),
                                .from = value_integer(&call->values, "from"),
                                .to = value_integer(&call->values, "to"),
                                .timeout_ms = (int)value_integer(&call->values, "stall_timeout")};
    return spool_topic(call, &range, path, &count, error);
}

/* A file is not copied, but has to stay the same. */
static bool remember_source(struct action_call *call, const char *path, struct error *error)
{
    struct stat status;
    struct text text;
    if (stat(path, &status) != 0 || !S_ISREG(status.st_mode)) {
        return error_set(error, ERROR_INVALID, "source '%s': %s", path, errno != 0 ? strerror(errno) : "is no file");
    }
    text_init(&text, 200);
    text_format(&text, "%jd %jd.%09ld\n", (intmax_t)status.st_size, (intmax_t)status.st_mtim.tv_sec, status.st_mtim.tv_nsec);
    bool ok = workspace_write(&call->workspace, FETCHED_FILE, &text, error);
    text_format(&call->data, "{\"bytes\":%jd}", (intmax_t)status.st_size);
    text_fini(&text);
    return ok;
}

static bool fetch_results(struct action_call *call, struct error *error)
{
    char *path = source_path(call);
    bool ok = true;
    errno = 0;
    if (is_spooled(call) && !workspace_has(&call->workspace, FETCHED_FILE)) { /* standard input is there once only */
        bool input = strcmp(value_text(&call->values, "source"), "-") == 0;
        ok = input ? spool_input(call, path, error) : fetch_topic(call, path, error);
    }
    ok = ok && remember_source(call, path, error);
    free(path);
    return ok;
}

static bool is_same_source(struct action_call *call, FILE *file, struct error *error)
{
    struct stat status;
    char now[200], then[200] = "";
    char *path = workspace_file(&call->workspace, FETCHED_FILE);
    FILE *fetched = fopen(path, "re");
    if (fetched != NULL && fgets(then, sizeof then, fetched) == NULL) {
        then[0] = '\0';
    }
    if (fetched != NULL) {
        fclose(fetched);
    }
    free(path);
    if (fstat(fileno(file), &status) != 0) {
        return error_set(error, ERROR_TRANSIENT, "%s", strerror(errno));
    }
    snprintf(now, sizeof now, "%jd %jd.%09ld\n", (intmax_t)status.st_size, (intmax_t)status.st_mtim.tv_sec, status.st_mtim.tv_nsec);
    return strcmp(now, then) == 0 || error_set(error, ERROR_INVALID, "the source changed since the export began");
}

/* NULL: it is not there, or another one. The caller owes fclose(). */
static FILE *open_source(struct action_call *call, struct error *error)
{
    char *path = source_path(call);
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        error_set(error, ERROR_INVALID, "source '%s': %s", path, strerror(errno));
    } else if (!is_same_source(call, file, error)) {
        fclose(file);
        file = NULL;
    }
    free(path);
    return file;
}

/* ---------------------------------------------------------------- prepare_export: how many records there are */

static bool prepare_export(struct action_call *call, struct error *error)
{
    uint64_t count = 0;
    struct text text;
    FILE *file = open_source(call, error);
    if (file == NULL) {
        return false;
    }
    struct record_source *source = record_source_new(file, is_csv_source(call));
    while (record_read(source, NULL) != RECORD_END && (count % TELL_ITEMS != 0 || !backstep_cancelled(call->context))) {
        count++;
    }
    record_source_free(source);
    fclose(file);
    if (backstep_cancelled(call->context)) {
        return error_set(error, ERROR_TRANSIENT, "it was cancelled");
    }
    text_init(&text, 64);
    text_format(&text, "%" PRIu64 "\n", count);
    bool ok = workspace_write(&call->workspace, PREPARED_FILE, &text, error);
    text_fini(&text);
    text_format(&call->data, "{\"records\":%" PRIu64 "}", count);
    return ok;
}

static uint64_t record_count(struct action_call *call)
{
    unsigned long long count = 0;
    char *path = workspace_file(&call->workspace, PREPARED_FILE);
    FILE *file = fopen(path, "re");
    if (file != NULL) {
        count = fscanf(file, "%llu", &count) == 1 ? count : 0;
        fclose(file);
    }
    free(path);
    return count;
}

/* ---------------------------------------------------------------- convert_data, first half: jq */

struct telling {
    struct action_call *call;
    uint64_t total; /* of records; as many again are items to be written */
    struct sieve_counts counts;
};

static void tell(struct telling *telling, uint64_t done, uint64_t written)
{
    uint64_t total = telling->total > 0 ? 2 * telling->total : 1;
    backstep_set_progress(telling->call->context, (int64_t)(done < total ? done : total), (int64_t)total);
    backstep_set_metrics(telling->call->context,
                         "{\"records\":%" PRIu64 ",\"items\":%" PRIu64 ",\"failed\":%" PRIu64 ",\"written\":%" PRIu64 "}",
                         telling->counts.read, telling->counts.items, telling->counts.failed, written);
}

static void on_counted(void *state, const struct sieve_counts *counts)
{
    struct telling *telling = state;
    telling->counts = *counts;
    tell(telling, counts->read, 0);
}

static FILE *open_fresh(struct action_call *call, const char *name, struct error *error)
{
    char *path = workspace_file(&call->workspace, name);
    FILE *file = fopen(path, "we");
    if (file == NULL) {
        fail_path(path, error);
    }
    free(path);
    return file;
}

static bool close_file(FILE *file, bool ok, struct error *error)
{
    bool closed = file == NULL || fclose(file) == 0;
    return ok && (closed || error_set(error, ERROR_TRANSIENT, "the workspace cannot be written: %s", strerror(errno)));
}

static bool filter_records(struct telling *telling, struct error *error)
{
    struct action_call *call = telling->call;
    struct sieve sieve = {.source = open_source(call, error),
                          .csv = is_csv_source(call),
                          .filter = span_of(value_text(&call->values, "filter")),
                          .max_failed = (uint64_t)value_integer(&call->values, "max_failed"),
                          .cancel_fd = backstep_cancel_fd(call->context),
                          .counted = on_counted,
                          .state = telling};
    bool ok = sieve.source != NULL && (sieve.items = open_fresh(call, ITEMS_FILE, error)) != NULL &&
              (sieve.aside = open_fresh(call, FAILED_FILE, error)) != NULL && sieve_run(&sieve, &telling->counts, error);
    ok = ok && is_same_source(call, sieve.source, error);
    ok = close_file(sieve.aside, ok, error);
    ok = close_file(sieve.items, ok, error);
    if (sieve.source != NULL) {
        fclose(sieve.source);
    }
    return ok;
}

/* ---------------------------------------------------------------- convert_data, second half: rows */

static bool add_column(void *state, const char *name, size_t size)
{
    struct sink_columns *columns = state;
    char **names = realloc(columns->names, (columns->count + 1) * sizeof *names);
    if (names == NULL) {
        abort();
    }
    columns->names = names;
    names[columns->count++] = formatted("%.*s", (int)size, name);
    return columns->count <= LIMIT_EXPORT_COLUMNS;
}

/* The next item; NULL: there is none. The caller owes json_decref(). */
static json_t *read_item(FILE *items, char **line, size_t *capacity)
{
    ssize_t size = getline(line, capacity, items);
    return size > 0 ? json_loadb(*line, (size_t)size, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL) : NULL;
}

static bool find_columns(struct action_call *call, FILE *items, struct sink_columns *columns, struct error *error)
{
    char *line = NULL;
    size_t capacity = 0;
    const char *name = NULL;
    json_t *value = NULL;
    bool ok = value_list(&call->values, "columns", add_column, columns);
    if (columns->count == 0) {
        json_t *first = read_item(items, &line, &capacity);
        columns->guessed = true;
        json_object_foreach(first, name, value)
        {
            ok = ok && add_column(columns, name, strlen(name));
        }
        json_decref(first);
        free(line);
        rewind(items);
    }
    if (!ok) {
        return error_set(error, ERROR_INVALID, "more than %d columns", LIMIT_EXPORT_COLUMNS);
    }
    return columns->count > 0 ||
           error_set(error, ERROR_INVALID, "there are no columns: the first item is no object; name the columns");
}

static bool keep_aside(struct telling *telling, FILE *aside, uint64_t number, const char *line, const struct error *why,
                       struct error *error)
{
    uint64_t most = (uint64_t)value_integer(&telling->call->values, "max_failed");
    telling->counts.failed++;
    telling->counts.items--;
    if (!aside_write(aside, "item", number, why->message, (struct span){.bytes = line, .size = strcspn(line, "\n")})) {
        return error_set(error, ERROR_TRANSIENT, "the workspace cannot be written: %s", strerror(errno));
    }
    return telling->counts.failed <= most ||
           error_set(error, ERROR_INVALID, "more than %" PRIu64 " records failed; see max_failed", most);
}

static bool write_rows(struct telling *telling, FILE *items, FILE *aside, struct sink *sink, struct error *error)
{
    char *line = NULL;
    size_t capacity = 0;
    uint64_t number = 0, written = 0, expected = telling->counts.items > 0 ? telling->counts.items : 1;
    bool ok = true;
    for (json_t *item; ok && (item = read_item(items, &line, &capacity)) != NULL; json_decref(item)) {
        struct error why = {0};
        number++;
        bool fits = sink_write(sink, item, &why);
        written += fits;
        if (!fits) {
            ok = why.kind == ERROR_INVALID ? keep_aside(telling, aside, number, line, &why, error) : (*error = why, false);
        }
        if (number % TELL_ITEMS == 0) {
            tell(telling, telling->total + number * telling->total / expected, written);
            ok = ok && (!backstep_cancelled(telling->call->context) || error_set(error, ERROR_TRANSIENT, "it was cancelled"));
        }
    }
    free(line);
    tell(telling, 2 * telling->total, written);
    return ok && sink_finish(sink, error);
}

static struct sink *open_sink(struct action_call *call, const struct sink_columns *columns, struct error *error)
{
    char *path = workspace_file(&call->workspace, OUTPUT_FILE);
    bool sqlite = strcmp(format_of(call), "sqlite") == 0;
    struct sink *sink =
        sqlite ? sink_sqlite_open(path, columns, value_text(&call->values, "table"), error) : sink_csv_open(path, columns, error);
    free(path);
    return sink;
}

static FILE *reopen(struct action_call *call, const char *name, const char *mode, struct error *error)
{
    char *path = workspace_file(&call->workspace, name);
    FILE *file = fopen(path, mode);
    if (file == NULL) {
        fail_path(path, error);
    }
    free(path);
    return file;
}

static bool convert_rows(struct telling *telling, struct error *error)
{
    struct action_call *call = telling->call;
    struct sink_columns columns = {0};
    struct sink *sink = NULL;
    FILE *items = reopen(call, ITEMS_FILE, "re", error);
    FILE *aside = items != NULL ? reopen(call, FAILED_FILE, "ae", error) : NULL;
    bool ok = aside != NULL && find_columns(call, items, &columns, error) && (sink = open_sink(call, &columns, error)) != NULL &&
              write_rows(telling, items, aside, sink, error);
    sink_close(sink);
    ok = close_file(aside, ok, error);
    if (items != NULL) {
        fclose(items);
    }
    for (size_t i = 0; i < columns.count; i++) {
        free(columns.names[i]);
    }
    free(columns.names);
    return ok;
}

static bool rename_items(struct action_call *call, struct error *error)
{
    char *from = workspace_file(&call->workspace, ITEMS_FILE), *to = workspace_file(&call->workspace, OUTPUT_FILE);
    bool ok = rename(from, to) == 0 || fail_path(to, error);
    free(from);
    free(to);
    return ok;
}

static bool convert_data(struct action_call *call, struct error *error)
{
    struct telling telling = {.call = call, .total = record_count(call)};
    bool lines = strcmp(format_of(call), "jsonl") == 0;
    bool ok = filter_records(&telling, error) && (lines ? rename_items(call, error) : convert_rows(&telling, error));
    tell(&telling, 2 * telling.total, telling.counts.items);
    text_format(&call->data, "{\"records\":%" PRIu64 ",\"items\":%" PRIu64 ",\"failed\":%" PRIu64 "}", telling.counts.read,
                telling.counts.items, telling.counts.failed);
    return ok;
}

/* ---------------------------------------------------------------- save_files */

static bool has_content(const struct action_call *call, const char *name)
{
    struct stat status;
    char *path = workspace_file(&call->workspace, name);
    bool has = stat(path, &status) == 0 && status.st_size > 0;
    free(path);
    return has;
}

/* `target` outlives the job. Caller owes close_job(). */
static void open_job(struct send_job *job, struct action_call *call, struct target *target)
{
    target_of(call, target);
    job_of(job, call, SAVE_JOURNAL);
    job->store.target = target->place;
    job_reserve(job, 3);
    job_add_output(job, OUTPUT_FILE, formatted("%s", target->name));
    job_add_output(job, CHECKSUM_FILE, formatted("%s.sha256", target->name));
    if (has_content(call, FAILED_FILE)) {
        job_add_output(job, FAILED_FILE, formatted("%s.failed.jsonl", target->name));
    }
}

static void close_job(struct send_job *job, struct target *target)
{
    send_files_free(job->files, job->count);
    target_fini(target);
}

static bool save_files(struct action_call *call, struct error *error)
{
    struct target target;
    struct send_job job;
    struct send_counts counts;
    char sha256[SHA256_HEX_BYTES];
    target_of(call, &target);
    bool ok = workspace_has(&call->workspace, CHECKSUM_FILE) ||
              output_write_checksum(&call->workspace, OUTPUT_FILE, target.name, sha256, error);
    target_fini(&target);
    if (!ok) {
        return false;
    }
    open_job(&job, call, &target);
    ok = send_run(&job, &counts, error);
    text_format(&call->data, "{\"files\":%zu,\"bytes_sent\":%" PRIu64 "}", counts.success, counts.bytes_sent);
    close_job(&job, &target);
    return ok;
}

static bool take_files_back(struct action_call *call, struct error *error)
{
    struct target target;
    struct send_job job;
    open_job(&job, call, &target);
    bool ok = job_take_back(&job, call, error);
    close_job(&job, &target);
    return ok;
}

/* ---------------------------------------------------------------- finalize: it is there, and is what it should be */

static bool is_stored(struct store *store, const struct workspace *workspace, const char *key, struct error *error)
{
    char sha256[SHA256_HEX_BYTES];
    struct store_object object;
    bool same = false;
    bool ok = output_checksum(workspace, OUTPUT_FILE, sha256, error) && store_look(store, key, &object, error) &&
              (!object.exists || store_same(store, key, &object, sha256, &same, error));
    return ok && (same || error_set(error, ERROR_TRANSIENT, "%s: is not there any more as it was saved", key));
}

/* Large, and of no use to a rollback. */
static void drop_data(const struct workspace *workspace)
{
    static const char *const names[] = {SPOOL_FILE, ITEMS_FILE};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *path = workspace_file(workspace, names[i]);
        unlink(path);
        free(path);
    }
}

/* The output is emptied, not removed: a second attempt then knows that the first one got so far. */
static bool empty_output(const struct workspace *workspace, struct error *error)
{
    char *path = workspace_file(workspace, OUTPUT_FILE);
    bool ok = truncate(path, 0) == 0 || fail_path(path, error);
    free(path);
    return ok;
}

static bool finalize(struct action_call *call, struct error *error)
{
    struct target target;
    struct send_job job;
    if (workspace_has(&call->workspace, "settled")) {
        return true; /* an attempt of which nobody heard the end */
    }
    open_job(&job, call, &target);
    struct store *store = store_open(&job.store, error);
    bool ok = store != NULL && is_stored(store, &call->workspace, target.name, error);
    store_close(store);
    ok = ok && send_settle(&job, error);
    close_job(&job, &target);
    drop_data(&call->workspace);
    return ok && workspace_settle(&call->workspace, error) && empty_output(&call->workspace, error);
}

/* ---------------------------------------------------------------- the table */

static const struct action_part parts[] = {
    {"initialize", "export.initialize", 2, export_params, initialize, forget_all, NULL, true},
    {"fetch_results", "export.fetch", 5, export_params, fetch_results, NULL, NULL, false},
    {"prepare_export", "export.prepare", 3, export_params, prepare_export, NULL, NULL, false},
    {"convert_data", "export.convert", 42, export_params, convert_data, NULL, NULL, false},
    {"save_files", "export.save", 38, export_params, save_files, take_files_back, NULL, false},
    {"finalize", "export.finalize", 10, export_params, finalize, NULL, NULL, false},
};

static struct backstep_step steps[ACTION_PARTS_MAX], handlers[ACTION_PARTS_MAX];
struct action export_action = {
    .name = "export", .parts = parts, .count = sizeof parts / sizeof *parts, .steps = steps, .handlers = handlers};
