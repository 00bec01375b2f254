/* SPDX-License-Identifier: Apache-2.0 */
#include "coordinator/cli/job.h"

#include "common/clock.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PROBLEMS_BYTES_MAX (4 * MIB)

static bool report_problems(const struct pipeline *pipeline)
{
    if (pipeline->problem_count == 0) {
        return true;
    }
    struct text problems;
    text_init(&problems, PROBLEMS_BYTES_MAX);
    pipeline_append_problems(pipeline, &problems);
    fwrite(text_string(&problems), 1, problems.size, stderr);
    text_fini(&problems);
    return false;
}

static void make_id(struct job *job)
{
    char id[RUN_ID_BYTES];
    run_id_generate(id, job->pipeline->plan.name, clock_realtime_ms() / 1000);
    snprintf(job->run_id, sizeof job->run_id, "%s", id);
}

static bool load(struct job *job, const struct call *call, struct error *error)
{
    size_t pair_count;
    const char *const *pairs = option_list(call->options, "param", &pair_count);
    const char *id = option_text(call->options, "id");
    job->id_given = id != NULL;
    if (id != NULL) {
        snprintf(job->run_id, sizeof job->run_id, "%s", id);
    } else {
        make_id(job);
    }
    return pipeline_params(job->pipeline, pairs, pair_count, option_text(call->options, "params"), &job->params, error);
}

bool job_load(struct job *job, const struct call *call)
{
    struct error error = {0};
    *job = (struct job){.pipeline = pipeline_read_file(call->arguments[0])};
    text_init(&job->params, LIMIT_CONTEXT_BYTES);
    if (!report_problems(job->pipeline)) {
        return false;
    }
    if (!load(job, call, &error)) {
        complain_of(&error);
        return false;
    }
    return true;
}

void job_free(struct job *job)
{
    text_fini(&job->params);
    pipeline_free(job->pipeline);
    job->pipeline = NULL;
}

void job_steps_directory(const struct call *call, char *path, size_t size)
{
    const char *given = option_text(call->options, "steps"), *file = call->arguments[0];
    const char *slash = strrchr(file, '/');
    if (given != NULL) {
        snprintf(path, size, "%s", given);
    } else if (slash != NULL) {
        snprintf(path, size, "%.*s/steps", (int)(slash - file), file);
    } else {
        snprintf(path, size, "steps");
    }
}

static bool is_directory(const char *path)
{
    struct stat status;
    if (stat(path, &status) != 0) {
        complain("steps directory %s: %s", path, strerror(errno));
        return false;
    }
    if (!S_ISDIR(status.st_mode)) {
        complain("steps directory %s: it is no directory", path);
        return false;
    }
    return true;
}

static bool is_program(const char *directory, struct span handler)
{
    char path[PATH_MAX];
    struct stat status;
    int length = snprintf(path, sizeof path, "%s/%.*s", directory, SPAN_ARGS(handler));
    return length > 0 && (size_t)length < sizeof path && stat(path, &status) == 0 && S_ISREG(status.st_mode) && access(path, X_OK) == 0;
}

bool pipeline_is_served_by(const struct pipeline *pipeline, const char *directory)
{
    if (!is_directory(directory)) {
        return false;
    }
    bool ok = true;
    for (uint32_t i = 0; i < pipeline->plan.step_count; i++) {
        const struct plan_step *step = &pipeline->plan.steps[i];
        if (!is_program(directory, step->handler)) {
            complain("%s:%d: steps[%u]: no program in %s serves the handler '%.*s'", pipeline->file, pipeline->lines[i], i, directory,
                     SPAN_ARGS(step->handler));
            ok = false;
        }
    }
    return ok;
}

/* One try: send the Start, wait for its answer. */
static bool try_start(struct job *job, struct follow *follow, bool from_end, struct request *request, struct error *error)
{
    struct client *client = follow->client;
    struct reader_options options = {
        .bus = client->bus,
        .topic = client->progress,
        .partition_count = client->partitions,
        .partition = client_partition_of(client, job->run_id),
        .from_end = from_end,
        .timeout_ms = client->options.timeout_ms,
    };
    reader_free(follow->reader);
    follow->run_id = job->run_id;
    follow->reader = reader_new(&options, error);
    return follow->reader != NULL &&
           client_send_start(client, request, job->run_id, &job->pipeline->plan, text_span(&job->params), error) &&
           client_await(client, follow->reader, request, from_end ? NULL : follow_record, follow, error);
}

static int explain_silence(const struct job *job, const struct follow *follow, const struct request *request, const struct error *error)
{
    if (error->kind != ERROR_TRANSIENT || !request->delivered) {
        return complain_of(error);
    }
    printf(follow->call->json ? "{\"run_id\":\"%s\"}\n" : "%s\n", job->run_id);
    complain("%s; start one with: backstep serve -b %s\n          the run %s is on the log and will begin when one does", error->message,
             follow->client->options.brokers, job->run_id);
    return EXIT_UNREACHABLE;
}

int job_start(struct job *job, struct follow *follow, bool from_end)
{
    struct error error = {0};
    struct request request = {0};
    for (;;) {
        if (!try_start(job, follow, from_end, &request, &error)) {
            return explain_silence(job, follow, &request, &error);
        }
        if (request.verdict == VERDICT_ACCEPTED) {
            return EXIT_DONE;
        }
        if (request.verdict == VERDICT_REFUSED || job->id_given) {
            break;
        }
        make_id(job); /* one in 2^40: somebody else's run of this second has it */
    }
    if (request.verdict == VERDICT_EXISTING) {
        complain("the run %s exists already; it is not started twice", job->run_id);
    } else {
        complain("the run %s was refused: %s", job->run_id, request.reason);
    }
    return EXIT_REFUSED;
}
