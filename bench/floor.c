/* SPDX-License-Identifier: Apache-2.0 */
/* What Kafka itself can do here: messages of 200 bytes there and back, straight on librdkafka with the settings Backstep uses.
 *
 *     bench_floor BROKERS PREFIX PARTITIONS SECONDS
 *
 * One thread is the driver (as a coordinator: it produces to one partition and reads PARTITIONS), another the echo (as a worker). Each has a
 * producer and a consumer of its own. PREFIX names topics that nobody has used. SECONDS is for each number of messages in flight; one at a
 * time takes twice as long, since it is what times are taken from. Prints one JSON object. */
#include "bench/times.h"

#include <errno.h>
#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MESSAGE_BYTES 200
#define BATCH_MESSAGES 1024
#define SAMPLES_MAX 200000
#define WAIT_MS 100
#define SILENCE_NS (10 * INT64_C(1000000000)) /* no message for so long: the broker is gone */
#define CREATE_MS 30000
#define TOPIC_BYTES 250 /* brokers take names of 249 */

struct letter {
    int64_t sent_ns;
    int64_t arrived_ns; /* at the echo */
    char rest[MESSAGE_BYTES - 2 * sizeof(int64_t)];
};

struct end {
    rd_kafka_t *producer, *consumer;
    rd_kafka_topic_t *to, *from;
    rd_kafka_queue_t *queue;
    int32_t to_partitions, from_partitions;
    int32_t next; /* partition to send to */
};

struct bench {
    const char *brokers;
    char there[TOPIC_BYTES], back[TOPIC_BYTES], stream[TOPIC_BYTES]; /* names of topics */
    double seconds;
    struct end driver, echo;
    atomic_bool over;
    int64_t *hops, *trips, *chains, *fours;
    size_t count;
};

static void die(const char *what, const char *reason)
{
    fprintf(stderr, "bench_floor: %s: %s\n", what, reason);
    exit(1);
}

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static const char *const settings_of_both[][2] = {
    {"socket.nagle.disable", "true"}, {"allow.auto.create.topics", "false"}, {NULL, NULL}};
static const char *const settings_of_producer[][2] = {
    {"enable.idempotence", "true"}, {"acks", "all"}, {"linger.ms", "0"}, {"queue.buffering.max.messages", "1000000"}, {NULL, NULL}};
static const char *const settings_of_consumer[][2] = {{"queued.min.messages", "1000000"},
                                                      {"queued.max.messages.kbytes", "262144"},
                                                      {"fetch.min.bytes", "1"},
                                                      {"fetch.wait.max.ms", "100"},
                                                      {NULL, NULL}};

static void set_all(rd_kafka_conf_t *conf, const char *const settings[][2])
{
    char reason[256];
    for (; (*settings)[0] != NULL; settings++) {
        if (rd_kafka_conf_set(conf, (*settings)[0], (*settings)[1], reason, sizeof reason) != RD_KAFKA_CONF_OK) {
            die((*settings)[0], reason);
        }
    }
}

static rd_kafka_t *open_handle(const char *brokers, rd_kafka_type_t type)
{
    char reason[256];
    const char *const server[][2] = {{"bootstrap.servers", brokers}, {NULL, NULL}};
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set_all(conf, server);
    set_all(conf, settings_of_both);
    set_all(conf, type == RD_KAFKA_PRODUCER ? settings_of_producer : settings_of_consumer);
    rd_kafka_t *handle = rd_kafka_new(type, conf, reason, sizeof reason);
    if (handle == NULL) {
        die("rd_kafka_new", reason);
    }
    return handle;
}

static void create_topic(const char *brokers, const char *name, int partitions)
{
    char reason[256];
    rd_kafka_t *admin = open_handle(brokers, RD_KAFKA_PRODUCER);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(admin);
    rd_kafka_NewTopic_t *topic = rd_kafka_NewTopic_new(name, partitions, 1, reason, sizeof reason);
    rd_kafka_CreateTopics(admin, &topic, 1, NULL, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, CREATE_MS);
    size_t count = 0;
    const rd_kafka_CreateTopics_result_t *result = event != NULL ? rd_kafka_event_CreateTopics_result(event) : NULL;
    const rd_kafka_topic_result_t **topics = result != NULL ? rd_kafka_CreateTopics_result_topics(result, &count) : NULL;
    if (count != 1 || rd_kafka_topic_result_error(topics[0]) != RD_KAFKA_RESP_ERR_NO_ERROR) {
        die(name, count == 1 ? rd_kafka_err2str(rd_kafka_topic_result_error(topics[0])) : "no answer to CreateTopics");
    }
    rd_kafka_event_destroy(event);
    rd_kafka_NewTopic_destroy(topic);
    rd_kafka_queue_destroy(queue);
    rd_kafka_destroy(admin);
}

