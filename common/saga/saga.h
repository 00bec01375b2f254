/* SPDX-License-Identifier: Apache-2.0 */
/* The state of one run: a pure fold of its records. No clock, no I/O, no floating point, no heap: time is the record's timestamp,
 * and the caller provides room for what an event brings (saga_room, saga_provide).
 *
 * Invariants
 *   - the same events in the same order give the same state; a duplicate or late event changes nothing
 *   - a ticket of a step goes out only when every earlier one has ended; a rollback only when every ticket of the step has
 *   - what is due is read off the state (saga_next_effect), never remembered elsewhere
 *   - progress_ppm never goes back, and is 1000000 only when the run has succeeded
 */
#ifndef SAGA_H
#define SAGA_H

#include "common/saga/plan.h"
#include "common/span.h"

#include <stdint.h>

#define SAGA_FOLD_VERSION 4 /* raised with each change of behaviour, which is then gated on the start's version */
#define SAGA_FOLD_OF_EARLY_TAILS 3 /* from it on a step waits for nothing but what it needs, see plan_has_early_tail() */
#define SAGA_FOLD_OF_TASKS_AHEAD 4 /* from it on a task may be sent before its step is ready, see saga_next_ahead() */
#define PPM_ONE 1000000u

enum run_status {
    RUN_NONE, /* no start was read; such a saga only answers requests */
    RUN_PENDING,
    RUN_RUNNING,
    RUN_PAUSED,
    RUN_ROLLING_BACK,
    RUN_SUCCEEDED,
    RUN_ROLLED_BACK,
    RUN_CANCELLED,
    RUN_ROLLBACK_INCOMPLETE,
};

enum step_status {
    STEP_WAITING,
    STEP_READY, /* a ticket is open: it waits in a coordinator, is on its way, or queued at a worker */
    STEP_RUNNING,
    STEP_RETRYING,
    STEP_SUCCEEDED,
    STEP_SKIPPED,
    STEP_FAILED,
    STEP_ROLLING_BACK,
    STEP_ROLLED_BACK,
    STEP_ROLLBACK_FAILED,
    STEP_NOT_RUN,
};

enum direction { DIRECTION_EXECUTE, DIRECTION_ROLLBACK };

enum outcome { OUTCOME_OK, OUTCOME_SKIPPED, OUTCOME_FAILED, OUTCOME_CANCELLED_STARTED, OUTCOME_CANCELLED_NOT_STARTED };

enum cancel_reason {
    CANCEL_REQUESTED,
    CANCEL_SIBLING_FAILED,
    CANCEL_TIMEOUT,
    CANCEL_HEARTBEAT,
    CANCEL_START_TIMEOUT,
    CANCEL_RUN_TIMEOUT,
    CANCEL_AHEAD, /* of a task that was sent ahead: only if it has not begun */
};

enum timer { TIMER_NONE, TIMER_RETRY, TIMER_TIMEOUT, TIMER_HEARTBEAT, TIMER_START, TIMER_RUN /* has no ticket */ };

enum verdict { VERDICT_NONE, VERDICT_ACCEPTED, VERDICT_EXISTING, VERDICT_REFUSED };

#define REQUEST_ID_BYTES 16

/* One dispatch of (run, step, instance, direction). */
struct ticket {
    uint32_t step;
    uint32_t instance; /* from 1, of a step that fans out; 0: the step itself */
    enum direction direction;
    uint32_t number; /* from 1 */
};

enum saga_event_kind {
    EVENT_START,
    EVENT_CANCEL,
    EVENT_PAUSE,
    EVENT_RESUME,
    EVENT_RETRY,
    EVENT_ROLL_BACK,
    EVENT_RESOLVE,
    EVENT_STARTED,
    EVENT_PROGRESSED,
    EVENT_DONE,
    EVENT_EXPANDED, /* ends a ticket of instance 0 of a step that fans out: its elements are known */
    EVENT_REFUSED,
    EVENT_LOST, /* owner: nobody will ever end this ticket */
    EVENT_WITHDRAWN, /* owner: this ticket was never sent */
    EVENT_TIMER_FIRED, /* owner */
    EVENT_ANSWERED, /* owner */
    EVENT_FINISHED, /* owner: RunFinished was read */
};

