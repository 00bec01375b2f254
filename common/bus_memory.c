/* SPDX-License-Identifier: Apache-2.0 */
#include "common/bus_memory.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define MILLION 1000000u

/* One block with all its bytes. */
struct record {
    int64_t time_ms; /* as the brokers stamped it */
    int64_t arrived_ms; /* on the cluster's own time */
    struct span key, value;
    size_t header_count;
    struct bus_header headers[BUS_HEADERS_MAX];
};

struct partition {
    struct record **records; /* by offset */
    int64_t end, capacity;
    int64_t first;
};

struct topic {
    struct topic *next;
    char *name;
    int32_t count;
    struct partition *partitions;
    uint64_t lost;
};

/* A send that has not arrived. */
struct flight {
    struct flight *prev, *next;
    int64_t arrive_ms;
    struct memory_bus *bus; /* NULL: an orphan or a duplicate; nobody gets a report */
    struct topic *topic;
    int32_t partition;
    uint64_t cookie;
    bool fails, is_there; /* the report will be a failure, and whether the record arrives then */
    struct record *record;
};

struct report {
    struct report *prev, *next;
    int64_t ready_ms;
    uint64_t cookie;
    int64_t offset;
    bool failed;
};

/* What keeps the sends of one bus to one partition in order. */
struct lane {
    const struct topic *topic;
    int32_t partition;
    int64_t arrive_ms, report_ms; /* of the last one */
};

struct reading {
    struct topic *topic;
    int32_t partition;
    int64_t next; /* offset */
    int64_t end_told; /* BUS_END was given for it; -1: none */
    int64_t visible_ms; /* of `drawn_for`; never goes back */
    int64_t drawn_for; /* offset whose time is drawn; -1: none */
};

/* Of a group. Whoever's bus is open and not frozen is alive: a client's heartbeats come from a thread of its own. */
struct member {
    struct member *next;
    struct memory_bus *bus; /* NULL: it was closed without leaving */
    int64_t silent_ms;      /* since when it is frozen, crashed or closed; INT64_MAX: it is not */
    int session_ms;
};

/* What the group has decided about a partition, on its way to a member. */
struct dealt {
    struct dealt *prev, *next;
    int64_t ready_ms;
    enum bus_event_kind kind;
    int32_t partition;
    bool lost;
};

struct group {
    struct group *next;
    char *name;
    struct topic *topic;
    struct member *members; /* as they came */
    struct share {
        struct member *holder; /* was given it, and has not taken in that it was taken back; NULL: nobody */
        struct member *wanted; /* is to have it next; NULL: whoever has least */
        bool leaving;          /* it is being taken back */
    } *shares;                 /* by partition */
};

struct memory_bus {
    struct bus bus;
    struct memory_bus *prev, *next;
    struct memory_cluster *cluster;
    struct report *reports; /* by time */
    struct lane *lanes;
    size_t lane_count;
    struct reading *readings;
    size_t reading_count, turn;
    size_t unacknowledged;
    bool crashed, failed, frozen;
    struct group *group; /* it has joined; NULL: none */
    struct member *member; /* of that group; NULL: it is out, or has left */
    int session_ms;
    bool left;
    bool *told; /* by partition: it knows that it has it */
    struct dealt *dealt; /* by time */
    int64_t dealt_ms; /* of the last one */
};

struct commit {
    struct commit *next;
    char *group;
    struct topic *topic;
    int32_t partition;
    int64_t offset;
    char metadata[BUS_METADATA_BYTES];
};

struct memory_cluster {
    struct commit *commits;
    struct group *groups;
    int64_t now_ms;
    uint64_t random_state;
    int64_t jumped_ms; /* the brokers' clock against it */
    struct memory_faults faults;
    struct memory_counts counts;
    struct topic *topics;
    struct flight *flights; /* by time, then as sent */
    struct memory_bus *buses;
    uint64_t sends, crash_at;
    bool crash_arrives;
};

/* ---- memory and chance */

static void *zeroed(size_t size)
{
    void *memory = calloc(1, size);
    assert(memory != NULL);
    return memory;
}

static void *grown(void *array, size_t count, size_t size)
{
    void *memory = realloc(array, count * size);
    assert(memory != NULL);
    return memory;
}

static uint64_t draw(struct memory_cluster *cluster)
{
    uint64_t mixed = cluster->random_state += 0x9e3779b97f4a7c15u;
    mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9u;
    mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111ebu;
    return mixed ^ mixed >> 31;
}

static bool chance(struct memory_cluster *cluster, uint32_t ppm)
{
    return ppm > 0 && draw(cluster) % MILLION < ppm;
}

static int64_t delay_up_to(struct memory_cluster *cluster, uint32_t most_ms)
{
    return most_ms > 0 ? (int64_t)(draw(cluster) % ((uint64_t)most_ms + 1)) : 0;
}

