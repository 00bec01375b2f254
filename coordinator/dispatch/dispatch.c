/* SPDX-License-Identifier: Apache-2.0 */
#include "coordinator/dispatch/dispatch.h"

#include "common/limits.h"
#include "common/rules.h"

#include <assert.h>
#include <stdlib.h>
#include <uthash.h>

/* All that serve one handler of one queue. */
struct group {
    char *key; /* queue, NUL, handler */
    struct span queue, handler;
    struct dispatch_worker **workers;
    uint32_t worker_count, worker_room;
    uint32_t turn; /* says where the search for the least loaded begins: else all coordinators would choose the same of those that are idle */
    UT_hash_handle hh;
};

/* What waits for a group, from one progress partition. */
struct dispatch_lane {
    struct lane_key {
        struct group *group;
        uint64_t partition;
    } key;
    struct dispatch_item *first, *last;
    struct dispatch_lane *next_busy; /* lanes in which something waits */
    bool busy;
    UT_hash_handle hh;
};

struct dispatch_worker {
    struct incarnation incarnation;
    struct presence presence;
    char *storage; /* of the presence's spans */
    struct group **groups;
    uint32_t group_count;
    bool *refused;  /* by group: Refused(unknown); until its next Hello */
    bool *holding;  /* by progress partition */
    bool *awaited;  /* by progress partition */
    int64_t heard_ms;
    bool marked;    /* a mark was appended since it was last heard of */
    unsigned char nonce[16];
    bool busy;      /* Refused(busy): nothing until a Done or heartbeat of its */
    uint32_t placed;
    uint32_t round; /* in which it was last given something */
    struct dispatch_item *first;
    UT_hash_handle hh;
};

/* An incarnation that is over; never used again, whatever late record names it. */
struct tomb {
    struct incarnation incarnation;
    UT_hash_handle hh;
};

/* In windows of so many times the slots a worker may be well supplied: with less each of its slots counts, with more its steps take less than
 * 0.2 ms, and are over before the next look. */
#define WELL_FROM 4
#define WELL_TO 200

/* What a worker has, if it is no more than this part of its window, is over before a round trip is. */
#define SHORT_QUEUE 32

#define TOMBS_MAX 10000 /* by then its last record is long past */

struct dispatch {
    uint32_t owned, total;
    struct dispatch_worker *workers;
    struct tomb *tombs;
    struct group *groups;
    struct dispatch_lane *lanes;
    struct dispatch_lane *busy_first, *busy_last; /* in turn: a lane that was served goes to the end */
    int64_t next_check_ms;
    bool changed; /* something may be placed */
    uint32_t round; /* of placing: until nothing more can be placed for now */
};

static void *allocate(size_t size)
{
    void *memory = calloc(1, size > 0 ? size : 1);
    if (memory == NULL) {
        abort();
    }
    return memory;
}

struct dispatch *dispatch_new(uint32_t owned, uint32_t total)
{
    struct dispatch *dispatch = allocate(sizeof *dispatch);
    *dispatch = (struct dispatch){.owned = owned, .total = total, .next_check_ms = INT64_MAX, .round = 1};
    return dispatch;
}

void dispatch_set_owned(struct dispatch *dispatch, uint32_t owned)
{
    assert(owned <= dispatch->total);
    dispatch->owned = owned;
    dispatch->changed = true;
}

void dispatch_leave(struct dispatch *dispatch, uint32_t partition)
{
    for (struct dispatch_worker *worker = dispatch->workers; worker != NULL; worker = worker->hh.next) {
        worker->holding[partition] = worker->awaited[partition] = false;
    }
}

/* ---- groups and lanes */

