/* SPDX-License-Identifier: Apache-2.0 */
#include "coordinator/cli/launch.h"

#include "common/clock.h"
#include "coordinator/cli/lookup.h"
#include "coordinator/cli/signals.h"
#include "coordinator/cli/summary.h"
#include "worker/steps_directory.h"
#include "worker/stock_handlers.h"

#include <stdio.h>
#include <string.h>

#define PROBLEMS_BYTES_MAX (4 * MIB)

static void print_problem(const struct pipeline_problem *problem, struct text *out)
{
    text_clear(out);
    text_append_string(out, "{\"file\":");
    text_append_json_string(out, span_of(problem->file));
    text_format(out, ",\"line\":%d,\"field\":", problem->line);
    text_append_json_string(out, span_of(problem->field));
    text_append_string(out, ",\"problem\":");
    text_append_json_string(out, span_of(problem->text));
    text_append_char(out, '}');
    print_line(out);
}

void pipeline_print_problems(const struct pipeline *pipeline, bool json)
{
    struct text out;
    text_init(&out, PROBLEMS_BYTES_MAX);
    if (!json) {
        pipeline_append_problems(pipeline, &out);
        fwrite(text_string(&out), 1, out.size, stderr);
    }
    for (size_t i = 0; json && i < pipeline->problem_count; i++) {
        print_problem(&pipeline->problems[i], &out);
    }
    text_fini(&out);
}

static void make_id(struct launch *launch)
{
    char id[RUN_ID_BYTES];
    run_id_generate(id, launch->pipeline->plan.name, clock_realtime_ms() / 1000);
    snprintf(launch->run_id, sizeof launch->run_id, "%s", id);
}

static bool load(struct launch *launch, const struct call *call, struct error *error)
{
    size_t pair_count;
    const char *const *pairs = option_list(call->options, "param", &pair_count);
    const char *id = option_text(call->options, "id");
    launch->id_given = id != NULL;
    if (id != NULL) {
        snprintf(launch->run_id, sizeof launch->run_id, "%s", id);
    } else {
        make_id(launch);
    }
    return pipeline_params(launch->pipeline, pairs, pair_count, option_text(call->options, "params"), &launch->params, error);
}

bool launch_load(struct launch *launch, const struct call *call)
{
    struct error error = {0};
    *launch = (struct launch){.pipeline = pipeline_read_file(call->arguments[0])};
    text_init(&launch->params, LIMIT_CONTEXT_BYTES);
    if (launch->pipeline->problem_count > 0) {
        pipeline_print_problems(launch->pipeline, false);
        return false;
    }
    if (!load(launch, call, &error)) {
        complain_of(&error);
        return false;
    }
    return true;
}

void launch_free(struct launch *launch)
{
    text_fini(&launch->params);
    pipeline_free(launch->pipeline);
    launch->pipeline = NULL;
}

void launch_steps_directory(const struct call *call, char *path, size_t size)
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

static const struct steps_directory_entry *find_program(const struct steps_directory *directory, struct span handler)
{
    for (size_t i = 0; i < directory->count; i++) {
        if (span_equal(span_of(directory->entries[i].name), handler)) {
            return &directory->entries[i];
        }
    }
    return NULL;
}

static void print_unserved(const struct pipeline_place *place, bool json, const char *problem)
{
    char field[32];
    snprintf(field, sizeof field, "steps[%u]", place->position);
    if (!json) {
        complain("%s:%d: %s: %s", place->file, place->line, field, problem);
        return;
    }
    struct text out;
    text_init(&out, PROBLEMS_BYTES_MAX);
    print_problem(&(struct pipeline_problem){.file = place->file, .line = place->line, .field = field, .text = problem}, &out);
    text_fini(&out);
}

