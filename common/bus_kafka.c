/* SPDX-License-Identifier: Apache-2.0 */
/* The bus over librdkafka: one producer and one simple consumer (no group) a bus, a handle for a group where one is asked for, and one eventfd
 * that any of them, or bus_wake(), makes readable. All of librdkafka's news is taken in by the thread that polls.
 *
 * No wake-up is lost: the eventfd is emptied first, then every queue, and only when all of them were empty does the thread wait. */
#include "common/bus_kafka.h"

#include "common/clock.h"
#include "common/limits.h"
#include "common/log.h"
#include "common/text.h"

#include <assert.h>
#include <errno.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#define BATCH_RECORDS 1024
#define BASKET_BYTES (4 * MIB) /* then it is emptied before the look is over */
#define BATCH_HEAD_BYTES 61 /* before its records */
#define RECORD_HEAD_BYTES 7 /* attributes and five lengths and distances, a byte each at the least; and how many headers there are */
#define FILLED_RECORDS_MAX 16 /* of a basket: each is held against all of them */
#define RETRY_MS 50
#define SLICE_MS 200 /* between two looks at whether the caller still wants to know */
#define REFUSED_MS 1000 /* another broker of the list may let us in */
#define EMBEDDED_CLUSTER "mockCluster" /* how librdkafka's mock cluster begins its id */
#define LAZY_BIT (UINT64_C(1) << 63) /* of a cookie on its way: nobody waits for its report */
#define UNACKNOWLEDGED_MS 5000 /* then it is said that the brokers take nothing: a leader that moves is often faster */
#define EXPLAIN_MS 500
#define MISSING_MS 2000 /* a broker that has just begun may not know of every topic yet; librdkafka asks once a second */
#define MISSING_PAUSE_MS 3000 /* after so long it is a new story */

/* A record of the most bytes, with its key, headers and framing. */
#define CLIENT_RECORD_BYTES 4259840
static_assert(LIMIT_RECORD_BYTES + 64 * KIB == CLIENT_RECORD_BYTES, "the client's limit follows ours");
static_assert(RD_KAFKA_OFFSET_BEGINNING == BUS_OFFSET_BEGINNING && RD_KAFKA_OFFSET_END == BUS_OFFSET_END,
              "offsets go through as they are");
static_assert(sizeof(void *) >= sizeof(uint64_t), "a cookie travels as a pointer");

struct topic {
    struct topic *next;
    char *name;
    rd_kafka_topic_t *produced; /* NULL: not asked for yet, or not there */
    rd_kafka_topic_t *consumed; /* NULL: never read */
    int32_t partitions; /* as last seen; 0: unknown */
    bool *reading; /* by partition */
    int32_t reading_count;
    int64_t missing_since_ms, missing_ms; /* monotonic: the brokers said that there is no such topic, first and last; 0: they did not */
    bool missing;
};

/* A partition that the group has given us, or taken back. */
struct dealt {
    enum bus_event_kind kind;
    int32_t partition;
    bool lost;
};

/* A record that was sent, until librdkafka has it. Its key and value stand in the basket's bytes, one after another. */
struct kept {
    struct topic *topic;
    rd_kafka_headers_t *headers;
    uint64_t cookie;
    int32_t partition;
    uint32_t key_size, value_size;
    bool can_wait;
};

/* What is sent between two looks at the log. Each record that librdkafka gets by itself wakes the thread that sends, which then has one
 * record to send: of the produce requests with ten thousand runs in flight, five in six. */
struct basket {
    struct kept *kept;
    size_t count, capacity;
    struct text bytes;
    size_t done, bytes_done; /* librdkafka has these already; the rest waits for room in its queue */
};

struct delivery {
    uint64_t cookie;
    int64_t offset;
};

/* What became of what was sent. librdkafka's threads write it down as the broker answers, and wake the thread that polls only where
 * somebody waits for it: most of whom are told have nothing to do then, and a wake-up a record was a third of all. */
struct reports {
    pthread_mutex_t mutex;
    struct delivery *deliveries;
    size_t count, capacity;
    atomic_size_t backlog_records, backlog_bytes; /* of what is under way; the rest is the mutex's */
    atomic_bool flushing; /* wake when nothing is */
    atomic_bool acknowledged; /* something was, since it was last looked at */
    bool failed;
    char failure[512];
};

struct kafka_bus {
    struct bus bus;
    char *brokers;
    int timeout_ms;
    bool embedded;
    rd_kafka_resp_err_t not_deleted; /* why records were not deleted when that was last asked for */
    rd_kafka_t *producer, *consumer;
    rd_kafka_queue_t *producer_events, *consumer_events; /* reports, errors and logs */
    rd_kafka_t *keeper; /* of what a group commits; NULL: nobody asked */
    char *keeper_group;
    rd_kafka_queue_t *group_events; /* of the keeper */
    bool was_dealt; /* the group has answered the keeper at least once */
    int session_ms; /* > 0: the keeper is a member of the group, */
    struct topic *dealt_topic; /* which deals these partitions out */
    struct dealt *dealt;
    size_t dealt_next, dealt_count, dealt_capacity;
    bool joined; /* it has taken us in, */
    bool joined_told; /* and that was said */
    rd_kafka_resp_err_t group_refusal; /* we may not use it */
    rd_kafka_queue_t *commits; /* what became of them; NULL: there were none */
    const char *client_id;
    const char *const *given; /* properties that a person gave; the opener's, for as long as the bus is open */
    size_t given_count;
    rd_kafka_queue_t *records; /* what all partitions bring */
    int wake_fd;
    atomic_bool woken;
    struct topic *topics;
    struct topic *last_sent; /* most sends go where the one before went */
    rd_kafka_message_t *batch[BATCH_RECORDS];
    size_t batch_next, batch_count;
    rd_kafka_message_t *current; /* what the caller of the last poll still looks at */
    struct basket basket;
    struct reports reports;
    struct delivery *deliveries; /* taken from there */
    size_t delivery_next, delivery_count, delivery_capacity;
    bool failed;
    char failure[512];
    char refusal[400]; /* why a broker would not talk to us, if it said */
    bool refused; /* by one that answered: it is more than silence */
    bool scram; /* users are told by SCRAM */
    bool (*gives_up)(void *state); /* as in struct bus_kafka_options */
    void *gives_up_state;
    int64_t unacknowledged_since_ms; /* monotonic; 0: nothing waits */
    bool unacknowledged_said;
};

/* ---- reports */

static void make_readable(int fd)
{
    int saved = errno;
    uint64_t one = 1;
    ssize_t written = write(fd, &one, sizeof one); /* fails only when it is readable already */
    (void)written;
    errno = saved;
}

static void *grow(void *array, size_t *capacity, size_t size)
{
    *capacity = *capacity > 0 ? 2 * *capacity : 1024;
    void *grown = realloc(array, *capacity * size);
    assert(grown != NULL);
    return grown;
}

static _Thread_local bool is_producing; /* a record that is refused at once was never sent */

/* Follows what librdkafka says of a refusal; "" where it is none. */
static const char *denial_hint(rd_kafka_resp_err_t code)
{
    bool denied = code == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED || code == RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED ||
                  code == RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED;
    return denied ? "; this user may not do that: 'What each program may do' in OPERATIONS.md lists the ACLs it needs" : "";
}

static void note_failure(struct reports *reports, const char *topic, int32_t partition, rd_kafka_resp_err_t code)
{
    if (!reports->failed) {
        reports->failed = true;
        snprintf(reports->failure, sizeof reports->failure, "delivery to %.120s [%d] failed: %.80s%s", topic, (int)partition,
                 rd_kafka_err2str(code), denial_hint(code));
    }
}

static void note_delivery(struct reports *reports, uint64_t cookie, int64_t offset)
{
    if (reports->count == reports->capacity) {
        reports->deliveries = grow(reports->deliveries, &reports->capacity, sizeof *reports->deliveries);
    }
    reports->deliveries[reports->count++] = (struct delivery){cookie, offset >= 0 ? offset : -1};
}

static void count_acknowledged(struct reports *reports, size_t bytes)
{
    size_t left = atomic_fetch_sub(&reports->backlog_bytes, bytes);
    assert(left >= bytes);
    left = atomic_fetch_sub(&reports->backlog_records, 1);
    assert(left > 0);
    if (!atomic_load_explicit(&reports->acknowledged, memory_order_relaxed)) {
        atomic_store_explicit(&reports->acknowledged, true, memory_order_relaxed);
    }
}