static struct group *group_of(struct dispatch *dispatch, struct span queue, struct span handler)
{
    char key[2 * LIMIT_IDENTIFIER_BYTES + 2];
    assert(queue.size <= LIMIT_IDENTIFIER_BYTES && handler.size <= LIMIT_IDENTIFIER_BYTES);
    size_t size = queue.size + 1 + handler.size;
    memcpy(key, queue.bytes, queue.size);
    key[queue.size] = '\0';
    memcpy(key + queue.size + 1, handler.bytes, handler.size);
    struct group *group = NULL;
    HASH_FIND(hh, dispatch->groups, key, size, group);
    if (group != NULL) {
        return group;
    }
    group = allocate(sizeof *group);
    group->key = allocate(size);
    memcpy(group->key, key, size);
    group->queue = (struct span){group->key, queue.size};
    group->handler = (struct span){group->key + queue.size + 1, handler.size};
    HASH_ADD_KEYPTR(hh, dispatch->groups, group->key, size, group);
    return group;
}

static void group_add(struct group *group, struct dispatch_worker *worker)
{
    if (group->worker_count == group->worker_room) {
        group->worker_room = group->worker_room > 0 ? group->worker_room * 2 : 4;
        struct dispatch_worker **workers = realloc(group->workers, group->worker_room * sizeof *workers);
        if (workers == NULL) {
            abort();
        }
        group->workers = workers;
    }
    group->workers[group->worker_count++] = worker;
}

static void group_remove(struct group *group, const struct dispatch_worker *worker)
{
    for (uint32_t i = 0; i < group->worker_count; i++) {
        if (group->workers[i] == worker) {
            group->workers[i] = group->workers[--group->worker_count];
            return;
        }
    }
}

static struct dispatch_lane *lane_of(struct dispatch *dispatch, struct group *group, uint32_t partition)
{
    struct lane_key key = {group, partition};
    struct dispatch_lane *lane = NULL;
    HASH_FIND(hh, dispatch->lanes, &key, sizeof key, lane);
    if (lane == NULL) {
        lane = allocate(sizeof *lane);
        lane->key = key;
        HASH_ADD(hh, dispatch->lanes, key, sizeof lane->key, lane);
    }
    return lane;
}

static void unlink_item(struct dispatch_item *item, struct dispatch_item **first, struct dispatch_item **last)
{
    if (item->previous != NULL) {
        item->previous->next = item->next;
    } else {
        *first = item->next;
    }
    if (item->next != NULL) {
        item->next->previous = item->previous;
    } else if (last != NULL) {
        *last = item->previous;
    }
    item->next = item->previous = NULL;
}

/* ---- workers */

static void copy_presence(struct dispatch_worker *worker, const struct presence *from)
{
    size_t size = from->worker.size + from->queue.size + from->version.size + from->host.size + from->handler_count * sizeof(struct span);
    for (size_t i = 0; i < from->handler_count; i++) {
        size += from->handlers[i].size;
    }
    char *storage = allocate(size);
    struct span *handlers = (void *)storage;
    char *at = storage + from->handler_count * sizeof *handlers;
    struct presence copy = *from;
    for (size_t i = 0; i < from->handler_count; i++) {
        handlers[i] = span_copy_to(&at, from->handlers[i]);
    }
    copy.handlers = handlers;
    copy.worker = span_copy_to(&at, from->worker);
    copy.queue = span_copy_to(&at, from->queue);
    copy.version = span_copy_to(&at, from->version);
    copy.host = span_copy_to(&at, from->host);
    free(worker->storage);
    worker->storage = storage;
    worker->presence = copy;
}

static void leave_groups(struct dispatch_worker *worker)
{
    for (uint32_t i = 0; i < worker->group_count; i++) {
        group_remove(worker->groups[i], worker);
    }
    free(worker->groups);
    free(worker->refused);
    worker->groups = NULL;
    worker->refused = NULL;
    worker->group_count = 0;
}

static void join_groups(struct dispatch *dispatch, struct dispatch_worker *worker)
{
    leave_groups(worker);
    const struct presence *presence = &worker->presence;
    worker->groups = allocate(presence->handler_count * sizeof(struct group *));
    worker->refused = allocate(presence->handler_count * sizeof(bool));
    for (size_t i = 0; i < presence->handler_count; i++) {
        struct group *group = group_of(dispatch, presence->queue, presence->handlers[i]);
        worker->groups[worker->group_count++] = group;
        group_add(group, worker);
    }
}

struct dispatch_worker *dispatch_find(struct dispatch *dispatch, const struct incarnation *incarnation)
{
    struct dispatch_worker *worker = NULL;
    HASH_FIND(hh, dispatch->workers, incarnation, sizeof *incarnation, worker);
    return worker;
}

