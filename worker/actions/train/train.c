/* SPDX-License-Identifier: Apache-2.0 */
/* The train action: its steps, in order. */
#include "common/limits.h"
#include "common/names.h"
#include "worker/actions/formatted.h"
#include "worker/actions/train/checkpoint.h"
#include "worker/actions/train/convert.h"
#include "worker/actions/train/fetch.h"
#include "worker/actions/train/trainer.h"
#include "worker/actions/upload/outputs.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define RAW_FILE "dataset.csv"
#define DATASET_FILE "dataset"
#define DATASET_HASH "dataset.sha256"
#define CHECKSUM_FILE MODEL_FILE ".sha256"
#define UPLOAD_JOURNAL "model.journal"
#define LIMIT_EPOCHS 100000
#define SETTINGS_BYTES 1024

static const struct action_param train_params[] = {
    {.name = "dataset", .kind = PARAM_TEXT, .unit = "path or URL", .help = "CSV, also packed with gzip: numbers, and a label"},
    {.name = "dataset_sha256", .kind = PARAM_TEXT, .unit = "hexadecimal", .help = "what its SHA-256 has to be, as it is fetched"},
    {.name = "max_dataset_size",
     .kind = PARAM_SIZE,
     .fallback = "1G",
     .least = 1,
     .most = LIMIT_DATASET_FILE_BYTES,
     .unit = "bytes",
     .help = "unpacked; more is refused"},
    {.name = "label",
     .kind = PARAM_TEXT,
     .unit = "column",
     .help = "the label's column, by name or by number from 0; none: the last"},
    {.name = "test_share",
     .kind = PARAM_NUMBER,
     .fallback = "0.3",
     .number_least = 0.01,
     .number_most = 0.99,
     .unit = "share",
     .help = "of the rows, held out of the training"},
    {.name = "split_seed",
     .kind = PARAM_INTEGER,
     .fallback = "1",
     .least = 0,
     .most = INT64_MAX,
     .help = "the same seed holds the same rows out"},
    {.name = "format",
     .kind = PARAM_CHOICE,
     .choices = "csv|jsonl|libsvm",
     .help = "also write train.FORMAT and test.FORMAT, for a trainer of your own"},
    {.name = "trainer",
     .kind = PARAM_TEXT,
     .unit = "name",
     .help = "a program in the worker's BACKSTEP_TRAINERS; none: the built-in trainer"},
    {.name = "model",
     .kind = PARAM_CHOICE,
     .choices = "logistic|hidden",
     .fallback = "logistic",
     .help = "softmax regression, or one hidden layer of tanh units"},
    {.name = "hidden_units",
     .kind = PARAM_INTEGER,
     .fallback = "32",
     .least = 1,
     .most = LIMIT_NETWORK_UNITS,
     .unit = "units",
     .help = "of the hidden layer"},
    {.name = "epochs",
     .kind = PARAM_INTEGER,
     .fallback = "30",
     .least = 1,
     .most = LIMIT_EPOCHS,
     .unit = "epochs",
     .help = "passes over the training rows"},
    {.name = "batch",
     .kind = PARAM_INTEGER,
     .fallback = "32",
     .least = 1,
     .most = 1000000,
     .unit = "rows",
     .help = "between two changes of the weights"},
    {.name = "learning_rate",
     .kind = PARAM_NUMBER,
     .fallback = "0.05",
     .number_least = 1e-9,
     .number_most = 100,
     .help = "how far the weights move"},
    {.name = "momentum",
     .kind = PARAM_NUMBER,
     .fallback = "0.9",
     .number_least = 0,
     .number_most = 0.999,
     .help = "how much of the last move is kept"},
    {.name = "l2",
     .kind = PARAM_NUMBER,
     .fallback = "0.0001",
     .number_least = 0,
     .number_most = 10,
     .help = "how strongly large weights are held back"},
    {.name = "seed",
     .kind = PARAM_INTEGER,
     .fallback = "1",
     .least = 0,
     .most = INT64_MAX,
     .help = "the same seed gives the same model"},
    {.name = "shuffle_labels",
     .kind = PARAM_BOOL,
     .fallback = "false",
     .help = "train on labels that say nothing: what is learned then is chance"},
    {.name = "checkpoint_every",
     .kind = PARAM_INTEGER,
     .fallback = "1",
     .least = 1,
     .most = LIMIT_EPOCHS,
     .unit = "epochs",
     .help = "between two checkpoints"},
    {.name = "target",
     .kind = PARAM_TEXT,
     .fallback = "models",
     .unit = "path or URL",
     .help = "where the model goes: a directory, http(s)://..., s3://BUCKET/PREFIX"},
    {.name = "model_name",
     .kind = PARAM_TEXT,
     .unit = "name",
     .help = "of the model in the target, without .json; none: the run's id"},
    STORE_PARAMS,
    ACTION_PARAMS_COMMON("train"),
    {.name = NULL},
};

