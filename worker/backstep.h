/* SPDX-License-Identifier: Apache-2.0 */
/* libbackstep: write the steps of a pipeline in C, and serve them to Backstep.
 *
 *     static enum backstep_outcome greet(struct backstep_context *context, struct backstep_result *result)
 *     {
 *         return backstep_succeed(result, "{\"greeted\": %s}", backstep_quote(context, "world"));
 *     }
 *     static const struct backstep_step greet_step = {.name = "greet", .execute = greet};
 *
 *     int main(int argc, char **argv)
 *     {
 *         struct backstep_registry *registry = backstep_registry_new();
 *         backstep_register(registry, &greet_step);
 *         return backstep_main(argc, argv, registry);
 *     }
 *
 * Rules that hold everywhere
 *   - strings are UTF-8 and NUL-terminated; JSON is text going in, and struct backstep_json coming out
 *   - a pointer is borrowed for the call, unless the function says otherwise; what a context gives out lives as long as the context,
 *     that is until the step's function returns
 *   - a function that can fail returns false or NULL and says why in backstep_error(); nothing exits, and nothing logs unasked
 *   - a step may be executed more than once (a worker died, an answer was lost), and rolled back though it did nothing, or only half of it:
 *     backstep_idempotency_key() is the same every time
 *   - a context belongs to the thread that runs the step, but for backstep_cancelled(), which any thread may ask */
#ifndef BACKSTEP_H
#define BACKSTEP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define BACKSTEP_PRINTF(which, first) __attribute__((__format__(__printf__, which, first)))
#else
#define BACKSTEP_PRINTF(which, first)
#endif

struct backstep_context;
struct backstep_result;
struct backstep_registry;
struct backstep_json;

/* ---------------------------------------------------------------- a step */

enum backstep_outcome {
    BACKSTEP_SUCCEEDED,          /* rollback: it is undone */
    BACKSTEP_SKIPPED,            /* nothing was done; rollback: there was nothing to undo */
    BACKSTEP_FAILED,             /* tried again, where the pipeline asks for it */
    BACKSTEP_FAILED_PERMANENTLY, /* not tried again */
};

/* Designated initialisers; what is not said is zero, and zero is a sane default. Must outlive the registry it is in. */
struct backstep_step {
    const char *name; /* the handler: [A-Za-z0-9][A-Za-z0-9._-]{0,99} */
    double weight;    /* share of the overall progress, in any unit; not negative; all zero: equal shares */

    /* Do the step's work and say how it went through `result`: return backstep_succeed(result, ...), backstep_fail(result, ...). */
    enum backstep_outcome (*execute)(struct backstep_context *context, struct backstep_result *result);

    /* Undo what execute did, or began to do. `done` is what execute said, a failure included. NULL: nothing has to be undone. */
    enum backstep_outcome (*rollback)(struct backstep_context *context, const struct backstep_result *done,
                                      struct backstep_result *result);

    /* Asked just before execute; true: the step is skipped. NULL: never. */
    bool (*can_skip)(struct backstep_context *context);

    void *state; /* of the implementation: see backstep_state(). Used by several threads at once */
};

/* ---------------------------------------------------------------- the result of a step */

/* Each of these sets the result and returns its outcome, for `return backstep_...(result, ...)`.
 *
 * format   of the data, a JSON value, as printf() would write it; NULL: no data
 * limit    data, rollback data and what the step has shared: 64 KiB together; beyond it, or where the text is no JSON,
 *          the step fails permanently and its error says so */
enum backstep_outcome backstep_succeed(struct backstep_result *result, const char *format, ...) BACKSTEP_PRINTF(2, 3);
enum backstep_outcome backstep_skip(struct backstep_result *result);

/* format   the reason, one line for people; at most 4 KiB of it is kept */
enum backstep_outcome backstep_fail(struct backstep_result *result, const char *format, ...) BACKSTEP_PRINTF(2, 3);
enum backstep_outcome backstep_fail_permanently(struct backstep_result *result, const char *format, ...) BACKSTEP_PRINTF(2, 3);

/* What rollback is to be told beside `data`, as JSON; also of a step that fails. Call it before the step returns. */
void backstep_result_set_rollback_data(struct backstep_result *result, const char *format, ...) BACKSTEP_PRINTF(2, 3);
/* The same for `data`, also of a step that fails. */
void backstep_result_set_data(struct backstep_result *result, const char *format, ...) BACKSTEP_PRINTF(2, 3);

/* What rollback is told: */
bool backstep_result_success(const struct backstep_result *result);
const struct backstep_json *backstep_result_data(const struct backstep_result *result);          /* NULL: none */
const struct backstep_json *backstep_result_rollback_data(const struct backstep_result *result); /* NULL: none */
const char *backstep_result_error(const struct backstep_result *result);                         /* "": none */

/* ---------------------------------------------------------------- what a step knows */