struct dispatch_worker *dispatch_next_worker(struct dispatch *dispatch, struct dispatch_worker *worker)
{
    return worker == NULL ? dispatch->workers : worker->hh.next;
}

uint32_t dispatch_worker_count(const struct dispatch *dispatch)
{
    return HASH_COUNT(dispatch->workers);
}

const struct presence *dispatch_presence(const struct dispatch_worker *worker)
{
    return &worker->presence;
}

static int64_t silent_after_ms(const struct dispatch_worker *worker)
{
    return (int64_t)worker->presence.lease_ms + worker->presence.lease_ms / 4;
}

static struct dispatch_worker *add_worker(struct dispatch *dispatch, const struct presence *presence)
{
    if (HASH_COUNT(dispatch->workers) >= LIMIT_WORKERS) {
        return NULL;
    }
    struct dispatch_worker *worker = allocate(sizeof *worker);
    worker->incarnation = presence->incarnation;
    worker->holding = allocate(dispatch->total * sizeof(bool));
    worker->awaited = allocate(dispatch->total * sizeof(bool));
    HASH_ADD(hh, dispatch->workers, incarnation, sizeof worker->incarnation, worker);
    return worker;
}

static bool is_buried(const struct dispatch *dispatch, const struct incarnation *incarnation)
{
    struct tomb *tomb = NULL;
    HASH_FIND(hh, dispatch->tombs, incarnation, sizeof *incarnation, tomb);
    return tomb != NULL;
}

static void remove_tomb(struct dispatch *dispatch, struct tomb *tomb)
{
    HASH_DELETE(hh, dispatch->tombs, tomb);
    free(tomb);
}

static void bury(struct dispatch *dispatch, const struct incarnation *incarnation)
{
    if (HASH_COUNT(dispatch->tombs) >= TOMBS_MAX) {
        remove_tomb(dispatch, dispatch->tombs); /* the oldest: uthash keeps the order of adding */
    }
    struct tomb *tomb = allocate(sizeof *tomb);
    tomb->incarnation = *incarnation;
    HASH_ADD(hh, dispatch->tombs, incarnation, sizeof tomb->incarnation, tomb);
}

static bool same_service(const struct presence *a, const struct presence *b)
{
    bool same = span_equal(a->queue, b->queue) && a->handler_count == b->handler_count;
    for (size_t i = 0; same && i < a->handler_count; i++) {
        same = span_equal(a->handlers[i], b->handlers[i]);
    }
    return same;
}

struct dispatch_worker *dispatch_hear(struct dispatch *dispatch, const struct presence *presence, bool hello, int64_t now_ms, bool *is_new)
{
    struct dispatch_worker *worker = dispatch_find(dispatch, &presence->incarnation);
    *is_new = worker == NULL;
    if (worker == NULL) {
        worker = is_buried(dispatch, &presence->incarnation) ? NULL : add_worker(dispatch, presence);
        if (worker == NULL) {
            return NULL;
        }
    }
    bool same = !*is_new && !hello && same_service(&worker->presence, presence);
    copy_presence(worker, presence);
    if (!same) {
        join_groups(dispatch, worker);
    }
    worker->heard_ms = now_ms;
    worker->marked = worker->marked && !rule_holds(RULE_MARK);
    worker->busy = false;
    dispatch->changed = true;
    if (now_ms + silent_after_ms(worker) < dispatch->next_check_ms) {
        dispatch->next_check_ms = now_ms + silent_after_ms(worker);
    }
    return worker;
}

void dispatch_set_holding(struct dispatch *dispatch, struct dispatch_worker *worker, uint32_t partition)
{
    worker->holding[partition] = true;
    worker->awaited[partition] = false;
    dispatch->changed = true;
}

bool dispatch_has_holding(const struct dispatch_worker *worker, uint32_t partition)
{
    return worker->holding[partition];
}

void dispatch_await_all(struct dispatch *dispatch, uint32_t partition)
{
    for (struct dispatch_worker *worker = dispatch->workers; worker != NULL; worker = worker->hh.next) {
        worker->awaited[partition] = !worker->holding[partition];
    }
}