/* Ask for a topic until its partitions have leaders: the first message must not wait for that. */
static void await_topic(rd_kafka_t *handle, rd_kafka_topic_t *topic)
{
    int64_t deadline_ns = now_ns() + SILENCE_NS;
    bool there = false;
    while (!there) {
        const struct rd_kafka_metadata *metadata;
        if (rd_kafka_metadata(handle, 0, topic, &metadata, CREATE_MS) == RD_KAFKA_RESP_ERR_NO_ERROR) {
            there = metadata->topic_cnt == 1 && metadata->topics[0].err == RD_KAFKA_RESP_ERR_NO_ERROR;
            rd_kafka_metadata_destroy(metadata);
        }
        if (!there && now_ns() > deadline_ns) {
            die(rd_kafka_topic_name(topic), "no leader in time");
        }
    }
}

/* The offset is asked for by number, so that nothing sent from now on can be missed. */
static void begin_reading(struct end *end, int32_t partition)
{
    int64_t low, high, deadline_ns = now_ns() + SILENCE_NS;
    rd_kafka_resp_err_t code;
    do { /* a fresh topic may have no leader yet */
        code = rd_kafka_query_watermark_offsets(end->consumer, rd_kafka_topic_name(end->from), partition, &low, &high, CREATE_MS);
    } while (code != RD_KAFKA_RESP_ERR_NO_ERROR && now_ns() < deadline_ns);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR || rd_kafka_consume_start_queue(end->from, partition, high, end->queue) != 0) {
        die("begin to read", rd_kafka_err2str(code));
    }
}

static void open_end(struct end *end, const char *brokers, const char *to, int32_t to_partitions, const char *from,
                     int32_t from_partitions)
{
    *end = (struct end){.producer = open_handle(brokers, RD_KAFKA_PRODUCER),
                        .consumer = open_handle(brokers, RD_KAFKA_CONSUMER),
                        .to_partitions = to_partitions,
                        .from_partitions = from_partitions};
    end->to = rd_kafka_topic_new(end->producer, to, NULL);
    end->from = rd_kafka_topic_new(end->consumer, from, NULL);
    end->queue = rd_kafka_queue_new(end->consumer);
    await_topic(end->producer, end->to);
    await_topic(end->consumer, end->from);
    for (int32_t partition = 0; partition < from_partitions; partition++) {
        begin_reading(end, partition);
    }
}

static void close_end(struct end *end)
{
    rd_kafka_flush(end->producer, CREATE_MS);
    for (int32_t partition = 0; partition < end->from_partitions; partition++) {
        rd_kafka_consume_stop(end->from, partition);
    }
    rd_kafka_topic_destroy(end->to);
    rd_kafka_topic_destroy(end->from);
    rd_kafka_queue_destroy(end->queue);
    rd_kafka_destroy(end->producer);
    rd_kafka_destroy(end->consumer);
}

static void send_letter(struct end *end, const struct letter *letter)
{
    int32_t partition = end->next;
    end->next = (end->next + 1) % end->to_partitions;
    while (rd_kafka_produce(end->to, partition, RD_KAFKA_MSG_F_COPY, (void *)(uintptr_t)letter, sizeof *letter, NULL, 0, NULL) !=
           0) {
        if (rd_kafka_last_error() != RD_KAFKA_RESP_ERR__QUEUE_FULL) {
            die("produce", rd_kafka_err2str(rd_kafka_last_error()));
        }
        rd_kafka_poll(end->producer, 1);
    }
}