/* One record, decoded. Everything is borrowed for the call. Which fields count depends on `kind`; the others are ignored. */
struct saga_event {
    enum saga_event_kind kind;
    int64_t time_ms; /* the record's timestamp */
    int64_t offset;
    struct span run_id;
    struct ticket ticket;

    unsigned char request_id[REQUEST_ID_BYTES]; /* START ANSWERED, all requests */
    const struct plan *plan; /* START */
    bool plan_stays; /* START: `plan` has no problem, and stays until the saga is released: it is not copied */
    struct span params; /* START: JSON object */
    uint32_t fold_version; /* START */
    bool ended; /* requests: a run of that id has ended, and all else about it is forgotten */
    const char *refusal; /* START: why the owner's side must refuse it (e.g. partition count), a literal; else NULL */
    struct span reason; /* LOST, requests but START */
    struct span step_name; /* RESOLVE; with ticket.instance */
    bool done; /* RESOLVE: it is done, with `data`; else it is undone */
    const struct span *elements; /* EXPANDED: JSON each */
    size_t element_count;
    enum outcome outcome; /* DONE */
    bool permanent; /* DONE failed */
    struct span data, rollback_data, set, error; /* DONE; data: RESOLVE too */
    struct span metrics; /* DONE PROGRESSED */
    uint64_t current, total; /* PROGRESSED */
    int64_t elapsed_ms; /* STARTED DONE: since the attempt began, by the worker's clock */
    struct span worker; /* STARTED DONE LOST REFUSED; LOST: empty where it is not known who had it */
    enum timer timer; /* TIMER_FIRED */
    enum run_status status; /* FINISHED; RUN_NONE: not said */
    int64_t finished_ms; /* FINISHED; 0: not said */
};

/* What became of an event: what the owner does with the record depends on it. */
enum saga_verdict {
    SAGA_APPLIED,
    SAGA_IGNORED, /* duplicate or late: normal under at-least-once delivery */
    SAGA_ALIEN, /* of an unknown run, or a ticket never issued: to the dead-letter topic */
};

/* What a step has of texts and bytes: a list, since most have one or two of them. */
enum step_text {
    TEXT_DATA,
    TEXT_ROLLBACK_DATA,
    TEXT_SET,
    TEXT_METRICS,
    TEXT_ERROR, /* of the last failed attempt */
    TEXT_ROLLBACK_ERROR, /* of the last failed rollback */
    TEXT_WORKER, /* who last reported on it */
};

struct saga_text {
    struct saga_text *next;
    const char *bytes;
    uint32_t size;
    uint32_t kind : 4; /* enum step_text */
    uint32_t room : 28; /* bytes that fit in its place */
};

/* What a step has from the first record on that says something of it: of a million runs that wait most steps have none. Times are log time;
 * 0: not yet. */
struct saga_step_work {
    struct saga_text *texts;
    struct saga_step *set_next; /* in saga.sets */
    int64_t begun_ms; /* first Started or end of execute */
    int64_t attempt_ms; /* Started of the current ticket */
    int64_t report_ms; /* last report of the current ticket */
    int64_t ended_ms; /* last end of execute */
    int64_t rollback_begun_ms, rollback_ended_ms;
    int64_t retry_ms; /* when the next ticket is due */
    uint64_t current, total; /* as last reported; of a step that fans out: instances done, and all */
    uint32_t execute_attempts; /* used or in use, executing: what people are shown */
    uint32_t end_order; /* n-th end of an execute ticket in this run, from 1; rollbacks go newest first */
};