uint32_t dispatch_awaited(const struct dispatch *dispatch, uint32_t partition)
{
    uint32_t count = 0;
    for (struct dispatch_worker *worker = dispatch->workers; worker != NULL; worker = worker->hh.next) {
        count += worker->awaited[partition] && rule_holds(RULE_HANDSHAKE);
    }
    return count;
}

void dispatch_refused(struct dispatch *dispatch, struct dispatch_worker *worker, enum refused_reason reason, struct span queue,
                      struct span handler)
{
    if (reason == REFUSED_BUSY) {
        worker->busy = true;
        return;
    }
    struct group *group = group_of(dispatch, queue, handler);
    for (uint32_t i = 0; i < worker->group_count; i++) {
        if (worker->groups[i] == group) {
            worker->refused[i] = true;
        }
    }
}

/* ---- leases */

struct dispatch_worker *dispatch_next_silent(struct dispatch *dispatch, int64_t now_ms)
{
    if (now_ms < dispatch->next_check_ms) {
        return NULL;
    }
    int64_t next_ms = INT64_MAX;
    for (struct dispatch_worker *worker = dispatch->workers; worker != NULL; worker = worker->hh.next) {
        int64_t due_ms = worker->heard_ms + silent_after_ms(worker);
        if (worker->marked) {
            continue;
        }
        if (due_ms <= now_ms) {
            return worker;
        }
        next_ms = due_ms < next_ms ? due_ms : next_ms;
    }
    dispatch->next_check_ms = next_ms;
    return NULL;
}

void dispatch_mark_sent(struct dispatch_worker *worker, const unsigned char nonce[16])
{
    worker->marked = true;
    memcpy(worker->nonce, nonce, sizeof worker->nonce);
}

bool dispatch_mark_proves(const struct dispatch_worker *worker, const unsigned char nonce[16])
{
    return worker->marked && memcmp(worker->nonce, nonce, sizeof worker->nonce) == 0;
}

int64_t dispatch_next_ms(const struct dispatch *dispatch)
{
    return dispatch->next_check_ms;
}

struct dispatch_item *dispatch_take_from(struct dispatch *dispatch, struct dispatch_worker *worker)
{
    struct dispatch_item *item = worker->first;
    if (item != NULL) {
        dispatch_end(dispatch, item);
    }
    return item;
}

void dispatch_forget(struct dispatch *dispatch, struct dispatch_worker *worker)
{
    assert(worker->first == NULL);
    leave_groups(worker);
    HASH_DELETE(hh, dispatch->workers, worker);
    bury(dispatch, &worker->incarnation);
    free(worker->storage);
    free(worker->holding);
    free(worker->awaited);
    free(worker);
}

/* ---- tickets */

static void mark_busy_lane(struct dispatch *dispatch, struct dispatch_lane *lane)
{
    if (lane->busy) {
        return;
    }
    lane->busy = true;
    lane->next_busy = NULL;
    if (dispatch->busy_last != NULL) {
        dispatch->busy_last->next_busy = lane;
    } else {
        dispatch->busy_first = lane;
    }
    dispatch->busy_last = lane;
}

static void unmark_busy_lane(struct dispatch *dispatch, struct dispatch_lane *lane, struct dispatch_lane *previous)
{
    lane->busy = false;
    if (previous != NULL) {
        previous->next_busy = lane->next_busy;
    } else {
        dispatch->busy_first = lane->next_busy;
    }
    if (dispatch->busy_last == lane) {
        dispatch->busy_last = previous;
    }
}

void dispatch_offer(struct dispatch *dispatch, struct dispatch_item *item, uint32_t partition, struct span queue, struct span handler)
{
    assert(item->state == ITEM_IDLE);
    struct dispatch_lane *lane = lane_of(dispatch, group_of(dispatch, queue, handler), partition);
    item->state = ITEM_WAITING;
    item->lane = lane;
    item->next = NULL;
    item->previous = lane->last;
    if (lane->last != NULL) {
        lane->last->next = item;
    } else {
        lane->first = item;
    }
    lane->last = item;
    mark_busy_lane(dispatch, lane);
    dispatch->changed = true;
}