/* On librdkafka's threads. Who sees that nothing is under way any more also finds what was noted of it. */
static rd_kafka_resp_err_t on_acknowledged(rd_kafka_t *handle, rd_kafka_message_t *message, void *opaque)
{
    (void)handle;
    struct kafka_bus *kafka = opaque;
    struct reports *reports = &kafka->reports;
    uint64_t cookie = (uint64_t)(uintptr_t)message->_private;
    if (is_producing) {
        return RD_KAFKA_RESP_ERR_NO_ERROR;
    }
    bool failed = message->err != RD_KAFKA_RESP_ERR_NO_ERROR;
    if (failed || cookie != 0) {
        pthread_mutex_lock(&reports->mutex);
        if (failed) {
            note_failure(reports, rd_kafka_topic_name(message->rkt), message->partition, message->err);
        } else {
            note_delivery(reports, cookie & ~LAZY_BIT, message->offset);
        }
        count_acknowledged(reports, message->len);
        pthread_mutex_unlock(&reports->mutex);
    } else {
        count_acknowledged(reports, message->len);
    }
    bool awaited = failed || (cookie != 0 && (cookie & LAZY_BIT) == 0);
    if (awaited || (atomic_load(&reports->flushing) && atomic_load(&reports->backlog_records) == 0)) {
        make_readable(kafka->wake_fd);
    }
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* ---- topics that somebody has deleted */

static void note_missing(struct topic *topic, bool surely)
{
    int64_t now_ms = clock_monotonic_ms();
    if (topic->missing_ms == 0 || now_ms - topic->missing_ms > MISSING_PAUSE_MS) {
        topic->missing_since_ms = now_ms;
    }
    topic->missing_ms = now_ms;
    topic->missing = surely || now_ms - topic->missing_since_ms >= MISSING_MS;
}

/* ---- configuration */

struct property {
    const char *name, *value;
};

static const struct property properties_of_both[] = {
    {"socket.nagle.disable", "true"},
    {"reconnect.backoff.ms", "50"},
    {"reconnect.backoff.max.ms", "1000"},
    {"retry.backoff.ms", "50"},
    {"allow.auto.create.topics", "false"},
    {"message.max.bytes", AS_TEXT(CLIENT_RECORD_BYTES)},
    {"log.queue", "true"},
    {NULL, NULL},
};

static const struct property producer_properties[] = {
    {"enable.idempotence", "true"},
    {"acks", "all"},
    {"message.timeout.ms", "0"}, /* never given up: after an outage the order is as it was */
    {"linger.ms", "0"},
    /* Whatever comes while a request is under way goes with the next one. A broker takes the second request of a connection only when it
     * has answered the first, so that more of them hide a network's delay and nothing else, and make small batches. */
    {"max.in.flight", "1"},
    {"queue.buffering.max.messages", "1000000"},
    {"queue.buffering.max.kbytes", "262144"},
    {NULL, NULL},
};

/* An idempotent producer asks for its id at once, and that is refused to a user who may write nowhere. */
static const struct property silent_producer_properties[] = {
    {"enable.idempotence", "false"},
    {NULL, NULL},
};

static const struct property consumer_properties[] = {
    {"auto.offset.reset", "error"},
    {"enable.auto.commit", "false"},
    {"enable.auto.offset.store", "false"},
    {"auto.commit.enable", "false"},
    {"enable.partition.eof", "true"},
    {"queued.min.messages", "1000000"},
    {"queued.max.messages.kbytes", "262144"},
    {"fetch.min.bytes", "1"},
    {"fetch.wait.max.ms", "100"},
    {"fetch.error.backoff.ms", "50"},
    {"fetch.message.max.bytes", AS_TEXT(CLIENT_RECORD_BYTES)},
    {NULL, NULL},
};

/* Each end is an event that wakes who waits, once for every record that came alone. */
static const struct property endless_consumer_properties[] = {
    {"enable.partition.eof", "false"},
    {NULL, NULL},
};

/* And so is each short record that need not be heard of at once. */
static const struct property patient_consumer_properties[] = {
    {"enable.partition.eof", "false"},
    {"fetch.min.bytes", AS_TEXT(BUS_PROMPT_BYTES)},
    {"fetch.wait.max.ms", AS_TEXT(BUS_PATIENCE_MS)},
    {NULL, NULL},
};

/* The mock cluster does not wake a waiting fetch when data comes: each hop would cost the wait. */
static const struct property embedded_consumer_properties[] = {
    {"fetch.wait.max.ms", "2"},
    {NULL, NULL},
};

/* What nobody may set otherwise, and why. `value`: the one that is allowed; NULL: none is. */
static const struct refused_property {
    const char *name, *value, *reason;
} refused_properties[] = {
    {"enable.idempotence", "true", "without it a retry can write a record twice or out of order"},
    {"acks", "all", "with less, what was acknowledged can be lost"},
    {"request.required.acks", "all", "with less, what was acknowledged can be lost"},
    {"message.timeout.ms", "0", "a record that is given up leaves a hole in the log"},
    {"delivery.timeout.ms", "0", "a record that is given up leaves a hole in the log"},
    {"retries", NULL, "a record that is given up leaves a hole in the log"},
    {"message.send.max.retries", NULL, "a record that is given up leaves a hole in the log"},
    {"transactional.id", NULL, "Backstep uses no transactions"},
    {"group.id", NULL, "coordinators are the only group, and it is named after the prefix"},
    {"group.instance.id", NULL, "a coordinator that is stopped would keep its partitions until its session is over"},
    {"partition.assignment.strategy", NULL, "all coordinators must have the same"},
    {"session.timeout.ms", NULL, "it is given by --session-timeout"},
    {"heartbeat.interval.ms", NULL, "a member that asks more seldom learns late that another has left"},
    {"auto.offset.reset", "error", "a reader whose records are gone must say so, never skip"},
    {"enable.auto.commit", "false", "no offset is ever committed behind our back"},
    {"auto.commit.enable", "false", "no offset is ever committed behind our back"},
    {"enable.auto.offset.store", "false", "no offset is ever committed behind our back"},
    {"enable.partition.eof", "true", "readers must learn where a partition ends"},
    {"allow.auto.create.topics", "false", "topics are made by 'backstep topics', with their settings"},
    {"log.queue", "true", "the library's log is taken from its queue"},
    {"bootstrap.servers", NULL, "it is given by --brokers"},
    {"metadata.broker.list", NULL, "it is given by --brokers"},
    {"test.mock.num.brokers", NULL, "'backstep dev' starts an embedded broker"},
    {NULL, NULL, NULL},
};

static bool configure(rd_kafka_conf_t *conf, const char *name, const char *value, struct error *error)
{
    char reason[512];
    if (rd_kafka_conf_set(conf, name, value, reason, sizeof reason) != RD_KAFKA_CONF_OK) {
        return error_set(error, ERROR_INVALID, "property %s: %s", name, reason);
    }
    return true;
}

static bool configure_all(rd_kafka_conf_t *conf, const struct property *property, struct error *error)
{
    for (; property->name != NULL; property++) {
        if (!configure(conf, property->name, property->value, error)) {
            return false;
        }
    }
    return true;
}

static bool may_set(const char *name, const char *value, struct error *error)
{
    for (const struct refused_property *refused = refused_properties; refused->name != NULL; refused++) {
        if (strcmp(refused->name, name) == 0 && (refused->value == NULL || strcmp(refused->value, value) != 0)) {
            return error_set(error, ERROR_INVALID, "property %s cannot be set%s%s: %s", name,
                             refused->value != NULL ? " but to " : "", refused->value != NULL ? refused->value : "",
                             refused->reason);
        }
    }
    return true;
}

static bool configure_given(rd_kafka_conf_t *conf, const char *property, struct error *error)
{
    const char *equals = strchr(property, '=');
    if (equals == NULL || equals == property) {
        return error_set(error, ERROR_INVALID, "a property is no NAME=VALUE"); /* it may be a secret, and is not shown */
    }
    char *name = strndup(property, (size_t)(equals - property));
    assert(name != NULL);
    bool ok = may_set(name, equals + 1, error) && configure(conf, name, equals + 1, error);
    free(name);
    return ok;
}

static bool configure_handle(rd_kafka_conf_t *conf, const struct property *own, const struct property *more,
                             const struct bus_kafka_options *options, struct error *error)
{
    if (!configure(conf, "bootstrap.servers", options->brokers, error) ||
        !configure(conf, "client.id", options->client_id != NULL ? options->client_id : "backstep", error) ||
        !configure_all(conf, properties_of_both, error) || !configure_all(conf, own, error) ||
        (more != NULL && !configure_all(conf, more, error))) {
        return false;
    }
    for (size_t i = 0; i < options->property_count; i++) {
        if (!configure_given(conf, options->properties[i], error)) {
            return false;
        }
    }
    return true;
}

/* What stands in the queue of a partition and is no message is handed out as none, but comes here, on the thread that polls: its words
 * are "topic [partition]: ...". */
static void on_partition_error(rd_kafka_t *handle, int code, const char *reason, void *opaque)
{
    (void)handle;
    struct kafka_bus *kafka = opaque;
    bool no_topic = code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART || code == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC;
    bool no_partition = code == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION; /* it was made again, with fewer; said once */
    for (struct topic *topic = kafka->topics; (no_topic || no_partition) && topic != NULL; topic = topic->next) {
        size_t size = strlen(topic->name);
        if (strncmp(reason, topic->name, size) == 0 && reason[size] == ' ') {
            note_missing(topic, no_partition);
        }
    }
    log_event(LOG_DEBUG, "partition_trouble", "error=%s", LOG_QUOTED(reason));
}

static rd_kafka_resp_err_t on_new(rd_kafka_t *handle, const rd_kafka_conf_t *conf, void *opaque, char *reason, size_t reason_size)
{
    (void)conf;
    (void)reason;
    (void)reason_size;
    return rd_kafka_interceptor_add_on_acknowledgement(handle, "backstep", on_acknowledged, opaque);
}

/* Would librdkafka take it? Asked before there are interceptors: 2.0.2 frees what it shares with a configuration that has them when it
 * refuses the configuration, and who destroys that then, as the caller has to, frees it twice. */
static bool is_accepted(rd_kafka_type_t type, const rd_kafka_conf_t *conf, struct error *error)
{
    char reason[512];
    rd_kafka_conf_t *copy = rd_kafka_conf_dup(conf);
    rd_kafka_t *handle = rd_kafka_new(type, copy, reason, sizeof reason);
    if (handle == NULL) {
        rd_kafka_conf_destroy(copy);
        return error_set(error, ERROR_INVALID, "%s", reason);
    }
    rd_kafka_destroy(handle);
    return true;
}

/* With threads of SCHED_BATCH, which they take from whoever makes them: one that is woken does not take the processor from who woke it,
 * and a record that was handed over does not go out alone, ahead of those that are handed over right after it. */
static rd_kafka_t *start_threads(rd_kafka_type_t type, rd_kafka_conf_t *conf, char *reason, size_t reason_size)
{
    int policy;
    struct sched_param parameters;
    bool usual = pthread_getschedparam(pthread_self(), &policy, &parameters) == 0 && policy == SCHED_OTHER;
    if (usual) {
        pthread_setschedparam(pthread_self(), SCHED_BATCH, &parameters);
    }
    rd_kafka_t *handle = rd_kafka_new(type, conf, reason, reason_size);
    if (usual) {
        pthread_setschedparam(pthread_self(), policy, &parameters);
    }
    return handle;
}

static rd_kafka_t *handle_new(rd_kafka_type_t type, const struct property *own, const struct property *more,
                              const struct bus_kafka_options *options, struct kafka_bus *kafka, struct error *error)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    if (type == RD_KAFKA_CONSUMER) {
        rd_kafka_conf_set_opaque(conf, kafka);
        rd_kafka_conf_set_error_cb(conf, on_partition_error);
    }
    bool intercepted = type == RD_KAFKA_PRODUCER;
    rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_LOG | (intercepted ? 0 : RD_KAFKA_EVENT_REBALANCE));
    if (!configure_handle(conf, own, more, options, error) ||
        (intercepted && options->property_count > 0 && !is_accepted(type, conf, error))) {
        rd_kafka_conf_destroy(conf);
        return NULL;
    }
    if (intercepted) {
        rd_kafka_conf_interceptor_add_on_new(conf, "backstep", on_new, kafka);
    }
    char reason[512];
    rd_kafka_t *handle = start_threads(type, conf, reason, sizeof reason);
    if (handle == NULL) {
        rd_kafka_conf_destroy(conf);
        error_set(error, ERROR_INVALID, "%s", reason);
        return NULL;
    }
    rd_kafka_set_log_queue(handle, NULL);
    return handle;
}

/* ---- waking */

/* Called by librdkafka's threads when a queue is no longer empty. Its own writing to a descriptor is not used: it writes once until the
 * queue is "served", and what counts as that differs between its calls. */
static void on_queue_filled(rd_kafka_t *handle, void *opaque)
{
    (void)handle;
    make_readable(((struct kafka_bus *)opaque)->wake_fd);
}

static void listen_to(struct kafka_bus *kafka, rd_kafka_queue_t *queue)
{
    rd_kafka_queue_cb_event_enable(queue, on_queue_filled, kafka);
}

static struct kafka_bus *kafka_of(struct bus *bus)
{
    return (struct kafka_bus *)bus;
}

static void kafka_wake(struct bus *bus)
{
    atomic_store(&kafka_of(bus)->woken, true);
    make_readable(kafka_of(bus)->wake_fd);
}

static void drain_wake_fd(struct kafka_bus *kafka)
{
    uint64_t count;
    ssize_t got = read(kafka->wake_fd, &count, sizeof count);
    (void)got;
}

static int remaining_ms(int64_t deadline_ms)
{
    int64_t left_ms = deadline_ms - clock_monotonic_ms();
    return left_ms > 0 ? (int)left_ms : 0;
}

static int64_t deadline_after(int timeout_ms)
{
    return clock_monotonic_ms() + timeout_ms;
}

/* ---- patience with the cluster */

/* How long an answer is waited for. Most of librdkafka's questions cannot be ended once they are asked, so that none is asked with all
 * the time there is: a slice of it, and the next one is twice as long, for a cluster that is slow. */
struct patience {
    const struct kafka_bus *kafka;
    int64_t deadline_ms;
    int slice_ms, slice_most_ms;
};

static struct patience patience_of(const struct kafka_bus *kafka, int timeout_ms)
{
    int most_ms = timeout_ms / 4;
    return (struct patience){kafka, deadline_after(timeout_ms), SLICE_MS, most_ms > SLICE_MS ? most_ms : SLICE_MS};
}

static bool is_given_up(const struct kafka_bus *kafka)
{
    return kafka->gives_up != NULL && kafka->gives_up(kafka->gives_up_state);
}

/* For the next question. */
static int patience_slice_ms(const struct patience *patience)
{
    int left_ms = remaining_ms(patience->deadline_ms);
    left_ms = left_ms < patience->slice_ms ? left_ms : patience->slice_ms;
    return left_ms > 0 ? left_ms : 1;
}

static bool patience_lasts(const struct patience *patience)
{
    return remaining_ms(patience->deadline_ms) > 0 && !is_given_up(patience->kafka);
}

/* Sleep a little before asking again. false: the time is over. */
static bool may_retry(struct patience *patience)
{
    int left_ms = remaining_ms(patience->deadline_ms), next_ms = 2 * patience->slice_ms;
    if (!is_given_up(patience->kafka)) {
        poll(NULL, 0, left_ms < RETRY_MS ? left_ms : RETRY_MS);
    }
    patience->slice_ms = next_ms < patience->slice_most_ms ? next_ms : patience->slice_most_ms;
    return patience_lasts(patience);
}

/* For questions whose answers come to a queue: these wait while we look about. Caller owes rd_kafka_event_destroy(), if any came. */
static rd_kafka_event_t *await_answer(rd_kafka_queue_t *queue, const struct patience *patience)
{
    rd_kafka_event_t *answer;
    do {
        int left_ms = remaining_ms(patience->deadline_ms);
        answer = rd_kafka_queue_poll(queue, left_ms < SLICE_MS ? left_ms : SLICE_MS);
    } while (answer == NULL && patience_lasts(patience));
    return answer;
}

static void fail(struct kafka_bus *kafka, const char *reason)
{
    if (!kafka->failed) {
        kafka->failed = true;
        snprintf(kafka->failure, sizeof kafka->failure, "%s", reason);
    }
}

/* Much of what librdkafka logs at its higher levels are steps on the way to success: not for people who did not ask. */
static void take_log(rd_kafka_event_t *event)
{
    const char *facility, *text;
    int level;
    if (log_enabled(LOG_DEBUG) && rd_kafka_event_log(event, &facility, &text, &level) == 0) {
        log_event(LOG_DEBUG, "librdkafka", "facility=%s text=%s", facility, LOG_QUOTED(text));
    }
}

/* ---- topics */

static struct topic *topic_of(struct kafka_bus *kafka, const char *name)
{
    for (struct topic *topic = kafka->topics; topic != NULL; topic = topic->next) {
        if (topic->name == name || strcmp(topic->name, name) == 0) {
            return topic;
        }
    }
    struct topic *topic = calloc(1, sizeof *topic);
    assert(topic != NULL);
    topic->name = strdup(name);
    assert(topic->name != NULL);
    topic->next = kafka->topics;
    kafka->topics = topic;
    return topic;
}

static void topic_free(struct topic *topic)
{
    if (topic->produced != NULL) {
        rd_kafka_topic_destroy(topic->produced);
    }
    if (topic->consumed != NULL) {
        rd_kafka_topic_destroy(topic->consumed);
    }
    free(topic->reading);
    free(topic->name);
    free(topic);
}

static bool error_bad_topic(struct error *error, const char *name)
{
    return error_set(error, ERROR_INVALID, "topic '%s': %s", name, rd_kafka_err2str(rd_kafka_last_error()));
}

static bool error_no_topic(struct error *error, const char *name)
{
    return error_set(error, ERROR_INVALID, "there is no topic '%s'; 'backstep topics' creates it", name);
}

static bool error_no_answer(const struct kafka_bus *kafka, struct error *error, const char *name, rd_kafka_resp_err_t code)
{
    const char *reason = code == RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE ? "a partition of it has no leader: too few of its brokers are up"
                         : code == RD_KAFKA_RESP_ERR__TIMED_OUT         ? "they are slow, or too few of them are up"
                                                                        : rd_kafka_err2str(code);
    return error_set(error, ERROR_TRANSIENT, "topic '%s': no answer from %s in time: %s", name, kafka->brokers, reason);
}