static int64_t later_of(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* ---- records */

static struct span copied(char **room, struct span span)
{
    char *bytes = *room;
    if (span.size > 0) {
        memcpy(bytes, span.bytes, span.size);
    }
    *room += span.size;
    return (struct span){bytes, span.size};
}

static size_t record_bytes(const struct bus_send *send)
{
    size_t bytes = sizeof(struct record) + send->key.size + send->value.size;
    for (size_t i = 0; i < send->header_count; i++) {
        bytes += strlen(send->headers[i].name) + 1 + send->headers[i].value.size;
    }
    return bytes;
}

static struct record *record_new(const struct bus_send *send)
{
    assert(send->header_count <= BUS_HEADERS_MAX);
    struct record *record = zeroed(record_bytes(send));
    char *room = (char *)(record + 1);
    record->key = copied(&room, send->key);
    record->value = copied(&room, send->value);
    record->header_count = send->header_count;
    for (size_t i = 0; i < send->header_count; i++) {
        const char *name = send->headers[i].name;
        record->headers[i].name = copied(&room, (struct span){name, strlen(name) + 1}).bytes;
        record->headers[i].value = copied(&room, send->headers[i].value);
    }
    return record;
}

static struct record *record_copy(const struct record *record)
{
    struct bus_send send = {.key = record->key, .value = record->value, .header_count = record->header_count};
    memcpy(send.headers, record->headers, sizeof send.headers);
    return record_new(&send);
}

static struct span type_of(const struct record *record)
{
    for (size_t i = 0; i < record->header_count; i++) {
        if (strcmp(record->headers[i].name, "type") == 0) {
            return record->headers[i].value;
        }
    }
    return (struct span){0};
}

/* Takes `record` in; returns its offset. */
static int64_t append_take(struct memory_cluster *cluster, struct partition *partition, struct record *record)
{
    if (partition->end == partition->capacity) {
        partition->capacity = partition->capacity > 0 ? 2 * partition->capacity : 16;
        partition->records = grown(partition->records, (size_t)partition->capacity, sizeof *partition->records);
    }
    record->arrived_ms = cluster->now_ms;
    record->time_ms = later_of(cluster->now_ms + cluster->jumped_ms, 1);
    partition->records[partition->end] = record;
    return partition->end++;
}

/* ---- topics */

static struct topic *find_topic(const struct memory_cluster *cluster, const char *name)
{
    struct topic *topic = cluster->topics;
    while (topic != NULL && topic->name != name && strcmp(topic->name, name) != 0) {
        topic = topic->next;
    }
    return topic;
}

static struct topic *create_topic(struct memory_cluster *cluster, const char *name, int32_t partitions)
{
    assert(partitions > 0);
    struct topic *topic = zeroed(sizeof *topic);
    topic->name = strdup(name);
    assert(topic->name != NULL);
    topic->count = partitions;
    topic->partitions = zeroed((size_t)partitions * sizeof *topic->partitions);
    LL_APPEND(cluster->topics, topic);
    return topic;
}

static void topic_free(struct topic *topic)
{
    for (int32_t i = 0; i < topic->count; i++) {
        for (int64_t offset = 0; offset < topic->partitions[i].end; offset++) {
            free(topic->partitions[i].records[offset]);
        }
        free(topic->partitions[i].records);
    }
    free(topic->partitions);
    free(topic->name);
    free(topic);
}

static struct topic *topic_with(const struct memory_cluster *cluster, const char *name, int32_t partition, struct error *error)
{
    struct topic *topic = find_topic(cluster, name);
    if (topic == NULL) {
        error_set(error, ERROR_INVALID, "there is no topic '%s'", name);
        return NULL;
    }
    if (partition < 0 || partition >= topic->count) {
        error_set(error, ERROR_INVALID, "topic '%s' has %d partitions: there is no partition %d", name, topic->count, partition);
        return NULL;
    }
    return topic;
}

static struct partition *partition_of(const struct memory_cluster *cluster, const char *name, int32_t partition)
{
    struct topic *topic = topic_with(cluster, name, partition, NULL);
    return topic != NULL ? &topic->partitions[partition] : NULL;
}

static struct memory_bus *memory_of(struct bus *bus)
{
    return (struct memory_bus *)bus;
}

/* ---- groups: who is given which partition. Cooperative: what one has and another is to have is taken back first. */

static uint32_t count_members(const struct group *group)
{
    uint32_t count = 0;
    for (const struct member *member = group->members; member != NULL; member = member->next) {
        count++;
    }
    return count;
}

/* What it will have when all is told. */
static int32_t held_by(const struct group *group, const struct member *member)
{
    int32_t count = 0;
    for (int32_t i = 0; i < group->topic->count; i++) {
        count += group->shares[i].holder == member && !group->shares[i].leaving;
    }
    return count;
}

static void tell(struct memory_cluster *cluster, struct memory_bus *bus, enum bus_event_kind kind, int32_t partition, bool lost)
{
    struct dealt *dealt = zeroed(sizeof *dealt);
    bus->dealt_ms = later_of(bus->dealt_ms, cluster->now_ms + delay_up_to(cluster, cluster->faults.group_delay_ms));
    *dealt = (struct dealt){.ready_ms = bus->dealt_ms, .kind = kind, .partition = partition, .lost = lost};
    DL_APPEND(bus->dealt, dealt);
}

static void take_back(struct memory_cluster *cluster, struct share *share, int32_t partition)
{
    if (share->holder != NULL && !share->leaving) {
        share->leaving = true;
        if (share->holder->bus != NULL) {
            tell(cluster, share->holder->bus, BUS_REVOKED, partition, false);
        }
    }
}

static void give(struct memory_cluster *cluster, struct group *group, int32_t partition)
{
    struct share *share = &group->shares[partition];
    struct member *chosen = share->wanted != NULL ? share->wanted : group->members;
    for (struct member *member = group->members; member != NULL && share->wanted == NULL; member = member->next) {
        chosen = held_by(group, member) < held_by(group, chosen) ? member : chosen;
    }
    share->holder = chosen;
    share->wanted = NULL;
    if (chosen != NULL && chosen->bus != NULL) {
        tell(cluster, chosen->bus, BUS_ASSIGNED, partition, false);
    }
}

/* Nobody keeps more than his share, what is nobody's is given away, and all else stays where it is. */
static void deal(struct memory_cluster *cluster, struct group *group)
{
    uint32_t members = count_members(group);
    int32_t most = members > 0 ? (group->topic->count + (int32_t)members - 1) / (int32_t)members : 0;
    for (struct member *member = group->members; member != NULL; member = member->next) {
        for (int32_t i = 0; i < group->topic->count && held_by(group, member) > most; i++) {
            if (group->shares[i].holder == member) {
                take_back(cluster, &group->shares[i], i);
            }
        }
    }
    for (int32_t i = 0; i < group->topic->count; i++) {
        if (group->shares[i].holder == NULL) {
            give(cluster, group, i);
        }
    }
}

static void drop_dealt(struct memory_bus *bus)
{
    struct dealt *dealt, *next;
    DL_FOREACH_SAFE (bus->dealt, dealt, next) {
        free(dealt);
    }
    bus->dealt = NULL;
}

/* Takes `member` in. What it had is nobody's. */
static void remove_member(struct memory_cluster *cluster, struct group *group, struct member *member)
{
    LL_DELETE(group->members, member);
    for (int32_t i = 0; i < group->topic->count; i++) {
        struct share *share = &group->shares[i];
        share->wanted = share->wanted == member ? NULL : share->wanted;
        if (share->holder == member) {
            share->holder = NULL;
            share->leaving = false;
        }
    }
    if (member->bus != NULL) {
        member->bus->member = NULL;
        drop_dealt(member->bus);
    }
    free(member);
    deal(cluster, group);
}

static int64_t session_ends_ms(const struct member *member)
{
    return member->silent_ms == INT64_MAX ? INT64_MAX : member->silent_ms + member->session_ms;
}

static void end_sessions(struct memory_cluster *cluster)
{
    for (struct group *group = cluster->groups; group != NULL; group = group->next) {
        struct member *member, *next;
        LL_FOREACH_SAFE (group->members, member, next) {
            if (session_ends_ms(member) <= cluster->now_ms) {
                remove_member(cluster, group, member);
            }
        }
    }
}

static struct group *group_of(struct memory_cluster *cluster, const char *name, struct topic *topic)
{
    struct group *group = cluster->groups;
    while (group != NULL && strcmp(group->name, name) != 0) {
        group = group->next;
    }
    if (group == NULL) {
        group = zeroed(sizeof *group);
        group->name = strdup(name);
        group->topic = topic;
        group->shares = zeroed((size_t)topic->count * sizeof *group->shares);
        LL_APPEND(cluster->groups, group);
    }
    return group;
}

static void add_member(struct memory_bus *bus)
{
    struct member *member = zeroed(sizeof *member);
    *member = (struct member){.bus = bus, .silent_ms = INT64_MAX, .session_ms = bus->session_ms};
    bus->member = member;
    LL_APPEND(bus->group->members, member);
    deal(bus->cluster, bus->group);
}

static bool memory_join(struct bus *base, const char *name, const char *topic_name, int session_ms, struct error *error)
{
    struct memory_bus *bus = memory_of(base);
    struct topic *topic = topic_with(bus->cluster, topic_name, 0, error);
    if (topic == NULL) {
        return false;
    }
    assert(bus->group == NULL);
    bus->group = group_of(bus->cluster, name, topic);
    bus->session_ms = session_ms;
    bus->told = zeroed((size_t)topic->count * sizeof *bus->told);
    tell(bus->cluster, bus, BUS_JOINED, 0, false);
    add_member(bus);
    return true;
}

static void memory_leave(struct bus *base, int timeout_ms)
{
    struct memory_bus *bus = memory_of(base);
    (void)timeout_ms;
    bus->left = true;
    if (bus->member != NULL && !bus->crashed) {
        remove_member(bus->cluster, bus->group, bus->member);
    }
}

static bool memory_members(struct bus *bus, const char *name, int *count, int timeout_ms, struct error *error)
{
    (void)timeout_ms, (void)error;
    *count = 0;
    end_sessions(memory_of(bus)->cluster);
    for (const struct group *group = memory_of(bus)->cluster->groups; group != NULL; group = group->next) {
        *count += strcmp(group->name, name) == 0 ? (int)count_members(group) : 0;
    }
    return true;
}

/* It was silent for too long: whatever it believes to have is another's, and it comes back as somebody new. */
static void come_back(struct memory_bus *bus)
{
    for (int32_t i = 0; i < bus->group->topic->count; i++) {
        if (bus->told[i]) {
            tell(bus->cluster, bus, BUS_REVOKED, i, true);
        }
    }
    add_member(bus);
}

static void take_in(struct memory_bus *bus, const struct dealt *dealt)
{
    struct share *share = &bus->group->shares[dealt->partition];
    bus->told[dealt->partition] = dealt->kind == BUS_ASSIGNED;
    if (dealt->kind == BUS_REVOKED && !dealt->lost) {
        share->holder = NULL;
        share->leaving = false;
        deal(bus->cluster, bus->group);
    }
}

static bool next_dealt(struct memory_bus *bus, struct bus_event *event)
{
    end_sessions(bus->cluster);
    if (bus->group != NULL && bus->member == NULL && !bus->left) {
        come_back(bus);
    }
    struct dealt *dealt = bus->dealt;
    if (dealt == NULL || dealt->ready_ms > bus->cluster->now_ms) {
        return false;
    }
    DL_DELETE(bus->dealt, dealt);
    event->kind = dealt->kind;
    event->topic = bus->group->topic->name;
    event->partition = dealt->partition;
    event->lost = dealt->lost;
    if (dealt->kind != BUS_JOINED) {
        take_in(bus, dealt);
    }
    free(dealt);
    return true;
}

static void fall_silent(struct memory_bus *bus, bool silent)
{
    if (bus->member != NULL) {
        bool was = bus->member->silent_ms != INT64_MAX;
        bus->member->silent_ms = !silent ? INT64_MAX : was ? bus->member->silent_ms : bus->cluster->now_ms;
    }
}

void memory_cluster_move(struct memory_cluster *cluster, int32_t partition, uint64_t random)
{
    struct group *group = cluster->groups;
    uint32_t members = group != NULL ? count_members(group) : 0;
    if (members == 0 || partition >= group->topic->count) {
        return;
    }
    struct member *member = group->members;
    for (uint64_t i = random % members; i > 0; i--) {
        member = member->next;
    }
    struct share *share = &group->shares[partition];
    if (share->holder != member) {
        share->wanted = member;
        take_back(cluster, share, partition);
    }
}

static void groups_free(struct memory_cluster *cluster)
{
    while (cluster->groups != NULL) {
        struct group *group = cluster->groups;
        cluster->groups = group->next;
        while (group->members != NULL) {
            struct member *member = group->members;
            group->members = member->next;
            free(member);
        }
        free(group->shares);
        free(group->name);
        free(group);
    }
}

/* ---- sends on their way */

static int by_arrival(const struct flight *a, const struct flight *b)
{
    return (a->arrive_ms > b->arrive_ms) - (a->arrive_ms < b->arrive_ms);
}

static int by_readiness(const struct report *a, const struct report *b)
{
    return (a->ready_ms > b->ready_ms) - (a->ready_ms < b->ready_ms);
}

/* Behind all that are not later: most are the last. */
static void add_flight(struct memory_cluster *cluster, struct flight *flight)
{
    struct flight *at = cluster->flights != NULL ? cluster->flights->prev : NULL;
    if (at == NULL || by_arrival(at, flight) <= 0) {
        DL_APPEND(cluster->flights, flight);
        return;
    }
    while (at != cluster->flights && by_arrival(at->prev, flight) > 0) {
        at = at->prev;
    }
    DL_PREPEND_ELEM(cluster->flights, at, flight);
}

static void add_report(struct memory_bus *bus, struct report *report)
{
    struct report *at = bus->reports != NULL ? bus->reports->prev : NULL;
    if (at == NULL || by_readiness(at, report) <= 0) {
        DL_APPEND(bus->reports, report);
        return;
    }
    while (at != bus->reports && by_readiness(at->prev, report) > 0) {
        at = at->prev;
    }
    DL_PREPEND_ELEM(bus->reports, at, report);
}

static struct lane *lane_of(struct memory_bus *bus, const struct topic *topic, int32_t partition)
{
    for (size_t i = 0; i < bus->lane_count; i++) {
        if (bus->lanes[i].topic == topic && bus->lanes[i].partition == partition) {
            return &bus->lanes[i];
        }
    }
    bus->lanes = grown(bus->lanes, bus->lane_count + 1, sizeof *bus->lanes);
    bus->lanes[bus->lane_count] = (struct lane){.topic = topic, .partition = partition};
    return &bus->lanes[bus->lane_count++];
}

static void schedule_report(struct memory_cluster *cluster, const struct flight *flight, int64_t offset)
{
    struct lane *lane = lane_of(flight->bus, flight->topic, flight->partition);
    lane->report_ms = later_of(lane->report_ms, cluster->now_ms + delay_up_to(cluster, cluster->faults.report_delay_ms));
    struct report *report = zeroed(sizeof *report);
    report->ready_ms = lane->report_ms;
    report->cookie = flight->cookie;
    report->offset = offset;
    report->failed = flight->fails;
    add_report(flight->bus, report);
}

static void maybe_duplicate(struct memory_cluster *cluster, const struct flight *flight)
{
    if (flight->bus == NULL || !chance(cluster, cluster->faults.duplicate_ppm)) {
        return;
    }
    struct flight *again = zeroed(sizeof *again);
    again->arrive_ms = cluster->now_ms + delay_up_to(cluster, cluster->faults.send_delay_ms);
    again->topic = flight->topic;
    again->partition = flight->partition;
    again->is_there = true;
    again->record = record_copy(flight->record);
    add_flight(cluster, again);
}

/* Takes `flight` in. */
static void arrive(struct memory_cluster *cluster, struct flight *flight)
{
    int64_t offset = -1;
    if (flight->is_there) {
        maybe_duplicate(cluster, flight);
        offset = append_take(cluster, &flight->topic->partitions[flight->partition], flight->record);
    } else {
        flight->topic->lost++;
        free(flight->record);
    }
    if (flight->bus != NULL) {
        schedule_report(cluster, flight, offset);
    }
    free(flight);
}

static void let_arrive(struct memory_cluster *cluster)
{
    while (cluster->flights != NULL && cluster->flights->arrive_ms <= cluster->now_ms) {
        struct flight *flight = cluster->flights;
        DL_DELETE(cluster->flights, flight);
        arrive(cluster, flight);
    }
}

static void flight_free(struct memory_cluster *cluster, struct flight *flight)
{
    DL_DELETE(cluster->flights, flight);
    free(flight->record);
    free(flight);
}

/* What `bus` had under way is lost, or arrives though nobody waits for it any more: of each partition the first ones, in order. */
static void give_up_flights(struct memory_bus *bus)
{
    struct memory_cluster *cluster = bus->cluster;
    struct flight *flight, *next;
    for (size_t i = 0; i < bus->lane_count; i++) {
        bool cut = false;
        DL_FOREACH_SAFE (cluster->flights, flight, next) {
            if (flight->bus != bus || flight->topic != bus->lanes[i].topic || flight->partition != bus->lanes[i].partition) {
                continue;
            }
            cut = cut || !chance(cluster, cluster->faults.orphan_ppm);
            if (cut) {
                flight->topic->lost++;
                flight_free(cluster, flight);
            } else {
                flight->bus = NULL;
                cluster->counts.orphans++;
            }
        }
    }
}

/* All of `bus` (of one partition where `only` is given) arrives now. */
static void hurry_flights(struct memory_bus *bus, const struct flight *only)
{
    struct flight *flight, *next;
    DL_FOREACH_SAFE (bus->cluster->flights, flight, next) {
        if (flight->bus == bus && (only == NULL || (flight->topic == only->topic && flight->partition == only->partition))) {
            DL_DELETE(bus->cluster->flights, flight);
            arrive(bus->cluster, flight);
        }
    }
}

static struct flight *flight_new(struct memory_bus *bus, struct topic *topic, const struct bus_send *send)
{
    struct memory_cluster *cluster = bus->cluster;
    struct lane *lane = lane_of(bus, topic, send->partition);
    lane->arrive_ms = later_of(lane->arrive_ms, cluster->now_ms + delay_up_to(cluster, cluster->faults.send_delay_ms));
    struct flight *flight = zeroed(sizeof *flight);
    flight->arrive_ms = lane->arrive_ms;
    flight->bus = bus;
    flight->topic = topic;
    flight->partition = send->partition;
    flight->cookie = send->cookie;
    flight->fails = chance(cluster, cluster->faults.loss_ppm);
    flight->is_there = !flight->fails || draw(cluster) % 2 == 0;
    flight->record = record_new(send);
    cluster->counts.delayed += flight->arrive_ms > cluster->now_ms;
    cluster->counts.failed += flight->fails;
    cluster->counts.failed_in_a_batch += flight->fails && bus->unacknowledged > 0;
    return flight;
}

/* Takes `flight` in. */
static bool crash(struct memory_bus *bus, struct flight *flight, struct error *error)
{
    bus->crashed = true;
    fall_silent(bus, true);
    if (bus->cluster->crash_arrives) {
        flight->fails = false;
        flight->is_there = true;
        hurry_flights(bus, flight);
        arrive(bus->cluster, flight);
    } else {
        flight->topic->lost++;
        free(flight->record);
        free(flight);
    }
    give_up_flights(bus);
    return error_set(error, ERROR_FATAL, "the bus has crashed");
}

static bool memory_send(struct bus *base, const struct bus_send *send, struct error *error)
{
    struct memory_bus *bus = memory_of(base);
    struct memory_cluster *cluster = bus->cluster;
    if (bus->crashed || bus->failed) {
        return error_set(error, ERROR_FATAL, bus->crashed ? "the bus has crashed" : "a delivery has failed");
    }
    struct topic *topic = topic_with(cluster, send->topic, send->partition, error);
    if (topic == NULL) {
        return false;
    }
    struct flight *flight = flight_new(bus, topic, send);
    bus->unacknowledged++;
    if (++cluster->sends == cluster->crash_at) {
        return crash(bus, flight, error);
    }
    add_flight(cluster, flight);
    let_arrive(cluster);
    return true;
}

/* What it does not acknowledge it will, or its cluster has lost it. */
static bool memory_explain(struct bus *bus, char reason[BUS_REASON_BYTES])
{
    (void)bus, (void)reason;
    return false;
}

static struct bus_backlog memory_backlog(const struct bus *bus)
{
    return (struct bus_backlog){.records = ((const struct memory_bus *)bus)->unacknowledged};
}

/* ---- reading */

static struct reading *find_reading(const struct memory_bus *bus, const char *name, int32_t partition)
{
    for (size_t i = 0; i < bus->reading_count; i++) {
        struct reading *reading = &bus->readings[i];
        if (reading->partition == partition && strcmp(reading->topic->name, name) == 0) {
            return reading;
        }
    }
    return NULL;
}

static bool memory_consume(struct bus *base, const char *name, int32_t partition, int64_t offset, struct error *error)
{
    struct memory_bus *bus = memory_of(base);
    let_arrive(bus->cluster);
    struct topic *topic = topic_with(bus->cluster, name, partition, error);
    if (topic == NULL) {
        return false;
    }
    assert(find_reading(bus, name, partition) == NULL);
    const struct partition *log = &topic->partitions[partition];
    int64_t next = offset == BUS_OFFSET_BEGINNING ? log->first : offset == BUS_OFFSET_END ? log->end : offset;
    bus->readings = grown(bus->readings, bus->reading_count + 1, sizeof *bus->readings);
    bus->readings[bus->reading_count++] =
        (struct reading){.topic = topic, .partition = partition, .next = next, .end_told = -1, .drawn_for = -1};
    return true;
}

static void stop_reading(struct memory_bus *bus, struct reading *reading)
{
    size_t index = (size_t)(reading - bus->readings);
    memmove(reading, reading + 1, (bus->reading_count - index - 1) * sizeof *reading);
    bus->reading_count--;
}

static void memory_stop(struct bus *bus, const char *name, int32_t partition)
{
    struct reading *reading = find_reading(memory_of(bus), name, partition);
    if (reading != NULL) {
        stop_reading(memory_of(bus), reading);
    }
}

static struct partition *log_of(const struct reading *reading)
{
    return &reading->topic->partitions[reading->partition];
}

/* When this reader sees its next record: drawn once for each. INT64_MAX: there is none. */
static int64_t visible_at(struct memory_cluster *cluster, struct reading *reading)
{
    const struct partition *log = log_of(reading);
    if (reading->next >= log->end) {
        return INT64_MAX;
    }
    if (reading->drawn_for != reading->next) {
        reading->drawn_for = reading->next;
        int64_t earliest_ms = log->records[reading->next]->arrived_ms + delay_up_to(cluster, cluster->faults.read_delay_ms);
        reading->visible_ms = later_of(reading->visible_ms, earliest_ms);
    }
    return reading->visible_ms;
}

static bool is_out_of_range(const struct reading *reading)
{
    return reading->next < log_of(reading)->first || reading->next > log_of(reading)->end;
}

/* When it next has an event. */
static int64_t reading_next_ms(struct memory_cluster *cluster, struct reading *reading)
{
    if (is_out_of_range(reading) || reading->end_told != reading->next) {
        return cluster->now_ms;
    }
    return visible_at(cluster, reading);
}

static void fill_record(struct reading *reading, struct bus_event *event)
{
    const struct record *record = log_of(reading)->records[reading->next++];
    event->kind = BUS_RECORD;
    event->time_ms = record->time_ms;
    event->key = record->key;
    event->value = record->value;
}

static void fill_gone(struct memory_bus *bus, struct reading *reading, struct bus_event *event)
{
    event->kind = BUS_GONE;
    snprintf(event->reason, sizeof event->reason, "%.100s [%d]: offset %lld is not there", reading->topic->name, reading->partition,
             (long long)reading->next);
    stop_reading(bus, reading);
}

static bool read_one(struct memory_bus *bus, struct reading *reading, struct bus_event *event)
{
    event->topic = reading->topic->name;
    event->partition = reading->partition;
    event->offset = reading->next;
    if (is_out_of_range(reading)) {
        fill_gone(bus, reading, event);
        return true;
    }
    if (visible_at(bus->cluster, reading) <= bus->cluster->now_ms) {
        fill_record(reading, event);
        return true;
    }
    if (reading->end_told != reading->next) {
        reading->end_told = reading->next;
        event->kind = BUS_END;
        return true;
    }
    return false;
}

/* Partitions take turns; with faults, chance says whose turn it is. */
static bool next_record(struct memory_bus *bus, struct bus_event *event)
{
    size_t count = bus->reading_count;
    if (count == 0) {
        return false;
    }
    bus->turn = bus->cluster->faults.read_delay_ms > 0 ? (size_t)draw(bus->cluster) : bus->turn + 1;
    for (size_t i = 0; i < count; i++) {
        if (read_one(bus, &bus->readings[(bus->turn % count + i) % count], event)) {
            return true;
        }
    }
    *event = (struct bus_event){.kind = BUS_NOTHING};
    return false;
}

/* ---- events */

static bool next_report(struct memory_bus *bus, struct bus_event *event)
{
    while (bus->reports != NULL && bus->reports->ready_ms <= bus->cluster->now_ms) {
        struct report *report = bus->reports;
        struct report taken = *report;
        DL_DELETE(bus->reports, report);
        free(report);
        bus->unacknowledged--;
        bus->failed = bus->failed || taken.failed;
        if (bus->failed) {
            return false;
        }
        if (taken.cookie != 0) {
            event->kind = BUS_DELIVERED;
            event->cookie = taken.cookie;
            event->offset = taken.offset;
            return true;
        }
    }
    return false;
}

static void memory_poll(struct bus *base, int timeout_ms, struct bus_event *event)
{
    struct memory_bus *bus = memory_of(base);
    (void)timeout_ms;
    *event = (struct bus_event){.kind = BUS_NOTHING};
    let_arrive(bus->cluster);
    if (!bus->crashed && !bus->failed && next_report(bus, event)) {
        return;
    }
    if (bus->crashed || bus->failed) {
        event->kind = BUS_FATAL;
        snprintf(event->reason, sizeof event->reason, "%s", bus->crashed ? "the bus has crashed" : "a delivery has failed");
        return;
    }
    if (!next_dealt(bus, event)) {
        next_record(bus, event);
    }
}

static bool memory_flush(struct bus *base, int timeout_ms)
{
    struct memory_bus *bus = memory_of(base);
    (void)timeout_ms;
    hurry_flights(bus, NULL);
    struct report *report;
    DL_FOREACH (bus->reports, report) {
        report->ready_ms = bus->cluster->now_ms;
        bus->failed = bus->failed || report->failed;
    }
    return !bus->crashed && !bus->failed;
}

static void memory_wake(struct bus *bus)
{
    (void)bus; /* nothing waits here */
}

/* ---- questions */

static bool memory_ensure_topic(struct bus *base, const struct bus_topic *wanted, bool create, int32_t *partitions, int timeout_ms,
                                struct error *error)
{
    struct memory_cluster *cluster = memory_of(base)->cluster;
    struct topic *topic = find_topic(cluster, wanted->name);
    (void)timeout_ms;
    if (topic == NULL && !create) {
        return error_set(error, ERROR_INVALID, "there is no topic '%s'", wanted->name);
    }
    if (topic == NULL) {
        topic = create_topic(cluster, wanted->name, wanted->partitions);
    }
    if (wanted->partitions_exact > 0 && topic->count != wanted->partitions_exact) {
        return error_set(error, ERROR_INVALID, "topic '%s' has %d partitions, not %d", wanted->name, topic->count,
                         wanted->partitions_exact);
    }
    if (partitions != NULL) {
        *partitions = topic->count;
    }
    return true;
}

static bool memory_delete_topic(struct bus *bus, const char *topic, int timeout_ms, struct error *error)
{
    (void)bus, (void)topic, (void)timeout_ms, (void)error;
    return true; /* kept, as an embedded broker does */
}

static bool memory_partition_count(struct bus *bus, const char *name, int32_t *count, int timeout_ms, struct error *error)
{
    (void)timeout_ms;
    struct topic *topic = topic_with(memory_of(bus)->cluster, name, 0, error);
    if (topic == NULL) {
        return false;
    }
    *count = topic->count;
    return true;
}

static bool memory_bounds(struct bus *bus, const char *name, int32_t partition, int64_t *first, int64_t *next, int timeout_ms,
                          struct error *error)
{
    (void)timeout_ms;
    let_arrive(memory_of(bus)->cluster);
    struct topic *topic = topic_with(memory_of(bus)->cluster, name, partition, error);
    if (topic == NULL) {
        return false;
    }
    *first = topic->partitions[partition].first;
    *next = topic->partitions[partition].end;
    return true;
}

static bool memory_offset_at(struct bus *bus, const char *name, int32_t partition, int64_t time_ms, int64_t *offset, int timeout_ms,
                             struct error *error)
{
    int64_t at, end;
    if (!memory_bounds(bus, name, partition, &at, &end, timeout_ms, error)) {
        return false;
    }
    const struct partition *log = partition_of(memory_of(bus)->cluster, name, partition);
    while (at < end && log->records[at]->time_ms < time_ms) {
        at++;
    }
    *offset = at;
    return true;
}

static void memory_delete_before(struct bus *bus, const char *name, int32_t partition, int64_t offset)
{
    memory_cluster_delete_before(memory_of(bus)->cluster, name, partition, offset);
}

static struct commit *commit_of(const struct memory_cluster *cluster, const char *group, const struct topic *topic, int32_t partition)
{
    struct commit *commit = cluster->commits;
    while (commit != NULL && (strcmp(commit->group, group) != 0 || commit->topic != topic || commit->partition != partition)) {
        commit = commit->next;
    }
    return commit;
}

static bool memory_committed(struct bus *bus, const char *group, const char *name, int32_t partition, int64_t *offset,
                             char metadata[BUS_METADATA_BYTES], int timeout_ms, struct error *error)
{
    (void)timeout_ms;
    const struct memory_cluster *cluster = memory_of(bus)->cluster;
    const struct topic *topic = topic_with(memory_of(bus)->cluster, name, partition, error);
    if (topic == NULL) {
        return false;
    }
    const struct commit *commit = commit_of(cluster, group, topic, partition);
    *offset = commit != NULL ? commit->offset : -1;
    snprintf(metadata, BUS_METADATA_BYTES, "%s", commit != NULL ? commit->metadata : "");
    return true;
}

/* A member may, and anybody while there is none. */
static bool may_commit(const struct memory_bus *bus, const char *name)
{
    const struct group *group = bus->cluster->groups;
    while (group != NULL && strcmp(group->name, name) != 0) {
        group = group->next;
    }
    return group == NULL || (bus->group == group ? bus->member != NULL : group->members == NULL);
}

/* At once: what is lost of a commit is found again from the one before it. */
static void memory_commit(struct bus *bus, const char *group, const char *name, int32_t partition, int64_t offset, const char *metadata)
{
    struct memory_cluster *cluster = memory_of(bus)->cluster;
    struct topic *topic = topic_with(cluster, name, partition, NULL);
    if (topic == NULL || memory_of(bus)->crashed || !may_commit(memory_of(bus), group)) {
        return;
    }
    struct commit *commit = commit_of(cluster, group, topic, partition);
    if (commit == NULL) {
        commit = zeroed(sizeof *commit);
        *commit = (struct commit){.next = cluster->commits, .group = strdup(group), .topic = topic, .partition = partition};
        cluster->commits = commit;
    }
    commit->offset = offset;
    snprintf(commit->metadata, sizeof commit->metadata, "%s", metadata);
}

static bool memory_embedded(const struct bus *bus)
{
    (void)bus;
    return false;
}

/* ---- opening and closing */

static void memory_close(struct bus *base)
{
    struct memory_bus *bus = memory_of(base);
    struct report *report, *next;
    give_up_flights(bus);
    fall_silent(bus, true);
    if (bus->member != NULL) {
        bus->member->bus = NULL;
    }
    drop_dealt(bus);
    free(bus->told);
    DL_FOREACH_SAFE (bus->reports, report, next) {
        free(report);
    }
    DL_DELETE(bus->cluster->buses, bus);
    free(bus->lanes);
    free(bus->readings);
    free(bus);
}

static const struct bus_operations memory_operations = {
    .close = memory_close,
    .ensure_topic = memory_ensure_topic,
    .delete_topic = memory_delete_topic,
    .partition_count = memory_partition_count,
    .bounds = memory_bounds,
    .offset_at = memory_offset_at,
    .committed = memory_committed,
    .commit = memory_commit,
    .delete_before = memory_delete_before,
    .join = memory_join,
    .leave = memory_leave,
    .members = memory_members,
    .consume = memory_consume,
    .stop = memory_stop,
    .send = memory_send,
    .poll = memory_poll,
    .flush = memory_flush,
    .backlog = memory_backlog,
    .explain = memory_explain,
    .wake = memory_wake,
    .embedded = memory_embedded,
};

struct bus *bus_memory_open(struct memory_cluster *cluster)
{
    struct memory_bus *bus = zeroed(sizeof *bus);
    bus->bus.operations = &memory_operations;
    bus->cluster = cluster;
    DL_APPEND(cluster->buses, bus);
    return &bus->bus;
}

struct memory_cluster *memory_cluster_new(uint64_t seed)
{
    struct memory_cluster *cluster = zeroed(sizeof *cluster);
    cluster->random_state = seed;
    cluster->now_ms = 1;
    return cluster;
}

void memory_cluster_free(struct memory_cluster *cluster)
{
    if (cluster == NULL) {
        return;
    }
    assert(cluster->buses == NULL);
    while (cluster->flights != NULL) {
        flight_free(cluster, cluster->flights);
    }
    while (cluster->commits != NULL) {
        struct commit *commit = cluster->commits;
        cluster->commits = commit->next;
        free(commit->group);
        free(commit);
    }
    groups_free(cluster);
    struct topic *topic, *next;
    LL_FOREACH_SAFE (cluster->topics, topic, next) {
        topic_free(topic);
    }
    free(cluster);
}

/* ---- the simulation's side */

void memory_cluster_set_time(struct memory_cluster *cluster, int64_t now_ms)
{
    assert(now_ms >= cluster->now_ms);
    while (cluster->flights != NULL && cluster->flights->arrive_ms <= now_ms) { /* each at its own time */
        cluster->now_ms = later_of(cluster->now_ms, cluster->flights->arrive_ms);
        let_arrive(cluster);
    }
    cluster->now_ms = now_ms;
}

void memory_cluster_jump(struct memory_cluster *cluster, int64_t by_ms)
{
    cluster->jumped_ms += by_ms;
}

uint64_t memory_cluster_lost(const struct memory_cluster *cluster, const char *name)
{
    const struct topic *topic = find_topic(cluster, name);
    return topic == NULL ? 0 : topic->lost;
}

struct memory_counts memory_cluster_counts(const struct memory_cluster *cluster)
{
    return cluster->counts;
}

int64_t memory_cluster_time(const struct memory_cluster *cluster)
{
    return cluster->now_ms;
}

static int64_t bus_next_ms(struct memory_bus *bus)
{
    if (bus->frozen) {
        return INT64_MAX;
    }
    int64_t next_ms = bus->reports != NULL ? bus->reports->ready_ms : INT64_MAX;
    if (bus->crashed || bus->failed) {
        return bus->cluster->now_ms;
    }
    if (bus->group != NULL && bus->member == NULL && !bus->left) {
        return bus->cluster->now_ms;
    }
    next_ms = bus->dealt != NULL && bus->dealt->ready_ms < next_ms ? bus->dealt->ready_ms : next_ms;
    for (size_t i = 0; i < bus->reading_count; i++) {
        int64_t ms = reading_next_ms(bus->cluster, &bus->readings[i]);
        next_ms = ms < next_ms ? ms : next_ms;
    }
    return next_ms;
}

static int64_t session_next_ms(const struct memory_cluster *cluster)
{
    int64_t next_ms = INT64_MAX;
    for (const struct group *group = cluster->groups; group != NULL; group = group->next) {
        for (const struct member *member = group->members; member != NULL; member = member->next) {
            int64_t ms = session_ends_ms(member);
            next_ms = ms < next_ms ? ms : next_ms;
        }
    }
    return next_ms;
}

int64_t memory_cluster_next_ms(struct memory_cluster *cluster)
{
    let_arrive(cluster);
    end_sessions(cluster);
    int64_t next_ms = cluster->flights != NULL ? cluster->flights->arrive_ms : INT64_MAX;
    struct memory_bus *bus;
    DL_FOREACH (cluster->buses, bus) {
        int64_t ms = bus_next_ms(bus);
        next_ms = ms < next_ms ? ms : next_ms;
    }
    int64_t session_ms = session_next_ms(cluster);
    next_ms = session_ms < next_ms ? session_ms : next_ms;
    return next_ms == INT64_MAX ? next_ms : later_of(next_ms, cluster->now_ms);
}

void memory_bus_set_frozen(struct bus *bus, bool frozen)
{
    memory_of(bus)->frozen = frozen;
    fall_silent(memory_of(bus), frozen);
}

void memory_cluster_set_faults(struct memory_cluster *cluster, const struct memory_faults *faults)
{
    cluster->faults = *faults;
}

void memory_cluster_crash_after(struct memory_cluster *cluster, uint64_t number, bool arrives)
{
    cluster->crash_at = number;
    cluster->crash_arrives = arrives;
}

struct bus *memory_cluster_crashed(const struct memory_cluster *cluster)
{
    struct memory_bus *bus;
    DL_FOREACH (cluster->buses, bus) {
        if (bus->crashed) {
            return &bus->bus;
        }
    }
    return NULL;
}

uint64_t memory_cluster_sends(const struct memory_cluster *cluster)
{
    return cluster->sends;
}

void memory_cluster_create_topic(struct memory_cluster *cluster, const char *topic, int32_t partitions)
{
    assert(find_topic(cluster, topic) == NULL);
    create_topic(cluster, topic, partitions);
}

void memory_cluster_append(struct memory_cluster *cluster, const char *topic, int32_t partition, struct span key, struct span value)
{
    struct partition *log = partition_of(cluster, topic, partition);
    assert(log != NULL);
    struct bus_send send = {.key = key, .value = value};
    append_take(cluster, log, record_new(&send));
}

void memory_cluster_delete_before(struct memory_cluster *cluster, const char *topic, int32_t partition, int64_t first)
{
    struct partition *log = partition_of(cluster, topic, partition);
    assert(log != NULL && first <= log->end);
    for (; log->first < first; log->first++) {
        free(log->records[log->first]);
        log->records[log->first] = NULL;
    }
}

int64_t memory_cluster_end(const struct memory_cluster *cluster, const char *topic, int32_t partition)
{
    const struct partition *log = partition_of(cluster, topic, partition);
    return log != NULL ? log->end : 0;
}

bool memory_cluster_record(const struct memory_cluster *cluster, const char *topic, int32_t partition, int64_t offset,
                           struct memory_record *record)
{
    const struct partition *log = partition_of(cluster, topic, partition);
    if (log == NULL || offset < log->first || offset >= log->end) {
        return false;
    }
    const struct record *stored = log->records[offset];
    *record = (struct memory_record){
        .time_ms = stored->time_ms,
        .key = stored->key,
        .value = stored->value,
        .type = type_of(stored),
        .headers = stored->headers,
        .header_count = stored->header_count,
    };
    return true;
}