/* One step, or one instance of a step that fans out. */
struct saga_step {
    uint32_t index; /* in the plan */
    uint32_t instance; /* from 1; 0: the step itself */
    uint8_t status; /* enum step_status */
    uint8_t direction; /* enum direction: which way `ticket` counts */
    uint8_t fired; /* enum timer: a deadline of `ticket` that was due; waits for the end */
    uint8_t cancel; /* 1 + enum cancel_reason wanted of `ticket`, 0 none */
    bool active : 1; /* in saga.active: a ticket is open, or a retry is due */
    bool open : 1; /* `ticket` may have been sent and has not ended */
    bool started : 1; /* a Started or report of `ticket` stands in the log */
    bool confirm : 1; /* later tickets say confirm */
    bool may_have_begun : 1; /* some execute ticket of it may have begun: it is to be undone */
    bool begun_before : 1; /* the same, of the tickets before `ticket` */
    bool executed : 1; /* its execute succeeded, whatever came after */
    bool nothing_to_undo : 1;
    bool resolved : 1; /* a person said how it stands */
    bool untouched : 1; /* the plan's own: of every run in which it has never begun */
    uint16_t losses, silent_losses;
    uint32_t ticket;
    uint32_t attempts; /* used, in `direction` */
    uint32_t fraction_ppm; /* of execute; never goes back */
    int64_t ready_ms; /* since when it is ready; log time */
    struct saga_step_work *work; /* NULL: none, see saga_work() */
    struct saga_fan *fan; /* of a step that fans out, once its elements are known; else NULL */
    struct saga_step *active_next, *active_before;
};

/* Borrowed from the step; all zero where it has none. */
static inline const struct saga_step_work *saga_work(const struct saga_step *step)
{
    static const struct saga_step_work none;
    return step->work != NULL ? step->work : &none;
}

/* The elements of a step that fans out, and an instance for each. */
struct saga_fan {
    uint32_t count;
    uint32_t next; /* no instance before this index waits */
    uint32_t done; /* succeeded or skipped */
    uint32_t open; /* at work: a ticket is open, or a retry is due */
    uint64_t fraction_sum; /* of the instances, in ppm */
    struct span *elements; /* JSON each */
    struct saga_step *instances;
};

struct saga_request {
    struct saga_request *next;
    unsigned char id[REQUEST_ID_BYTES];
    uint8_t verdict; /* enum verdict */
    bool answered;
    bool sent; /* the shell's, no part of the state: its answer is on the way */
    uint32_t reason_size;
    const char *reason; /* saga_request_reason() */
};

static inline struct span saga_request_reason(const struct saga_request *request)
{
    return (struct span){request->reason, request->reason_size};
}

/* Empty where it has none; borrowed from the saga. */
static inline struct span saga_step_text(const struct saga_step *step, enum step_text kind)
{
    const struct saga_text *text = saga_work(step)->texts;
    while (text != NULL && text->kind != kind) {
        text = text->next;
    }
    return text != NULL ? (struct span){text->bytes, text->size} : (struct span){0};
}

/* What a run has from when it is paused, cancelled or fails: most have none. */
struct saga_trouble {
    struct span error; /* the first cause */
    uint32_t cause_step; /* whose failure began it; UINT32_MAX: none */
    uint32_t cause_instance;
    int64_t pause_ms; /* since when it is paused or held */
    int64_t paused_ms; /* how long it was before: its timeout stands still meanwhile */
    uint32_t undo_total; /* steps that are to be undone, counted on entering rollback */
};

struct saga_chunk; /* room the caller has provided */