/* Wait for one, then drain: a batch call would wait its whole timeout. Returns how many were put into `batch`. */
static size_t receive(struct end *end, rd_kafka_message_t **batch)
{
    rd_kafka_poll(end->producer, 0);
    batch[0] = rd_kafka_consume_queue(end->queue, WAIT_MS);
    if (batch[0] == NULL) {
        return 0;
    }
    ssize_t more = rd_kafka_consume_batch_queue(end->queue, 0, batch + 1, BATCH_MESSAGES - 1);
    return more > 0 ? (size_t)more + 1 : 1;
}

/* An error is a message too, for librdkafka. */
static const struct letter *letter_of(const rd_kafka_message_t *message)
{
    if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        die("consume", rd_kafka_message_errstr(message));
    }
    return message->payload;
}

static void *run_echo(void *argument)
{
    struct bench *bench = argument;
    rd_kafka_message_t *batch[BATCH_MESSAGES];
    while (!atomic_load(&bench->over)) {
        size_t count = receive(&bench->echo, batch);
        int64_t arrived_ns = now_ns();
        for (size_t i = 0; i < count; i++) {
            struct letter letter = *letter_of(batch[i]);
            letter.arrived_ns = arrived_ns;
            send_letter(&bench->echo, &letter);
            rd_kafka_message_destroy(batch[i]);
        }
    }
    return NULL;
}

static void send_new(struct bench *bench)
{
    struct letter letter = {.sent_ns = now_ns()};
    send_letter(&bench->driver, &letter);
}

/* A chain is seven hops, as a run of three steps has: one there, three times there and back. Four round trips are for whoever has a queue
 * for each of three steps and one for the answer. */
static void note(struct bench *bench, const struct letter *letter, int64_t arrived_ns)
{
    static size_t position;
    if (bench->count == SAMPLES_MAX) {
        return;
    }
    bench->hops[bench->count] = letter->arrived_ns - letter->sent_ns;
    bench->trips[bench->count] = arrived_ns - letter->sent_ns;
    bench->chains[bench->count / 4] += position == 0 ? bench->hops[bench->count] : bench->trips[bench->count];
    bench->fours[bench->count / 4] += bench->trips[bench->count];
    position = (position + 1) % 4;
    bench->count++;
}

/* `window` messages in flight for so long; returns round trips a second. */
static double measure_window(struct bench *bench, size_t window, double seconds, bool keep)
{
    rd_kafka_message_t *batch[BATCH_MESSAGES];
    for (size_t i = 0; i < window; i++) {
        send_new(bench);
    }
    int64_t begun_ns = now_ns(), last_ns = begun_ns, count = 0, ended_ns = 0;
    for (size_t out = window; out > 0;) {
        size_t got = receive(&bench->driver, batch);
        int64_t arrived_ns = now_ns();
        bool go_on = (double)(arrived_ns - begun_ns) < seconds * 1e9;
        for (size_t i = 0; i < got; i++) {
            if (keep) {
                note(bench, letter_of(batch[i]), arrived_ns);
            }
            (void)letter_of(batch[i]);
            rd_kafka_message_destroy(batch[i]);
        }
        last_ns = got > 0 ? arrived_ns : last_ns;
        if (arrived_ns - last_ns > SILENCE_NS) {
            die("round trips", "nothing comes back");
        }
        if (got > 0 && (go_on || ended_ns == 0)) { /* at least the first of them, however short the time */
            count += (int64_t)got;
            ended_ns = arrived_ns;
        }
        for (size_t i = 0; go_on && i < got; i++) {
            send_new(bench);
        }
        out -= go_on ? 0 : got;
    }
    return (double)count / ((double)(ended_ns - begun_ns) / 1e9);
}

