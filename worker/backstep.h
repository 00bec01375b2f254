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
 *   - where the very thing a function is about is NULL, nothing is done: it returns false, NULL, "", 0, or BACKSTEP_FAILED_PERMANENTLY
 *   - a function that can fail returns false or NULL and says why in backstep_error(); nothing exits, and nothing logs unasked
 *   - a step may be executed more than once (a worker died, an answer was lost), and rolled back though it did nothing, or only half of it:
 *     backstep_idempotency_key() is the same every time
 *   - steps run on threads of this library, several at once, and those that take no time on the thread that called backstep_main(); no signal
 *     is delivered there but those of a crash
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
struct backstep_orchestrator;
struct backstep_call;
struct backstep_json;
struct backstep_actions;

/* ---------------------------------------------------------------- a step */

enum backstep_outcome {
    BACKSTEP_SUCCEEDED,          /* rollback: it is undone */
    BACKSTEP_SKIPPED,            /* nothing was done; rollback: there was nothing to undo */
    BACKSTEP_FAILED,             /* tried again, where the pipeline asks for it */
    BACKSTEP_FAILED_PERMANENTLY, /* not tried again */
};

/* How often and how long a step is tried. Zero is the default of each; times are in milliseconds, a year at most. */
struct backstep_policy {
    int max_attempts;            /* 0: 1. What fails, or is not done in time, is tried again so often in all; at most 1000 */
    int64_t backoff_ms;          /* 0: 1 s. Before the second attempt */
    double multiplier;           /* 0: 2. Each further wait is so many times longer; 1 to 100 */
    int64_t max_backoff_ms;      /* 0: 1 min, or backoff_ms where that is more */
    int max_losses;              /* 0: 5. A worker that is lost while it runs the step is no attempt; at most 1000 */
    bool never_twice;            /* it must never begin a second time, not even when a worker was lost: no losses, one attempt */
    int64_t timeout_ms;          /* 0: none. For one attempt, from its beginning: see backstep_time_left_ms() */
    int64_t heartbeat_timeout_ms; /* 0: none. It must report something so often */
    int64_t start_timeout_ms;    /* 0: none. A worker must have taken it within this, on Kafka */
    int rollback_max_attempts;   /* 0: 10. Of its rollback */
    int64_t rollback_timeout_ms; /* 0: none. For one attempt of its rollback */
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