struct saga {
    uint8_t status; /* enum run_status */
    bool retired : 1; /* saga_retire(): only identity, status and answers are left */
    bool newer : 1; /* started for a newer fold than this one: left as it is */
    bool finish_recorded : 1; /* RunFinished was read */
    bool cancelling : 1; /* on its way down because someone asked */
    bool stopping : 1; /* no more dispatches forward: waits for open tickets, then rolls back */
    bool paused : 1; /* a person asked for it */
    bool held : 1; /* a step failed for good, and a person is to say what becomes of it */
    bool begun : 1; /* some step has */
    bool has_scopes : 1; /* pipelines in pipelines */
    bool plan_stays : 1; /* `plan` is somebody else's, for as long as the saga is */
    bool copied : 1; /* from an image: any of its steps may begin next */
    bool summed : 1; /* weight_done is known */
    uint32_t fold_version;
    uint32_t finish_count; /* how often it ended: an incomplete rollback may be taken up again */
    uint32_t ended_count; /* for saga_step.end_order */
    uint32_t progress_ppm;
    /* So that an event costs the same in a plan of any length. Derived, and 0 where not known yet. */
    uint32_t done_below; /* every step below this one is done */
    uint32_t context_bytes; /* at most LIMIT_CONTEXT_BYTES */
    uint64_t weight_done; /* the sum progress is made of */
    int64_t start_offset, started_ms, finished_ms, time_ms; /* time_ms: of the last record */
    struct span run_id, params;
    struct saga_trouble *trouble; /* NULL: none, see saga_trouble() */
    const struct plan *plan;
    struct saga_step *
        *steps; /* plan->step_count of them. Those that wait and have never begun are the plan's, and all runs' that share it */
    struct saga_step *active,
        *active_last; /* steps and instances with an open ticket or a due retry, in the order in which that came */
    struct saga_step *sets, *sets_last; /* those that set shared values, in log order */
    struct saga_request *requests;
    struct saga_chunk *chunks;
};

/* Borrowed from the saga; without a cause, and else all zero, where it has none. */
static inline const struct saga_trouble *saga_trouble(const struct saga *saga)
{
    static const struct saga_trouble none = {.cause_step = UINT32_MAX};
    return saga->trouble != NULL ? saga->trouble : &none;
}

/* Bytes that applying `event` may need. 0: none. */
size_t saga_room(const struct saga *saga, const struct saga_event *event);

/* Hand over `memory` (aligned for max_align_t, `size` bytes, at least saga_room()); it must stay until saga_release(). */
#define SAGA_CHUNK_OVERHEAD 48
void saga_provide(struct saga *saga, void *memory, size_t size);

/* Take back every chunk, e.g. with free(). The saga is all zero afterwards. */
void saga_release(struct saga *saga, void (*give_back)(void *memory));

/* What an event of a run or ticket that does not exist is: whoever claims to have begun or ended work that was never given out is alien. */
enum saga_verdict saga_judge_unknown(const struct saga_event *event);

/* A saga starts all zero; `run_id` is copied into the provided room with the first event. */
enum saga_verdict saga_apply(struct saga *saga, const struct saga_event *event);

enum effect_kind {
    EFFECT_DISPATCH, /* send the ticket, unless it was sent */
    EFFECT_CANCEL_TASK, /* tell its worker, or, where it was never sent, append Withdrawn */
    EFFECT_HOLD, /* the run is paused: append Withdrawn where the ticket was never sent, else leave it */
    EFFECT_ANSWER,
    EFFECT_FINISH, /* append RunFinished */
};

struct saga_effect {
    enum effect_kind kind;
    struct ticket ticket;
    bool confirm;
    enum cancel_reason cancel_reason;
    struct saga_request *request; /* borrowed from the saga */
};

/* The same question after an event and after a crash: what is due and not confirmed?
 *     struct saga_effect effect;
 *     for (struct saga_cursor cursor = {0}; saga_next_effect(saga, &cursor, &effect);) { ... } */
struct saga_cursor {
    uint8_t stage;
    const struct saga_step *step;
    struct saga_request *request;
};
bool saga_next_effect(const struct saga *saga, struct saga_cursor *cursor, struct saga_effect *effect);

