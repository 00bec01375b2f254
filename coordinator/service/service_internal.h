/* SPDX-License-Identifier: Apache-2.0 */
/* Between the files of service/ only. */
#ifndef SERVICE_INTERNAL_H
#define SERVICE_INTERNAL_H

#include "common/log.h"
#include "common/messages.h"
#include "common/runs.h"
#include "common/topics.h"
#include "coordinator/dispatch/dispatch.h"
#include "coordinator/service/service.h"

struct letter;

/* Records that nobody can read, and that may not be ours to copy to the dead-letter topic: kept until we know. */
struct letters {
    struct letter *first;
    size_t count;
};

/* Whose a progress partition is. */
enum hold {
    HOLD_NONE,    /* not ours: nothing is known of it */
    HOLD_WANTED,  /* given to us: to be claimed, at claim_ms */
    HOLD_CLAIMED, /* our claim was appended: all is replayed up to it (epoch < 0), then acted on */
};

/* One progress partition; of one that is not HOLD_CLAIMED only what stands first means anything. */
struct owned {
    struct service *service;
    int32_t partition;
    enum hold hold;
    int64_t claim_ms;    /* HOLD_WANTED: when to claim it */
    uint32_t claims;     /* of ours so far: each has a name of its own */
    int64_t refused_ms;  /* when the log last said that it cannot be owned; 0: never */
    bool let_go;         /* another has claimed it since, or it cannot be owned: forgotten before anything else is done */
    int64_t epoch;       /* offset of our claim; -1 until it was read: then nothing is acted on */
    bool claim_sent;
    bool workers_asked;  /* our mark on the workers topic was appended; read back: */
    bool workers_read;   /* all were welcomed that are there, and what waits for a worker goes out */
    unsigned char sync_nonce[16];
    bool resolved;       /* inherited tickets were adopted or ended */
    int64_t log_ms;      /* timestamp of the last record, */
    int64_t log_at_ms;   /* and our clock when it was read */
    bool was_claimed;    /* by anyone before us */
    int64_t workers_seen_ms; /* time of the last claim whose owner came to read the workers topic: what stood there before, it has copied */
    struct runs *runs;
    int64_t next_offset;    /* of the first record that was not read */
    int64_t begin_offset;   /* where the replay begins: K */
    int64_t first_offset;   /* nothing stands below it any more */
    int64_t trimmed_at_ms;  /* when we last looked for what may go */
    int64_t ids_offset;     /* of the FinishedIds to be read before the replay; -1: none, the replay is under way */
    int64_t ids_newest_ms;  /* of the first that was read there */
    int64_t committed_offset, committed_at_ms; /* K as last committed by us; by our clock */
    int64_t checked_at_ms, checked_at_bytes; /* when we last looked for runs that have fallen behind */
    bool ids_sent;          /* a FinishedIds was appended and not read back */
    struct letters letters; /* since the claim before ours */
};

/* An open ticket of a job. */
struct tracked {
    struct dispatch_item item; /* first; item.owner is the job. end_sent: Lost or Withdrawn was appended, its reading ends it;
                                  seen: by the last look at all that are open, as the job says */
    struct tracked *next;
};

#define NOT_IN_HEAP UINT32_MAX

/* What few jobs need: allocated with the first of it. */
struct job_rare {
    int64_t snapshot_ms; /* not before; one that did not count is tried again later and later */
    int64_t snapshot_wait_ms;
    struct ticket timer_ticket; /* of the TimerFired that was appended and not read back */
};

/* What this owner remembers of a run beyond the run's state. There may be a million of them: it stands before its run in memory, and most
 * have one open ticket. There is one where run->attached is set; that is its struct owned. */
