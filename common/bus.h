/* SPDX-License-Identifier: Apache-2.0 */
/* The seam to the log: what coordinator, worker and clients ask of it. Two implementations: bus_kafka (librdkafka) and
 * bus_memory (virtual time, faults). One thread uses a bus; only bus_wake() may be called from others.
 *
 * Everything arrives through bus_poll(): records in the order of their partition, delivery reports, and faults. */
#ifndef BUS_H
#define BUS_H

#include "common/error.h"
#include "common/span.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BUS_HEADERS_MAX 6
#define BUS_REASON_BYTES 256
#define BUS_METADATA_BYTES 128 /* of a committed offset, with its NUL; brokers allow 4 KiB */
#define BUS_PROMPT_BYTES 256 /* of records; so many a patient reader hears of at once: more than two short ends of steps, less than a request */
#define BUS_PATIENCE_MS 50 /* and of fewer after so long at most: for who knows nothing of this. Less would cost brokers more, who are asked so often */

/* Offsets are the broker's; these two are symbolic, for bus_consume(). */
#define BUS_OFFSET_BEGINNING (-2)
#define BUS_OFFSET_END (-1)

struct bus_header {
    const char *name;
    struct span value;
};

/* A record to append. Borrowed for the call. */
struct bus_send {
    const char *topic;
    int32_t partition;  /* always explicit: see bus_partition_of() */
    struct span key;    /* size 0: no key */
    struct span value;
    struct bus_header headers[BUS_HEADERS_MAX];
    size_t header_count;
    uint64_t cookie;    /* below 2^63; comes back with the delivery report; 0: none is wanted, only a failure is reported */
    bool lazy;          /* its report ends no bus_poll() that waits: it comes with the next event, or when the wait is over */
    bool can_wait;      /* a patient reader need not hear of it at once: other records come behind it, or there is nothing to be done about it */
};

enum bus_event_kind {
    BUS_NOTHING,   /* the wait is over, or bus_wake() */
    BUS_RECORD,
    BUS_DELIVERED, /* acknowledged by the broker */
    BUS_END,       /* this consumer has read all there is in the partition for now; comes again each time, if it was not opened without */
    BUS_GONE,      /* the offset asked for is not there any more, or the topic is: consumption has stopped */
    BUS_FATAL,     /* a delivery failed, or the producer did: what was published is not known. Drop all, begin anew */
    BUS_JOINED,    /* we are in the group. Whether it has anything for us will be seen */
    BUS_ASSIGNED,  /* the group has given us this partition, */
    BUS_REVOKED,   /* or has taken it back: it is another's from now on, or has been for a while where it is `lost` */
};

struct bus_event {
    enum bus_event_kind kind;
    const char *topic;  /* RECORD END GONE ASSIGNED REVOKED; borrowed, the same pointer for the same topic of this bus */
    int32_t partition;
    int64_t offset;     /* RECORD: its own. DELIVERED: of the record, where the broker says so, else -1. END: the next one to come */
    int64_t time_ms;    /* RECORD: timestamp; 0: none */
    struct span key, value;
    uint64_t cookie;    /* DELIVERED */
    bool lost; /* REVOKED: the group has done without us, for we were silent */
    char reason[512]; /* GONE FATAL: one line */
};

struct bus_topic {
    const char *name;
    int32_t partitions;            /* wanted when it has to be created */
    int32_t partitions_exact;      /* > 0: refuse any other count */
    int32_t replication;           /* when it has to be created; 0 or -1: as the broker does by default */
    /* "key=value", NULL-terminated each; may be NULL. All three are set when the topic has to be created. */
    const char *const *settings;   /* refuse any other value */
    const char *const *minimums;   /* refuse a smaller number (-1: no bound, the greatest) */
    const char *const *initial;    /* the operator's to change later */
};

/* What was sent and has no delivery report yet. */
struct bus_backlog {
    size_t records;
    size_t bytes; /* of their values; a bus in memory does not count them: 0 */
};

struct bus;

