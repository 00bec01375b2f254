/* SPDX-License-Identifier: Apache-2.0 */
/* Starts runs, folds the log as any reader does, and says how long they took: one JSON object.
 *
 *     bench_client BROKERS PREFIX PIPELINE [NAME=NUMBER ...] [-- WORKER ARGUMENT ...]
 *
 *     runs=N     so many at most                          window=N   so many at once
 *     seconds=N  start none after so long; then what counts is what ended from a quarter of it on. 0: all of `runs`, from first to last
 *     cancel=1   cancel each run when its first step has said that it began
 *     park=1     a run is over for us once its start was answered (nobody serves its steps)
 *     leave=1    with `seconds`: end when they are over, whatever still runs
 *
 * A WORKER is started when the first run has been answered, and ended at the end. "end" is the moment when the fold says so: seven hops after
 * the Start for three steps, not the RunFinished after it. */
#include "bench/times.h"
#include "coordinator/cli/client.h"
#include "common/clock.h"
#include "common/limits.h"
#include "common/pipeline.h"
#include "common/runs.h"

#include <assert.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TIMEOUT_MS 10000
#define POLL_MS 100
#define BATCH_EVENTS 4096
#define SAID_MAX 10 /* runs that are named when they hang */
#define SILENCE_NS (180 * INT64_C(1000000000)) /* nothing ended for so long, a recovery of a million runs included: it never will */

struct sample {
    int64_t started_ns, rolling_ns, cancelled_ns, ended_ns; /* 0: not yet */
    bool answered, finished;
};

struct settings {
    long runs, window, seconds, cancel, park, leave;
};

struct bench {
    struct settings settings;
    struct client client;
    struct pipeline *pipeline;
    struct runs **runs; /* by partition */
    char name[64]; /* of this bench's runs, before their number */
    struct sample *samples; /* settings.runs of them */
    size_t started, ended, finished, succeeded;
    char *const *worker; /* NULL: none */
    pid_t worker_pid;
    int64_t spawned_ns, begun_ns, last_ns;
    int64_t from_ns, until_ns; /* what counts, */
    size_t from_count, until_count; /* and how many had ended at either end of it, */
    size_t from_done, until_done;   /* and steps */
    size_t records, bytes, of_kind[MESSAGE_LOG_LINES + 1];
};

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void end_worker(const struct bench *bench)
{
    if (bench->worker_pid > 0) {
        kill(bench->worker_pid, SIGTERM);
        waitpid(bench->worker_pid, NULL, 0);
    }
}

static void die(const struct bench *bench, const char *what, const char *reason)
{
    fprintf(stderr, "bench_client: %s: %s (%zu started, %zu ended, %zu finished)\n", what, reason, bench->started, bench->ended,
            bench->finished);
    for (size_t i = 0, said = 0; i < bench->started && said < SAID_MAX; i++) {
        if (bench->samples[i].ended_ns == 0) {
            fprintf(stderr, "bench_client: %s-%zu did not end, %s, %s\n", bench->name, i,
                    bench->samples[i].answered ? "answered" : "not answered",
                    bench->samples[i].finished ? "finished" : "not finished");
            said++;
        }
    }
    end_worker(bench);
    exit(1);
}

static void start_one(struct bench *bench)
{
    char run_id[LIMIT_IDENTIFIER_BYTES + 1];
    struct request request;
    struct error error = {0};
    snprintf(run_id, sizeof run_id, "%s-%zu", bench->name, bench->started);
    bench->samples[bench->started++].started_ns = now_ns();
    if (!client_send_start(&bench->client, &request, run_id, &bench->pipeline->plan, span_of("{}"), &error)) {
        die(bench, "start", error.message);
    }
}

static bool may_start(const struct bench *bench, int64_t at_ns)
{
    const struct settings *settings = &bench->settings;
    return bench->started < (size_t)settings->runs &&
           (settings->seconds == 0 || at_ns - bench->begun_ns < settings->seconds * INT64_C(1000000000));
}