struct job {
    struct tracked first; /* item.owner NULL: free */
    struct tracked *tickets, *tickets_last; /* in the order in which the saga has them, so that a look at all of them is one walk: service.hint */
    int64_t announce_ms; /* not before */
    struct job_rare *rare; /* NULL: nothing of it */
    uint32_t heap_index; /* in service.heap, which knows when to look again; NOT_IN_HEAP: not there */
    uint16_t finish_sent; /* which end of the run, by saga.finish_count; 0: none */
    uint8_t timer_sent; /* enum timer: TimerFired was appended and not read back */
    bool dirty : 1;
    bool announce : 1; /* something has changed that RunProgressed should say */
    bool has_turn : 1; /* among all that want to announce, at announce_ms */
    bool snapshot_sent : 1; /* and not read back */
    bool sent_in_vain : 1; /* tasks ahead that were dropped: this run is sent no more of them */
    bool seen : 1; /* turned by each look: tickets that say otherwise have ended */
};

static inline struct job *job_if_any(struct run *run)
{
    return run->attached != NULL ? (struct job *)run - 1 : NULL;
}

static inline struct run *job_run(const struct job *job)
{
    return (struct run *)(size_t)(job + 1);
}

static inline struct owned *job_owned(const struct job *job)
{
    return job_run(job)->attached;
}

/* The time stands in the heap, not in the job: with ten thousand of these every look at one would miss the cache. */
struct alarm {
    int64_t wake_ms;
    struct job *job;
};

struct service {
    struct bus *bus;
    struct service_options options;
    char *name; /* unique to this life: how an own claim is recognised */
    char progress_topic[TOPICS_NAME_BYTES], group[TOPICS_NAME_BYTES], workers_topic[TOPICS_NAME_BYTES], dead_letter_topic[TOPICS_NAME_BYTES];
    char not_sent_to[TOPICS_NAME_BYTES]; /* the topic that last took no record */
    int64_t not_sent_ms;                 /* when that was last said */
    int32_t progress_partitions, dead_letter_partitions;
    struct owned *owned; /* all progress partitions, by number */
    int32_t claimed_count; /* how many of them are HOLD_CLAIMED */
    bool joined; /* the group has taken us in */
    bool all_ready; /* it was said that all of them are ready */
    struct dispatch *dispatch;
    bool workers_asked, workers_read; /* the topic is read; up to where it stood when we came */
    struct letters workers_letters; /* of the workers topic, as long as another has partition 0 */
    struct job **dirty; /* to be looked at, in turn; of those below dirty_from the dispatches are done, and the rest is to come */
    size_t dirty_from, dirty_count, dirty_room;
    const struct job *hint_of; /* the walk over the tickets of this one */
    struct tracked *hint;      /* stands here; NULL: at its end */
    struct alarm *heap; /* binary, by wake_ms */
    size_t heap_size, heap_room;
    int64_t announce_turn; /* the last that was given out, in parts of a millisecond */
    int64_t now_ms;
    int64_t words_ms; /* when the words that wait are said; 0: none wait */
    int64_t words_count, words_since_ms; /* how many were said since the last ones that had waited, and when these were said */
    bool words_often; /* those came at more than one in the time that a word waits */
    int look_records; /* what the last look at the bus has brought */
    bool served_changed; /* a worker came, went or does not serve what it said: what waits may have to be announced anew */
    struct text bytes;   /* of the record being written */
    enum service_state state;
    struct error error;
};

/* ---- publish.c: records out */
bool publish_progress(struct service *service, const struct owned *owned, struct span run_id, struct message *message);
bool publish_task(struct service *service, const struct owned *owned, struct dispatch_worker *worker, struct message *message);
bool publish_mark(struct service *service, struct span worker, const struct incarnation *incarnation, const unsigned char nonce[16]);
bool publish_claim(struct service *service, const struct owned *owned, struct span name);
/* Copy a record to the dead-letter topic, with where it stood and why it is there. */
void publish_letter(struct service *service, const char *topic, int32_t partition, int64_t offset, struct span key, struct span value,
                    const char *reason);
void service_fail(struct service *service, enum service_state state, const struct error *error);