/* `name` in a metadata answer: its partitions, 0 when it is not there, -1 when the cluster cannot say yet. */
static int32_t partitions_in(const struct rd_kafka_metadata *metadata, const char *name, rd_kafka_resp_err_t *code)
{
    for (int i = 0; i < metadata->topic_cnt; i++) {
        const struct rd_kafka_metadata_topic *topic = &metadata->topics[i];
        if (strcmp(topic->topic, name) == 0 && topic->err != RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) {
            *code = topic->err;
            return topic->err == RD_KAFKA_RESP_ERR_NO_ERROR ? topic->partition_cnt : -1;
        }
    }
    return 0;
}

static bool is_refusal(rd_kafka_resp_err_t code)
{
    return code == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED || code == RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION;
}

/* Ask the cluster for `topic` (NULL: list all and look for `name`) until it says something final. `count` 0: there is none. */
static bool ask_partitions(const struct kafka_bus *kafka, rd_kafka_t *handle, const char *name, rd_kafka_topic_t *topic,
                           int32_t *count, struct patience *patience, struct error *error)
{
    rd_kafka_resp_err_t code;
    do {
        const struct rd_kafka_metadata *metadata;
        code = rd_kafka_metadata(handle, topic == NULL, topic, &metadata, patience_slice_ms(patience));
        if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
            *count = partitions_in(metadata, name, &code);
            rd_kafka_metadata_destroy(metadata);
            if (*count >= 0) {
                return true;
            }
        }
        if (is_refusal(code)) {
            return error_set(error, ERROR_INVALID, "topic '%s': %s%s", name, rd_kafka_err2str(code), denial_hint(code));
        }
    } while (may_retry(patience));
    return error_no_answer(kafka, error, name, code);
}

static bool open_for_reading(struct kafka_bus *kafka, struct topic *topic, struct error *error)
{
    if (topic->consumed != NULL) {
        return true;
    }
    rd_kafka_topic_conf_t *conf = rd_kafka_default_topic_conf_dup(kafka->consumer);
    rd_kafka_topic_conf_set_opaque(conf, topic); /* so that a record finds its topic */
    topic->consumed = rd_kafka_topic_new(kafka->consumer, topic->name, conf);
    return topic->consumed != NULL || error_bad_topic(error, topic->name);
}

static bool open_for_writing(struct kafka_bus *kafka, struct topic *topic, struct patience *patience, struct error *error)
{
    if (topic->produced == NULL) {
        topic->produced = rd_kafka_topic_new(kafka->producer, topic->name, NULL);
    }
    int32_t count;
    return topic->produced != NULL
               ? ask_partitions(kafka, kafka->producer, topic->name, topic->produced, &count, patience, error)
               : error_bad_topic(error, topic->name);
}

static bool is_read_anywhere(const struct topic *topic)
{
    for (int32_t partition = 0; partition < topic->reading_count; partition++) {
        if (topic->reading[partition]) {
            return true;
        }
    }
    return false;
}

/* How many partitions it has, without having it made: the mock cluster makes every topic that is asked for by name, and a real broker
 * may, too, unless a consumer that does not allow it asks. */
static bool look_for(struct kafka_bus *kafka, struct topic *topic, int32_t *count, struct patience *patience, struct error *error)
{
    if (kafka->embedded) {
        return ask_partitions(kafka, kafka->consumer, topic->name, NULL, count, patience, error);
    }
    if (!open_for_reading(kafka, topic, error) ||
        !ask_partitions(kafka, kafka->consumer, topic->name, topic->consumed, count, patience, error)) {
        return false;
    }
    if (*count == 0 && !is_read_anywhere(topic)) { /* else librdkafka would go on asking for it */
        rd_kafka_topic_destroy(topic->consumed);
        topic->consumed = NULL;
    }
    return true;
}

/* Learn what the cluster has of `topic`; partitions 0: nothing. The producer asks, too: what is sent before it knows waits up to 1 s. */
static bool topic_refresh(struct kafka_bus *kafka, struct topic *topic, struct patience *patience, struct error *error)
{
    int32_t count = 0;
    if (!look_for(kafka, topic, &count, patience, error) || (count > 0 && !open_for_writing(kafka, topic, patience, error))) {
        return false;
    }
    topic->partitions = count;
    return true;
}

/* The topic with that partition, asking the cluster only where it is not known. */
static struct topic *topic_with(struct kafka_bus *kafka, const char *name, int32_t partition, int timeout_ms, struct error *error)
{
    struct topic *topic = topic_of(kafka, name);
    if (partition >= 0 && partition < topic->partitions) {
        return topic;
    }
    struct patience patience = patience_of(kafka, timeout_ms);
    if (!topic_refresh(kafka, topic, &patience, error)) {
        return NULL;
    }
    if (topic->partitions == 0) {
        error_no_topic(error, name);
        return NULL;
    }
    if (partition < 0 || partition >= topic->partitions) {
        error_set(error, ERROR_INVALID, "topic '%s' has %d partitions: there is no partition %d", name, topic->partitions,
                  partition);
        return NULL;
    }
    return topic;
}

static bool kafka_partition_count(struct bus *bus, const char *name, int32_t *count, int timeout_ms, struct error *error)
{
    struct kafka_bus *kafka = kafka_of(bus);
    struct topic *topic = topic_of(kafka, name);
    struct patience patience = patience_of(kafka, timeout_ms);
    if (!topic_refresh(kafka, topic, &patience, error)) {
        return false;
    }
    if (topic->partitions == 0) {
        return error_no_topic(error, name);
    }
    *count = topic->partitions;
    return true;
}

/* ---- making and verifying topics */

static bool add_settings(rd_kafka_NewTopic_t *new_topic, const char *const *settings, struct error *error)
{
    for (; settings != NULL && *settings != NULL; settings++) {
        const char *equals = strchr(*settings, '=');
        if (equals == NULL || equals == *settings) {
            return error_set(error, ERROR_INVALID, "topic setting '%s': expected NAME=VALUE", *settings);
        }
        char *name = strndup(*settings, (size_t)(equals - *settings));
        assert(name != NULL);
        rd_kafka_NewTopic_set_config(new_topic, name, equals + 1);
        free(name);
    }
    return true;
}

static rd_kafka_NewTopic_t *new_topic_of(const struct bus_topic *topic, struct error *error)
{
    char reason[512];
    int replication = topic->replication > 0 ? topic->replication : -1;
    rd_kafka_NewTopic_t *new_topic = rd_kafka_NewTopic_new(topic->name, topic->partitions, replication, reason, sizeof reason);
    if (new_topic == NULL) {
        error_set(error, ERROR_INVALID, "topic '%s': %s", topic->name, reason);
        return NULL;
    }
    if (!add_settings(new_topic, topic->settings, error) || !add_settings(new_topic, topic->minimums, error) ||
        !add_settings(new_topic, topic->initial, error)) {
        rd_kafka_NewTopic_destroy(new_topic);
        return NULL;
    }
    return new_topic;
}

static rd_kafka_AdminOptions_t *admin_options(struct kafka_bus *kafka, rd_kafka_admin_op_t operation, int timeout_ms)
{
    char reason[128];
    rd_kafka_AdminOptions_t *options = rd_kafka_AdminOptions_new(kafka->producer, operation);
    assert(options != NULL);
    rd_kafka_AdminOptions_set_request_timeout(options, timeout_ms > 0 ? timeout_ms : 1, reason, sizeof reason);
    return options;
}

/* What became of it: NO_ERROR also where the topic was there. `reason` is filled else. */
static rd_kafka_resp_err_t created_code(rd_kafka_event_t *answer, char *reason, size_t reason_size)
{
    rd_kafka_resp_err_t code = answer == NULL ? RD_KAFKA_RESP_ERR__TIMED_OUT : rd_kafka_event_error(answer);
    const char *text = answer == NULL ? NULL : rd_kafka_event_error_string(answer);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        size_t count = 0;
        const rd_kafka_topic_result_t **results =
            rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(answer), &count);
        assert(count == 1);
        code = rd_kafka_topic_result_error(results[0]);
        text = rd_kafka_topic_result_error_string(results[0]);
    }
    snprintf(reason, reason_size, "%s", text != NULL ? text : rd_kafka_err2str(code));
    return code == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS ? RD_KAFKA_RESP_ERR_NO_ERROR : code;
}

static bool is_transient(rd_kafka_resp_err_t code)
{
    switch ((int)code) {
    case RD_KAFKA_RESP_ERR__TIMED_OUT:
    case RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE:
    case RD_KAFKA_RESP_ERR__TRANSPORT:
    case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
    case RD_KAFKA_RESP_ERR__WAIT_COORD:
    case RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION:
    case RD_KAFKA_RESP_ERR_BROKER_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_REPLICA_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR:
    case RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_UNKNOWN_LEADER_EPOCH:
    case RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH:
    case RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT:
    case RD_KAFKA_RESP_ERR_NETWORK_EXCEPTION:
    case RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS:
    case RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_NOT_COORDINATOR:
    case RD_KAFKA_RESP_ERR_NOT_CONTROLLER: return true;
    default: return false;
    }
}

static rd_kafka_resp_err_t create_once(struct kafka_bus *kafka, rd_kafka_NewTopic_t *new_topic, const struct patience *patience,
                                       char *reason, size_t reason_size)
{
    rd_kafka_AdminOptions_t *options = admin_options(kafka, RD_KAFKA_ADMIN_OP_CREATETOPICS, remaining_ms(patience->deadline_ms));
    rd_kafka_queue_t *queue = rd_kafka_queue_new(kafka->producer);
    rd_kafka_CreateTopics(kafka->producer, &new_topic, 1, options, queue);
    rd_kafka_event_t *answer = await_answer(queue, patience);
    rd_kafka_resp_err_t code = created_code(answer, reason, reason_size);
    if (answer != NULL) {
        rd_kafka_event_destroy(answer);
    }
    rd_kafka_queue_destroy(queue);
    rd_kafka_AdminOptions_destroy(options);
    return code;
}

static bool create_topic(struct kafka_bus *kafka, const struct bus_topic *topic, struct patience *patience, struct error *error)
{
    rd_kafka_NewTopic_t *new_topic = new_topic_of(topic, error);
    if (new_topic == NULL) {
        return false;
    }
    char reason[512];
    rd_kafka_resp_err_t code;
    do {
        code = create_once(kafka, new_topic, patience, reason, sizeof reason);
    } while (is_transient(code) && may_retry(patience));
    rd_kafka_NewTopic_destroy(new_topic);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        return true;
    }
    return error_set(error, is_transient(code) ? ERROR_TRANSIENT : ERROR_INVALID, "topic '%s' cannot be created: %s%s", topic->name,
                     reason, denial_hint(code));
}

/* A topic just made is not known to every broker at once. */
static bool await_topic(struct kafka_bus *kafka, struct topic *topic, struct patience *patience, struct error *error)
{
    do {
        if (!topic_refresh(kafka, topic, patience, error)) {
            return false;
        }
        if (topic->partitions > 0) {
            return true;
        }
    } while (may_retry(patience));
    return error_set(error, ERROR_TRANSIENT, "topic '%s' was created, but is not there yet", topic->name);
}

static rd_kafka_resp_err_t ask_every_leader(struct kafka_bus *kafka, const struct topic *topic, int timeout_ms)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(topic->partitions);
    for (int32_t i = 0; i < topic->partitions; i++) {
        rd_kafka_topic_partition_list_add(list, topic->name, i)->offset = 0;
    }
    rd_kafka_resp_err_t code = rd_kafka_offsets_for_times(kafka->consumer, list, timeout_ms);
    for (int i = 0; i < list->cnt && code == RD_KAFKA_RESP_ERR_NO_ERROR; i++) {
        code = list->elems[i].err;
    }
    rd_kafka_topic_partition_list_destroy(list);
    return code;
}

/* A broker tells of a new topic some milliseconds before it leads its partitions. Of the records that come meanwhile the first
 * may be refused and the second, already on its way, accepted: a broker that knows nothing of a producer yet takes any number
 * for its first. So we wait until each leader answers. */
static bool await_leaders(struct kafka_bus *kafka, const struct topic *topic, struct patience *patience, struct error *error)
{
    rd_kafka_resp_err_t code;
    do {
        code = ask_every_leader(kafka, topic, patience_slice_ms(patience));
        if (code == RD_KAFKA_RESP_ERR_NO_ERROR || is_refusal(code)) {
            return true; /* who may not read it will be told when he tries */
        }
    } while (may_retry(patience));
    return error_no_answer(kafka, error, topic->name, code);
}

/* A number of which -1 is the greatest, as in retention.ms. */
static uint64_t unbounded(const char *value)
{
    return (uint64_t)strtoll(value, NULL, 10);
}

static const char *value_in(const rd_kafka_ConfigEntry_t **entries, size_t count, struct span name)
{
    for (size_t i = 0; i < count; i++) {
        if (span_equal(span_of(rd_kafka_ConfigEntry_name(entries[i])), name)) {
            return rd_kafka_ConfigEntry_value(entries[i]);
        }
    }
    return NULL;
}