static bool is_cancelled(void *state)
{
    return backstep_cancelled(state);
}

/* ---------------------------------------------------------------- dataset */

static bool has_no_dataset(struct action_call *call)
{
    return value_text(&call->values, "dataset") == NULL;
}

static bool read_dataset(struct action_call *call, struct dataset *dataset, struct error *error)
{
    char *path = workspace_file(&call->workspace, RAW_FILE);
    FILE *file = fopen(path, "re");
    *dataset = (struct dataset){0};
    bool ok = file != NULL || error_set(error, ERROR_TRANSIENT, "%s: %s", path, strerror(errno));
    ok = ok && dataset_read_csv(dataset, file, value_text(&call->values, "label"), error);
    ok = ok && dataset_split(dataset, value_number(&call->values, "test_share"),
                             (uint64_t)value_integer(&call->values, "split_seed"), error);
    if (file != NULL) {
        fclose(file);
    }
    free(path);
    return ok || error_prefix(error, "%s", value_text(&call->values, "dataset"));
}

static bool save_dataset(struct action_call *call, const struct dataset *dataset, const char *sha256, struct error *error)
{
    struct text text;
    char *path = workspace_file(&call->workspace, DATASET_FILE);
    text_init(&text, SHA256_HEX_BYTES);
    text_append_string(&text, sha256);
    bool ok = dataset_save(dataset, path, error) && workspace_write(&call->workspace, DATASET_HASH, &text, error);
    text_fini(&text);
    free(path);
    return ok;
}

static bool fetch_dataset(struct action_call *call, struct error *error)
{
    struct dataset dataset;
    struct fetch fetch = {.from = value_text(&call->values, "dataset"),
                          .sha256 = value_text(&call->values, "dataset_sha256"),
                          .stall_ms = value_integer(&call->values, "stall_timeout"),
                          .max_bytes = value_integer(&call->values, "max_dataset_size")};
    workspace_prune(&call->workspace, ACTION_KEEP_S);
    if (!fetch_file(&fetch, call, RAW_FILE, error)) {
        return false;
    }
    backstep_set_progress(call->context, 1, 3);
    bool ok = read_dataset(call, &dataset, error);
    backstep_set_progress(call->context, 2, 3);
    ok = ok && save_dataset(call, &dataset, fetch.found, error);
    text_format(
        &call->data, "{\"rows\":%zu,\"features\":%zu,\"classes\":%zu,\"train_rows\":%zu,\"test_rows\":%zu,\"sha256\":\"%s\"}",
        dataset.rows, dataset.features, dataset.classes, dataset.train_rows, dataset.rows - dataset.train_rows, fetch.found);
    dataset_fini(&dataset);
    return ok;
}

/* The model is known to be in a store from here alone. */
static bool forget_all(struct action_call *call, struct error *error)
{
    if (workspace_has(&call->workspace, UPLOAD_JOURNAL)) {
        return error_set(error, ERROR_TRANSIENT, "%s is kept: it says what is still to be taken back from the store",
                         call->workspace.path);
    }
    return workspace_remove(&call->workspace, error);
}

/* ---------------------------------------------------------------- convert */

static bool has_no_format(struct action_call *call)
{
    return value_text(&call->values, "format") == NULL;
}

static bool load_dataset(struct action_call *call, struct dataset *dataset, struct error *error)
{
    char *path = workspace_file(&call->workspace, DATASET_FILE);
    bool ok = dataset_load(dataset, path, error);
    free(path);
    return ok;
}

static bool convert(struct action_call *call, struct error *error)
{
    struct dataset dataset;
    bool ok = load_dataset(call, &dataset, error) &&
              convert_dataset(&dataset, value_text(&call->values, "format"), &call->workspace, error);
    dataset_fini(&dataset);
    return ok;
}