/* The run of ours that a record is about; NULL: none. */
static struct sample *sample_of(struct bench *bench, struct span run_id)
{
    char text[LIMIT_IDENTIFIER_BYTES + 1];
    size_t prefix = strlen(bench->name);
    if (run_id.size >= sizeof text || run_id.size < prefix + 2 || memcmp(run_id.bytes, bench->name, prefix) != 0) {
        return NULL;
    }
    memcpy(text, run_id.bytes, run_id.size);
    text[run_id.size] = '\0';
    unsigned long number = strtoul(text + prefix + 1, NULL, 10);
    return number < bench->started ? &bench->samples[number] : NULL;
}

static void spawn_worker(struct bench *bench)
{
    bench->spawned_ns = now_ns();
    bench->worker_pid = fork();
    if (bench->worker_pid == 0) {
        execv(bench->worker[0], bench->worker);
        _exit(127);
    }
    if (bench->worker_pid < 0) {
        die(bench, bench->worker[0], "cannot be forked");
    }
}

static void end_sample(struct bench *bench, struct sample *sample, int64_t at_ns)
{
    if (sample->ended_ns != 0) {
        return;
    }
    sample->ended_ns = at_ns;
    bench->ended++;
    bench->last_ns = at_ns;
    if (may_start(bench, at_ns)) {
        start_one(bench);
    }
}

static void cancel_one(struct bench *bench, struct sample *sample, struct span run_id)
{
    char text[LIMIT_IDENTIFIER_BYTES + 1];
    struct request request;
    struct error error = {0};
    snprintf(text, sizeof text, "%.*s", SPAN_ARGS(run_id));
    sample->cancelled_ns = now_ns();
    if (!client_send_cancel(&bench->client, &request, text, "measured", &error)) {
        die(bench, "cancel", error.message);
    }
}

static void note(struct bench *bench, struct sample *sample, const struct message *message, const struct run *run)
{
    int64_t at_ns = now_ns();
    if (message->kind == MESSAGE_ANSWERED && !sample->answered) {
        sample->answered = true;
        if (message->verdict != VERDICT_ACCEPTED) {
            die(bench, "a start was not accepted", "see its run");
        }
        if (bench->worker != NULL && bench->spawned_ns == 0) {
            spawn_worker(bench);
        }
        if (bench->settings.park) {
            end_sample(bench, sample, at_ns);
        }
    }
    if (message->kind == MESSAGE_STARTED && bench->settings.cancel && sample->cancelled_ns == 0) {
        cancel_one(bench, sample, message->event.run_id);
    }
    if (run == NULL) {
        return;
    }
    if (run->saga.status == RUN_ROLLING_BACK && sample->rolling_ns == 0) {
        sample->rolling_ns = at_ns;
    }
    if (run_status_is_final(run->saga.status)) {
        bench->succeeded += sample->ended_ns == 0 && run->saga.status == RUN_SUCCEEDED;
        end_sample(bench, sample, at_ns);
    }
}

/* Its owner's claim may stand before where we began to read, and then its word is nothing to the fold; it is to us. */
static void forget(struct bench *bench, struct sample *sample, struct runs *runs, struct span run_id)
{
    struct run *run = runs_find(runs, run_id);
    bench->finished += !sample->finished;
    sample->finished = true;
    if (run != NULL) {
        runs_remove(runs, run);
    }
}

static void take_record(struct bench *bench, const struct bus_event *event)
{
    struct message message;
    struct error error = {0};
    struct run *run = NULL;
    struct runs *runs = bench->runs[event->partition];
    if (!message_decode_known(&message, runs_plans(runs), event->key, event->value, &error)) {
        die(bench, "a record cannot be read", error.message);
    }
    bench->records++;
    bench->bytes += event->key.size + event->value.size;
    bench->of_kind[message.kind]++;
    if (!bench->settings.park) {
        runs_apply(runs, &message, event->offset, event->time_ms, &run);
    }
    struct sample *sample = sample_of(bench, message.event.run_id);
    if (sample != NULL) {
        note(bench, sample, &message, run);
    }
    if (message.kind == MESSAGE_RUN_FINISHED && sample != NULL) {
        forget(bench, sample, runs, message.event.run_id);
    }
    message_free(&message);
}