static bool settings_fit(const struct kafka_bus *kafka, const struct bus_topic *topic, const rd_kafka_ConfigEntry_t **entries,
                         size_t count, const char *const *settings, bool at_least, struct error *error)
{
    for (; settings != NULL && *settings != NULL; settings++) {
        const char *wanted = strchr(*settings, '=') + 1;
        struct span name = {*settings, (size_t)(wanted - *settings) - 1};
        const char *value = value_in(entries, count, name);
        if (value == NULL || strcmp(value, wanted) == 0 || (at_least && unbounded(value) >= unbounded(wanted))) {
            continue;
        }
        return error_set(
            error, ERROR_INVALID,
            "topic '%s' has %.*s=%s, not %s%s; mend it with: kafka-configs.sh --bootstrap-server %s --alter --entity-type "
            "topics --entity-name %s --add-config %s",
            topic->name, SPAN_ARGS(name), value, at_least ? "at least " : "", wanted, kafka->brokers, topic->name, *settings);
    }
    return true;
}

static bool verify_answer(struct kafka_bus *kafka, const struct bus_topic *topic, rd_kafka_event_t *answer, struct error *error)
{
    rd_kafka_resp_err_t code = answer == NULL ? RD_KAFKA_RESP_ERR__TIMED_OUT : rd_kafka_event_error(answer);
    const rd_kafka_ConfigResource_t *resource = NULL;
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        size_t count = 0;
        resource = rd_kafka_DescribeConfigs_result_resources(rd_kafka_event_DescribeConfigs_result(answer), &count)[0];
        assert(count == 1);
        code = rd_kafka_ConfigResource_error(resource);
    }
    if (code == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED || code == RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED) {
        return true; /* who may use a topic need not be allowed to look at its settings */
    }
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        return error_set(error, ERROR_TRANSIENT, "topic '%s': its settings could not be read: %s", topic->name,
                         rd_kafka_err2str(code));
    }
    size_t count;
    const rd_kafka_ConfigEntry_t **entries = rd_kafka_ConfigResource_configs(resource, &count);
    return settings_fit(kafka, topic, entries, count, topic->settings, false, error) &&
           settings_fit(kafka, topic, entries, count, topic->minimums, true, error);
}

static bool verify_once(struct kafka_bus *kafka, const struct bus_topic *topic, const struct patience *patience, struct error *error)
{
    int left_ms = remaining_ms(patience->deadline_ms);
    rd_kafka_AdminOptions_t *options = admin_options(kafka, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS, left_ms);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(kafka->producer);
    rd_kafka_ConfigResource_t *resource = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic->name);
    rd_kafka_DescribeConfigs(kafka->producer, &resource, 1, options, queue);
    rd_kafka_event_t *answer = await_answer(queue, patience);
    bool ok = verify_answer(kafka, topic, answer, error);
    if (answer != NULL) {
        rd_kafka_event_destroy(answer);
    }
    rd_kafka_ConfigResource_destroy(resource);
    rd_kafka_queue_destroy(queue);
    rd_kafka_AdminOptions_destroy(options);
    return ok;
}

static bool verify_settings(struct kafka_bus *kafka, const struct bus_topic *topic, struct patience *patience, struct error *error)
{
    if (topic->settings == NULL && topic->minimums == NULL) {
        return true;
    }
    struct error latest = {0};
    do {
        if (verify_once(kafka, topic, patience, &latest)) {
            return true;
        }
    } while (latest.kind == ERROR_TRANSIENT && may_retry(patience));
    return error_set(error, latest.kind, "%s", latest.message);
}

static bool verify_topic(struct kafka_bus *kafka, const struct bus_topic *wanted, const struct topic *topic, struct patience *patience,
                         struct error *error)
{
    if (wanted->partitions_exact > 0 && topic->partitions != wanted->partitions_exact) {
        return error_set(error, ERROR_INVALID, "topic '%s' has %d partitions, not %d", topic->name, topic->partitions,
                         wanted->partitions_exact);
    }
    return verify_settings(kafka, wanted, patience, error);
}

static bool kafka_ensure_topic(struct bus *bus, const struct bus_topic *wanted, bool create, int32_t *partitions, int timeout_ms,
                               struct error *error)
{
    struct kafka_bus *kafka = kafka_of(bus);
    struct topic *topic = topic_of(kafka, wanted->name);
    struct patience patience = patience_of(kafka, timeout_ms);
    if (!topic_refresh(kafka, topic, &patience, error)) {
        return false;
    }
    if (topic->partitions == 0) {
        if (!create) {
            return error_no_topic(error, wanted->name);
        }
        /* The mock cluster has no CreateTopics: asking for it is what makes it. */
        bool created =
            kafka->embedded ? open_for_writing(kafka, topic, &patience, error) : create_topic(kafka, wanted, &patience, error);
        if (!created || !await_topic(kafka, topic, &patience, error) ||
            (!kafka->embedded && !await_leaders(kafka, topic, &patience, error))) {
            return false;
        }
    }
    if (!kafka->embedded && !verify_topic(kafka, wanted, topic, &patience, error)) {
        return false;
    }
    if (partitions != NULL) {
        *partitions = topic->partitions;
    }
    return true;
}

/* The one topic asked for: what became of it, and why in `reason`. */
static rd_kafka_resp_err_t deleted_code(rd_kafka_event_t *answer, char *reason, size_t size)
{
    rd_kafka_resp_err_t code = answer == NULL ? RD_KAFKA_RESP_ERR__TIMED_OUT : rd_kafka_event_error(answer);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        size_t count = 0;
        code =
            rd_kafka_topic_result_error(rd_kafka_DeleteTopics_result_topics(rd_kafka_event_DeleteTopics_result(answer), &count)[0]);
        assert(count == 1);
    }
    snprintf(reason, size, "%s", rd_kafka_err2str(code));
    return code;
}

static bool kafka_delete_topic(struct bus *bus, const char *name, int timeout_ms, struct error *error)
{
    struct kafka_bus *kafka = kafka_of(bus);
    if (kafka->embedded) {
        return true;
    }
    rd_kafka_AdminOptions_t *options = admin_options(kafka, RD_KAFKA_ADMIN_OP_DELETETOPICS, timeout_ms);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(kafka->producer);
    rd_kafka_DeleteTopic_t *topic = rd_kafka_DeleteTopic_new(name);
    char reason[512];
    rd_kafka_DeleteTopics(kafka->producer, &topic, 1, options, queue);
    struct patience patience = patience_of(kafka, timeout_ms + RETRY_MS);
    rd_kafka_event_t *answer = await_answer(queue, &patience);
    rd_kafka_resp_err_t code = deleted_code(answer, reason, sizeof reason);
    if (answer != NULL) {
        rd_kafka_event_destroy(answer);
    }
    rd_kafka_DeleteTopic_destroy(topic);
    rd_kafka_queue_destroy(queue);
    rd_kafka_AdminOptions_destroy(options);
    return code == RD_KAFKA_RESP_ERR_NO_ERROR || code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART ||
           error_set(error, is_transient(code) ? ERROR_TRANSIENT : ERROR_INVALID, "topic '%s' cannot be deleted: %s", name, reason);
}

/* ---- offsets */

static void kafka_delete_before(struct bus *bus, const char *topic, int32_t partition, int64_t offset)
{
    struct kafka_bus *kafka = kafka_of(bus);
    if (kafka->embedded) {
        return;
    }
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic, partition)->offset = offset;
    rd_kafka_DeleteRecords_t *wanted = rd_kafka_DeleteRecords_new(list);
    rd_kafka_AdminOptions_t *options = admin_options(kafka, RD_KAFKA_ADMIN_OP_DELETERECORDS, kafka->timeout_ms);
    rd_kafka_DeleteRecords(kafka->producer, &wanted, 1, options, kafka->producer_events); /* the answer is an event among others */
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_DeleteRecords_destroy(wanted);
    rd_kafka_topic_partition_list_destroy(list);
}

/* The producer asks: a broker answers one request of a connection after the other, and a consumer's fetch waits for up to 100 ms. */
static rd_kafka_resp_err_t ask_offset_at(struct kafka_bus *kafka, const char *name, int32_t partition, int64_t time_ms,
                                         int64_t *offset, int timeout_ms)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_t *asked = rd_kafka_topic_partition_list_add(list, name, partition);
    asked->offset = time_ms;
    rd_kafka_resp_err_t code = rd_kafka_offsets_for_times(kafka->producer, list, timeout_ms);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        code = asked->err;
        *offset = asked->offset;
    }
    rd_kafka_topic_partition_list_destroy(list);
    return code;
}

/* The protocol asks for both ends as for times. librdkafka's own question for them knows no timeout but that of a request, a minute, and
 * asks again after it. */
static rd_kafka_resp_err_t ask_bounds(struct kafka_bus *kafka, const char *name, int32_t partition, int64_t *first, int64_t *next,
                                      int timeout_ms)
{
    rd_kafka_resp_err_t code = ask_offset_at(kafka, name, partition, RD_KAFKA_OFFSET_BEGINNING, first, timeout_ms);
    return code == RD_KAFKA_RESP_ERR_NO_ERROR ? ask_offset_at(kafka, name, partition, RD_KAFKA_OFFSET_END, next, timeout_ms) : code;
}

static bool find_bounds(struct kafka_bus *kafka, const char *name, int32_t partition, int64_t *first, int64_t *next,
                        struct patience *patience, struct error *error)
{
    rd_kafka_resp_err_t code;
    do {
        code = ask_bounds(kafka, name, partition, first, next, patience_slice_ms(patience));
        if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
            return true;
        }
    } while (!is_refusal(code) && may_retry(patience));
    return error_no_answer(kafka, error, name, code);
}

static bool kafka_bounds(struct bus *bus, const char *name, int32_t partition, int64_t *first, int64_t *next, int timeout_ms,
                         struct error *error)
{
    struct kafka_bus *kafka = kafka_of(bus);
    struct patience patience = patience_of(kafka, timeout_ms);
    return topic_with(kafka, name, partition, timeout_ms, error) != NULL &&
           find_bounds(kafka, name, partition, first, next, &patience, error);
}

static bool kafka_offset_at(struct bus *bus, const char *name, int32_t partition, int64_t time_ms, int64_t *offset, int timeout_ms,
                            struct error *error)
{
    struct kafka_bus *kafka = kafka_of(bus);
    struct patience patience = patience_of(kafka, timeout_ms);
    int64_t first, next;
    if (kafka->embedded) {
        return kafka_bounds(bus, name, partition, offset, &next, timeout_ms, error);
    }
    if (topic_with(kafka, name, partition, timeout_ms, error) == NULL) {
        return false;
    }
    rd_kafka_resp_err_t code;
    do {
        code = ask_offset_at(kafka, name, partition, time_ms, offset, patience_slice_ms(&patience));
        if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
            return *offset >= 0 || find_bounds(kafka, name, partition, &first, offset, &patience, error);
        }
    } while (!is_refusal(code) && may_retry(&patience));
    return error_no_answer(kafka, error, name, code);
}

/* ---- the group, and what it commits */

#define FIRST_THAT_FORGIVES 0x02030000 /* librdkafka 2.3.0; see keeper_destroy() */
#define DESTROY_MS 2000 /* of patience with the destruction of a member */
#define LEAVE_SLICE_MS 20 /* between two looks at whether we are out */
#define KEEPER_SLICE_MS 500 /* between two looks at whether the group is refused */

static bool keeper_new(struct kafka_bus *kafka, const char *group, struct error *error)
{
    char session[16];
    snprintf(session, sizeof session, "%d", kafka->session_ms);
    const struct property own[] = {{"group.id", group},
                                   {kafka->session_ms > 0 ? "session.timeout.ms" : NULL, session},
                                   {"heartbeat.interval.ms", "300"}, /* in which a member learns that another has left */
                                   {"partition.assignment.strategy", "cooperative-sticky"},
                                   {NULL, NULL}};
    const struct bus_kafka_options options = {
        .brokers = kafka->brokers, .client_id = kafka->client_id, .properties = kafka->given, .property_count = kafka->given_count};
    kafka->keeper = handle_new(RD_KAFKA_CONSUMER, consumer_properties, own, &options, kafka, error);
    if (kafka->keeper == NULL) {
        return false;
    }
    kafka->keeper_group = strdup(group);
    kafka->group_events = rd_kafka_queue_get_consumer(kafka->keeper);
    listen_to(kafka, kafka->group_events);
    return true;
}

/* A handle that belongs to the group and reads nothing. Where it has not joined, it only knows who coordinates the group. */
static rd_kafka_t *keeper_of(struct kafka_bus *kafka, const char *group, struct error *error)
{
    if (kafka->keeper == NULL && !keeper_new(kafka, group, error)) {
        return NULL;
    }
    assert(strcmp(kafka->keeper_group, group) == 0); /* one prefix, one group */
    rd_kafka_queue_t *queue = rd_kafka_queue_get_main(kafka->keeper); /* what it has to say there, the other handles say too */
    for (rd_kafka_event_t *event; (event = rd_kafka_queue_poll(queue, 0)) != NULL; rd_kafka_event_destroy(event)) {
    }
    rd_kafka_queue_destroy(queue);
    return kafka->keeper;
}

/* Ends us, or is mended by librdkafka alone. */
static bool is_group_refusal(rd_kafka_resp_err_t code)
{
    return code == RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED || code == RD_KAFKA_RESP_ERR_INVALID_SESSION_TIMEOUT ||
           code == RD_KAFKA_RESP_ERR_INCONSISTENT_GROUP_PROTOCOL || code == RD_KAFKA_RESP_ERR_INVALID_GROUP_ID ||
           code == RD_KAFKA_RESP_ERR_GROUP_MAX_SIZE_REACHED || code == RD_KAFKA_RESP_ERR__FATAL;
}