static void put(struct dispatch_item *item, struct dispatch_worker *worker)
{
    item->state = ITEM_PLACED;
    item->worker = worker;
    item->previous = NULL;
    item->next = worker->first;
    if (worker->first != NULL) {
        worker->first->previous = item;
    }
    worker->first = item;
}

static void place(struct dispatch_item *item, struct dispatch_worker *worker)
{
    put(item, worker);
    worker->placed++;
}

void dispatch_place_ahead(struct dispatch_item *item, struct dispatch_worker *worker)
{
    assert(item->state == ITEM_IDLE);
    put(item, worker);
    item->ahead = true;
}

enum dispatch_behind dispatch_behind_of(const struct dispatch_item *before)
{
    if (before->state == ITEM_INHERITED && rule_holds(RULE_AHEAD_INHERITED)) {
        return BEHIND_INHERITED;
    }
    return before->more_behind ? BEHIND_DROPPED : BEHIND_UNSENT;
}

void dispatch_catch_up(struct dispatch_item *item)
{
    if (item->ahead && item->state == ITEM_PLACED) { /* else its worker is over */
        item->worker->placed++;
    }
    item->ahead = false;
}

void dispatch_adopt(struct dispatch *dispatch, struct dispatch_item *item, struct dispatch_worker *worker)
{
    (void)dispatch;
    assert(item->state == ITEM_INHERITED);
    place(item, worker);
}

void dispatch_end(struct dispatch *dispatch, struct dispatch_item *item)
{
    if (item->state == ITEM_WAITING) {
        unlink_item(item, &item->lane->first, &item->lane->last);
    } else if (item->state == ITEM_PLACED) {
        unlink_item(item, &item->worker->first, NULL);
        if (!item->ahead) {
            item->worker->placed--;
            item->worker->busy = false;
            dispatch->changed = true;
        }
    }
    item->state = ITEM_IDLE;
    item->worker = NULL;
}

static uint64_t share_of(const struct dispatch *dispatch, const struct dispatch_worker *worker)
{
    uint64_t share = (uint64_t)worker->presence.window * dispatch->owned / dispatch->total;
    return share > 0 ? share : 1;
}

static uint32_t credit_of(const struct dispatch *dispatch, const struct dispatch_worker *worker)
{
    uint64_t share = share_of(dispatch, worker);
    return worker->placed < share ? (uint32_t)(share - worker->placed) : 0;
}

/* It has more than three quarters of what we may give it, so that what comes next may wait for more, and go there together: a request with
 * several tasks costs little more than one with one. Each end of its that is read asks again, and who holds ends back tells of them before
 * little is left (worker/pool.c). In the round in which it is given something it is filled up. */
static bool is_well_supplied(const struct dispatch *dispatch, const struct dispatch_worker *worker)
{
    uint32_t times = worker->presence.slots > 0 ? worker->presence.window / worker->presence.slots : 0;
    return times >= WELL_FROM && times <= WELL_TO && worker->round != dispatch->round &&
           (uint64_t)worker->placed * 4 > share_of(dispatch, worker) * 3;
}

static bool has_refused(const struct dispatch_worker *worker, const struct group *group)
{
    for (uint32_t i = 0; i < worker->group_count; i++) {
        if (worker->groups[i] == group) {
            return worker->refused[i];
        }
    }
    return true;
}

/* By the time the turn of a next task would come it is there in any case. */
static bool has_a_queue(const struct dispatch *dispatch, const struct dispatch_worker *worker)
{
    return worker->placed > worker->presence.slots && (uint64_t)worker->placed * SHORT_QUEUE > share_of(dispatch, worker);
}

bool dispatch_takes_ahead(struct dispatch *dispatch, const struct dispatch_worker *worker, struct span queue, struct span handler,
                          uint32_t times)
{
    const struct presence *presence = &worker->presence;
    if (times > 1 && has_a_queue(dispatch, worker)) {
        return false;
    }
    return presence->takes_ahead && presence->slots > 0 && presence->window / presence->slots >= times && !presence->draining &&
           !worker->marked && !has_refused(worker, group_of(dispatch, queue, handler));
}