static void take_what_comes(struct bench *bench)
{
    struct bus_event event;
    int timeout_ms = POLL_MS;
    for (int i = 0; i < BATCH_EVENTS; i++) {
        bus_poll(bench->client.bus, timeout_ms, &event);
        if (event.kind == BUS_NOTHING) {
            break;
        }
        if (event.kind == BUS_GONE || event.kind == BUS_FATAL) {
            die(bench, "the log", event.reason);
        }
        if (event.kind == BUS_RECORD) {
            take_record(bench, &event);
        }
        timeout_ms = 0;
    }
    if (now_ns() - bench->last_ns > SILENCE_NS) {
        die(bench, "runs", "none has ended for 180 s");
    }
}

static bool is_over(const struct bench *bench, int64_t at_ns)
{
    bool all = bench->ended == bench->started && (bench->settings.park || bench->finished == bench->ended);
    return (all || (bench->settings.leave && bench->until_ns != 0)) && !may_start(bench, at_ns);
}

/* What counts begins after a quarter of the time and ends with the last start. */
static void keep_time(struct bench *bench, int64_t at_ns)
{
    int64_t warm_ns = bench->settings.seconds * INT64_C(250000000);
    if (bench->from_ns == 0 && at_ns - bench->begun_ns >= warm_ns) {
        bench->from_ns = at_ns;
        bench->from_count = bench->ended;
        bench->from_done = bench->of_kind[MESSAGE_DONE];
    }
    if (bench->until_ns == 0 && !may_start(bench, at_ns) && (bench->settings.seconds > 0 || bench->ended == bench->started)) {
        bench->until_ns = at_ns;
        bench->until_count = bench->ended;
        bench->until_done = bench->of_kind[MESSAGE_DONE];
    }
}

static void drive(struct bench *bench)
{
    bench->begun_ns = bench->last_ns = now_ns();
    keep_time(bench, bench->begun_ns);
    for (long i = 0; i < bench->settings.window && may_start(bench, now_ns()); i++) {
        start_one(bench);
    }
    while (!is_over(bench, now_ns())) {
        take_what_comes(bench);
        keep_time(bench, now_ns());
    }
}

/* ---- what is printed */

static int64_t from_start(const struct sample *sample)
{
    return sample->ended_ns - sample->started_ns;
}

static int64_t from_rolling(const struct sample *sample)
{
    return sample->rolling_ns > 0 ? sample->ended_ns - sample->rolling_ns : -1;
}

static int64_t from_cancel(const struct sample *sample)
{
    return sample->cancelled_ns > 0 ? sample->ended_ns - sample->cancelled_ns : -1;
}

static void print_times(const struct bench *bench, const char *name, int64_t (*time_of)(const struct sample *sample))
{
    size_t count = 0;
    int64_t *times = calloc(bench->ended + 1, sizeof *times);
    assert(times != NULL);
    for (size_t i = 0; i < bench->started; i++) {
        int64_t time_ns = time_of(&bench->samples[i]);
        if (time_ns >= 0) {
            times[count++] = time_ns;
        }
    }
    if (count > 0) {
        printf("\"%s\":{", name);
        times_print(times, count);
        printf("},");
    }
    free(times);
}

static void print_kinds(const struct bench *bench)
{
    const char *comma = "";
    printf("\"records\":{");
    for (int kind = MESSAGE_START; kind <= MESSAGE_LOG_LINES; kind++) {
        if (bench->of_kind[kind] > 0) {
            printf("%s\"%s\":%zu", comma, message_type((enum message_kind)kind), bench->of_kind[kind]);
            comma = ",";
        }
    }
    printf("},");
}

