/* SPDX-License-Identifier: Apache-2.0 */
/* Where a saga keeps what its events bring: chunks that the caller provides, given back all at once. */
#include "common/limits.h"
#include "common/saga/saga_internal.h"

#include <assert.h>
#include <stdalign.h>

struct saga_chunk {
    struct saga_chunk *next;
    uint32_t size; /* with this header */
    uint32_t used;
};

static_assert(sizeof(struct saga_chunk) <= SAGA_CHUNK_OVERHEAD, "the overhead is public");

/* A kept span is preceded by how much fits in its place. */
struct kept {
    uint32_t capacity;
};

static size_t header_size(void)
{
    return room_aligned(sizeof(struct saga_chunk));
}

size_t room_kept_size(size_t size)
{
    return room_aligned(sizeof(struct kept) + size);
}

static size_t capacity_of(const struct span *span)
{
    if (span->bytes == NULL) {
        return 0;
    }
    const struct kept *kept = (const void *)(span->bytes - sizeof *kept);
    return kept->capacity;
}

static struct saga_text *text_of(const struct saga_step *step, enum step_text kind)
{
    struct saga_text *text = step->work != NULL ? step->work->texts : NULL;
    while (text != NULL && text->kind != kind) {
        text = text->next;
    }
    return text;
}

static size_t room_to_keep_text(const struct saga_step *step, enum step_text kind, size_t size)
{
    const struct saga_text *text = text_of(step, kind);
    return size == 0 || (text != NULL && size <= text->room) ? 0 : room_text_size(size);
}

static size_t room_left(const struct saga *saga)
{
    return saga->chunks != NULL ? saga->chunks->size - saga->chunks->used : 0;
}

void saga_provide(struct saga *saga, void *memory, size_t size)
{
    struct saga_chunk *chunk = memory;
    assert(size >= header_size() && size <= UINT32_MAX);
    *chunk = (struct saga_chunk){saga->chunks, (uint32_t)size, (uint32_t)header_size()};
    saga->chunks = chunk;
}

void saga_release(struct saga *saga, void (*give_back)(void *memory))
{
    struct saga_chunk *chunk = saga->chunks;
    while (chunk != NULL) {
        struct saga_chunk *next = chunk->next;
        give_back(chunk);
        chunk = next;
    }
    *saga = (struct saga){0};
}

void *room_take(struct saga *saga, size_t size)
{
    size = room_aligned(size);
    assert(size <= room_left(saga));
    void *memory = (char *)saga->chunks + saga->chunks->used;
    saga->chunks->used += (uint32_t)size;
    return memory;
}

void room_keep(struct saga *saga, struct span *to, struct span from)
{
    room_keep_joined(saga, to, &from, 1);
}

static size_t size_of(const struct span *pieces, size_t count)
{
    size_t size = 0;
    for (size_t i = 0; i < count; i++) {
        size += pieces[i].size;
    }
    return size;
}

/* The bytes are ours: they were taken from a chunk. A piece may be what stands there. */
static void join(const char *to, const struct span *pieces, size_t count)
{
    char *at = (char *)(size_t)to;
    for (size_t i = 0; i < count; i++) {
        if (pieces[i].size > 0) {
            memmove(at, pieces[i].bytes, pieces[i].size);
            at += pieces[i].size;
        }
    }
}

/* A place for a text of that size: the one it has where it fits, else a new one instead of it. */
static struct saga_text *text_with_room(struct saga *saga, struct saga_step *step, enum step_text kind, size_t size)
{
    if (size == 0 && step->work == NULL) {
        return NULL;
    }
    struct saga_text **link = &step_work(saga, step)->texts;
    while (*link != NULL && (*link)->kind != kind) {
        link = &(*link)->next;
    }
    if (size > 0 && (*link == NULL || size > (*link)->room)) {
        size_t taken = room_text_size(size);
        struct saga_text *text = room_take(saga, taken);
        *text = (struct saga_text){.next = *link != NULL ? (*link)->next : NULL,
                                   .bytes = (const char *)(text + 1),
                                   .kind = (unsigned)kind & 0xf,
                                   .room = (uint32_t)(taken - sizeof *text) & 0xfffffff};
        *link = text;
    }
    return *link;
}

