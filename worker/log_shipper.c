/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/log_shipper.h"

#include "common/clock.h"
#include "common/limits.h"
#include "common/log.h"
#include "common/topics.h"
#include "worker/log_queue.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>

#define LINGER_MS 100 /* lines that come within it share records; nobody reads faster */
#define RETRY_FIRST_MS 500
#define RETRY_MOST_MS 30000
#define POLL_MS 200
#define ROUND_MAX 256 /* records that are under way at once: 32 MiB at the most, less than the queue in fact */

struct log_shipper {
    struct log_shipper_options options;
    char topic[TOPICS_NAME_BYTES];
    pthread_t thread;
    /* shared */
    pthread_mutex_t mutex;
    pthread_cond_t change;
    struct log_queue *queue;
    bool waiting; /* the thread has nothing to do */
    bool stopping;
    int64_t stop_ms; /* when to give up, once it is stopping */
    /* the thread's */
    struct bus *bus;
    int32_t partitions;
    int64_t retry_ms, next_try_ms;
    bool complained;
    uint64_t lost_lines; /* since that was last said */
};

/* ---------------------------------------------------------------- from the steps' threads */

static void note(struct log_shipper *shipper)
{
    if (shipper->waiting || log_queue_has_full(shipper->queue)) {
        pthread_cond_signal(&shipper->change);
    }
}

static void take(void *state, const struct task *task, const struct log_line *line)
{
    struct log_shipper *shipper = state;
    pthread_mutex_lock(&shipper->mutex);
    log_queue_add(shipper->queue, task, line);
    note(shipper);
    pthread_mutex_unlock(&shipper->mutex);
}

static void dropped(void *state, const struct task *task, uint64_t lines, uint64_t bytes)
{
    struct log_shipper *shipper = state;
    pthread_mutex_lock(&shipper->mutex);
    log_queue_drop(shipper->queue, task, lines, bytes);
    note(shipper);
    pthread_mutex_unlock(&shipper->mutex);
}

struct log_sink log_shipper_sink(struct log_shipper *shipper)
{
    return (struct log_sink){.take = take, .dropped = dropped, .state = shipper};
}

/* ---------------------------------------------------------------- waiting */

static void wait_until(struct log_shipper *shipper, int64_t until_ms)
{
    struct timespec until = {.tv_sec = (time_t)(until_ms / 1000), .tv_nsec = (long)(until_ms % 1000) * 1000000L};
    pthread_cond_timedwait(&shipper->change, &shipper->mutex, &until);
}

/* Until something waits to be sent, and has waited a little for its like. With the lock held. */
static void wait_for_lines(struct log_shipper *shipper)
{
    shipper->waiting = true;
    while (log_queue_bytes(shipper->queue) == 0 && !shipper->stopping) {
        pthread_cond_wait(&shipper->change, &shipper->mutex);
    }
    shipper->waiting = false;
    int64_t ready_ms = clock_monotonic_ms() + LINGER_MS;
    while (!shipper->stopping && !log_queue_has_full(shipper->queue) && clock_monotonic_ms() < ready_ms) {
        wait_until(shipper, ready_ms);
    }
}

static bool gives_up(struct log_shipper *shipper)
{
    pthread_mutex_lock(&shipper->mutex);
    bool over = shipper->stopping && clock_monotonic_ms() >= shipper->stop_ms;
    pthread_mutex_unlock(&shipper->mutex);
    return over;
}

/* ---------------------------------------------------------------- the connection */

static void fail(struct log_shipper *shipper, const char *why)
{
    enum log_level level = shipper->complained ? LOG_DEBUG : LOG_WARN;
    log_event(level, "logs_not_sent", "worker=%s topic=%s error=%s", shipper->options.worker, shipper->topic, LOG_QUOTED(why));
    shipper->complained = true;
    bus_close(shipper->bus);
    shipper->bus = NULL;
    shipper->next_try_ms = clock_monotonic_ms() + shipper->retry_ms;
    shipper->retry_ms = shipper->retry_ms * 2 < RETRY_MOST_MS ? shipper->retry_ms * 2 : RETRY_MOST_MS;
}

static bool is_connected(struct log_shipper *shipper)
{
    struct error error = {0};
    if (shipper->bus != NULL) {
        return true;
    }
    if (clock_monotonic_ms() < shipper->next_try_ms) {
        return false;
    }
    shipper->bus = shipper->options.open(shipper->options.state, &error);
    if (shipper->bus == NULL || !topics_ensure(shipper->bus, shipper->options.prefix, TOPICS_LOGS, NULL, NULL, true,
                                               &shipper->partitions, shipper->options.timeout_ms, &error)) {
        fail(shipper, error.message);
        return false;
    }
    return true;
}

/* ---------------------------------------------------------------- sending */

static bool send(struct log_shipper *shipper, const struct message *message, struct error *error)
{
    struct text bytes;
    text_init(&bytes, LIMIT_RECORD_BYTES);
    bool ok = message_encode(message, &bytes, error);
    struct bus_send record = {.topic = shipper->topic,
                              .partition = bus_partition_of(message->event.run_id, shipper->partitions),
                              .key = message->event.run_id,
                              .value = text_span(&bytes),
                              .headers = {{"type", span_of(message_type(message->kind))}, {"step", message->log.step}},
                              .header_count = 2,
                              .cookie = 1,
                              .can_wait = true};
    ok = ok && bus_send(shipper->bus, &record, error);
    text_fini(&bytes);
    return ok;
}

static uint64_t lines_of(const struct message *message)
{
    return message->log.count + message->log.dropped_lines;
}