static const char *group_hint(rd_kafka_resp_err_t code)
{
    switch ((int)code) {
    case RD_KAFKA_RESP_ERR_INVALID_SESSION_TIMEOUT:
        return "; --session-timeout must lie between the broker's group.min.session.timeout.ms and group.max.session.timeout.ms";
    case RD_KAFKA_RESP_ERR_INCONSISTENT_GROUP_PROTOCOL: return "; somebody else is in that group";
    default: return denial_hint(code);
    }
}

static void take_group_error(struct kafka_bus *kafka, rd_kafka_event_t *event)
{
    rd_kafka_resp_err_t code = rd_kafka_event_error(event);
    if (!is_group_refusal(code)) {
        log_event(LOG_DEBUG, "group_trouble", "error=%s", LOG_QUOTED(rd_kafka_event_error_string(event)));
        return;
    }
    kafka->group_refusal = code;
    if (kafka->session_ms > 0) {
        char reason[512];
        snprintf(reason, sizeof reason, "group '%.120s' does not take us with a session of %d ms: %.120s%s", kafka->keeper_group,
                 kafka->session_ms, code == RD_KAFKA_RESP_ERR__FATAL ? rd_kafka_event_error_string(event) : rd_kafka_err2str(code),
                 group_hint(code));
        fail(kafka, reason);
    }
}

static void remember_dealt(struct kafka_bus *kafka, const struct dealt *dealt)
{
    if (kafka->dealt_next == kafka->dealt_count) {
        kafka->dealt_next = kafka->dealt_count = 0;
    }
    if (kafka->dealt_count == kafka->dealt_capacity) {
        kafka->dealt = grow(kafka->dealt, &kafka->dealt_capacity, sizeof *kafka->dealt);
    }
    kafka->dealt[kafka->dealt_count++] = *dealt;
}

/* librdkafka begins to read what it is given, and wants to know that we agree; it is paused, for we read by ourselves. */
static rd_kafka_error_t *agree(rd_kafka_t *keeper, rd_kafka_topic_partition_list_t *list, bool given)
{
    if (!given) {
        return rd_kafka_incremental_unassign(keeper, list);
    }
    for (int i = 0; i < list->cnt; i++) {
        list->elems[i].offset = RD_KAFKA_OFFSET_END;
    }
    rd_kafka_error_t *failure = rd_kafka_incremental_assign(keeper, list);
    rd_kafka_pause_partitions(keeper, list);
    return failure;
}

static void take_rebalance(struct kafka_bus *kafka, rd_kafka_event_t *event)
{
    bool given = rd_kafka_event_error(event) == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
    rd_kafka_topic_partition_list_t *list = rd_kafka_event_topic_partition_list(event);
    kafka->was_dealt = kafka->was_dealt || given;
    struct dealt dealt = {.kind = given ? BUS_ASSIGNED : BUS_REVOKED, .lost = !given && rd_kafka_assignment_lost(kafka->keeper)};
    for (int i = 0; i < list->cnt; i++) {
        dealt.partition = list->elems[i].partition;
        remember_dealt(kafka, &dealt);
    }
    rd_kafka_error_t *failure = agree(kafka->keeper, list, given);
    if (failure != NULL) {
        log_event(LOG_WARN, "group_trouble", "error=%s", LOG_QUOTED(rd_kafka_error_string(failure)));
        rd_kafka_error_destroy(failure);
    }
}

static bool take_group_from(struct kafka_bus *kafka, rd_kafka_queue_t *queue, int timeout_ms)
{
    rd_kafka_event_t *event;
    bool some = false;
    while (queue != NULL && (event = rd_kafka_queue_poll(queue, timeout_ms)) != NULL) {
        some = true;
        timeout_ms = 0;
        switch (rd_kafka_event_type(event)) {
        case RD_KAFKA_EVENT_REBALANCE: take_rebalance(kafka, event); break;
        case RD_KAFKA_EVENT_ERROR: take_group_error(kafka, event); break;
        case RD_KAFKA_EVENT_LOG: take_log(event); break;
        default: break; /* read before it was paused */
        }
        rd_kafka_event_destroy(event);
    }
    return some;
}

/* Nothing wakes us for it where the group has no partition for us. */
static void look_whether_in(struct kafka_bus *kafka)
{
    if (kafka->session_ms > 0 && !kafka->joined) {
        char *id = rd_kafka_memberid(kafka->keeper);
        kafka->joined = id != NULL && id[0] != '\0';
        if (id != NULL) {
            rd_kafka_mem_free(kafka->keeper, id);
        }
    }
}

static bool take_group(struct kafka_bus *kafka)
{
    bool was_in = kafka->joined;
    look_whether_in(kafka);
    return take_group_from(kafka, kafka->group_events, 0) || kafka->joined != was_in;
}

static bool kafka_join(struct bus *bus, const char *group, const char *topic, int session_ms, struct error *error)
{
    struct kafka_bus *kafka = kafka_of(bus);
    assert(kafka->keeper == NULL && session_ms > 0 && !kafka->embedded);
    kafka->session_ms = session_ms;
    kafka->dealt_topic = topic_of(kafka, topic);
    rd_kafka_t *keeper = keeper_of(kafka, group, error);
    if (keeper == NULL) {
        return false;
    }
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic, RD_KAFKA_PARTITION_UA);
    rd_kafka_resp_err_t code = rd_kafka_subscribe(keeper, list);
    rd_kafka_topic_partition_list_destroy(list);
    return code == RD_KAFKA_RESP_ERR_NO_ERROR ||
           error_set(error, ERROR_INVALID, "group '%s' cannot be joined: %s", group, rd_kafka_err2str(code));
}

static void kafka_leave(struct bus *bus, int timeout_ms)
{
    struct kafka_bus *kafka = kafka_of(bus);
    if (kafka->session_ms == 0 || kafka->keeper == NULL) {
        return;
    }
    int64_t deadline_ms = deadline_after(timeout_ms);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(kafka->keeper);
    rd_kafka_error_t *failure = rd_kafka_consumer_close_queue(kafka->keeper, queue);
    while (failure == NULL && !rd_kafka_consumer_closed(kafka->keeper) && remaining_ms(deadline_ms) > 0) {
        take_group_from(kafka, queue, LEAVE_SLICE_MS);
    }
    if (failure != NULL) {
        rd_kafka_error_destroy(failure);
    }
    rd_kafka_queue_destroy(queue);
}

static bool kafka_members(struct bus *bus, const char *group, int *count, int timeout_ms, struct error *error)
{
    struct kafka_bus *kafka = kafka_of(bus);
    struct patience patience = patience_of(kafka, timeout_ms);
    rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_NO_ERROR;
    *count = 0;
    while (!kafka->embedded) {
        const struct rd_kafka_group_list *groups = NULL;
        code = rd_kafka_list_groups(kafka->producer, group, &groups, patience_slice_ms(&patience));
        for (int i = 0; code == RD_KAFKA_RESP_ERR_NO_ERROR && i < groups->group_cnt; i++) {
            code = groups->groups[i].err;
            *count += groups->groups[i].member_cnt;
        }
        if (groups != NULL) {
            rd_kafka_group_list_destroy(groups);
        }
        if (!is_transient(code) || !may_retry(&patience)) {
            break;
        }
    }
    return code == RD_KAFKA_RESP_ERR_NO_ERROR ||
           error_set(error, is_transient(code) ? ERROR_TRANSIENT : ERROR_INVALID, "who is in group '%s' cannot be read: %s%s", group,
                     rd_kafka_err2str(code), denial_hint(code));
}

/* Who may not use the group is told so on the way, while librdkafka asks on in vain. */
static rd_kafka_resp_err_t ask_committed(struct kafka_bus *kafka, rd_kafka_topic_partition_list_t *asked, int timeout_ms)
{
    rd_kafka_resp_err_t code = rd_kafka_committed(kafka->keeper, asked, timeout_ms > 0 ? timeout_ms : 1);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        take_group(kafka);
        code = kafka->group_refusal != RD_KAFKA_RESP_ERR_NO_ERROR ? kafka->group_refusal : code;
    }
    return code == RD_KAFKA_RESP_ERR_NO_ERROR ? asked->elems[0].err : code;
}

static bool kafka_committed(struct bus *bus, const char *group, const char *topic, int32_t partition, int64_t *offset,
                            char metadata[BUS_METADATA_BYTES], int timeout_ms, struct error *error)
{
    struct kafka_bus *kafka = kafka_of(bus);
    struct patience patience = patience_of(kafka, timeout_ms);
    *offset = -1;
    metadata[0] = '\0';
    if (kafka->embedded) {
        return true;
    }
    if (keeper_of(kafka, group, error) == NULL) {
        return false;
    }
    rd_kafka_topic_partition_list_t *asked = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_t *one = rd_kafka_topic_partition_list_add(asked, topic, partition);
    rd_kafka_resp_err_t code;
    do {
        int left_ms = remaining_ms(patience.deadline_ms);
        code = ask_committed(kafka, asked, left_ms < KEEPER_SLICE_MS ? left_ms : KEEPER_SLICE_MS);
    } while (is_transient(code) && may_retry(&patience));
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR && one->offset >= 0) {
        *offset = one->offset;
        snprintf(metadata, BUS_METADATA_BYTES, "%.*s", (int)one->metadata_size,
                 one->metadata_size > 0 ? (const char *)one->metadata : "");
    }
    rd_kafka_topic_partition_list_destroy(asked);
    return code == RD_KAFKA_RESP_ERR_NO_ERROR ||
           error_set(error, is_transient(code) ? ERROR_TRANSIENT : ERROR_INVALID, "the offset of group '%s' on '%s' cannot be read: %s%s",
                     group, topic, rd_kafka_err2str(code), denial_hint(code));
}

static void on_committed(rd_kafka_t *keeper, rd_kafka_resp_err_t code, rd_kafka_topic_partition_list_t *list, void *opaque)
{
    (void)keeper, (void)opaque;
    code = code == RD_KAFKA_RESP_ERR_NO_ERROR && list != NULL && list->cnt > 0 ? list->elems[0].err : code;
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        log_event(LOG_WARN, "not_committed", "error=%s", LOG_QUOTED(rd_kafka_err2str(code)));
    }
}

static void kafka_commit(struct bus *bus, const char *group, const char *topic, int32_t partition, int64_t offset, const char *metadata)
{
    struct kafka_bus *kafka = kafka_of(bus);
    struct error error;
    rd_kafka_t *keeper = kafka->embedded ? NULL : keeper_of(kafka, group, &error);
    if (keeper == NULL) {
        return;
    }
    if (kafka->commits == NULL) {
        kafka->commits = rd_kafka_queue_new(keeper);
    }
    rd_kafka_queue_poll_callback(kafka->commits, 0); /* what became of those before */
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_t *one = rd_kafka_topic_partition_list_add(list, topic, partition);
    one->offset = offset;
    one->metadata = strdup(metadata); /* the list's from here on */
    one->metadata_size = one->metadata != NULL ? strlen(metadata) : 0;
    rd_kafka_resp_err_t code = rd_kafka_commit_queue(keeper, list, kafka->commits, on_committed, NULL);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        on_committed(keeper, code, NULL, NULL);
    }
    rd_kafka_topic_partition_list_destroy(list);
}

/* ---- reading */

static void reserve_reading(struct topic *topic)
{
    if (topic->reading_count >= topic->partitions) {
        return;
    }
    topic->reading = realloc(topic->reading, (size_t)topic->partitions * sizeof *topic->reading);
    assert(topic->reading != NULL);
    memset(topic->reading + topic->reading_count, 0, (size_t)(topic->partitions - topic->reading_count) * sizeof *topic->reading);
    topic->reading_count = topic->partitions;
}

static bool kafka_consume(struct bus *bus, const char *name, int32_t partition, int64_t offset, struct error *error)
{
    struct kafka_bus *kafka = kafka_of(bus);
    struct topic *topic = topic_with(kafka, name, partition, kafka->timeout_ms, error);
    if (topic == NULL || !open_for_reading(kafka, topic, error)) {
        return false;
    }
    reserve_reading(topic);
    assert(!topic->reading[partition]);
    if (rd_kafka_consume_start_queue(topic->consumed, partition, offset, kafka->records) != 0) {
        return error_set(error, ERROR_INVALID, "topic '%s' [%d] cannot be read: %s", name, partition,
                         rd_kafka_err2str(rd_kafka_last_error()));
    }
    topic->reading[partition] = true;
    return true;
}

static bool is_reading(const struct topic *topic, int32_t partition)
{
    return partition >= 0 && partition < topic->reading_count && topic->reading[partition];
}

/* What librdkafka still holds of it carries an old version and is dropped there; what we hold is dropped here. */
static void stop_reading(struct kafka_bus *kafka, struct topic *topic, int32_t partition)
{
    rd_kafka_consume_stop(topic->consumed, partition);
    topic->reading[partition] = false;
    size_t kept = kafka->batch_next;
    for (size_t i = kafka->batch_next; i < kafka->batch_count; i++) {
        rd_kafka_message_t *message = kafka->batch[i];
        if (message->partition == partition && rd_kafka_topic_opaque(message->rkt) == topic) {
            rd_kafka_message_destroy(message);
        } else {
            kafka->batch[kept++] = message;
        }
    }
    kafka->batch_count = kept;
}

static void kafka_stop(struct bus *bus, const char *name, int32_t partition)
{
    struct topic *topic = topic_of(kafka_of(bus), name);
    if (is_reading(topic, partition)) {
        stop_reading(kafka_of(bus), topic, partition);
    }
}