/* ---------------------------------------------------------------- train */

/* Whatever makes another model. */
static void describe(const struct action_call *call, char settings[SETTINGS_BYTES])
{
    const struct action_values *values = &call->values;
    char sha256[SHA256_HEX_BYTES] = "";
    char *path = workspace_file(&call->workspace, DATASET_HASH);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd >= 0 ? read(fd, sha256, sizeof sha256 - 1) : 0;
    sha256[got > 0 ? got : 0] = '\0';
    if (fd >= 0) {
        close(fd);
    }
    free(path);
    snprintf(settings, SETTINGS_BYTES,
             "{\"dataset\":\"%s\",\"model\":\"%s\",\"hidden_units\":%" PRId64 ",\"batch\":%" PRId64
             ",\"learning_rate\":%.17g,\"momentum\":%.17g,\"l2\":%.17g,\"seed\":%" PRId64
             ",\"test_share\":%.17g,\"split_seed\":%" PRId64 ",\"shuffle_labels\":%s}",
             sha256, value_text(values, "model"), value_integer(values, "hidden_units"), value_integer(values, "batch"),
             value_number(values, "learning_rate"), value_number(values, "momentum"), value_number(values, "l2"),
             value_integer(values, "seed"), value_number(values, "test_share"), value_integer(values, "split_seed"),
             value_integer(values, "shuffle_labels") != 0 ? "true" : "false");
}

static void tell_epoch(struct action_call *call, const struct network *network, const struct dataset *dataset, int64_t epoch,
                       double loss)
{
    struct network_score score = network_evaluate(network, dataset, true);
    backstep_set_metrics(call->context, "{\"epoch\":%" PRId64 ",\"loss\":%.6f,\"test_loss\":%.6f,\"test_accuracy\":%.4f}", epoch,
                         loss, score.loss, score.accuracy);
    backstep_set_progress(call->context, epoch, value_integer(&call->values, "epochs"));
}

static bool run_epochs(struct action_call *call, struct network *network, const struct dataset *dataset, const char *settings,
                       int64_t *resumed, struct error *error)
{
    int64_t epochs = value_integer(&call->values, "epochs"), every = value_integer(&call->values, "checkpoint_every");
    struct network_training training = {.learning_rate = value_number(&call->values, "learning_rate"),
                                        .momentum = value_number(&call->values, "momentum"),
                                        .l2 = value_number(&call->values, "l2"),
                                        .batch = (size_t)value_integer(&call->values, "batch")};
    *resumed = checkpoint_load(network, settings, &call->workspace);
    for (int64_t epoch = *resumed + 1; epoch <= epochs; epoch++) {
        double loss = network_epoch(network, dataset, &training, is_cancelled, call->context);
        if (loss < 0) {
            return error_set(error, ERROR_TRANSIENT, "it was cancelled");
        }
        if (!(loss < 1e30)) {
            return error_set(error, ERROR_INVALID,
                             "epoch %" PRId64 ": the loss is no number any more; a smaller learning_rate may help", epoch);
        }
        if ((epoch % every == 0 || epoch == epochs) &&
            !checkpoint_save(network, (uint32_t)epoch, settings, &call->workspace, error)) {
            return false;
        }
        tell_epoch(call, network, dataset, epoch, loss);
    }
    return true;
}

static bool train_network(struct action_call *call, struct dataset *dataset, struct error *error)
{
    char settings[SETTINGS_BYTES];
    struct network network;
    int64_t resumed = 0;
    uint64_t seed = (uint64_t)value_integer(&call->values, "seed");
    bool hidden = strcmp(value_text(&call->values, "model"), "hidden") == 0;
    describe(call, settings);
    if (value_integer(&call->values, "shuffle_labels") != 0) {
        dataset_shuffle_labels(dataset, seed);
    }
    network_init(&network, dataset, hidden ? (size_t)value_integer(&call->values, "hidden_units") : 0, seed);
    bool ok = run_epochs(call, &network, dataset, settings, &resumed, error);
    if (ok) {
        struct model_facts facts = {
            .network = &network, .dataset = dataset, .held_out = network_evaluate(&network, dataset, true), .settings = settings};
        struct network_score seen = network_evaluate(&network, dataset, false);
        ok = model_save(&facts, &call->workspace, MODEL_FILE, error);
        text_format(&call->data,
                    "{\"accuracy\":%.6f,\"loss\":%.6f,\"train_accuracy\":%.6f,\"epochs\":%" PRId64 ",\"resumed_after\":%" PRId64
                    "}",
                    facts.held_out.accuracy, facts.held_out.loss, seen.accuracy, value_integer(&call->values, "epochs"), resumed);
    }
    network_fini(&network);
    return ok;
}