void room_keep_text_joined(struct saga *saga, struct saga_step *step, enum step_text kind, const struct span *pieces, size_t count)
{
    size_t size = size_of(pieces, count);
    struct saga_text *text = text_with_room(saga, step, kind, size);
    if (text != NULL) {
        join(text->bytes, pieces, count);
        text->size = (uint32_t)size;
    }
}

void room_keep_joined(struct saga *saga, struct span *to, const struct span *pieces, size_t count)
{
    size_t size = size_of(pieces, count);
    if (size > capacity_of(to)) {
        size_t taken = room_kept_size(size);
        struct kept *kept = room_take(saga, taken);
        kept->capacity = (uint32_t)(taken - sizeof *kept);
        to->bytes = (char *)kept + sizeof *kept;
    }
    join(to->bytes, pieces, count);
    to->size = size;
}

static size_t room_of_elements(const struct saga_event *event)
{
    size_t size = room_aligned(sizeof(struct saga_fan)) + room_aligned(event->element_count * sizeof(struct span)) +
                  room_aligned(event->element_count * sizeof(struct saga_step));
    for (size_t i = 0; i < event->element_count; i++) {
        size += room_kept_size(event->elements[i].size);
    }
    return size;
}

/* Texts of our own making around what an event brings: "Step '<name>' failed: ", "worker '...' was lost", a limit and a number. */
#define TEXT_SLACK (LIMIT_NAME_BYTES + 256)

/* Of a step about which the record may be the first to say something. */
static size_t room_of_work(const struct saga_step *step)
{
    return step->work == NULL ? room_aligned(sizeof *step->work) : 0;
}

/* Steps that begin with the Start. A pipeline in a pipeline may be complete at once, and then any step may begin. */
static size_t room_of_first_steps(const struct plan *plan)
{
    size_t begin = 0, all = 0;
    for (uint32_t i = 0; i < plan->step_count; i++) {
        begin += plan->steps[i].needs_count == 0;
        all += plan->steps[i].kind == PLAN_SCOPE;
    }
    return all > 0 ? plan->step_count * (room_aligned(sizeof(struct saga_step)) + room_aligned(sizeof(struct saga_step_work)))
                   : begin * room_aligned(sizeof(struct saga_step));
}

bool room_is_empty_object(struct span json)
{
    return json.size == 0 || span_equal(json, (struct span){"{}", 2});
}

static size_t room_of_start(const struct saga_event *event)
{
    size_t plan = event->plan != NULL && !event->plan_stays ? room_aligned(plan_room(event->plan)) : 0;
    size_t steps = event->plan != NULL
                       ? room_aligned(event->plan->step_count * sizeof(struct saga_step *)) + room_of_first_steps(event->plan)
                       : 0;
    size_t scopes = 0;
    for (uint32_t i = 0; event->plan != NULL && i < event->plan->step_count; i++) {
        scopes += event->plan->steps[i].kind == PLAN_SCOPE ? room_text_size(event->plan->steps[i].input.size) : 0;
    }
    return plan + steps + scopes + (room_is_empty_object(event->params) ? 0 : room_kept_size(event->params.size));
}

/* Scopes that the fold completes by itself may be due after any end: each keeps its params once. */
static size_t room_of_scopes(const struct saga *saga)
{
    size_t size = 0;
    for (uint32_t i = 0; saga->has_scopes && i < saga->plan->step_count; i++) {
        if (saga->plan->steps[i].kind == PLAN_SCOPE && saga->steps[i]->status == STEP_WAITING) {
            size += room_text_size(saga->plan->steps[i].input.size);
        }
    }
    return size;
}

static bool needs(const struct plan_step *step, uint32_t index)
{
    for (uint32_t i = 0; i < step->needs_count; i++) {
        if (step->needs[i] == index) {
            return true;
        }
    }
    return false;
}

/* Steps that may begin when `index` is done: those that need it, or all where a pipeline in a pipeline may be complete at once, or where a person
 * lets a run go on (`index` UINT32_MAX), or where the state is not of the fold's own making. */