/* ---- ownership.c: partitions come and go */
struct owned *owned_of(struct service *service, int32_t partition); /* NULL: not ours, or not claimed yet */
/* Of those that were claimed; NULL: begin, end. */
struct owned *owned_next(const struct service *service, const struct owned *owned);
void ownership_give(struct service *service, int32_t partition); /* it is ours to claim */
void ownership_take_back(struct service *service, int32_t partition); /* its memory is gone when this returns */
void ownership_tick(struct service *service); /* claim what is to be claimed */
int64_t ownership_next_ms(const struct service *service);
void ownership_claim_read(struct owned *owned, const struct message *message, int64_t offset);
/* It cannot be owned now. With a list that is the end; in a group it is tried again, and the others go on. */
void ownership_refuse(struct owned *owned, const struct error *error);
void ownership_let_go(struct owned *owned); /* where that was said; not while a record of its is looked at */
int ownership_patience_ms(const struct service *service); /* with a broker, for one partition */
bool ownership_is_ready(const struct service *service);

/* ---- letters.c: dead letters that may be another's to copy */
void letters_keep(struct letters *letters, const struct bus_event *record, const char *reason);
/* Copy those that came not before `since_ms`, and forget all. */
void letters_send(struct service *service, struct letters *letters, int64_t since_ms);
void letters_drop(struct letters *letters, int64_t before); /* those that stand at a lower offset */

void letters_forget(struct letters *letters, struct span key); /* those of a run that has turned out to exist */

/* ---- checkpoint.c: where a recovery begins */
bool checkpoint_read(struct owned *owned, struct error *error); /* K of the partition; refuses where the records at K are gone */
bool checkpoint_replay(struct owned *owned, struct error *error); /* begin to read there, the ids of ended runs first */
/* In a replay: true where the record was one of those ids. */
bool checkpoint_take(struct owned *owned, const struct bus_event *record);
bool checkpoint_gone(struct owned *owned); /* true: what is gone were only ids; the replay begins */
void checkpoint_own_record(struct owned *owned, const struct message *message, enum runs_result result, struct run *run);
void checkpoint_tick(struct service *service);

/* ---- retention.c: what is old and needed by nobody */
void retention_tick(struct service *service);

/* ---- jobs.c: from a state to actions */
struct job *job_of(struct owned *owned, struct run *run); /* makes one where there is none */
void job_free(struct job *job);
struct job_rare *job_rare(struct job *job); /* makes it where there is none */
void job_answered(struct job *job);         /* an Answered of its was read */
void job_inherit(struct job *job);          /* at our claim: every open ticket may have been sent */
bool job_may_send(const struct service *service); /* the broker keeps up */
void job_touch(struct job *job);            /* look at it soon */
void job_touch_later(struct job *job);      /* after all that has something to do now: there may be a million of them */
void jobs_drop(struct owned *owned);        /* forget all of a partition */
void jobs_perform(struct service *service); /* what is due for all that were touched, or whose time has come */
void jobs_say_words(struct service *service); /* those that wait for more */
void jobs_place(struct service *service);   /* send what waits to whom has credit */
void job_catch_up(struct job *job);         /* with what was read of it so far */
/* A Holding named a ticket that is not open: it may have been sent ahead. */
void job_adopt_ahead(struct job *job, const struct held_ticket *held, struct dispatch_worker *worker);
struct tracked *job_find(struct job *job, const struct ticket *ticket);
/* `level`: of the line that says so. */
void job_lost(struct job *job, struct tracked *tracked, struct span worker, const char *reason, enum log_level level);
int64_t jobs_next_ms(const struct service *service);
/* The steps that wait because no worker serves them. */
#define WAITING_TOLD 32 /* more than anyone reads; the rest follows when these have workers */
size_t job_list_waiting(const struct job *job, struct waiting_step *waiting, size_t max);

/* ---- presence.c: the workers topic */
void presence_record(struct service *service, const struct bus_event *record);
void presence_holding(struct service *service, struct owned *owned, const struct message *message);
void presence_tick(struct service *service);
void presence_refused(struct service *service, struct owned *owned, const struct message *message, struct run *run);

static inline int64_t log_now_ms(const struct owned *owned)
{
    return owned->log_ms + (owned->service->now_ms - owned->log_at_ms);
}

#endif