static bool step_is_served(const struct pipeline *pipeline, uint32_t index, const struct steps_directory *directory,
                           const char *path, bool json)
{
    const struct plan_step *step = &pipeline->plan.steps[index];
    if (step->kind != PLAN_HANDLER) {
        return true; /* every worker of ours does these */
    }
    const struct pipeline_place *place = &pipeline->places[index];
    const struct steps_directory_entry *entry = find_program(directory, step->handler);
    if (entry == NULL && stock_handler_is(step->handler)) {
        return true;
    }
    struct text problem;
    text_init(&problem, PROBLEMS_BYTES_MAX);
    if (entry == NULL) {
        text_format(&problem, "no program in %s serves the handler '%.*s'", path, SPAN_ARGS(step->handler));
    } else if (entry->reason != NULL) {
        text_format(&problem, "%s/%s cannot serve it: %s", path, entry->name, entry->reason);
    } else if (entry->ignores_rollback && !step->rollback_none) {
        complain("%s:%d: steps[%u]: warning: the word 'rollback' does not stand in %s/%s, so it may act again when it should undo; "
                 "give the step 'rollback: none'",
                 place->file, place->line, place->position, path, entry->name);
    }
    if (problem.size > 0) {
        print_unserved(place, json, text_string(&problem));
    }
    text_fini(&problem);
    return entry != NULL && entry->reason == NULL;
}

bool pipeline_needs_no_program(const struct pipeline *pipeline)
{
    for (uint32_t i = 0; i < pipeline->plan.step_count; i++) {
        const struct plan_step *step = &pipeline->plan.steps[i];
        if (step->kind == PLAN_HANDLER && !stock_handler_is(step->handler)) {
            return false;
        }
    }
    return true;
}

bool pipeline_is_served_by(const struct pipeline *pipeline, const char *path, bool json)
{
    struct error error = {0};
    struct steps_directory directory;
    if (!steps_directory_read(&directory, path, &error)) {
        complain_of(&error);
        return false;
    }
    bool ok = true;
    for (uint32_t i = 0; i < pipeline->plan.step_count; i++) {
        ok = step_is_served(pipeline, i, &directory, path, json) && ok;
    }
    steps_directory_fini(&directory);
    return ok;
}

/* One try: send the Start, wait for its answer. Until then it is not known whether that Start has begun the run, and nothing is told. Nothing of a run that is to begin stands on the log; of an embedded one, the claim of
 * its owner is awaited. */
static bool try_start(struct launch *launch, struct follow *follow, struct request *request, struct error *error)
{
    struct client *client = follow->client;
    struct reader_options options = client_reads(client, launch->run_id);
    options.from_end = follow->embedded == NULL;
    *request = (struct request){0};
    reader_free(follow->reader);
    follow->run_id = launch->run_id;
    follow->reader = reader_new(&options, error);
    return follow->reader != NULL &&
           (follow->embedded == NULL || embedded_await_owner(follow->embedded, client, follow->reader, error)) &&
           client_send_start(client, request, launch->run_id, &launch->pipeline->plan, text_span(&launch->params), error) &&
           client_await(client, follow->reader, request, NULL, NULL, error);
}

/* Ctrl-C before anybody answered: the run is on the log already, so its cancel has to follow it there. */
static void cancel_after(const struct launch *launch, const struct follow *follow)
{
    struct request cancel;
    struct error error = {0};
    if (client_send_cancel(follow->client, &cancel, launch->run_id, "interrupted", &error)) {
        bus_flush(follow->client->bus, follow->client->options.timeout_ms);
    } else {
        complain_of(&error);
    }
}