static size_t room_of_steps(const struct saga *saga, uint32_t index)
{
    size_t work = 0;
    for (uint32_t i = 0; saga->has_scopes && i < saga->plan->step_count; i++) {
        work += room_of_work(saga->steps[i]); /* and may be over at once */
    }
    bool any = index == UINT32_MAX || saga->has_scopes || saga->copied;
    bool in_chain = !any && index >= saga->plan->chain_from;
    uint32_t last = in_chain ? index + 1 : UINT32_MAX; /* where each needs the one before it, only the next one can begin */
    size_t count = !any && !in_chain; /* and the first of such a chain, once all before it is done */
    for (uint32_t i = any ? 0 : saga->done_below; saga->steps != NULL && i < saga->plan->step_count && i <= last; i++) {
        count += step_is_untouched(saga, i) && (any || needs(&saga->plan->steps[i], index));
    }
    return count * room_aligned(sizeof(struct saga_step)) + work;
}

/* Texts about how it ended. A ticket that ends as it should has none. */
static size_t room_of_errors(const struct saga *saga, const struct saga_step *step, const struct saga_event *event)
{
    bool done = event->kind == EVENT_DONE;
    bool succeeds =
        done && event->outcome == OUTCOME_OK && !saga_fans_out(saga, step) && step_result_fits(saga, event->data, event->set);
    bool skipped = done && event->outcome == OUTCOME_SKIPPED;
    bool untouched = (event->kind == EVENT_REFUSED || event->kind == EVENT_WITHDRAWN) && step->fired == TIMER_NONE;
    if (succeeds || skipped || untouched) {
        return 0;
    }
    return 3 * room_text_size(event->error.size + event->worker.size + TEXT_SLACK); /* of the instance, the step and the run */
}

static size_t room_of_trouble(const struct saga *saga)
{
    return saga->trouble == NULL ? room_aligned(sizeof *saga->trouble) : 0;
}

/* An end before what was sent ahead ends that, too; and it may be of such a ticket itself. */
static size_t room_of_ahead(const struct saga *saga, const struct saga_event *event)
{
    bool goes_on = event->kind == EVENT_DONE && (event->outcome == OUTCOME_OK || event->outcome == OUTCOME_SKIPPED);
    if (goes_on || event->ticket.direction != DIRECTION_EXECUTE || event->ticket.instance > 0) {
        return 0;
    }
    return room_aligned(sizeof(struct saga_step)) + ahead_room(saga, event->ticket.step);
}

static size_t room_of_end(const struct saga *saga, const struct saga_event *event)
{
    const struct saga_step *step = saga_find_step(saga, event->ticket.step, event->ticket.instance);
    if (step == NULL) {
        return 0;
    }
    size_t errors = room_of_errors(saga, step, event);
    size_t trouble = errors > 0 || saga->stopping ? room_of_trouble(saga) : 0;
    return trouble + errors + room_of_work(step) + room_to_keep_text(step, TEXT_DATA, event->data.size) +
           room_to_keep_text(step, TEXT_ROLLBACK_DATA, event->rollback_data.size) +
           room_to_keep_text(step, TEXT_SET, event->set.size) + room_to_keep_text(step, TEXT_METRICS, event->metrics.size) +
           room_to_keep_text(step, TEXT_WORKER, event->worker.size) +
           (event->kind == EVENT_EXPANDED ? room_of_elements(event) : 0) + room_of_scopes(saga) +
           room_of_steps(saga, event->ticket.step) + room_of_ahead(saga, event);
}

static size_t room_of_report(const struct saga *saga, const struct saga_event *event)
{
    const struct saga_step *step = saga_find_step(saga, event->ticket.step, event->ticket.instance);
    if (step == NULL) {
        return 0;
    }
    return room_of_work(step) + room_to_keep_text(step, TEXT_METRICS, event->metrics.size) +
           room_to_keep_text(step, TEXT_WORKER, event->worker.size);
}