/* All that is in the queue; what comes meanwhile waits for the next round. */
static uint64_t send_all(struct log_shipper *shipper, struct log_batch **batches, size_t count)
{
    uint64_t sent = 0;
    for (size_t i = 0; i < count; i++) {
        struct error error = {0};
        struct message message = *log_batch_message(batches[i]);
        message.event.worker = span_of(shipper->options.worker);
        if (shipper->bus != NULL && send(shipper, &message, &error)) {
            sent += lines_of(&message);
        } else {
            shipper->lost_lines += lines_of(&message);
            if (shipper->bus != NULL && error.kind == ERROR_FATAL) {
                fail(shipper, error.message);
            }
        }
        log_batch_free(batches[i]);
    }
    return sent;
}

/* Until all of it is in the log, the connection is done for, or there is no more time. */
static void see_through(struct log_shipper *shipper, uint64_t lines)
{
    while (shipper->bus != NULL && bus_backlog(shipper->bus).records > 0 && !gives_up(shipper)) {
        struct bus_event event;
        bus_poll(shipper->bus, POLL_MS, &event);
        if (event.kind == BUS_FATAL) {
            shipper->lost_lines += lines;
            fail(shipper, event.reason);
        }
    }
    if (shipper->bus != NULL && bus_backlog(shipper->bus).records > 0) {
        shipper->lost_lines += lines;
    } else if (shipper->bus != NULL) {
        shipper->complained = false;
        shipper->retry_ms = RETRY_FIRST_MS;
    }
}

static void say_lost(struct log_shipper *shipper)
{
    if (shipper->lost_lines > 0 && !shipper->complained) {
        log_event(LOG_WARN, "log_lines_dropped", "worker=%s lines=%" PRIu64, shipper->options.worker, shipper->lost_lines);
        shipper->lost_lines = 0;
    }
}

/* With the lock held. */
static size_t take_batches(struct log_shipper *shipper, struct log_batch *batches[ROUND_MAX])
{
    size_t count = 0;
    while (count < ROUND_MAX && (batches[count] = log_queue_take(shipper->queue)) != NULL) {
        count++;
    }
    shipper->lost_lines += log_queue_take_untold(shipper->queue);
    return count;
}

static void round_trip(struct log_shipper *shipper)
{
    struct log_batch *batches[ROUND_MAX];
    pthread_mutex_lock(&shipper->mutex);
    size_t count = take_batches(shipper, batches);
    pthread_mutex_unlock(&shipper->mutex);
    see_through(shipper, send_all(shipper, batches, count));
    say_lost(shipper);
}

/* The queue keeps what it has room for until there is a connection again. false: there is no time for that. */
static bool wait_for_connection(struct log_shipper *shipper)
{
    pthread_mutex_lock(&shipper->mutex);
    while (!shipper->stopping && clock_monotonic_ms() < shipper->next_try_ms) {
        wait_until(shipper, shipper->next_try_ms);
    }
    bool go_on = !shipper->stopping;
    pthread_mutex_unlock(&shipper->mutex);
    return go_on;
}

static bool has_work(struct log_shipper *shipper)
{
    pthread_mutex_lock(&shipper->mutex);
    wait_for_lines(shipper);
    bool work = log_queue_bytes(shipper->queue) > 0 && !(shipper->stopping && clock_monotonic_ms() >= shipper->stop_ms);
    pthread_mutex_unlock(&shipper->mutex);
    return work;
}

static void count_left(struct log_shipper *shipper)
{
    struct log_batch *batch;
    while ((batch = log_queue_take(shipper->queue)) != NULL) {
        shipper->lost_lines += lines_of(log_batch_message(batch));
        log_batch_free(batch);
    }
    shipper->lost_lines += log_queue_take_untold(shipper->queue);
}

static void *thread_main(void *state)
{
    struct log_shipper *shipper = state;
    while (has_work(shipper)) {
        if (is_connected(shipper)) {
            round_trip(shipper);
        } else if (!wait_for_connection(shipper)) {
            break;
        }
    }
    pthread_mutex_lock(&shipper->mutex);
    count_left(shipper);
    pthread_mutex_unlock(&shipper->mutex);
    shipper->complained = false;
    say_lost(shipper);
    bus_close(shipper->bus);
    return NULL;
}

/* ---------------------------------------------------------------- beginning and end */

static bool start_thread(struct log_shipper *shipper)
{
    clock_condition_init(&shipper->change);
    pthread_mutex_init(&shipper->mutex, NULL);
    return pthread_create(&shipper->thread, NULL, thread_main, shipper) == 0;
}

static void release(struct log_shipper *shipper)
{
    pthread_cond_destroy(&shipper->change);
    pthread_mutex_destroy(&shipper->mutex);
    log_queue_free(shipper->queue);
    free(shipper);
}

struct log_shipper *log_shipper_new(const struct log_shipper_options *options, struct error *error)
{
    struct log_shipper *shipper = calloc(1, sizeof *shipper);
    if (shipper == NULL) {
        abort();
    }
    shipper->options = *options;
    shipper->retry_ms = RETRY_FIRST_MS;
    shipper->queue = log_queue_new(LIMIT_LOG_QUEUE_BYTES);
    topics_name(shipper->topic, TOPICS_LOGS, options->prefix, NULL);
    if (!start_thread(shipper)) {
        error_set(error, ERROR_TRANSIENT, "no thread could be made for what steps log");
        release(shipper);
        return NULL;
    }
    return shipper;
}

void log_shipper_free(struct log_shipper *shipper, int flush_ms)
{
    if (shipper == NULL) {
        return;
    }
    pthread_mutex_lock(&shipper->mutex);
    shipper->stopping = true;
    shipper->stop_ms = clock_monotonic_ms() + flush_ms;
    pthread_cond_signal(&shipper->change);
    pthread_mutex_unlock(&shipper->mutex);
    pthread_join(shipper->thread, NULL);
    release(shipper);
}