    /* Names of the steps that must have ended well before this one, the last one NULL. NULL: the one that stands before it; {NULL}: none.
     * Steps that do not need one another run at the same time on Kafka, and in list order in process. */
    const char *const *needs;
    const char *with; /* its input, a JSON object: see backstep_input(). NULL: {} */
    struct backstep_policy policy;
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

/* Merge members into `data`, which is an object or not set yet. For wrappers, which add to what the step has said.
 * fails    no JSON object, or `data` is something else: false, and nothing is changed */
bool backstep_result_merge_data(struct backstep_result *result, const char *format, ...) BACKSTEP_PRINTF(2, 3);

/* What a result says; of the one that rollback is told, and of the one a step or wrapper is making. `success`: succeeded or skipped.
 * `timestamp`: when the step ended, in UTC, as "2026-01-31T12:00:00.123Z"; of a result that is being made: now. What is given out lives as
 * long as the result, and until it is changed. */
bool backstep_result_success(const struct backstep_result *result);
const struct backstep_json *backstep_result_data(const struct backstep_result *result);          /* NULL: none */
const struct backstep_json *backstep_result_rollback_data(const struct backstep_result *result); /* NULL: none */
const char *backstep_result_error(const struct backstep_result *result);                         /* "": none */
bool backstep_result_skipped(const struct backstep_result *result);
const char *backstep_result_timestamp(const struct backstep_result *result); /* "": not known */

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

/* What is left of the attempt's timeout, in milliseconds; 0: nothing, -1: it has none. */
int64_t backstep_time_left_ms(const struct backstep_context *context);

/* What has failed, as far as this step is told: an array of {"step": NAME, "error": TEXT}. Forward it is empty, for what comes after a failure
 * does not run; a rollback sees the failure of its own step. */
const struct backstep_json *backstep_errors(struct backstep_context *context);

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

enum backstep_level { BACKSTEP_DEBUG, BACKSTEP_INFO, BACKSTEP_WARN, BACKSTEP_ERROR };

/* One line for whoever operates the run: a message at level info; a message; an event with data.
 *
 * event    its name, e.g. "file_stored"
 * format   of its data, a JSON object; NULL: none
 * fails    data that is no JSON object: false, and it is logged without */
void backstep_log(struct backstep_context *context, const char *format, ...) BACKSTEP_PRINTF(2, 3);
void backstep_log_message(struct backstep_context *context, enum backstep_level level, const char *format, ...) BACKSTEP_PRINTF(3, 4);
bool backstep_log_event(struct backstep_context *context, enum backstep_level level, const char *event, const char *format, ...)
    BACKSTEP_PRINTF(4, 5);

/* Is this attempt to stop: the run is cancelled, out of time, or the worker leaves? A step that may take long asks now and then, and returns
 * (with whatever outcome). */
bool backstep_cancelled(const struct backstep_context *context);
/* Becomes readable when the attempt is cancelled: for poll(). Do not read or close it. -1: none could be made. */
int backstep_cancel_fd(struct backstep_context *context);

/* Why the last call on this context failed. "": none did. */
const char *backstep_error(const struct backstep_context *context);

/* `string` as a JSON string with its quotes, for the formats above; NULL is "". Lives as long as the context. */
const char *backstep_quote(struct backstep_context *context, const char *string);

/* What printf() would write. Lives as long as the context; "" where memory is out. */
const char *backstep_format(struct backstep_context *context, const char *format, ...) BACKSTEP_PRINTF(2, 3);

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

/* As a value of its own, for code that has JSON but no context. The caller owes backstep_json_free(). NULL: no JSON, nested too deep
 * (128, which the data of a step may be, and 16 more for what stands around them in a result or context), or a key that comes twice. */
const struct backstep_json *backstep_json_parse(const char *text);
void backstep_json_free(const struct backstep_json *json);

/* ---------------------------------------------------------------- the registry */

struct backstep_registry *backstep_registry_new(void);          /* caller owes backstep_registry_free(), or gives it to backstep_main() */
void backstep_registry_free(struct backstep_registry *registry); /* NULL is fine; the steps are the caller's, but for those it made itself */

/* Add a step after the others; before or after the one of that name; in the place of the one of that name.
 *
 * fails    false, where something is NULL; no name or one that is not an identifier; no execute; a weight that is negative or not finite;
 *          a policy out of its range; "step 'NAME' is registered already"; "Step 'NAME' not found". The first reason of all is kept for
 *          backstep_registry_error(), and a registry with one is not run: the return values need not be looked at. */
bool backstep_register(struct backstep_registry *registry, const struct backstep_step *step);
bool backstep_insert_before(struct backstep_registry *registry, const char *name, const struct backstep_step *step);
bool backstep_insert_after(struct backstep_registry *registry, const char *name, const struct backstep_step *step);
bool backstep_replace(struct backstep_registry *registry, const char *name, const struct backstep_step *step);

bool backstep_unregister(struct backstep_registry *registry, const char *name); /* false: there was none, which is no error */

/* Steps by place, from 0, and by name. */
int backstep_registry_count(const struct backstep_registry *registry);
const struct backstep_step *backstep_registry_step(const struct backstep_registry *registry, int index);        /* NULL: out of range */
const struct backstep_step *backstep_registry_find(const struct backstep_registry *registry, const char *name); /* NULL: none */
double backstep_registry_total_weight(const struct backstep_registry *registry);
const char *backstep_registry_error(const struct backstep_registry *registry); /* of the first call that failed; "": none did */

/* ---------------------------------------------------------------- wrappers: a step around a step */

/* A wrapper is one function around execute and rollback of any step (backstep_is_rollback() tells which). It calls backstep_proceed() at most
 * once, and returns what that returned unless it knows better. What the step reports, shares and says goes through untouched.
 *
 * A wrapped step is named `prefix` and the name of the step in it, "timed_upload", and has its weight, needs, input and policy. */
struct backstep_wrapper {
    const char *prefix; /* of the name; "" or NULL: the name stays */
    enum backstep_outcome (*around)(struct backstep_call *call, struct backstep_context *context, struct backstep_result *result);
    void *state; /* see backstep_call_state(); must outlive the registry */
};

/* Make a step of a wrapper and a step; it belongs to the registry, but is not registered yet:
 *     backstep_register(registry, backstep_wrap(registry, &audited, backstep_timing(registry, &upload_step)));
 * returns  NULL where something is NULL or unsound, or memory is out; the registry's error then says so */
const struct backstep_step *backstep_wrap(struct backstep_registry *registry, const struct backstep_wrapper *wrapper,
                                          const struct backstep_step *step);

/* Do the rest: the next wrapper, or the step. A second time: BACKSTEP_FAILED_PERMANENTLY, and nothing is done. */
enum backstep_outcome backstep_proceed(struct backstep_call *call);
void *backstep_call_state(const struct backstep_call *call);                            /* `state` of the wrapper */
const struct backstep_step *backstep_call_step(const struct backstep_call *call);        /* what is wrapped */
const struct backstep_result *backstep_call_done(const struct backstep_call *call);      /* rollback: what execute said; else NULL */

/* logged_NAME: logs step_start {"step"}, step_end {"step", "elapsed", "success", "skipped"}, also when it fails, and step_rollback {"step"}.
 * timed_NAME: adds "duration_seconds" to the data of the step, also when it fails, where the data is an object or none. */
const struct backstep_step *backstep_logging(struct backstep_registry *registry, const struct backstep_step *step);
const struct backstep_step *backstep_timing(struct backstep_registry *registry, const struct backstep_step *step);

/* A step that lets nothing pass that is not right. Designated initialisers. */
struct backstep_validation {
    const char *name; /* NULL: "validate" */
    double weight;    /* 0: 0.05 */
    /* NULL: all is well. Else why it is not; a literal, or made by backstep_format(). The step then fails for good with this as its error. */
    const char *(*validate)(struct backstep_context *context);
    void *state; /* for backstep_state() */
};
const struct backstep_step *backstep_validating(struct backstep_registry *registry, const struct backstep_validation *validation);

/* Where `once` remembers. Several processes may use it at a time, so each call is atomic. The key is an idempotency key without its direction.
 *   claim   remember `value` (a JSON text) for `key` if nothing is remembered yet: *there stays NULL. Else put what is there into *there,
 *           allocated with malloc(); the library frees it
 *   store   remember `value` for `key`, whatever was there
 * Both return false where the store cannot be reached: the attempt fails, and may be tried again. */
struct backstep_memory {
    const char *directory; /* NULL: the two functions; else files in this directory, which must exist and be shared by all workers */
    bool (*claim)(void *state, const char *key, const char *value, char **there);
    bool (*store)(void *state, const char *key, const char *value);
    void *state;
};

/* once_NAME: an execution whose outcome is remembered is not done again, its result is given once more; a rollback of what never began does
 * nothing, and bars the step from beginning later; what was rolled back does not begin again. An execution that began and of which no outcome is
 * remembered is done again: that much only the step itself can know. `memory` must outlive the registry. */
const struct backstep_step *backstep_once(struct backstep_registry *registry, const struct backstep_step *step,
                                          const struct backstep_memory *memory);

/* Trouble on demand, for tests and drills. Counted in attempts of one run's step: the first `fails` of them fail. */
struct backstep_fault {
    int fails;           /* so many attempts fail instead of running; after them all goes well */
    const char *message; /* with this reason; NULL: "fault injected" */
    bool permanent;      /* and are not tried again */
    bool after;          /* they fail after the step has done its work, not instead */
    int crashes;         /* it kills the process so many times, as SIGKILL does, before anything else; then it goes well */
    int64_t delay_ms;    /* each attempt waits so long first; a cancel ends the wait */
    bool rollback;       /* all of this in rollback, and not in execute */
};

/* fault_NAME. What the run's parameter "fault" says of the step ({"STEP": {"fails": 2, "delay_ms": 100, "rollback": true}}) goes before `fault`,
 * which may be NULL and must outlive the registry else. */
const struct backstep_step *backstep_faulty(struct backstep_registry *registry, const struct backstep_step *step,
                                            const struct backstep_fault *fault);

/* ---------------------------------------------------------------- the orchestrator: a run in this process */

enum backstep_status {
    BACKSTEP_RUN_NONE, /* nothing was executed yet, or it could not begin: see backstep_orchestrator_error() */
    BACKSTEP_RUN_SUCCEEDED,
    BACKSTEP_RUN_ROLLED_BACK,
    BACKSTEP_RUN_CANCELLED,
    BACKSTEP_RUN_ROLLBACK_INCOMPLETE,
    BACKSTEP_RUN_PAUSED,  /* of a pipeline of actions: one failed, and it waits for backstep_actions_resume() or _roll_back() */
    BACKSTEP_RUN_AT_WORK, /* of a pipeline of actions: it has begun and has not ended */
};

struct backstep_progress {
    const char *step;      /* whose report or end this is */
    double percent;        /* of the run: 0 to 100, never going back, two decimals */
    double step_percent;   /* of the step, two decimals */
    int64_t current, total; /* as the step said; 0, 0: it said nothing */
    double seconds_left;   /* of the step: what it took so far / current x rest; -1: not known */
};

/* Runs what is in `registry`, which must outlive it, in the calling thread, by the same rules as a coordinator. Steps may be added and removed
 * between two executions. Caller owes backstep_orchestrator_free(). NULL: memory is out, or `registry` is NULL. */
struct backstep_orchestrator *backstep_orchestrator_new(const struct backstep_registry *registry);
void backstep_orchestrator_free(struct backstep_orchestrator *orchestrator); /* NULL is fine */
void backstep_orchestrator_set_name(struct backstep_orchestrator *orchestrator, const char *pipeline); /* "pipeline" else; is copied */

/* Called before each step, and before its can_skip: BACKSTEP_SUCCEEDED lets it run, BACKSTEP_SKIPPED skips it, a failure is the step's. */
void backstep_orchestrator_before_step(struct backstep_orchestrator *orchestrator,
                                       enum backstep_outcome (*hook)(void *state, struct backstep_context *context,
                                                                     struct backstep_result *result),
                                       void *state);

/* Called at each report of a step and at the end of each, executing only. Everything is borrowed for the call. */
void backstep_orchestrator_on_progress(struct backstep_orchestrator *orchestrator,
                                       void (*listener)(void *state, const struct backstep_progress *progress), void *state);

/* Called for what steps log, instead of the process's own log. `event` NULL: `text` is a message; else it is the event's data, a JSON object or
 * "". Everything is borrowed for the call. */
void backstep_orchestrator_on_log(struct backstep_orchestrator *orchestrator,
                                  void (*listener)(void *state, enum backstep_level level, const char *event, const char *text),
                                  void *state);

/* Run to the end. A second call begins anew.
 *
 * run_id   an identifier; NULL: one is made
 * params   a JSON object; NULL: {}
 * returns  whether all went well. An empty registry succeeds */
bool backstep_execute(struct backstep_orchestrator *orchestrator, const char *run_id, const char *params);

/* Ask the run to stop and roll back. From any thread and any signal handler; where nothing runs it does nothing. */
void backstep_orchestrator_cancel(struct backstep_orchestrator *orchestrator);

/* How the last execution went. What is given out lives until the next one.
 *   error    "Step 'NAME' failed: REASON", or why it did not begin; "": none
 *   result   one JSON object, {"success", "steps_executed", "steps_total", "run_id", "pipeline", "status", "progress", "error",
 *            "duration_seconds", "steps": [{"name", "status", "attempts", "duration_seconds", "data", "error", "rollback_error"}], "history": [LINE]}
 *   history  a line for each attempt that ended, "NAME execute OUTCOME[: ERROR]" or "NAME rollback ...", in their order;
 *            OUTCOME is ok, skipped, failed or cancelled
 *   data     what a step has returned, as JSON text; NULL: it did not succeed, or there is no such step */
enum backstep_status backstep_orchestrator_status(const struct backstep_orchestrator *orchestrator);
int backstep_orchestrator_steps_executed(const struct backstep_orchestrator *orchestrator);
int backstep_orchestrator_steps_total(const struct backstep_orchestrator *orchestrator);
double backstep_orchestrator_percent(const struct backstep_orchestrator *orchestrator);
const char *backstep_orchestrator_run_id(const struct backstep_orchestrator *orchestrator);
const char *backstep_orchestrator_error(const struct backstep_orchestrator *orchestrator);
const char *backstep_orchestrator_result(struct backstep_orchestrator *orchestrator);
const char *backstep_orchestrator_history(struct backstep_orchestrator *orchestrator);
const char *backstep_orchestrator_data(struct backstep_orchestrator *orchestrator, const char *step);

/* ---------------------------------------------------------------- an action: steps, and the parameters they want */

/* The last one of a list is all zero. */
struct backstep_param_spec {
    const char *name;        /* an identifier */
    const char *description; /* one line; NULL: none */
    const char *fallback;    /* its value where none is given, as JSON: "3", "\"text\"". NULL: it is left out */
    bool required;
};

/* Designated initialisers. Must outlive what it is given to. */
struct backstep_action {
    const char *name;        /* of the pipeline; NULL: the program's */
    const char *description; /* one line; NULL: none */
    const struct backstep_param_spec *params; /* NULL: any are taken */
    /* The action's own steps. `params`: of the run, an object; NULL where there is no run (worker, steps): then every step that may be wanted is
     * to be registered. */
    void (*default_steps)(const struct backstep_action *action, struct backstep_registry *registry, const struct backstep_json *params);
    /* Said by whoever changes an action: takes the place of default_steps, and may call it and then insert, replace and unregister. */
    void (*setup_steps)(const struct backstep_action *action, struct backstep_registry *registry, const struct backstep_json *params);
    void *state; /* for these two */
};

/* Fill `registry`: setup_steps if there is one, else default_steps. false: the registry's error says why. */
bool backstep_action_setup(const struct backstep_action *action, struct backstep_registry *registry, const struct backstep_json *params);

/* backstep_main() for an action; parameters are checked against its list, and the result has defaults filled in. */
int backstep_action_main(int argc, char **argv, const struct backstep_action *action);

/* ---------------------------------------------------------------- a pipeline of actions */

/* One of them; the last one of a list is all zero. */
struct backstep_pipeline_action {
    const struct backstep_action *action;
    const char *name; /* an identifier, of 40 bytes at most, that no other action of the pipeline has; NULL: the action's own */
    double weight;    /* share of the overall progress, in any unit; not negative; all zero: each the same, so that it is their mean */
};

/* Actions one after another, each result merged into the next one's params. Designated initialisers; all of it must outlive what it is given to.
 *
 * It is one run of one plan, as `uses: pipeline:` makes it: the steps of action "train" are "train/NAME", served by the handler "train.NAME", and
 * what begins it is a step "train" whose data are its params. A failure in one action rolls back all of them, newest step first.
 *
 * params   of an action, a member from whoever says it last: the defaults it declares; the params of the run; the data of each step of the
 *          actions before it, in their order. Whole members are taken, not merged within; data that is no object, and what was skipped, says
 *          nothing. Together 64 KiB. One that it declares as required and nobody gives: the action fails for good, before its first step
 * steps    are set up once, with params NULL: every step that may be wanted is to be registered, and can_skip decides */
struct backstep_action_pipeline {
    const char *name;        /* an identifier */
    const char *description; /* one line; NULL: none */
    const struct backstep_pipeline_action *actions;
    bool pause_on_failure; /* a failed step holds the run until backstep_actions_resume() or backstep_actions_roll_back() */
};

/* A pipeline of actions, to be run in this process, where it lives as long as the process does. To have it durable, on Kafka: print it with
 * `plan`, serve it with `worker` (see backstep_actions_main()), and let `backstep start`, `watch`, `retry` and `rollback` do the same.
 *
 * returns  NULL: memory is out, or `pipeline` is NULL. An unsound pipeline is told by backstep_actions_error(), and does not run: a name that is
 *          none or comes twice, no action, an action without steps or with a mistake in one, a weight that is negative or not finite.
 *          The caller owes backstep_actions_free()
 * threads  start, run, resume, roll_back, free: one thread at a time. All else: any thread, at any time; steps and the listener are called in
 *          the thread that works, and may call cancel, status, percent and current */
struct backstep_actions *backstep_actions_new(const struct backstep_action_pipeline *pipeline);
void backstep_actions_free(struct backstep_actions *actions); /* what is at work is cancelled and waited for. NULL is fine */

/* Called as that of backstep_orchestrator_on_progress(), of the whole pipeline. Set it before a run. */
void backstep_actions_on_progress(struct backstep_actions *actions,
                                  void (*listener)(void *state, const struct backstep_progress *progress), void *state);

/* From the beginning to the end, or to a pause: `run` here and now, `start` in a thread of its own. A second one begins anew.
 *
 * run_id   an identifier; NULL: one is made
 * params   a JSON object; NULL: {}. Both are copied
 * returns  run: whether all went well; start: whether it has begun. false: it is at work already, or backstep_actions_error() says why */
bool backstep_actions_run(struct backstep_actions *actions, const char *run_id, const char *params);
bool backstep_actions_start(struct backstep_actions *actions, const char *run_id, const char *params);

/* Of a run that is paused, in a thread of its own: go on with the step that failed, keeping what was done before it, or roll back all of it.
 * false: it is not paused, or there is no thread to be had. */
bool backstep_actions_resume(struct backstep_actions *actions);
bool backstep_actions_roll_back(struct backstep_actions *actions);

/* Wait until nothing is at work.
 *
 * timeout_ms  the longest wait; negative: as long as it takes
 * returns     false: it is still at work; backstep_actions_status() else says how it has ended */
bool backstep_actions_wait(struct backstep_actions *actions, int64_t timeout_ms);

/* Ask what is at work to stop and roll back; else nothing happens. Not for signal handlers. */
void backstep_actions_cancel(struct backstep_actions *actions);

/* How it stands. `percent`: 0 to 100, weighted, never going back within a run. `current`: the name of the action at work, or of the last one that
 * was; "" before a run; lives as long as `actions`. */
enum backstep_status backstep_actions_status(struct backstep_actions *actions);
double backstep_actions_percent(struct backstep_actions *actions);
const char *backstep_actions_current(struct backstep_actions *actions);

/* Of a run that is over or paused, as backstep_orchestrator_...() have them; "" and NULL while it is at work. Live until the next run, resume or
 * roll_back. `data`: of the step "ACTION/STEP"; of "ACTION": its params. */
const char *backstep_actions_error(struct backstep_actions *actions);
const char *backstep_actions_result(struct backstep_actions *actions);
const char *backstep_actions_data(struct backstep_actions *actions, const char *step);

/* backstep_main() for a pipeline of actions; `run` does not pause. */
int backstep_actions_main(int argc, char **argv, const struct backstep_action_pipeline *pipeline);

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