static size_t room_needed(const struct saga *saga, const struct saga_event *event)
{
    size_t request = room_aligned(sizeof(struct saga_request)), work = room_aligned(sizeof(struct saga_step_work));
    switch (event->kind) {
    case EVENT_START: return request + (saga->status == RUN_NONE ? room_of_start(event) : 0);
    case EVENT_CANCEL:
    case EVENT_PAUSE:
    case EVENT_RESUME:
    case EVENT_RETRY:
    case EVENT_ROLL_BACK:
    case EVENT_RESOLVE: /* the run's error, too */
        return request + work + room_of_trouble(saga) + room_kept_size(event->reason.size + TEXT_SLACK) +
               room_text_size(event->data.size) + room_of_scopes(saga) + room_of_steps(saga, UINT32_MAX);
    case EVENT_STARTED:
    case EVENT_PROGRESSED: return room_of_report(saga, event);
    case EVENT_DONE:
    case EVENT_EXPANDED:
    case EVENT_REFUSED:
    case EVENT_LOST:
    case EVENT_WITHDRAWN: return room_of_end(saga, event);
    case EVENT_TIMER_FIRED: return event->timer == TIMER_RUN ? room_of_trouble(saga) + room_kept_size(TEXT_SLACK) : 0;
    case EVENT_ANSWERED:
    case EVENT_FINISHED: return 0;
    }
    return 0;
}

static size_t missing_room(const struct saga *saga, const struct saga_event *event)
{
    size_t size = room_needed(saga, event);
    if (saga->run_id.bytes == NULL) {
        size += room_kept_size(event->run_id.size);
    }
    return size <= room_left(saga) ? 0 : size + header_size();
}

/* More than the end of a ticket that says little can need: who has provided for a whole run at once is not asked step by step. */
static bool has_room_for_end(const struct saga *saga, const struct saga_event *event)
{
    size_t said = event->data.size + event->rollback_data.size + event->set.size + event->metrics.size + 4 * event->worker.size +
                  3 * event->error.size;
    return saga->chunks != NULL && !saga->has_scopes &&
           said + (saga->plan->step_count - saga->done_below) * (sizeof(struct saga_step) + alignof(max_align_t)) +
                   sizeof(struct saga_step_work) + sizeof(struct saga_trouble) + 12 * TEXT_SLACK <=
               saga->chunks->size - saga->chunks->used;
}

size_t saga_room(const struct saga *saga, const struct saga_event *event)
{
    if (event->kind == EVENT_DONE && saga->steps != NULL && has_room_for_end(saga, event)) {
        return 0;
    }
    return missing_room(saga, event);
}

size_t saga_retire_room(const struct saga *saga)
{
    return header_size() + room_kept_size(saga->run_id.size) + room_of_requests(saga->requests);
}

size_t room_of_requests(const struct saga_request *request)
{
    size_t size = 0;
    for (; request != NULL; request = request->next) {
        size += room_aligned(sizeof *request) + room_kept_size(request->reason_size);
    }
    return size;
}

/* "The same request id twice gets the same answer": also after the run. */
void room_keep_requests(struct saga *saga, const struct saga_request *request)
{
    struct saga_request **link = &saga->requests;
    for (; request != NULL; request = request->next, link = &(*link)->next) {
        *link = room_take(saga, sizeof **link);
        **link = (struct saga_request){.verdict = request->verdict, .answered = request->answered};
        memcpy((*link)->id, request->id, REQUEST_ID_BYTES);
        struct span reason = {0};
        room_keep(saga, &reason, saga_request_reason(request));
        (*link)->reason = reason.bytes;
        (*link)->reason_size = request->reason_size;
    }
}

void saga_retire(struct saga *saga, void *memory, size_t size, void (*give_back)(void *memory))
{
    assert(saga_is_closed(saga) && !saga->retired);
    struct saga old = *saga;
    *saga = (struct saga){.status = old.status,
                          .retired = true,
                          .finish_recorded = true,
                          .fold_version = old.fold_version,
                          .progress_ppm = old.progress_ppm,
                          .start_offset = old.start_offset,
                          .started_ms = old.started_ms,
                          .finished_ms = old.finished_ms,
                          .time_ms = old.time_ms};
    saga_provide(saga, memory, size);
    room_keep(saga, &saga->run_id, old.run_id);
    room_keep_requests(saga, old.requests);
    saga_release(&old, give_back);
}