struct bus_operations {
    void (*close)(struct bus *bus);
    bool (*ensure_topic)(struct bus *bus, const struct bus_topic *topic, bool create, int32_t *partitions, int timeout_ms,
                         struct error *error);
    bool (*delete_topic)(struct bus *bus, const char *topic, int timeout_ms, struct error *error);
    bool (*partition_count)(struct bus *bus, const char *topic, int32_t *count, int timeout_ms, struct error *error);
    bool (*bounds)(struct bus *bus, const char *topic, int32_t partition, int64_t *first, int64_t *next, int timeout_ms,
                   struct error *error);
    bool (*offset_at)(struct bus *bus, const char *topic, int32_t partition, int64_t time_ms, int64_t *offset, int timeout_ms,
                      struct error *error);
    bool (*committed)(struct bus *bus, const char *group, const char *topic, int32_t partition, int64_t *offset,
                      char metadata[BUS_METADATA_BYTES], int timeout_ms, struct error *error);
    void (*commit)(struct bus *bus, const char *group, const char *topic, int32_t partition, int64_t offset, const char *metadata);
    void (*delete_before)(struct bus *bus, const char *topic, int32_t partition, int64_t offset);
    bool (*join)(struct bus *bus, const char *group, const char *topic, int session_ms, struct error *error);
    void (*leave)(struct bus *bus, int timeout_ms);
    bool (*members)(struct bus *bus, const char *group, int *count, int timeout_ms, struct error *error);
    bool (*consume)(struct bus *bus, const char *topic, int32_t partition, int64_t offset, struct error *error);
    void (*stop)(struct bus *bus, const char *topic, int32_t partition);
    bool (*send)(struct bus *bus, const struct bus_send *send, struct error *error);
    void (*poll)(struct bus *bus, int timeout_ms, struct bus_event *event);
    bool (*flush)(struct bus *bus, int timeout_ms);
    struct bus_backlog (*backlog)(const struct bus *bus);
    bool (*explain)(struct bus *bus, char reason[BUS_REASON_BYTES]);
    void (*wake)(struct bus *bus);
    bool (*embedded)(const struct bus *bus);
};

/* First member of each implementation. */
struct bus {
    const struct bus_operations *operations;
};

/* What is sent but not acknowledged is given up: bus_flush() first where it matters. NULL is fine. */
static inline void bus_close(struct bus *bus)
{
    if (bus != NULL) {
        bus->operations->close(bus);
    }
}

/* Look, create where `create` and it is not there, verify, refuse. `partitions` (may be NULL) becomes what the topic has.
 * On an embedded broker nothing is verified but that the topic is there. Errors: TRANSIENT broker not reachable in time;
 * INVALID not there, wrong count or settings: the message names the command that mends it. */
static inline bool bus_ensure_topic(struct bus *bus, const struct bus_topic *topic, bool create, int32_t *partitions, int timeout_ms,
                                    struct error *error)
{
    return bus->operations->ensure_topic(bus, topic, create, partitions, timeout_ms, error);
}

/* For a topic that nobody else uses. One that is not there is fine; an embedded broker cannot, and keeps it. INVALID: it must not. */
static inline bool bus_delete_topic(struct bus *bus, const char *topic, int timeout_ms, struct error *error)
{
    return bus->operations->delete_topic(bus, topic, timeout_ms, error);
}

/* INVALID: no such topic. Never creates one. TRANSIENT: no broker in time. */
static inline bool bus_partition_count(struct bus *bus, const char *topic, int32_t *count, int timeout_ms, struct error *error)
{
    return bus->operations->partition_count(bus, topic, count, timeout_ms, error);
}

/* Offsets of the first record that is there and of the next one to come. */
static inline bool bus_bounds(struct bus *bus, const char *topic, int32_t partition, int64_t *first, int64_t *next, int timeout_ms,
                              struct error *error)
{
    return bus->operations->bounds(bus, topic, partition, first, next, timeout_ms, error);
}

/* Offset of the first record with that timestamp or a later one; the next one to come where there is none. On an embedded broker: the first. */
static inline bool bus_offset_at(struct bus *bus, const char *topic, int32_t partition, int64_t time_ms, int64_t *offset, int timeout_ms,
                                 struct error *error)
{
    return bus->operations->offset_at(bus, topic, partition, time_ms, offset, timeout_ms, error);
}

/* What was last committed for a group: an offset and a text beside it. -1 and "": nothing was. Always so on an embedded broker. */
static inline bool bus_committed(struct bus *bus, const char *group, const char *topic, int32_t partition, int64_t *offset,
                                 char metadata[BUS_METADATA_BYTES], int timeout_ms, struct error *error)
{
    return bus->operations->committed(bus, group, topic, partition, offset, metadata, timeout_ms, error);
}