/* ---- sending */

/* Each with the lengths of its name and value, which take 5 bytes at most. */
static size_t headers_bytes(const struct bus_send *send)
{
    size_t bytes = 0;
    for (size_t i = 0; i < send->header_count; i++) {
        bytes += strlen(send->headers[i].name) + send->headers[i].value.size + 10;
    }
    return bytes;
}

static rd_kafka_headers_t *headers_of(const struct bus_send *send)
{
    rd_kafka_headers_t *headers = rd_kafka_headers_new(send->header_count);
    for (size_t i = 0; i < send->header_count; i++) {
        const struct bus_header *header = &send->headers[i];
        rd_kafka_header_add(headers, header->name, -1, header->value.size > 0 ? header->value.bytes : "",
                            (ssize_t)header->value.size);
    }
    return headers;
}

static rd_kafka_resp_err_t produce(rd_kafka_t *producer, const struct kept *kept, const char *bytes)
{
    const char *key = kept->key_size > 0 ? bytes : NULL;
    const char *value = kept->value_size > 0 ? bytes + kept->key_size : "";
    const rd_kafka_vu_t arguments[] = {
        {.vtype = RD_KAFKA_VTYPE_RKT, .u.rkt = kept->topic->produced},
        {.vtype = RD_KAFKA_VTYPE_PARTITION, .u.i32 = kept->partition},
        {.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY},
        {.vtype = RD_KAFKA_VTYPE_KEY, .u.mem = {(void *)(uintptr_t)key, kept->key_size}},
        {.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {(void *)(uintptr_t)value, kept->value_size}},
        {.vtype = RD_KAFKA_VTYPE_OPAQUE, .u.ptr = (void *)(uintptr_t)kept->cookie},
        {.vtype = RD_KAFKA_VTYPE_HEADERS, .u.headers = kept->headers},
    };
    is_producing = true;
    rd_kafka_error_t *failure = rd_kafka_produceva(producer, arguments, sizeof arguments / sizeof arguments[0]);
    is_producing = false;
    if (failure == NULL) {
        return RD_KAFKA_RESP_ERR_NO_ERROR; /* which takes the headers, too */
    }
    rd_kafka_resp_err_t code = rd_kafka_error_code(failure);
    rd_kafka_error_destroy(failure);
    return code;
}

/* Before it is sent: its report may come at once. */
static void count_sent(struct reports *reports, size_t bytes)
{
    atomic_fetch_add(&reports->backlog_records, 1);
    atomic_fetch_add(&reports->backlog_bytes, bytes);
}

static void keep(struct basket *basket, struct topic *topic, const struct bus_send *send)
{
    if (basket->count == basket->capacity) {
        basket->kept = grow(basket->kept, &basket->capacity, sizeof *basket->kept);
    }
    basket->kept[basket->count++] = (struct kept){.topic = topic,
                                                  .headers = headers_of(send),
                                                  .cookie = send->cookie | (send->lazy ? LAZY_BIT : 0),
                                                  .partition = send->partition,
                                                  .key_size = (uint32_t)send->key.size,
                                                  .value_size = (uint32_t)send->value.size,
                                                  .can_wait = send->can_wait};
    text_append_span(&basket->bytes, send->key);
    text_append_span(&basket->bytes, send->value);
    assert(!basket->bytes.overflow);
}

/* A record that is refused now is one whose delivery has failed: what was sent before it is under way. */
static void refuse(struct kafka_bus *kafka, const struct kept *kept, rd_kafka_resp_err_t code)
{
    struct reports *reports = &kafka->reports;
    pthread_mutex_lock(&reports->mutex);
    note_failure(reports, kept->topic->name, kept->partition, code);
    fail(kafka, reports->failure);
    pthread_mutex_unlock(&reports->mutex);
}

/* Of what goes to a record's partition together with it, at the least: without headers, and numbers taken for small ones. */
static size_t bytes_together(const struct basket *basket, const struct kept *kept)
{
    size_t bytes = BATCH_HEAD_BYTES;
    for (const struct kept *other = basket->kept; other < basket->kept + basket->count; other++) {
        if (other->topic == kept->topic && other->partition == kept->partition) {
            bytes += RECORD_HEAD_BYTES + other->key_size + other->value_size;
        }
    }
    return bytes;
}

/* What goes alone and is not to wait is made long enough for a patient reader to hear of it at once. Where many go together there is no
 * need, or so much to do that the next ones make up for it. */
static void fill_up(struct basket *basket)
{
    char filling[BUS_PROMPT_BYTES];
    if (basket->done > 0 || basket->count > FILLED_RECORDS_MAX) {
        return;
    }
    memset(filling, '.', sizeof filling); /* some print headers as text */
    for (struct kept *kept = basket->kept; kept < basket->kept + basket->count; kept++) {
        size_t bytes = kept->can_wait ? BUS_PROMPT_BYTES : bytes_together(basket, kept);
        if (bytes < BUS_PROMPT_BYTES) {
            rd_kafka_header_add(kept->headers, "fill", -1, filling, (ssize_t)(BUS_PROMPT_BYTES - bytes));
            kept->can_wait = true; /* it is long enough, if librdkafka has no room for it now */
        }
    }
}

/* false: not all of it. What librdkafka's queue has no room for keeps its place. */
static bool empty_basket(struct kafka_bus *kafka)
{
    struct basket *basket = &kafka->basket;
    fill_up(basket);
    while (basket->done < basket->count && !kafka->failed) {
        const struct kept *kept = &basket->kept[basket->done];
        rd_kafka_resp_err_t code = produce(kafka->producer, kept, basket->bytes.bytes + basket->bytes_done);
        if (code == RD_KAFKA_RESP_ERR__QUEUE_FULL) {
            return false;
        }
        if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
            refuse(kafka, kept, code);
            return false;
        }
        basket->done++;
        basket->bytes_done += kept->key_size + kept->value_size;
    }
    basket->count = basket->done = basket->bytes_done = 0;
    text_clear(&basket->bytes);
    return true;
}

static void drop_basket(struct basket *basket)
{
    for (size_t i = basket->done; i < basket->count; i++) {
        rd_kafka_headers_destroy(basket->kept[i].headers);
    }
    free(basket->kept);
    text_fini(&basket->bytes);
}

/* Room for one more. */
static bool make_room(struct kafka_bus *kafka, struct error *error)
{
    if (!kafka->failed && (kafka->basket.bytes.size < BASKET_BYTES || empty_basket(kafka))) {
        return true;
    }
    return kafka->failed ? error_set(error, ERROR_FATAL, "%s", kafka->failure)
                         : error_set(error, ERROR_TRANSIENT, "the queue of records to be sent is full");
}

static bool kafka_send(struct bus *bus, const struct bus_send *send, struct error *error)
{
    struct kafka_bus *kafka = kafka_of(bus);
    assert(send->header_count <= BUS_HEADERS_MAX);
    if (!make_room(kafka, error)) {
        return false;
    }
    struct topic *topic = kafka->last_sent;
    if (topic == NULL || strcmp(topic->name, send->topic) != 0 || send->partition < 0 || send->partition >= topic->partitions) {
        topic = topic_with(kafka, send->topic, send->partition, kafka->timeout_ms, error);
        if (topic == NULL) {
            return false;
        }
    }
    size_t size = send->key.size + send->value.size + headers_bytes(send);
    if (send->value.size > LIMIT_RECORD_BYTES || size > CLIENT_RECORD_BYTES) {
        return error_set(error, ERROR_INVALID, "a record of %zu bytes for topic '%s' is over the limit of %d", size, send->topic,
                         LIMIT_RECORD_BYTES);
    }
    kafka->last_sent = topic;
    count_sent(&kafka->reports, send->value.size);
    keep(&kafka->basket, topic, send);
    return true;
}

static struct bus_backlog kafka_backlog(const struct bus *bus)
{
    const struct reports *reports = &((const struct kafka_bus *)bus)->reports;
    return (struct bus_backlog){atomic_load(&reports->backlog_records), atomic_load(&reports->backlog_bytes)};
}

/* ---- taking in what librdkafka has */

static void remember_delivery(struct kafka_bus *kafka, const struct delivery *delivery)
{
    if (kafka->delivery_next == kafka->delivery_count) {
        kafka->delivery_next = kafka->delivery_count = 0;
    }
    if (kafka->delivery_count == kafka->delivery_capacity) {
        kafka->deliveries = grow(kafka->deliveries, &kafka->delivery_capacity, sizeof *kafka->deliveries);
    }
    kafka->deliveries[kafka->delivery_count++] = *delivery;
}

static bool take_reports(struct kafka_bus *kafka)
{
    struct reports *reports = &kafka->reports;
    pthread_mutex_lock(&reports->mutex);
    bool news = reports->count > 0 || (reports->failed && !kafka->failed);
    for (size_t i = 0; i < reports->count; i++) {
        remember_delivery(kafka, &reports->deliveries[i]);
    }
    reports->count = 0;
    if (reports->failed) {
        fail(kafka, reports->failure);
    }
    pthread_mutex_unlock(&reports->mutex);
    return news;
}

/* true: nothing is under way any more. Else the last report will wake us. */
static bool is_flushed(struct kafka_bus *kafka)
{
    struct reports *reports = &kafka->reports;
    atomic_store(&reports->flushing, true); /* first: who counts down to nothing after this wakes us */
    bool flushed = atomic_load(&reports->backlog_records) == 0;
    if (flushed) {
        atomic_store(&reports->flushing, false);
    }
    return flushed;
}

static bool is_broker_refusal(rd_kafka_resp_err_t code)
{
    return code == RD_KAFKA_RESP_ERR__AUTHENTICATION || code == RD_KAFKA_RESP_ERR__SSL || code == RD_KAFKA_RESP_ERR__RESOLVE ||
           code == RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED;
}

/* Kafka 4 (and 3.9.0) refuses what librdkafka before 2.6.1 says in the second message of SCRAM: it has the client's nonce twice. */
static bool has_old_scram(const struct kafka_bus *kafka)
{
    return kafka->scram && rd_kafka_version() < 0x020601ff;
}

/* What to look at, where a broker ends the connection; NULL: no idea. */
static const char *refusal_hint(const struct kafka_bus *kafka, rd_kafka_resp_err_t code, const char *reason)
{
    if (code == RD_KAFKA_RESP_ERR__AUTHENTICATION || code == RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED) {
        return has_old_scram(kafka)
                   ? "it refused the user or the password; SCRAM with Kafka 4 needs librdkafka 2.6.1 or later: take PLAIN over TLS "
                     "or a client certificate"
                   : "it refused the user or the password; look at sasl.mechanism, sasl.username and sasl.password";
    }
    if (code == RD_KAFKA_RESP_ERR__SSL && strstr(reason, "certificate could not be verified") != NULL) {
        return "its certificate was signed by nobody whom ssl.ca.location names";
    }
    if (code == RD_KAFKA_RESP_ERR__SSL && strstr(reason, "hostname mismatch") != NULL) {
        return "its certificate is for another host";
    }
    if (code == RD_KAFKA_RESP_ERR__TRANSPORT && strstr(reason, "security.protocol") != NULL) {
        return "it ended the connection; look at security.protocol: does it want TLS?";
    }
    return NULL;
}

/* librdkafka's own words follow, without its "(after 20ms in state ...)". */
static void note_refusal(struct kafka_bus *kafka, rd_kafka_resp_err_t code, const char *reason)
{
    kafka->refused = is_broker_refusal(code) && refusal_hint(kafka, code, reason) != NULL;
    const char *hint = refusal_hint(kafka, code, reason), *after = strstr(reason, " (after ");
    snprintf(kafka->refusal, sizeof kafka->refusal, "%s%s%.*s%s", hint != NULL ? hint : "", hint != NULL ? " (" : "",
             after != NULL ? (int)(after - reason) : 200, reason, hint != NULL ? ")" : "");
}

static void take_error(struct kafka_bus *kafka, rd_kafka_event_t *event)
{
    rd_kafka_resp_err_t code = rd_kafka_event_error(event);
    const char *reason = rd_kafka_event_error_string(event);
    if (code == RD_KAFKA_RESP_ERR__FATAL) {
        char text[200], failure[512];
        rd_kafka_resp_err_t cause = rd_kafka_fatal_error(kafka->producer, text, sizeof text);
        snprintf(failure, sizeof failure, "the producer has failed: %s%s", text, denial_hint(cause));
        fail(kafka, failure);
        return;
    }
    if (is_broker_refusal(code) || refusal_hint(kafka, code, reason) != NULL) {
        note_refusal(kafka, code, reason);
    }
    if (code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN || is_broker_refusal(code)) {
        log_event(LOG_INFO, "broker_unreachable", "error=%s", LOG_QUOTED(reason));
    } else {
        log_event(LOG_DEBUG, "broker_trouble", "error=%s", LOG_QUOTED(reason));
    }
}

/* Records that nobody needs were not deleted: that costs room and no more, so it is said once as long as nothing changes. */
static void take_deleted(struct kafka_bus *kafka, rd_kafka_event_t *event)
{
    rd_kafka_resp_err_t code = rd_kafka_event_error(event);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        const rd_kafka_topic_partition_list_t *list =
            rd_kafka_DeleteRecords_result_offsets(rd_kafka_event_DeleteRecords_result(event));
        code = list->cnt > 0 ? list->elems[0].err : code;
    }
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR && code != kafka->not_deleted) {
        log_event(LOG_WARN, "old_records_not_deleted", "error=%s hint=%s", LOG_QUOTED(rd_kafka_err2str(code)),
                  LOG_QUOTED(denial_hint(code)));
    }
    kafka->not_deleted = code;
}