/* Of this process, from its beginning: what it costs to be the one who looks on. */
static double own_cpu_s(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) + (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

static void print_all(const struct bench *bench)
{
    double seconds = (double)(bench->until_ns - bench->from_ns) / 1e9;
    double runs_per_s = seconds > 0 ? (double)(bench->until_count - bench->from_count) / seconds : 0;
    double done_per_s = seconds > 0 ? (double)(bench->until_done - bench->from_done) / seconds : 0;
    printf("{\"runs\":%zu,\"succeeded\":%zu,\"steps\":%zu,\"steps_per_s\":%.1f,\"done_per_s\":%.1f,", bench->ended, bench->succeeded,
           bench->ended * bench->pipeline->plan.step_count, runs_per_s * bench->pipeline->plan.step_count, done_per_s);
    print_times(bench, "run", from_start);
    print_times(bench, "rollback", from_rolling);
    print_times(bench, "cancel", from_cancel);
    print_kinds(bench);
    if (bench->spawned_ns > 0) {
        printf("\"from_spawn_ms\":%.2f,", (double)(bench->samples[0].ended_ns - bench->spawned_ns) / 1e6);
    }
    printf("\"cpu_s\":%.3f,\"progress_bytes\":%zu}\n", own_cpu_s(), bench->bytes);
}

/* ---- beginning */

static const char *read_setting(struct settings *settings, const char *argument)
{
    const struct {
        const char *name;
        long *value;
    } known[] = {{"runs=", &settings->runs},
                 {"window=", &settings->window},
                 {"seconds=", &settings->seconds},
                 {"cancel=", &settings->cancel},
                 {"park=", &settings->park},
                 {"leave=", &settings->leave}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        size_t size = strlen(known[i].name);
        if (strncmp(argument, known[i].name, size) == 0) {
            char *end;
            *known[i].value = strtol(argument + size, &end, 10);
            return *end == '\0' && *known[i].value >= 0 ? NULL : "expected a number that is not negative";
        }
    }
    return "unknown setting";
}

static bool read_arguments(struct bench *bench, int argc, char **argv)
{
    bench->settings = (struct settings){.runs = 1, .window = 1};
    for (int i = 4; i < argc; i++) {
        if (strcmp(argv[i], "--") == 0) {
            bench->worker = i + 1 < argc ? &argv[i + 1] : NULL;
            return bench->worker != NULL;
        }
        const char *wrong = read_setting(&bench->settings, argv[i]);
        if (wrong != NULL) {
            fprintf(stderr, "bench_client: '%s': %s\n", argv[i], wrong);
            return false;
        }
    }
    return argc >= 4;
}

/* Where the log ends now: runs of before are none of ours. */
static void begin_reading(struct bench *bench)
{
    struct error error = {0};
    bench->runs = calloc((size_t)bench->client.partitions, sizeof(struct runs *));
    assert(bench->runs != NULL);
    for (int32_t partition = 0; partition < bench->client.partitions; partition++) {
        int64_t first, next;
        bench->runs[partition] = runs_new((uint32_t)bench->client.partitions);
        if (!bus_bounds(bench->client.bus, bench->client.progress, partition, &first, &next, TIMEOUT_MS, &error) ||
            !bus_consume(bench->client.bus, bench->client.progress, partition, next, &error)) {
            die(bench, "begin to read", error.message);
        }
    }
}

static void open_all(struct bench *bench, char **argv)
{
    struct error error = {0};
    struct client_options options = {.brokers = argv[1], .prefix = argv[2], .timeout_ms = TIMEOUT_MS};
    bench->pipeline = pipeline_read_file(argv[3]);
    if (bench->pipeline->problem_count > 0) {
        die(bench, argv[3], bench->pipeline->problems[0].text);
    }
    snprintf(bench->name, sizeof bench->name, "b%" PRIx64, (uint64_t)now_ns());
    bench->samples = calloc((size_t)bench->settings.runs + 1, sizeof *bench->samples);
    assert(bench->samples != NULL);
    if (!client_open(&bench->client, &options, &error)) {
        die(bench, "open", error.message);
    }
    begin_reading(bench);
}

static void close_all(struct bench *bench)
{
    end_worker(bench);
    for (int32_t partition = 0; partition < bench->client.partitions; partition++) {
        runs_free(bench->runs[partition]);
    }
    free(bench->runs);
    free(bench->samples);
    client_close(&bench->client);
    pipeline_free(bench->pipeline);
}

int main(int argc, char **argv)
{
    struct bench bench = {0};
    if (!read_arguments(&bench, argc, argv)) {
        fputs("usage: bench_client BROKERS PREFIX PIPELINE [NAME=NUMBER ...] [-- WORKER ARGUMENT ...]\n", stderr);
        return 2;
    }
    open_all(&bench, argv);
    drive(&bench);
    print_all(&bench);
    close_all(&bench);
    return 0;
}