/* The earliest deadline, in log time. false: none is armed. When it is due the owner appends TimerFired(timer, ticket). */
struct saga_deadline {
    int64_t due_ms;
    enum timer timer;
    struct ticket ticket;
};
bool saga_next_deadline(const struct saga *saga, struct saga_deadline *deadline);

/* Walk all steps, each before its instances: `step` NULL to begin, NULL at the end. */
struct saga_step *saga_next_step(const struct saga *saga, const struct saga_step *step);
/* The step or instance, NULL where there is none. */
struct saga_step *saga_find_step(const struct saga *saga, uint32_t step, uint32_t instance);
/* A step that fans out is itself only expanded; its instances do the work. */
static inline bool saga_fans_out(const struct saga *saga, const struct saga_step *step)
{
    return step->instance == 0 && saga->plan->steps[step->index].each.size > 0;
}

bool saga_is_over(const struct saga *saga);
bool run_status_is_final(enum run_status status);
/* Nothing is due, nothing is armed, and RunFinished stands in the log. */
bool saga_is_settled(const struct saga *saga);
/* Settled for good: nobody can take it up again. An incomplete rollback is live until it is retried or resolved. */
bool saga_is_closed(const struct saga *saga);
/* Forget all of a closed run but who it was, how it ended and what was answered: copies what stays into `memory`
 * (saga_retire_room() bytes) and gives all else back. Later requests are still answered. */
size_t saga_retire_room(const struct saga *saga);
void saga_retire(struct saga *saga, void *memory, size_t size, void (*give_back)(void *memory));

/* An image is a state that was not folded here: decoded from a snapshot, its memory anyone's. Lists and fans are linked; the run id is set.
 * Why the fold cannot have made it, or NULL. Only an image without a problem may be copied. */
const char *saga_image_problem(const struct saga *image);
size_t saga_copy_room(const struct saga *image);
/* `copy`, all zero before, becomes a saga of its own in `memory` (aligned for max_align_t, saga_copy_room() bytes), which it has until saga_release(). */
void saga_copy(struct saga *copy, const struct saga *image, void *memory, size_t size);
/* Of a fan whose instances are linked: what follows from them. */
void saga_count_fan(struct saga_fan *fan);

uint32_t saga_rollback_ppm(const struct saga *saga); /* of the steps that are to be undone, those that are */
uint32_t saga_steps_executed(const struct saga *saga);

/* The steps whose results a task of `step` carries, in plan order: `others` has room for plan->step_count. Returns how many. */
uint32_t saga_task_reads(const struct saga *saga, uint32_t step, uint32_t *others);

uint32_t saga_max_attempts(const struct saga *saga, const struct saga_step *step); /* in its direction */

/* Tasks ahead. Behind a dispatched step its owner may send the same worker the tasks of the steps that need nothing else:
 * plan_is_behind(), at most SAGA_AHEAD_MAX in a row. Such a ticket is not open, and no record says whether it was sent. It may
 * begin once a Done, ok or skipped, of the ticket before it stands in the log, which opens it, whatever has become of the run
 * meanwhile; it has ended with any other end of that ticket. */
#define SAGA_AHEAD_MAX 7 /* by then the owner has long read of the first; and so many numbers go up when that one fails */
/* The ticket that may be sent ahead directly behind that of `step`, which is open or was sent ahead itself. false: none may. */
bool saga_next_ahead(const struct saga *saga, uint32_t step, struct ticket *ticket);
/* Whether `ticket` is such a one: its step waits, and the number is the next. */
bool saga_is_ahead(const struct saga *saga, const struct ticket *ticket);

const char *run_status_name(enum run_status status); /* "running" ...; RUN_NONE: "unknown" */
const char *step_status_name(enum step_status status); /* "waiting" ... */
const char *outcome_name(enum outcome outcome);
const char *cancel_reason_name(enum cancel_reason reason);

#endif