static bool take_events(struct kafka_bus *kafka, rd_kafka_queue_t *queue)
{
    bool some = false;
    rd_kafka_event_t *event;
    while ((event = rd_kafka_queue_poll(queue, 0)) != NULL) {
        some = true;
        switch (rd_kafka_event_type(event)) {
        case RD_KAFKA_EVENT_ERROR: take_error(kafka, event); break;
        case RD_KAFKA_EVENT_LOG: take_log(event); break;
        case RD_KAFKA_EVENT_DELETERECORDS_RESULT: take_deleted(kafka, event); break;
        default: break;
        }
        rd_kafka_event_destroy(event);
    }
    return some;
}

static bool take_records(struct kafka_bus *kafka)
{
    assert(kafka->batch_next == kafka->batch_count);
    ssize_t count = rd_kafka_consume_batch_queue(kafka->records, 0, kafka->batch, BATCH_RECORDS);
    kafka->batch_next = 0;
    kafka->batch_count = count > 0 ? (size_t)count : 0;
    return count > 0;
}

static bool take_in(struct kafka_bus *kafka)
{
    drain_wake_fd(kafka);
    bool news = take_reports(kafka);
    news |= take_events(kafka, kafka->producer_events);
    news |= take_events(kafka, kafka->consumer_events);
    news |= take_group(kafka);
    news |= take_records(kafka);
    return news;
}

/* ---- handing it out */

static void release_current(struct kafka_bus *kafka)
{
    if (kafka->current != NULL) {
        rd_kafka_message_destroy(kafka->current);
        kafka->current = NULL;
    }
}

static void fill_record(const rd_kafka_message_t *message, struct bus_event *event)
{
    rd_kafka_timestamp_type_t type;
    int64_t time_ms = rd_kafka_message_timestamp(message, &type);
    event->kind = BUS_RECORD;
    event->time_ms = time_ms > 0 ? time_ms : 0;
    event->key = (struct span){message->key, message->key_len};
    event->value = (struct span){message->payload, message->len};
}

/* Errors after which the partition gives no more; librdkafka mends all others by itself. */
static bool is_gone(rd_kafka_resp_err_t code)
{
    return code == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET || code == RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE ||
           code == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC || code == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION ||
           code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART || code == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
}

/* false: nothing for the caller. */
static bool fill_from(struct kafka_bus *kafka, const rd_kafka_message_t *message, struct bus_event *event)
{
    struct topic *topic = rd_kafka_topic_opaque(message->rkt);
    if (!is_reading(topic, message->partition)) {
        return false;
    }
    event->topic = topic->name;
    event->partition = message->partition;
    event->offset = message->offset;
    if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        fill_record(message, event);
    } else if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        event->kind = BUS_END;
    } else if (is_gone(message->err)) {
        event->kind = BUS_GONE;
        snprintf(event->reason, sizeof event->reason, "%s [%d]: %s%s", topic->name, message->partition,
                 rd_kafka_message_errstr(message), denial_hint(message->err));
        stop_reading(kafka, topic, message->partition);
    } else {
        log_event(LOG_DEBUG, "partition_trouble", "topic=%s partition=%d error=%s", topic->name, message->partition,
                  LOG_QUOTED(rd_kafka_message_errstr(message)));
        return false;
    }
    return true;
}

static bool next_record(struct kafka_bus *kafka, struct bus_event *event)
{
    while (kafka->batch_next < kafka->batch_count) {
        release_current(kafka);
        kafka->current = kafka->batch[kafka->batch_next++];
        if (fill_from(kafka, kafka->current, event)) {
            return true;
        }
    }
    return false;
}

static bool next_delivery(struct kafka_bus *kafka, struct bus_event *event)
{
    if (kafka->delivery_next == kafka->delivery_count) {
        return false;
    }
    const struct delivery *delivery = &kafka->deliveries[kafka->delivery_next++];
    event->kind = BUS_DELIVERED;
    event->cookie = delivery->cookie;
    event->offset = delivery->offset;
    return true;
}

static bool next_dealt(struct kafka_bus *kafka, struct bus_event *event)
{
    if (kafka->joined && !kafka->joined_told) {
        kafka->joined_told = true;
        event->kind = BUS_JOINED;
        return true;
    }
    if (kafka->dealt_next == kafka->dealt_count) {
        return false;
    }
    const struct dealt *dealt = &kafka->dealt[kafka->dealt_next++];
    event->kind = dealt->kind;
    event->topic = kafka->dealt_topic->name;
    event->partition = dealt->partition;
    event->lost = dealt->lost;
    return true;
}

/* Of a topic that is not there any more: each partition that is read of it, once. */
static bool next_missing(struct kafka_bus *kafka, struct bus_event *event)
{
    for (struct topic *topic = kafka->topics; topic != NULL; topic = topic->next) {
        for (int32_t partition = 0; topic->missing && partition < topic->reading_count; partition++) {
            if (topic->reading[partition]) {
                event->kind = BUS_GONE;
                event->topic = topic->name;
                event->partition = partition;
                snprintf(event->reason, sizeof event->reason, "%.200s [%d]: it is not there any more", topic->name, partition);
                stop_reading(kafka, topic, partition);
                return true;
            }
        }
        topic->missing = false;
    }
    return false;
}

/* Once failed, nothing else comes out: what was published is not known. */
static bool next_event(struct kafka_bus *kafka, struct bus_event *event)
{
    if (kafka->failed) {
        event->kind = BUS_FATAL;
        snprintf(event->reason, sizeof event->reason, "%s", kafka->failure);
        return true;
    }
    return next_dealt(kafka, event) || next_delivery(kafka, event) || next_record(kafka, event) || next_missing(kafka, event);
}

/* false: the time is over, or a signal came. */
static bool wait_for_news(struct kafka_bus *kafka, int timeout_ms)
{
    struct pollfd waited = {.fd = kafka->wake_fd, .events = POLLIN};
    return poll(&waited, 1, timeout_ms) > 0;
}

/* ---- what the brokers do not take */

/* The first partition we write to that is not well. */
static bool explain_topic(const struct rd_kafka_metadata_topic *topic, char reason[BUS_REASON_BYTES])
{
    for (int i = 0; i < topic->partition_cnt; i++) {
        const struct rd_kafka_metadata_partition *partition = &topic->partitions[i];
        if (partition->leader < 0) {
            snprintf(reason, BUS_REASON_BYTES, "'%.120s' [%d] has no leader: too few of its brokers are up", topic->topic, partition->id);
            return true;
        }
        if (partition->isr_cnt < partition->replica_cnt) {
            snprintf(reason, BUS_REASON_BYTES, "'%.120s' [%d] has %d of %d replicas in sync: with fewer than its min.insync.replicas it takes nothing", topic->topic, partition->id, partition->isr_cnt, partition->replica_cnt);
            return true;
        }
    }
    return false;
}

static void explain_wait(struct kafka_bus *kafka, char reason[BUS_REASON_BYTES])
{
    const struct rd_kafka_metadata *metadata;
    rd_kafka_resp_err_t code = rd_kafka_metadata(kafka->producer, false, NULL, &metadata, EXPLAIN_MS);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        snprintf(reason, BUS_REASON_BYTES, "no broker answers");
        return;
    }
    bool found = false;
    for (int i = 0; !found && i < metadata->topic_cnt; i++) {
        found = explain_topic(&metadata->topics[i], reason);
    }
    if (!found) {
        snprintf(reason, BUS_REASON_BYTES, "the brokers answer, but acknowledge nothing yet");
    }
    rd_kafka_metadata_destroy(metadata);
}

static bool kafka_explain(struct bus *bus, char reason[BUS_REASON_BYTES])
{
    if (kafka_backlog(bus).records == 0) {
        return false;
    }
    explain_wait(kafka_of(bus), reason);
    return true;
}

/* Without this an outage in which brokers answer, and take nothing, is seen by nobody: librdkafka tries again and says nothing. It is for
 * who stays; a command that waits says it in its own words. */
static void look_at_backlog(struct kafka_bus *kafka)
{
    struct reports *reports = &kafka->reports;
    bool acknowledged = atomic_exchange(&reports->acknowledged, false);
    size_t waiting = atomic_load(&reports->backlog_records);
    bool moves = waiting == 0 || acknowledged;
    int64_t now_ms = clock_monotonic_ms();
    if (moves) {
        if (kafka->unacknowledged_said) {
            log_event(LOG_INFO, "acknowledged_again", "waiting=%zu", waiting);
        }
        kafka->unacknowledged_said = false;
        kafka->unacknowledged_since_ms = waiting > 0 ? now_ms : 0;
    } else if (kafka->unacknowledged_since_ms == 0) {
        kafka->unacknowledged_since_ms = now_ms;
    } else if (!kafka->unacknowledged_said && now_ms - kafka->unacknowledged_since_ms >= UNACKNOWLEDGED_MS) {
        char reason[BUS_REASON_BYTES];
        explain_wait(kafka, reason);
        log_event(LOG_INFO, "not_acknowledged", "records=%zu error=%s", waiting, LOG_QUOTED(reason));
        kafka->unacknowledged_said = true;
    }
}

static void kafka_poll(struct bus *bus, int timeout_ms, struct bus_event *event)
{
    struct kafka_bus *kafka = kafka_of(bus);
    int64_t deadline_ms = timeout_ms > 0 ? deadline_after(timeout_ms) : 0;
    memset(event, 0, offsetof(struct bus_event, reason)); /* a reason is long, and few events have one */
    event->reason[0] = '\0';
    bool over = timeout_ms == 0; /* after a wait in vain we look once more: some reports wake nobody */
    release_current(kafka);
    while (!next_event(kafka, event)) {
        empty_basket(kafka);
        if (kafka->failed || take_in(kafka)) {
            continue;
        }
        if (atomic_exchange(&kafka->woken, false) || over) {
            return;
        }
        over = !wait_for_news(kafka, timeout_ms < 0 ? -1 : remaining_ms(deadline_ms));
        if (over) {
            look_at_backlog(kafka); /* under load there is no such moment, and no need of it */
        }
    }
}

static bool kafka_flush(struct bus *bus, int timeout_ms)
{
    struct kafka_bus *kafka = kafka_of(bus);
    int64_t deadline_ms = deadline_after(timeout_ms);
    for (;;) {
        empty_basket(kafka);
        drain_wake_fd(kafka);
        take_events(kafka, kafka->producer_events);
        bool flushed = is_flushed(kafka);
        take_reports(kafka);
        if (kafka->failed || flushed) {
            return !kafka->failed;
        }
        int left_ms = remaining_ms(deadline_ms);
        if (left_ms == 0) {
            atomic_store(&kafka->reports.flushing, false);
            look_at_backlog(kafka);
            return false;
        }
        wait_for_news(kafka, left_ms);
    }
}

static bool kafka_embedded(const struct bus *bus)
{
    return ((const struct kafka_bus *)bus)->embedded;
}

/* ---- opening and closing */

static void queue_close(rd_kafka_queue_t *queue)
{
    if (queue != NULL) {
        rd_kafka_queue_cb_event_enable(queue, NULL, NULL);
        rd_kafka_queue_destroy(queue);
    }
}

static void stop_all(struct kafka_bus *kafka)
{
    for (struct topic *topic = kafka->topics; topic != NULL; topic = topic->next) {
        for (int32_t partition = 0; partition < topic->reading_count; partition++) {
            if (topic->reading[partition]) {
                stop_reading(kafka, topic, partition);
            }
        }
    }
}

static void topics_free(struct topic *topic)
{
    while (topic != NULL) {
        struct topic *next = topic->next;
        topic_free(topic);
        topic = next;
    }
}

