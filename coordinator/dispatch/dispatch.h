/* SPDX-License-Identifier: Apache-2.0 */
/* Which task goes to whom, and who is lost: workers, credit, queues of waiting tickets, leases. Pure decisions over tables of its own:
 * time is an argument, nothing is sent here; it may use common/messages.h for shapes, and memory, and nothing else.
 *
 * An item is one open ticket in this owner's memory: inherited (a takeover: an earlier owner may have sent it), waiting (in the lane of its
 * partition, queue and handler), placed (with one worker incarnation), or idle (neither: withdrawn, or its worker is over). One that was sent ahead
 * is placed, and takes no credit before its step is ready. */
#ifndef DISPATCH_H
#define DISPATCH_H

#include "common/messages.h"

#include <stdbool.h>
#include <stdint.h>

struct dispatch;
struct dispatch_worker;

enum item_state { ITEM_IDLE, ITEM_INHERITED, ITEM_WAITING, ITEM_PLACED };

/* There may be a million of them. */
struct dispatch_item {
    struct dispatch_item *next, *previous; /* in a lane or a worker; the dispatch's */
    union {
        struct dispatch_lane *lane;     /* WAITING */
        struct dispatch_worker *worker; /* PLACED */
    };
    void *owner; /* the caller's */
    uint32_t step, instance, number; /* the ticket's: item_ticket() */
    uint8_t direction;
    uint8_t state; /* enum item_state */
    bool confirm : 1;
    bool ahead : 1;
    bool more_behind : 1; /* adopted, and the owner before us was about to send what is behind it, or has */
    bool seen : 1, end_sent : 1, cancel_sent : 1, held_back : 1; /* the caller's */
};

static inline struct ticket item_ticket(const struct dispatch_item *item)
{
    return (struct ticket){item->step, item->instance, (enum direction)item->direction, item->number};
}

static inline void item_set_ticket(struct dispatch_item *item, const struct ticket *ticket)
{
    item->step = ticket->step;
    item->instance = ticket->instance;
    item->number = ticket->number;
    item->direction = (uint8_t)ticket->direction;
}

/* `owned` of `total` progress partitions are ours: our share of each worker's window. Caller owes dispatch_free(); items are the caller's. */
struct dispatch *dispatch_new(uint32_t owned, uint32_t total);
void dispatch_free(struct dispatch *dispatch);

/* Partitions have come or gone: how many are ours now. */
void dispatch_set_owned(struct dispatch *dispatch, uint32_t owned);
/* It is not ours any more: who has answered for it has to do so again, should it come back. Its items have ended before. */
void dispatch_leave(struct dispatch *dispatch, uint32_t partition);

/* ---- workers */

/* A Hello or heartbeat was read. Returns the incarnation it is about, NULL where it is over already or there are too many.
 * `is_new` tells whether it was not known before. */
struct dispatch_worker *dispatch_hear(struct dispatch *dispatch, const struct presence *presence, bool hello, int64_t now_ms, bool *is_new);
struct dispatch_worker *dispatch_find(struct dispatch *dispatch, const struct incarnation *incarnation);
struct dispatch_worker *dispatch_next_worker(struct dispatch *dispatch, struct dispatch_worker *worker); /* NULL: begin, end */
uint32_t dispatch_worker_count(const struct dispatch *dispatch);

/* Borrowed; the shapes as last heard. */
const struct presence *dispatch_presence(const struct dispatch_worker *worker);

/* It answered our Welcome for that progress partition: from now on it may be given tasks of it. */
void dispatch_set_holding(struct dispatch *dispatch, struct dispatch_worker *worker, uint32_t partition);
bool dispatch_has_holding(const struct dispatch_worker *worker, uint32_t partition);

/* Whoever is known now must answer, or be over, before inherited tickets of the partition are ended. */
void dispatch_await_all(struct dispatch *dispatch, uint32_t partition);
uint32_t dispatch_awaited(const struct dispatch *dispatch, uint32_t partition); /* how many have not answered yet */

void dispatch_refused(struct dispatch *dispatch, struct dispatch_worker *worker, enum refused_reason reason, struct span queue,
                      struct span handler);

/* ---- leases */

/* A worker that has said nothing for a lease and a quarter and has no mark yet: the caller appends a mark and says so. NULL: none. */
struct dispatch_worker *dispatch_next_silent(struct dispatch *dispatch, int64_t now_ms);
void dispatch_mark_sent(struct dispatch_worker *worker, const unsigned char nonce[16]);
/* The mark was read back: is the incarnation over? Not if it was heard of since the mark was written, or the nonce is not ours. */
bool dispatch_mark_proves(const struct dispatch_worker *worker, const unsigned char nonce[16]);
/* When the next one may be silent; INT64_MAX: never. */
int64_t dispatch_next_ms(const struct dispatch *dispatch);

/* The incarnation is over (mark, Bye): takes its items away from it one by one (they become idle), and forgets it once none is left.
 *     while ((item = dispatch_take_from(dispatch, worker)) != NULL) { append Lost }
 *     dispatch_forget(dispatch, worker); */
struct dispatch_item *dispatch_take_from(struct dispatch *dispatch, struct dispatch_worker *worker);
void dispatch_forget(struct dispatch *dispatch, struct dispatch_worker *worker);

/* ---- tickets */

/* Wait for a worker of `queue` that serves `handler`; `partition` is the progress partition of the run. */
void dispatch_offer(struct dispatch *dispatch, struct dispatch_item *item, uint32_t partition, struct span queue, struct span handler);
/* A Holding named it: it stays where it is. */
void dispatch_adopt(struct dispatch *dispatch, struct dispatch_item *item, struct dispatch_worker *worker);
/* The next item for which a worker has credit: it is placed, and the caller sends it to item->worker. NULL: none. */
struct dispatch_item *dispatch_next_placed(struct dispatch *dispatch);
/* Whether `worker` may be sent what comes behind a task of its: it takes such tasks, serves the handler, its window is at least
 * `times` its slots, and, where that is more than once, it has no queue to speak of. */
bool dispatch_takes_ahead(struct dispatch *dispatch, const struct dispatch_worker *worker, struct span queue, struct span handler,
                          uint32_t times);
/* It was sent there, or a Holding says so. */
void dispatch_place_ahead(struct dispatch_item *item, struct dispatch_worker *worker);
/* What became of a ticket that is open now, where this owner has not sent it, by that of the one before it. */
enum dispatch_behind {
    BEHIND_UNSENT,    /* nobody has sent it */
    BEHIND_INHERITED, /* an earlier owner may have sent it ahead: it is inherited as the other is */
    BEHIND_DROPPED,   /* an earlier owner may have sent it ahead, and who has the other has not got it: nobody will begin it */
};
enum dispatch_behind dispatch_behind_of(const struct dispatch_item *before);
/* Its step is ready: it is a task as any other. */
void dispatch_catch_up(struct dispatch_item *item);
/* It has ended, or waits no more: its credit is free again. The item becomes idle. */
void dispatch_end(struct dispatch *dispatch, struct dispatch_item *item);

/* Does anyone serve what the item waits for? Who has answered Refused(unknown) does not, whatever its Hello said. */
bool dispatch_is_served(const struct dispatch_item *item);
struct span dispatch_item_queue(const struct dispatch_item *item);   /* WAITING */
struct span dispatch_item_handler(const struct dispatch_item *item); /* WAITING */

#endif