const char *backstep_run_id(const struct backstep_context *context);
const char *backstep_pipeline(const struct backstep_context *context);
const char *backstep_step_name(const struct backstep_context *context); /* in the pipeline; its handler may have another name */
bool backstep_is_rollback(const struct backstep_context *context);
int backstep_attempt(const struct backstep_context *context); /* from 1 */
/* RUN/STEP/INSTANCE/execute or .../rollback: the same for every attempt, and no other piece of work has it. Give it to systems that
 * know how to do a thing once. */
const char *backstep_idempotency_key(const struct backstep_context *context);
void *backstep_state(const struct backstep_context *context); /* `state` of the step */

/* The run's parameter `name`; the step's `with`; the data of an earlier step (NULL: not there, or skipped); what a step has shared. */
const struct backstep_json *backstep_param(struct backstep_context *context, const char *name);
const struct backstep_json *backstep_input(struct backstep_context *context);
const struct backstep_json *backstep_step_data(struct backstep_context *context, const char *step);
const struct backstep_json *backstep_context_get(struct backstep_context *context, const char *name);

/* Share a JSON value with the steps that come after; takes effect when this step has ended. */
bool backstep_context_set(struct backstep_context *context, const char *name, const char *format, ...) BACKSTEP_PRINTF(3, 4);

/* All of it as one JSON object, as a step program reads it on its standard input:
 * {"run_id","pipeline","step","direction","attempt","idempotency_key","input","params","steps":{},"shared":{},"result"} */
const char *backstep_context_json(struct backstep_context *context);

/* ---------------------------------------------------------------- what a step says meanwhile */

/* `current` of `total` is done. Cheap: what comes too fast is coalesced.
 * fails    "total must be > 0, got N" · "current must be between 0 and T, got C" */
bool backstep_set_progress(struct backstep_context *context, int64_t current, int64_t total);

/* Merge a JSON object into the step's metrics: at most 64 keys and 4 KiB. */
bool backstep_set_metrics(struct backstep_context *context, const char *format, ...) BACKSTEP_PRINTF(2, 3);

/* One line for whoever operates the worker. */
void backstep_log(struct backstep_context *context, const char *format, ...) BACKSTEP_PRINTF(2, 3);

/* Is this attempt to stop: the run is cancelled, out of time, or the worker leaves? A step that may take long asks now and then, and returns
 * (with whatever outcome). */
bool backstep_cancelled(const struct backstep_context *context);
/* Becomes readable when the attempt is cancelled: for poll(). Do not read or close it. -1: none could be made. */
int backstep_cancel_fd(struct backstep_context *context);

/* Why the last call on this context failed. "": none did. */
const char *backstep_error(const struct backstep_context *context);

/* `string` as a JSON string with its quotes, for the formats above. Lives as long as the context. */
const char *backstep_quote(struct backstep_context *context, const char *string);

/* ---------------------------------------------------------------- reading JSON: NULL is fine everywhere, and is nothing */

int backstep_json_count(const struct backstep_json *json); /* elements or members; 0: neither array nor object */
const struct backstep_json *backstep_json_element(const struct backstep_json *json, int index);
const struct backstep_json *backstep_json_member(const struct backstep_json *json, const char *name);
bool backstep_json_bool(const struct backstep_json *json, bool otherwise);
int64_t backstep_json_integer(const struct backstep_json *json, int64_t otherwise);
double backstep_json_number(const struct backstep_json *json, double otherwise);
const char *backstep_json_string(const struct backstep_json *json, const char *otherwise);
/* As text. The caller owes free(); NULL where memory is out. */
char *backstep_json_text(const struct backstep_json *json);

/* ---------------------------------------------------------------- the registry */

struct backstep_registry *backstep_registry_new(void);          /* caller owes backstep_registry_free(), or gives it to backstep_main() */
void backstep_registry_free(struct backstep_registry *registry); /* NULL is fine; the steps are the caller's */

/* Add a step after the others.
 * fails    no name or one that is not an identifier, no execute, a weight that is negative or no number, "step 'NAME' is registered already":
 *          see backstep_registry_error(). backstep_main() refuses to start then: the return value need not be looked at */
bool backstep_register(struct backstep_registry *registry, const struct backstep_step *step);
bool backstep_unregister(struct backstep_registry *registry, const char *name); /* false: there was none */

int backstep_registry_count(const struct backstep_registry *registry);
const struct backstep_step *backstep_registry_step(const struct backstep_registry *registry, int index);
const struct backstep_step *backstep_registry_find(const struct backstep_registry *registry, const char *name); /* NULL: none */
double backstep_registry_total_weight(const struct backstep_registry *registry);
const char *backstep_registry_error(const struct backstep_registry *registry); /* of the first call that failed; "": none did */

/* ---------------------------------------------------------------- the program */

/* The whole of main() for a program whose steps are in `registry`, which it takes:
 *     run      execute the steps in order, in this process; no Kafka. Prints one JSON object
 *     worker   serve them on Kafka
 *     plan     print them as a pipeline, for `backstep start -`
 *     steps    list them
 *     test     call one step with a context read from standard input
 * returns  the exit code */
int backstep_main(int argc, char **argv, struct backstep_registry *registry);

const char *backstep_version(void);

#ifdef __cplusplus
}
#endif

#endif