static void handle_destroy(rd_kafka_t *handle)
{
    if (handle != NULL) {
        rd_kafka_destroy_flags(handle, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    }
}

static void *destroy_member(void *handle)
{
    handle_destroy(handle);
    return NULL;
}

/* Up to 2.2 librdkafka aborts when a member is destroyed that has joined and was not told yet what is dealt to it: where the leader died in
 * between, for a session. It has left, or is about to, and is left alone then. And the destruction of a member whose topic was deleted may
 * never end: we wait for it, but not for ever. Nearly always the process ends next. */
static void keeper_destroy(const struct kafka_bus *kafka)
{
    pthread_t thread;
    if (kafka->session_ms == 0) {
        handle_destroy(kafka->keeper);
        return;
    }
    bool may_abort = !kafka->was_dealt && rd_kafka_version() < FIRST_THAT_FORGIVES;
    if (kafka->keeper == NULL || may_abort || pthread_create(&thread, NULL, destroy_member, kafka->keeper) != 0) {
        return;
    }
    struct timespec until = clock_deadline(DESTROY_MS);
    if (pthread_clockjoin_np(thread, NULL, CLOCK_MONOTONIC, &until) != 0) {
        pthread_detach(thread);
        log_event(LOG_WARN, "member_left_alone", "group=%s", kafka->keeper_group);
    }
}

static void kafka_close(struct bus *bus)
{
    struct kafka_bus *kafka = kafka_of(bus);
    release_current(kafka);
    stop_all(kafka);
    for (; kafka->batch_next < kafka->batch_count; kafka->batch_next++) {
        rd_kafka_message_destroy(kafka->batch[kafka->batch_next]);
    }
    queue_close(kafka->records);
    queue_close(kafka->consumer_events);
    queue_close(kafka->producer_events);
    queue_close(kafka->commits);
    queue_close(kafka->group_events);
    topics_free(kafka->topics);
    keeper_destroy(kafka);
    free(kafka->keeper_group);
    handle_destroy(kafka->consumer);
    handle_destroy(kafka->producer);
    drop_basket(&kafka->basket);
    if (kafka->wake_fd >= 0) {
        close(kafka->wake_fd);
    }
    pthread_mutex_destroy(&kafka->reports.mutex);
    free(kafka->reports.deliveries);
    free(kafka->deliveries);
    free(kafka->dealt);
    free(kafka->brokers);
    free(kafka);
}

static const struct bus_operations kafka_operations = {
    .close = kafka_close,
    .ensure_topic = kafka_ensure_topic,
    .delete_topic = kafka_delete_topic,
    .partition_count = kafka_partition_count,
    .bounds = kafka_bounds,
    .offset_at = kafka_offset_at,
    .committed = kafka_committed,
    .commit = kafka_commit,
    .delete_before = kafka_delete_before,
    .join = kafka_join,
    .leave = kafka_leave,
    .members = kafka_members,
    .consume = kafka_consume,
    .stop = kafka_stop,
    .send = kafka_send,
    .poll = kafka_poll,
    .flush = kafka_flush,
    .backlog = kafka_backlog,
    .explain = kafka_explain,
    .wake = kafka_wake,
    .embedded = kafka_embedded,
};

static bool error_no_broker(const struct kafka_bus *kafka, struct error *error)
{
    char within[32];
    bool seconds = kafka->timeout_ms % 1000 == 0;
    if (kafka->refused) {
        return error_set(error, ERROR_TRANSIENT, "no broker of %s let us in: %s", kafka->brokers, kafka->refusal);
    }
    snprintf(within, sizeof within, seconds ? "%d s" : "%d ms", seconds ? kafka->timeout_ms / 1000 : kafka->timeout_ms);
    return error_set(error, ERROR_TRANSIENT, "no broker answered on %s within %s%s%s", kafka->brokers, within,
                     kafka->refusal[0] != '\0' ? ": " : "", kafka->refusal);
}

/* Who is refused need not wait for as long as a broker may take to answer: what would mend it is not time. NULL: nobody answered. */
static char *await_cluster(struct kafka_bus *kafka)
{
    int64_t deadline_ms = deadline_after(kafka->timeout_ms);
    char *cluster = NULL;
    do {
        int left_ms = remaining_ms(deadline_ms);
        cluster = rd_kafka_clusterid(kafka->producer, left_ms < SLICE_MS ? left_ms : SLICE_MS);
        bool was_refused = kafka->refused;
        take_events(kafka, kafka->producer_events);
        int64_t soon_ms = deadline_after(REFUSED_MS);
        if (kafka->refused && !was_refused && soon_ms < deadline_ms) {
            deadline_ms = soon_ms;
        }
    } while (cluster == NULL && remaining_ms(deadline_ms) > 0 && !is_given_up(kafka));
    return cluster;
}

static bool open_producer(struct kafka_bus *kafka, const struct bus_kafka_options *options, struct error *error)
{
    kafka->producer = handle_new(RD_KAFKA_PRODUCER, producer_properties, options->only_reads ? silent_producer_properties : NULL,
                                 options, kafka, error);
    if (kafka->producer == NULL) {
        return false;
    }
    kafka->producer_events = rd_kafka_queue_get_main(kafka->producer);
    listen_to(kafka, kafka->producer_events);
    char *cluster = await_cluster(kafka);
    if (cluster == NULL) {
        return error_no_broker(kafka, error);
    }
    kafka->embedded = strncmp(cluster, EMBEDDED_CLUSTER, strlen(EMBEDDED_CLUSTER)) == 0;
    rd_kafka_mem_free(kafka->producer, cluster);
    return true;
}

static bool open_consumer(struct kafka_bus *kafka, const struct bus_kafka_options *options, struct error *error)
{
    const struct property *more = kafka->embedded       ? embedded_consumer_properties
                                  : options->patient    ? patient_consumer_properties
                                  : options->skips_ends ? endless_consumer_properties
                                                        : NULL;
    kafka->consumer = handle_new(RD_KAFKA_CONSUMER, consumer_properties, more, options, kafka, error);
    if (kafka->consumer == NULL) {
        return false;
    }
    kafka->consumer_events = rd_kafka_queue_get_main(kafka->consumer);
    kafka->records = rd_kafka_queue_new(kafka->consumer);
    listen_to(kafka, kafka->consumer_events);
    listen_to(kafka, kafka->records);
    return true;
}

static bool asks_for_scram(const struct bus_kafka_options *options)
{
    bool scram = false;
    for (size_t i = 0; i < options->property_count; i++) {
        const char *property = options->properties[i];
        if (strncmp(property, "sasl.mechanism", 14) == 0) {
            scram = strstr(property, "=SCRAM-") != NULL;
        }
    }
    return scram;
}

/* What a process may ask for itself it asks for. */
static bool enough_descriptors(struct error *error)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= LIMIT_DESCRIPTORS_MIN) {
        return true;
    }
    unsigned long long found = limit.rlim_cur;
    limit.rlim_cur = LIMIT_DESCRIPTORS_MIN;
    return (limit.rlim_max >= LIMIT_DESCRIPTORS_MIN && setrlimit(RLIMIT_NOFILE, &limit) == 0) ||
           error_set(error, ERROR_INVALID, "a process may have %llu files open here, and this one needs %d: raise that limit (ulimit -n)", found,
                     LIMIT_DESCRIPTORS_MIN);
}

struct bus *bus_kafka_open(const struct bus_kafka_options *options, struct error *error)
{
    if (!enough_descriptors(error)) {
        return NULL;
    }
    struct kafka_bus *kafka = calloc(1, sizeof *kafka);
    assert(kafka != NULL);
    kafka->bus.operations = &kafka_operations;
    pthread_mutex_init(&kafka->reports.mutex, NULL);
    kafka->timeout_ms = options->timeout_ms > 0 ? options->timeout_ms : 1;
    kafka->brokers = strdup(options->brokers);
    kafka->scram = asks_for_scram(options);
    kafka->client_id = options->client_id;
    kafka->given = options->properties;
    kafka->given_count = options->property_count;
    kafka->gives_up = options->gives_up;
    kafka->gives_up_state = options->gives_up_state;
    text_init(&kafka->basket.bytes, BASKET_BYTES + 2 * CLIENT_RECORD_BYTES);
    kafka->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    assert(kafka->brokers != NULL);
    bool ok = kafka->wake_fd >= 0 || error_set(error, ERROR_TRANSIENT, "no event descriptor: %s", strerror(errno));
    if (!ok || !open_producer(kafka, options, error) || !open_consumer(kafka, options, error)) {
        kafka_close(&kafka->bus);
        return NULL;
    }
    return &kafka->bus;
}

const char *bus_kafka_library_version(void)
{
    return rd_kafka_version_str();
}

/* ---- the embedded broker */

struct embedded_broker {
    rd_kafka_t *handle;
    rd_kafka_mock_cluster_t *cluster; /* borrowed from `handle` */
    bool asked; /* for anything that its thread has to do */
    int round_trip_ms;
};

#define EMBEDDED_BROKER_ID 1

/* A request that reaches the mock cluster right behind the one before may not wake it, and waits out its poll() of 1 s: beside one or
 * two busy processes 65 of 2,400 did, and after 2 ms of rest none. */
#define EMBEDDED_REST_MS 2
#define EMBEDDED_REFUSALS 256 /* of a moment: who is refused asks again after 50 ms */
#define EMBEDDED_PATIENCE_MS 500 /* with an answer that takes longer */
#define EMBEDDED_MARGIN_MS 100 /* for its thread, on a busy machine */

struct embedded_broker *embedded_broker_start(struct error *error)
{
    if (!enough_descriptors(error)) {
        return NULL;
    }
    char reason[512];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    if (!configure(conf, "test.mock.num.brokers", "1", error) || !configure(conf, "log.queue", "true", error)) {
        rd_kafka_conf_destroy(conf);
        return NULL;
    }
    /* The mock cluster's thread blocks no signal of its own, and ends for good when one interrupts its poll(): it must get none. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rd_kafka_t *handle = rd_kafka_new(RD_KAFKA_PRODUCER, conf, reason, sizeof reason);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (handle == NULL) {
        rd_kafka_conf_destroy(conf);
        error_set(error, ERROR_TRANSIENT, "the embedded broker does not start: %s", reason);
        return NULL;
    }
    struct embedded_broker *broker = calloc(1, sizeof *broker);
    assert(broker != NULL);
    broker->handle = handle;
    broker->cluster = rd_kafka_handle_mock_cluster(handle);
    assert(broker->cluster != NULL);
    return broker;
}

void embedded_broker_stop(struct embedded_broker *broker)
{
    if (broker != NULL) {
        rd_kafka_destroy(broker->handle);
        free(broker);
    }
}

const char *embedded_broker_address(const struct embedded_broker *broker)
{
    return rd_kafka_mock_cluster_bootstraps(broker->cluster);
}

static void pause_ms(int milliseconds)
{
    nanosleep(&(struct timespec){.tv_sec = milliseconds / 1000, .tv_nsec = milliseconds % 1000 * 1000000L}, NULL);
}

static void rest(struct embedded_broker *broker)
{
    if (broker->asked) {
        pause_ms(EMBEDDED_REST_MS);
    }
    broker->asked = true;
}

bool embedded_broker_create_topic(struct embedded_broker *broker, const char *topic, int partitions, struct error *error)
{
    rest(broker);
    rd_kafka_resp_err_t code = rd_kafka_mock_topic_create(broker->cluster, topic, partitions, 1);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR || code == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS) {
        return true;
    }
    return error_set(error, ERROR_INVALID, "topic '%s' cannot be created: %s", topic, rd_kafka_err2str(code));
}

/* The mock cluster does not know a producer again: what it has appended and not answered yet it would append once more. So first it appends
 * nothing more, and answers what it has. */
static void end_produce_requests(struct embedded_broker *broker)
{
    rd_kafka_resp_err_t refusals[EMBEDDED_REFUSALS];
    for (size_t i = 0; i < EMBEDDED_REFUSALS; i++) {
        refusals[i] = RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION;
    }
    rd_kafka_mock_push_request_errors_array(broker->cluster, (int16_t)embedded_request_find("produce"), EMBEDDED_REFUSALS, refusals);
    pause_ms((broker->round_trip_ms < EMBEDDED_PATIENCE_MS ? broker->round_trip_ms : EMBEDDED_PATIENCE_MS) + EMBEDDED_MARGIN_MS);
}

void embedded_broker_set_down(struct embedded_broker *broker, bool down)
{
    rest(broker);
    if (down) {
        end_produce_requests(broker);
        rd_kafka_mock_broker_set_down(broker->cluster, -1);
        rd_kafka_mock_clear_request_errors(broker->cluster, (int16_t)embedded_request_find("produce"));
    } else {
        rd_kafka_mock_broker_set_up(broker->cluster, -1);
    }
}

void embedded_broker_set_round_trip_ms(struct embedded_broker *broker, int milliseconds)
{
    rest(broker);
    broker->round_trip_ms = milliseconds;
    rd_kafka_mock_broker_set_rtt(broker->cluster, -1, milliseconds);
}

/* Those whose answer the mock cluster lets be told, with the protocol's numbers. */
static const int request_numbers[] = {0, 1, 2, 8, 9, 10, 11, 12, 13, 14, 22};
const char *const embedded_requests[] = {"produce",    "fetch",     "list_offsets", "offset_commit", "offset_fetch",     "find_coordinator",
                                         "join_group", "heartbeat", "leave_group",  "sync_group",    "init_producer_id", NULL};
static_assert(sizeof embedded_requests / sizeof *embedded_requests == sizeof request_numbers / sizeof *request_numbers + 1,
              "a number for each name");

int embedded_request_find(const char *name)
{
    for (size_t i = 0; embedded_requests[i] != NULL; i++) {
        if (strcmp(embedded_requests[i], name) == 0) {
            return request_numbers[i];
        }
    }
    return -1;
}

bool embedded_error_find(const char *name, int *code)
{
    const struct rd_kafka_err_desc *descriptions;
    size_t count;
    if (strcmp(name, "none") == 0 || strcmp(name, "disconnect") == 0) {
        *code = name[0] == 'd' ? RD_KAFKA_RESP_ERR__TRANSPORT : RD_KAFKA_RESP_ERR_NO_ERROR;
        return true;
    }
    rd_kafka_get_err_descs(&descriptions, &count);
    for (size_t i = 0; i < count; i++) {
        if (descriptions[i].code > 0 && descriptions[i].name != NULL && strcmp(descriptions[i].name, name) == 0) {
            *code = descriptions[i].code;
            return true;
        }
    }
    return false;
}

void embedded_broker_fail(struct embedded_broker *broker, const struct embedded_failure *failure)
{
    size_t waiting = 0;
    rd_kafka_mock_broker_error_stack_cnt(broker->cluster, EMBEDDED_BROKER_ID, (int16_t)failure->request, &waiting);
    for (int i = (int)waiting; i < failure->count; i++) {
        rd_kafka_mock_broker_push_request_error_rtts(broker->cluster, EMBEDDED_BROKER_ID, (int16_t)failure->request, 1,
                                                     (rd_kafka_resp_err_t)failure->error_code, failure->delay_ms);
    }
}