static bool train(struct action_call *call, struct error *error)
{
    const char *trainer = value_text(&call->values, "trainer");
    if (trainer != NULL) {
        return trainer_run(trainer, call, error);
    }
    struct dataset dataset;
    if (!workspace_has(&call->workspace, DATASET_FILE)) {
        return error_set(error, ERROR_INVALID, "param 'dataset' is missing: the built-in trainer needs one");
    }
    bool ok = load_dataset(call, &dataset, error) && train_network(call, &dataset, error);
    dataset_fini(&dataset);
    return ok;
}

/* The data set's own rollback takes the rest. */
static bool forget_model(struct action_call *call, struct error *error)
{
    static const char *const names[] = {MODEL_FILE, CHECKPOINT_FILE};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *path = workspace_file(&call->workspace, names[i]);
        bool ok = unlink(path) == 0 || errno == ENOENT || error_set(error, ERROR_TRANSIENT, "%s: %s", path, strerror(errno));
        free(path);
        if (!ok) {
            return false;
        }
    }
    return workspace_has(&call->workspace, DATASET_FILE) || forget_all(call, error);
}

/* ---------------------------------------------------------------- model_upload */

static const char *model_name(const struct action_call *call)
{
    const char *name = value_text(&call->values, "model_name");
    return name != NULL ? name : backstep_run_id(call->context);
}

/* Caller owes send_files_free(). false: there is no model. */
static bool open_job(struct send_job *job, struct action_call *call)
{
    job_of(job, call, UPLOAD_JOURNAL);
    job_reserve(job, 2);
    bool model = job_add_output(job, MODEL_FILE, formatted("%s.json", model_name(call)));
    return job_add_output(job, CHECKSUM_FILE, formatted("%s.json.sha256", model_name(call))) && model;
}

static bool write_checksum(struct action_call *call, struct error *error)
{
    char sha256[SHA256_HEX_BYTES] = "";
    char *name = formatted("%s.json", model_name(call));
    bool ok = workspace_has(&call->workspace, CHECKSUM_FILE)
                  ? output_checksum(&call->workspace, MODEL_FILE, sha256, error)
                  : output_write_checksum(&call->workspace, MODEL_FILE, name, sha256, error);
    text_format(&call->data, "{\"model\":\"%s\",\"sha256\":\"%s\"}", name, sha256);
    free(name);
    return ok;
}

static bool upload_model(struct action_call *call, struct error *error)
{
    struct send_job job;
    struct send_counts counts;
    if (!identifier_check(span_of(model_name(call)), error)) {
        return error_prefix(error, "param 'model_name'");
    }
    if (!write_checksum(call, error)) {
        return false;
    }
    bool ok = open_job(&job, call) || error_set(error, ERROR_INVALID, "there is no model: the step that trains has not run");
    ok = ok && send_run(&job, &counts, error) && send_settle(&job, error);
    send_files_free(job.files, job.count);
    return ok && workspace_settle(&call->workspace, error);
}

static bool take_model_back(struct action_call *call, struct error *error)
{
    struct send_job job;
    open_job(&job, call);
    bool ok = job_take_back(&job, call, error);
    send_files_free(job.files, job.count);
    return ok;
}

/* ---------------------------------------------------------------- the table */

static const struct action_part parts[] = {
    {"dataset", "train.dataset", 20, train_params, fetch_dataset, forget_all, has_no_dataset, true},
    {"convert", "train.convert", 0, train_params, convert, NULL, has_no_format, false},
    {"train", "train.train", 75, train_params, train, forget_model, NULL, true},
    {"model_upload", "train.upload", 5, train_params, upload_model, take_model_back, NULL, false},
};

static struct backstep_step steps[ACTION_PARTS_MAX], handlers[ACTION_PARTS_MAX];
struct action train_action = {
    .name = "train", .parts = parts, .count = sizeof parts / sizeof *parts, .steps = steps, .handlers = handlers};