/* One producer, one consumer, as fast as each can: messages a second. */
static void measure_streams(struct bench *bench, double *produced_per_s, double *consumed_per_s)
{
    rd_kafka_message_t *batch[BATCH_MESSAGES];
    struct end end;
    size_t count = 0, read = 0;
    open_end(&end, bench->brokers, bench->stream, 1, bench->stream, 0);
    int64_t begun_ns = now_ns();
    for (struct letter letter = {0}; (double)(now_ns() - begun_ns) < bench->seconds * 1e9; count++) {
        send_letter(&end, &letter);
        if (count % BATCH_MESSAGES == 0) {
            rd_kafka_poll(end.producer, 0);
        }
    }
    if (rd_kafka_flush(end.producer, CREATE_MS) != RD_KAFKA_RESP_ERR_NO_ERROR) {
        die("produce", "not all was acknowledged in time");
    }
    *produced_per_s = (double)count / ((double)(now_ns() - begun_ns) / 1e9);
    close_end(&end);

    open_end(&end, bench->brokers, bench->back, 1, bench->stream, 0); /* the same, from its beginning */
    begun_ns = now_ns();
    rd_kafka_consume_start_queue(end.from, 0, RD_KAFKA_OFFSET_BEGINNING, end.queue);
    end.from_partitions = 1;
    while (read < count) {
        size_t got = receive(&end, batch);
        for (size_t i = 0; i < got; i++) {
            (void)letter_of(batch[i]);
            rd_kafka_message_destroy(batch[i]);
        }
        read += got;
        if (now_ns() - begun_ns > 6 * SILENCE_NS) {
            die("consume", "what was produced does not come");
        }
    }
    *consumed_per_s = (double)read / ((double)(now_ns() - begun_ns) / 1e9);
    close_end(&end);
}

static void print_times(const char *name, int64_t *samples, size_t count)
{
    printf("\"%s\":{", name);
    times_print(samples, count);
    printf("},");
}

static void print_windows(struct bench *bench)
{
    static const size_t windows[] = {16, 64, 256, 1024, 4096};
    printf("\"round_trips_per_s\":{\"1\":%.0f", measure_window(bench, 1, 2 * bench->seconds, true));
    for (size_t i = 0; i < sizeof windows / sizeof *windows; i++) {
        printf(",\"%zu\":%.0f", windows[i], measure_window(bench, windows[i], bench->seconds, false));
    }
    printf("},");
}

static void *samples_new(size_t count)
{
    void *samples = calloc(count, sizeof(int64_t));
    if (samples == NULL) {
        die("samples", strerror(errno));
    }
    return samples;
}

static void make_topics(struct bench *bench, const char *prefix, int32_t partitions)
{
    snprintf(bench->there, sizeof bench->there, "%s.there", prefix);
    snprintf(bench->back, sizeof bench->back, "%s.back", prefix);
    snprintf(bench->stream, sizeof bench->stream, "%s.stream", prefix);
    create_topic(bench->brokers, bench->there, 1);
    create_topic(bench->brokers, bench->back, partitions);
    create_topic(bench->brokers, bench->stream, 1);
}

static void measure_round_trips(struct bench *bench, int32_t partitions)
{
    pthread_t thread;
    open_end(&bench->driver, bench->brokers, bench->there, 1, bench->back, partitions);
    open_end(&bench->echo, bench->brokers, bench->back, partitions, bench->there, 1);
    if (pthread_create(&thread, NULL, run_echo, bench) != 0) {
        die("thread", strerror(errno));
    }
    measure_window(bench, 256, bench->seconds / 2, false); /* connections and topics are to be no news */
    print_windows(bench);
    atomic_store(&bench->over, true);
    pthread_join(thread, NULL);
    close_end(&bench->echo);
    close_end(&bench->driver);
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fputs("usage: bench_floor BROKERS PREFIX PARTITIONS SECONDS\n", stderr);
        return 2;
    }
    int32_t partitions = atoi(argv[3]);
    struct bench bench = {.brokers = argv[1], .seconds = atof(argv[4])};
    double produced_per_s, consumed_per_s;
    bench.hops = samples_new(SAMPLES_MAX);
    bench.trips = samples_new(SAMPLES_MAX);
    bench.chains = samples_new(SAMPLES_MAX / 4 + 1);
    bench.fours = samples_new(SAMPLES_MAX / 4 + 1);
    make_topics(&bench, argv[2], partitions);
    printf("{");
    measure_round_trips(&bench, partitions);
    measure_streams(&bench, &produced_per_s, &consumed_per_s);
    print_times("seven_hops", bench.chains, bench.count / 4);
    print_times("four_round_trips", bench.fours, bench.count / 4);
    print_times("hop", bench.hops, bench.count);
    print_times("round_trip", bench.trips, bench.count);
    printf("\"produced_per_s\":%.0f,\"consumed_per_s\":%.0f}\n", produced_per_s, consumed_per_s);
    free(bench.hops);
    free(bench.trips);
    free(bench.chains);
    free(bench.fours);
    return 0;
}