/* Fewer tasks per slot is less loaded. */
static bool less_loaded(const struct dispatch_worker *a, const struct dispatch_worker *b)
{
    return (uint64_t)a->placed * b->presence.slots < (uint64_t)b->placed * a->presence.slots;
}

static bool is_usable(const struct dispatch *dispatch, const struct dispatch_worker *worker, const struct dispatch_lane *lane)
{
    return worker->holding[lane->key.partition] && !worker->marked && !worker->busy && !worker->presence.draining &&
           credit_of(dispatch, worker) > 0 && !has_refused(worker, lane->key.group);
}

static struct dispatch_worker *pick(const struct dispatch *dispatch, const struct dispatch_lane *lane)
{
    struct dispatch_worker *best = NULL;
    struct group *group = lane->key.group;
    group->turn = group->turn * 1664525u + 1013904223u + (uint32_t)lane->key.partition;
    uint32_t at = group->worker_count > 0 ? (group->turn >> 8) % group->worker_count : 0;
    for (uint32_t looks = 0; looks < group->worker_count && (best == NULL || best->placed > 0); looks++) {
        struct dispatch_worker *worker = group->workers[at];
        at = at + 1 < group->worker_count ? at + 1 : 0;
        if ((best == NULL || less_loaded(worker, best)) && is_usable(dispatch, worker, lane)) {
            best = worker;
        }
    }
    return best != NULL && !is_well_supplied(dispatch, best) ? best : NULL;
}

struct dispatch_item *dispatch_next_placed(struct dispatch *dispatch)
{
    if (!dispatch->changed) {
        return NULL;
    }
    struct dispatch_lane *previous = NULL, *next;
    for (struct dispatch_lane *lane = dispatch->busy_first; lane != NULL; lane = next) {
        next = lane->next_busy;
        struct dispatch_worker *worker = lane->first != NULL ? pick(dispatch, lane) : NULL;
        if (lane->first != NULL && worker == NULL) {
            previous = lane;
            continue;
        }
        unmark_busy_lane(dispatch, lane, previous);
        if (worker == NULL) {
            continue;
        }
        struct dispatch_item *item = lane->first;
        unlink_item(item, &lane->first, &lane->last);
        place(item, worker);
        worker->round = dispatch->round;
        if (lane->first != NULL) {
            mark_busy_lane(dispatch, lane);
        }
        return item;
    }
    dispatch->changed = false;
    dispatch->round++;
    return NULL;
}

bool dispatch_is_served(const struct dispatch_item *item)
{
    if (item->state != ITEM_WAITING) {
        return true;
    }
    const struct group *group = item->lane->key.group;
    for (uint32_t i = 0; i < group->worker_count; i++) {
        if (!has_refused(group->workers[i], group)) {
            return true;
        }
    }
    return false;
}

struct span dispatch_item_queue(const struct dispatch_item *item)
{
    return item->lane->key.group->queue;
}

struct span dispatch_item_handler(const struct dispatch_item *item)
{
    return item->lane->key.group->handler;
}

void dispatch_free(struct dispatch *dispatch)
{
    if (dispatch == NULL) {
        return;
    }
    while (dispatch->workers != NULL) {
        struct dispatch_worker *worker = dispatch->workers;
        while (dispatch_take_from(dispatch, worker) != NULL) {
        }
        dispatch_forget(dispatch, worker);
    }
    while (dispatch->tombs != NULL) {
        remove_tomb(dispatch, dispatch->tombs);
    }
    struct dispatch_lane *lane, *next_lane;
    HASH_ITER(hh, dispatch->lanes, lane, next_lane) {
        while (lane->first != NULL) {
            dispatch_end(dispatch, lane->first);
        }
        HASH_DELETE(hh, dispatch->lanes, lane);
        free(lane);
    }
    struct group *group, *next_group;
    HASH_ITER(hh, dispatch->groups, group, next_group) {
        HASH_DELETE(hh, dispatch->groups, group);
        free(group->workers);
        free(group->key);
        free(group);
    }
    free(dispatch);
}