/* Commit, without waiting and without a report: one that fails is logged, and the next one makes it good. Nothing on an embedded broker.
 * Brokers take it from a member of the group, and from anybody while the group has no members. */
static inline void bus_commit(struct bus *bus, const char *group, const char *topic, int32_t partition, int64_t offset,
                              const char *metadata)
{
    bus->operations->commit(bus, group, topic, partition, offset, metadata);
}

/* Delete what stands below `offset` of a partition, without waiting and without a report: one that fails is logged, once as long as it
 * fails for the same reason, and the next one makes it good. Nothing on an embedded broker. */
static inline void bus_delete_before(struct bus *bus, const char *topic, int32_t partition, int64_t offset)
{
    bus->operations->delete_before(bus, topic, partition, offset);
}

/* Become a member of a group, which deals the partitions of `topic` out among its members: BUS_ASSIGNED and BUS_REVOKED tell which are ours.
 * Nothing is read for that: see bus_consume(). A member who is silent for session_ms is out, and the others get what he had. Once in the
 * life of a bus, before anything is asked of the group. Not on an embedded broker. What the group refuses is BUS_FATAL. */
static inline bool bus_join(struct bus *bus, const char *group, const char *topic, int session_ms, struct error *error)
{
    return bus->operations->join(bus, group, topic, session_ms, error);
}

/* The others get our partitions at once, not when the session is over. Then the bus is only good for being closed. Nothing where we are in
 * no group. */
static inline void bus_leave(struct bus *bus, int timeout_ms)
{
    bus->operations->leave(bus, timeout_ms);
}

/* How many are in a group now. On an embedded broker: nobody. */
static inline bool bus_members(struct bus *bus, const char *group, int *count, int timeout_ms, struct error *error)
{
    return bus->operations->members(bus, group, count, timeout_ms, error);
}

/* Begin reading a partition at `offset` (or BUS_OFFSET_...); once at a time per partition. The records come through bus_poll(). */
static inline bool bus_consume(struct bus *bus, const char *topic, int32_t partition, int64_t offset, struct error *error)
{
    return bus->operations->consume(bus, topic, partition, offset, error);
}

/* No record of that partition comes out of bus_poll() after this returns. */
static inline void bus_stop(struct bus *bus, const char *topic, int32_t partition)
{
    bus->operations->stop(bus, topic, partition);
}

/* Append, without waiting: the order of sends to a partition is kept. What is sent between two looks at the log goes out together, with the
 * next bus_poll() that has nothing at hand, or bus_flush(). false: TRANSIENT the local queue is full (poll, then try again); INVALID the
 * record is over the limit, or there is no such topic or partition; FATAL. */
static inline bool bus_send(struct bus *bus, const struct bus_send *send, struct error *error)
{
    return bus->operations->send(bus, send, error);
}

/* The next event, waiting at most timeout_ms for one (0: not at all). What `event` points to is valid until the next call. */
static inline void bus_poll(struct bus *bus, int timeout_ms, struct bus_event *event)
{
    bus->operations->poll(bus, timeout_ms, event);
}

/* Wait until every send has its report: true where all were acknowledged in time. Records and reports stay for later polls, and so
 * does a bus_wake(). */
static inline bool bus_flush(struct bus *bus, int timeout_ms)
{
    return bus->operations->flush(bus, timeout_ms);
}

/* A sender that never waits fills the memory of a client whose broker is slow, and is then refused: look at this before. */
static inline struct bus_backlog bus_backlog(const struct bus *bus)
{
    return bus->operations->backlog(bus);
}

/* Why is what was sent not acknowledged? One line, as far as the brokers can say, who are given half a second; false: nothing waits. */
static inline bool bus_explain(struct bus *bus, char reason[BUS_REASON_BYTES])
{
    return bus->operations->explain(bus, reason);
}

/* Make a bus_poll() that waits, now or next, return. Any thread; async-signal-safe. */
static inline void bus_wake(struct bus *bus)
{
    bus->operations->wake(bus);
}

/* Is this librdkafka's mock cluster (found by its cluster id)? There, topics are not verified and offsets by time unknown. */
static inline bool bus_embedded(const struct bus *bus)
{
    return bus->operations->embedded(bus);
}

/* Partition of a key: murmur2 as the Java client has it, (hash & 0x7fffffff) % count. */
int32_t bus_partition_of(struct span key, int32_t count);

#endif