static int explain_silence(const struct launch *launch, const struct follow *follow, const struct request *request,
                           const struct error *error)
{
    bool cancelled = follow->cancels && signals_interrupts() > 0;
    char way[CLIENT_WAY_BYTES];
    if (error->kind != ERROR_TRANSIENT || !request->sent) {
        return complain_of(error);
    }
    if (!request->delivered) {
        complain("%s\n          whether the run %s begins is not known: start it again with --id %s, and it will not begin twice",
                 error->message, launch->run_id, launch->run_id);
        return EXIT_UNREACHABLE;
    }
    printf(follow->call->json ? "{\"run_id\":\"%s\"}\n" : "%s\n", launch->run_id);
    if (cancelled) {
        cancel_after(launch, follow);
    }
    complain("%s; start one with: backstep serve %s\n          the run %s is on the log and will %s when one does", error->message,
             client_way(&follow->client->options, way), launch->run_id, cancelled ? "be cancelled" : "begin");
    return EXIT_UNREACHABLE;
}

/* Read the partition anew: what is that run? NULL: it is not kept any more, or why has been said in `error`. */
static const struct run *find_existing(const struct launch *launch, struct follow *follow, struct error *error)
{
    struct lookup lookup = {.client = follow->client, .run_id = launch->run_id, .only_state = true};
    reader_free(follow->reader);
    follow->reader = lookup_run(&lookup, error);
    return follow->reader != NULL ? reader_find(follow->reader, launch->run_id) : NULL;
}

/* It is not started: say how the other one stands. */
static int explain_existing(const struct launch *launch, const struct follow *follow, const struct run *run, const char *hint)
{
    struct text out;
    text_init(&out, 64 * KIB);
    if (run != NULL && follow->call->json) {
        summary_list_json(run, clock_realtime_ms(), &out);
        print_line(&out);
        text_clear(&out);
    }
    if (run != NULL) {
        summary_phrase(run, clock_realtime_ms(), &out);
    }
    complain("the run %s exists already%s%s; it is not started twice%s", launch->run_id, run != NULL ? ": " : "", text_string(&out),
             hint);
    text_fini(&out);
    return EXIT_EXISTS;
}

static bool is_of_this_pipeline(const struct launch *launch, const struct run *run)
{
    const struct run_view *view = run_view(run);
    return view != NULL && view->pipeline != NULL && span_equal(span_of(view->pipeline), launch->pipeline->plan.name);
}

/* --if-exists return: from here on it is as if this start had been the first. */
static int take_existing(struct launch *launch, const struct follow *follow, const struct run *run)
{
    if (run == NULL || !is_of_this_pipeline(launch, run)) {
        return explain_existing(launch, follow, run, run != NULL ? ", and it is one of another pipeline" : "");
    }
    launch->existing = true;
    return EXIT_DONE;
}

static int settle_existing(struct launch *launch, struct follow *follow)
{
    struct error error = {0};
    const struct run *run = find_existing(launch, follow, &error);
    if (run == NULL && error.kind != ERROR_NONE) {
        return complain_of(&error);
    }
    if (strcmp(option_text(follow->call->options, "if-exists"), "return") == 0) {
        return take_existing(launch, follow, run);
    }
    return explain_existing(launch, follow, run, "");
}

static int start(struct launch *launch, struct follow *follow)
{
    struct error error = {0};
    struct request request = {0};
    follow->client->patient = follow->embedded != NULL;
    for (;;) {
        if (!try_start(launch, follow, &request, &error)) {
            return explain_silence(launch, follow, &request, &error);
        }
        if (request.verdict == VERDICT_ACCEPTED) {
            return EXIT_DONE;
        }
        if (request.verdict == VERDICT_REFUSED) {
            complain("the run %s was refused: %s", launch->run_id, request.reason);
            return EXIT_REFUSED;
        }
        if (launch->id_given && strcmp(option_text(follow->call->options, "if-exists"), "new") != 0) {
            return settle_existing(launch, follow);
        }
        make_id(launch); /* of a generated one: one in 2^40, somebody else's run of this second has it */
    }
}

int launch_start(struct launch *launch, struct follow *follow, bool shows)
{
    int code = start(launch, follow);
    if (code == EXIT_DONE && shows) {
        follow_catch_up(follow);
    }
    return code;
}
