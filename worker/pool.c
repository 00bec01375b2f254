/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/pool.h"

#include "common/clock.h"
#include "common/limits.h"
#include "common/text.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <uthash.h>
#include <utlist.h>

/* A job that is held is looked at so often, for its Started: a thread that takes one wakes nobody. */
#define LOOK_MS 50
#define HASTE_NS 100000 /* of work for one thread, be it the one that asks; to wake another takes about half of that */
/* Tasks that come together are handed to the threads together: each hand-over is a wake-up, and a step that does nothing costs less than
 * that. But no more than so many, nor more than HASTE_NS of work once there are some. */
#define HAND_OVER_SOME 64
#define HAND_OVER_MOST 512
#define STUCK_MS 1 /* without one that is taken, and the others are woken too */
/* Ends wait for others, and wake nobody, no longer than what is still queued will take, and GATHER_MS: a request with several costs little
 * more than one with one, here, at the broker and at the coordinator, and what would come for them has to wait for its turn here anyway. Not
 * where no more is queued than QUEUED_WELL for each thread; and jobs that take less than GATHER_FROM_NS end several at a time by
 * themselves. */
#define GATHER_MS 20
#define GATHER_FROM_NS 200000
#define QUEUED_WELL 2
#define MEAN_WEIGHT 16 /* of the past, against one more job */
#define LONG_US 1000000 /* jobs that take longer are alike to all that asks for the mean */

enum job_state { JOB_QUEUED, JOB_WAITS, JOB_RUNS, JOB_DONE };

/* A task from runner_begin() to its RUNNER_DONE. It is in one list at a time: fresh, queue, slots, ended or taken. */
struct job {
    struct pool *pool;
    struct runner_task task;
    enum job_state state;
    bool wait_told, going, withdrawn;
    bool started_told;
    bool news; /* progress or metrics that were not handed out */
    int64_t begun_us, next_report_ms, duration_us;
    uint64_t current, total;
    char *metrics; /* the latest, not handed out */
    struct cancellation cancellation;
    struct attempt attempt;
    struct job *prev, *next;
    UT_hash_handle hh;
};

struct pool {
    struct runner runner; /* first */
    pthread_mutex_t mutex;
    pthread_cond_t work; /* for the threads that have nothing to do: queue, the end */
    pthread_cond_t answers; /* for those whose job says `confirm`: go, withdrawal */
    pthread_cond_t reports; /* for runner_wait() */
    struct job *queue, *slots, *ended;
    /* Of the one thread that asks: */
    struct job *jobs; /* all, by id */
    struct job *fresh; /* begun, and not handed to the threads yet */
    struct job *taken; /* ended, and not reported yet */
    uint32_t fresh_count;
    bool fresh_confirms; /* one of them at least */
    bool keeps; /* as pool_keep() says */
    int64_t polled_ms;
    /* Everybody's, under the mutex: */
    void (*wake)(void *state);
    void *wake_state;
    bool woken; /* since the last poll that found nothing */
    uint32_t queue_count;
    int64_t moved_ms; /* when a job last came into the queue, or was taken */
    int64_t ended_ms; /* since when the first of `ended` is there */
    int64_t mean_ns;  /* of what jobs took; 0: none has ended yet */
    bool stopping;
    struct pool_guard guard;
    bool guarded;
    struct evaluator *evaluator;
    struct log_sink log; /* all NULL: none */
    uint32_t idle_count; /* threads that wait for work */
    uint32_t busy_count; /* in `slots` */
    uint32_t thread_count;
    pthread_t threads[];
};

static void lock(struct pool *pool)
{
    pthread_mutex_lock(&pool->mutex);
}

static void unlock(struct pool *pool)
{
    pthread_mutex_unlock(&pool->mutex);
}

static struct pool *pool_of(struct runner *runner)
{
    return (struct pool *)runner;
}

static void tell(struct pool *pool)
{
    if (pool->woken) {
        return;
    }
    pool->woken = true;
    pthread_cond_broadcast(&pool->reports);
    if (pool->wake != NULL) {
        pool->wake(pool->wake_state);
    }
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Until when what has ended may wait for others (monotonic); 0: not at all. */
static int64_t ends_due_ms(const struct pool *pool)
{
    if (pool->mean_ns < GATHER_FROM_NS || pool->queue_count <= QUEUED_WELL * pool->thread_count) {
        return 0;
    }
    int64_t queued_ms = pool->queue_count * pool->mean_ns / pool->thread_count / 1000000;
    return pool->ended_ms + least(queued_ms, GATHER_MS);
}

static void tell_of_ends(struct pool *pool, int64_t now_ms)
{
    if (pool->ended != NULL && ends_due_ms(pool) <= now_ms) {
        tell(pool);
    }
}

static void dequeue(struct pool *pool, struct job *job)
{
    DL_DELETE(pool->queue, job);
    pool->queue_count--;
    tell_of_ends(pool, 0);
}

static void free_job(struct pool *pool, struct job *job)
{
    HASH_DELETE(hh, pool->jobs, job);
    cancellation_fini(&job->cancellation);
    attempt_fini(&job->attempt);
    free(job->metrics);
    free(job);
}

/* ---------------------------------------------------------------- on the threads */

static void on_progress(void *state, uint64_t current, uint64_t total, struct span metrics)
{
    struct job *job = state;
    char *copy = metrics.size > 0 ? text_copy(metrics) : NULL;
    lock(job->pool);
    if (total > 0) {
        job->current = current;
        job->total = total;
    }
    if (copy != NULL) {
        free(job->metrics);
        job->metrics = copy;
    }
    if (!job->news) {
        job->news = true;
        if (job->started_told) {
            tell(job->pool);
        }
    }
    unlock(job->pool);
}

static void on_line(void *state, const struct log_line *line)
{
    const struct job *job = state;
    job->pool->log.take(job->pool->log.state, job->task.task, line);
}

static void on_dropped(void *state, uint64_t lines, uint64_t bytes)
{
    const struct job *job = state;
    job->pool->log.dropped(job->pool->log.state, job->task.task, lines, bytes);
}

static bool guard_begin(struct job *job)
{
    struct pool *pool = job->pool;
    return !pool->guarded || pool->guard.begin(pool->guard.state, job->task.step);
}

static void guard_end(struct job *job)
{
    struct pool *pool = job->pool;
    if (pool->guarded) {
        pool->guard.end(pool->guard.state, job->task.step);
    }
}

static void run(struct job *job)
{
    struct context_listener listener = {.progressed = on_progress, .state = job, .evaluator = job->pool->evaluator};
    if (job->pool->log.take != NULL) {
        listener.logged = on_line;
        listener.log_dropped = on_dropped;
    }
    if (!guard_begin(job)) {
        job->attempt.outcome = OUTCOME_CANCELLED_NOT_STARTED;
        return;
    }
    attempt_run(&job->attempt, job->task.task, job->task.step, &job->cancellation, &listener);
    guard_end(job);
}

static void end_job(struct pool *pool, struct job *job, int64_t now_ms)
{
    pool->busy_count--;
    pool->ended_ms = pool->ended == NULL ? now_ms : pool->ended_ms;
    DL_DELETE(pool->slots, job);
    DL_APPEND(pool->ended, job);
    tell_of_ends(pool, now_ms);
}

/* "Before executing, and acknowledged, if the task says confirm." With the lock held; false: it was taken back. */
static bool wait_for_go(struct pool *pool, struct job *job)
{
    if (!job->task.task->confirm) {
        return true;
    }
    job->state = JOB_WAITS;
    tell(pool);
    while (!job->going && !job->withdrawn) {
        pthread_cond_wait(&pool->answers, &pool->mutex);
    }
    job->started_told = true;
    return !job->withdrawn;
}

static void take(struct pool *pool)
{
    struct job *job = pool->queue;
    dequeue(pool, job);
    DL_APPEND(pool->slots, job);
    pool->busy_count++;
    if (!wait_for_go(pool, job)) {
        end_job(pool, job, clock_monotonic_ms());
        return;
    }
    job->state = JOB_RUNS;
    job->begun_us = clock_monotonic_us();
    pool->moved_ms = job->begun_us / 1000;
    job->next_report_ms = pool->moved_ms + RUNNER_STARTED_MS;
    unlock(pool);
    run(job);
    int64_t now_us = clock_monotonic_us();
    lock(pool);
    job->state = JOB_DONE;
    job->duration_us = now_us - job->begun_us;
    int64_t took_ns = least(job->duration_us, LONG_US) * 1000; /* in whole microseconds a mean would not go below MEAN_WEIGHT of them */
    pool->mean_ns += pool->mean_ns == 0 ? took_ns + 1 : (took_ns - pool->mean_ns) / MEAN_WEIGHT;
    end_job(pool, job, now_us / 1000);
}

/* With who lends a hand there is a thread more than slots. */
static bool has_work(const struct pool *pool)
{
    return pool->queue != NULL && pool->busy_count < pool->thread_count;
}

static void *thread_main(void *state)
{
    struct pool *pool = state;
    lock(pool);
    while (!pool->stopping) {
        if (has_work(pool)) {
            take(pool);
        } else {
            pool->idle_count++;
            pthread_cond_wait(&pool->work, &pool->mutex);
            pool->idle_count--;
        }
    }
    unlock(pool);
    return NULL;
}

/* ---------------------------------------------------------------- for the worker */

/* How long a job will take, as the last ones did. */
static int64_t expected_ns(const struct pool *pool)
{
    return pool->mean_ns > 0 ? pool->mean_ns : HASTE_NS;
}

/* As many as see to what is queued in HASTE_NS: where jobs are short, one of them. */
static uint32_t threads_wanted(const struct pool *pool)
{
    return (uint32_t)least(1 + pool->queue_count * expected_ns(pool) / HASTE_NS, least(pool->queue_count, pool->idle_count));
}

/* When those that are idle are to be woken, too: what is queued waits for a thread that has taken a longer job than was to be expected. */
static int64_t stuck_ms(const struct pool *pool)
{
    return has_work(pool) && pool->idle_count > 0 ? pool->moved_ms + STUCK_MS : INT64_MAX;
}

/* With the lock free, for that is the first that they want. */
static void wake_threads(struct pool *pool, uint32_t count)
{
    for (; count > 0; count--) {
        pthread_cond_signal(&pool->work);
    }
}

static uint32_t enqueue_fresh(struct pool *pool, int64_t now_ms)
{
    uint32_t count = pool->fresh_count;
    DL_CONCAT(pool->queue, pool->fresh);
    pool->queue_count += count;
    pool->moved_ms = now_ms;
    pool->fresh = NULL;
    pool->fresh_count = 0;
    pool->fresh_confirms = false;
    return count;
}

/* What has begun, to the threads; a busy one looks by itself. */
static void hand_over(struct pool *pool)
{
    if (pool->fresh == NULL) {
        return;
    }
    int64_t now_ms = clock_monotonic_ms();
    lock(pool);
    enqueue_fresh(pool, now_ms);
    uint32_t wakes = threads_wanted(pool);
    unlock(pool);
    wake_threads(pool, wakes);
}

/* What has begun, and there is some, is little work, and has to wait for nobody. With the lock held. */
static bool is_kept(const struct pool *pool)
{
    return pool->keeps && !pool->fresh_confirms && pool->fresh_count * expected_ns(pool) < HASTE_NS && pool->queue == NULL &&
           pool->busy_count == 0;
}

static void hand_over_or_keep(struct pool *pool)
{
    if (pool->fresh == NULL) {
        return;
    }
    lock(pool);
    bool kept = is_kept(pool);
    unlock(pool);
    if (!kept) {
        hand_over(pool);
    }
}

/* Not for less than it is worth: the look that brought these goes on, and hands over the rest. */
static void hand_over_much(struct pool *pool)
{
    lock(pool);
    bool much = pool->fresh_count >= HAND_OVER_MOST || pool->fresh_count * expected_ns(pool) >= HASTE_NS;
    unlock(pool);
    if (much) {
        hand_over(pool);
    }
}

static void pool_begin(struct runner *runner, const struct runner_task *task)
{
    struct pool *pool = pool_of(runner);
    struct job *job = malloc(sizeof *job); /* calloc() of glibc does not look at what a thread gave back */
    if (job == NULL) {
        abort(); /* the log has everything; another process will take over */
    }
    *job = (struct job){.pool = pool, .task = *task};
    HASH_ADD(hh, pool->jobs, task.id, sizeof job->task.id, job);
    DL_APPEND(pool->fresh, job);
    pool->fresh_confirms = pool->fresh_confirms || task->task->confirm;
    if (++pool->fresh_count % HAND_OVER_SOME == 0) {
        hand_over_much(pool);
    }
}

static struct job *find(struct pool *pool, uint64_t id)
{
    struct job *job = NULL;
    HASH_FIND(hh, pool->jobs, &id, sizeof id, job);
    return job;
}

static void pool_go(struct runner *runner, uint64_t id)
{
    struct pool *pool = pool_of(runner);
    hand_over(pool);
    lock(pool);
    struct job *job = find(pool, id);
    if (job != NULL && !job->withdrawn) {
        job->going = true;
        pthread_cond_broadcast(&pool->answers);
    }
    unlock(pool);
}

/* With the lock held. */
static bool withdraw(struct pool *pool, struct job *job)
{
    if (job->state == JOB_QUEUED) {
        dequeue(pool, job);
        free_job(pool, job);
        return true;
    }
    if (job->state == JOB_WAITS && !job->going) {
        job->withdrawn = true; /* its thread gives it back */
        job->wait_told = true;
        pthread_cond_broadcast(&pool->answers);
        return true;
    }
    return false;
}

static bool pool_withdraw(struct runner *runner, uint64_t id)
{
    struct pool *pool = pool_of(runner);
    hand_over(pool);
    lock(pool);
    struct job *job = find(pool, id);
    bool withdrawn = job != NULL && withdraw(pool, job);
    unlock(pool);
    return withdrawn;
}

static bool pool_cancel(struct runner *runner, uint64_t id)
{
    struct pool *pool = pool_of(runner);
    hand_over(pool);
    lock(pool);
    struct job *job = find(pool, id);
    bool withdrawn = job != NULL && withdraw(pool, job);
    if (job != NULL && !withdrawn) {
        cancellation_request(&job->cancellation);
    }
    unlock(pool);
    return withdrawn;
}

static bool report_progress(struct job *job, int64_t now_ms, struct runner_report *report)
{
    *report = (struct runner_report){
        .kind = RUNNER_PROGRESSED, .id = job->task.id, .current = job->current, .total = job->total, .metrics = job->metrics};
    job->metrics = NULL;
    job->news = false;
    job->next_report_ms = now_ms + RUNNER_PROGRESS_MS;
    return true;
}

/* No thread knows these jobs any more. The last progress goes before the end, but where the step has succeeded before anybody heard of it. */
static bool report_taken(struct pool *pool, int64_t now_ms, struct runner_report *report)
{
    struct job *job;
    while ((job = pool->taken) != NULL && job->withdrawn) {
        DL_DELETE(pool->taken, job);
        free_job(pool, job);
    }
    if (job == NULL) {
        return false;
    }
    bool quiet = job->attempt.outcome == OUTCOME_OK && !job->started_told;
    if (job->news && !quiet) {
        return report_progress(job, now_ms, report);
    }
    *report =
        (struct runner_report){.kind = RUNNER_DONE, .id = job->task.id, .attempt = job->attempt, .duration_us = job->duration_us};
    job->attempt = (struct attempt){0};
    DL_DELETE(pool->taken, job);
    free_job(pool, job);
    return true;
}

static bool report_slot(struct job *job, int64_t now_ms, struct runner_report *report)
{
    *report = (struct runner_report){.id = job->task.id};
    if (job->state == JOB_WAITS && !job->wait_told) {
        report->kind = RUNNER_WAITS;
        return job->wait_told = true;
    }
    if (job->state != JOB_RUNS || now_ms < job->next_report_ms) {
        return false;
    }
    if (!job->started_told) {
        report->kind = RUNNER_STARTED;
        report->duration_us = (now_ms - job->begun_us / 1000) * 1000;
        return job->started_told = true;
    }
    return job->news && report_progress(job, now_ms, report);
}

static bool pool_poll(struct runner *runner, int64_t now_ms, struct runner_report *report)
{
    struct pool *pool = pool_of(runner);
    pool->polled_ms = now_ms;
    if (report_taken(pool, now_ms, report)) {
        return true;
    }
    hand_over_or_keep(pool);
    lock(pool);
    pool->taken = pool->ended;
    pool->ended = NULL;
    bool found = report_taken(pool, now_ms, report);
    uint32_t wakes = 0;
    if (stuck_ms(pool) <= now_ms) {
        wakes = (uint32_t)least(pool->queue_count, pool->idle_count);
        pool->moved_ms = now_ms; /* they may take their time: looked at again after STUCK_MS, not at once */
    }
    for (struct job *job = pool->slots; job != NULL && !found; job = job->next) {
        found = report_slot(job, now_ms, report);
    }
    pool->woken = found && pool->woken;
    unlock(pool);
    wake_threads(pool, wakes);
    return found;
}

static int64_t pool_due_ms(struct runner *runner)
{
    struct pool *pool = pool_of(runner);
    hand_over_or_keep(pool);
    lock(pool);
    bool at_once = pool->woken || pool->taken != NULL || pool->fresh != NULL;
    int64_t due_ms = at_once ? 0 : pool->queue != NULL ? pool->polled_ms + LOOK_MS : INT64_MAX;
    due_ms = least(due_ms, stuck_ms(pool));
    if (pool->ended != NULL) {
        due_ms = least(due_ms, ends_due_ms(pool));
    }
    for (struct job *job = pool->slots; job != NULL; job = job->next) {
        due_ms = least(due_ms, !job->started_told ? pool->polled_ms + LOOK_MS : job->news ? job->next_report_ms : INT64_MAX);
    }
    unlock(pool);
    return due_ms;
}

static void pool_wait(struct runner *runner, int timeout_ms)
{
    struct pool *pool = pool_of(runner);
    struct timespec until = clock_deadline(timeout_ms);
    hand_over(pool);
    lock(pool);
    if (!pool->woken) {
        pthread_cond_timedwait(&pool->reports, &pool->mutex, &until);
    }
    unlock(pool);
}

static void pool_set_wake(struct runner *runner, void (*wake)(void *state), void *state)
{
    struct pool *pool = pool_of(runner);
    lock(pool);
    pool->wake = wake;
    pool->wake_state = state;
    pool->woken = false;
    unlock(pool);
}

static const struct runner_operations operations = {
    .begin = pool_begin,
    .go = pool_go,
    .withdraw = pool_withdraw,
    .cancel = pool_cancel,
    .poll = pool_poll,
    .due_ms = pool_due_ms,
    .wait = pool_wait,
    .set_wake = pool_set_wake,
};

/* Signals are the main thread's, but those by which a step's own mistake ends the process: a handler of them, as a crash reporter
 * installs it, runs on the thread that has made the mistake. */
void pool_signals(sigset_t *signals)
{
    static const int crashes[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS};
    sigfillset(signals);
    for (size_t i = 0; i < sizeof crashes / sizeof *crashes; i++) {
        sigdelset(signals, crashes[i]);
    }
}

static bool start_threads(struct pool *pool, uint32_t threads)
{
    sigset_t all, before;
    pool_signals(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (pool->thread_count < threads && pthread_create(&pool->threads[pool->thread_count], NULL, thread_main, pool) == 0) {
        pool->thread_count++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return pool->thread_count == threads;
}

struct pool *pool_new(uint32_t threads, const struct pool_guard *guard, struct error *error)
{
    assert(threads >= 1 && threads <= LIMIT_CONCURRENCY);
    struct pool *pool = calloc(1, sizeof *pool + threads * sizeof *pool->threads);
    if (pool == NULL) {
        error_set(error, ERROR_TRANSIENT, "out of memory");
        return NULL;
    }
    pool->runner.operations = &operations;
    pool->guarded = guard != NULL;
    pool->guard = guard != NULL ? *guard : (struct pool_guard){0};
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->work, NULL);
    pthread_cond_init(&pool->answers, NULL);
    clock_condition_init(&pool->reports);
    if (!start_threads(pool, threads)) {
        error_set(error, ERROR_TRANSIENT, "only %u of %u threads could be made", pool->thread_count, threads);
        pool_free(pool);
        return NULL;
    }
    return pool;
}

void pool_keep(struct pool *pool, bool keeps)
{
    pool->keeps = keeps;
}

uint32_t pool_kept(struct pool *pool)
{
    if (pool->fresh == NULL) {
        return 0;
    }
    int64_t now_ms = clock_monotonic_ms();
    lock(pool);
    uint32_t count = is_kept(pool) ? enqueue_fresh(pool, now_ms) : 0;
    pool->woken = pool->woken || count > 0; /* whoever asked for them comes back to ask */
    unlock(pool);
    return count;
}

void pool_work(struct pool *pool, uint32_t count)
{
    lock(pool);
    for (; count > 0 && has_work(pool); count--) {
        take(pool);
    }
    unlock(pool); /* what has had no slot meanwhile is stuck, and seen to */
}

void pool_wake(struct pool *pool)
{
    lock(pool);
    tell(pool);
    unlock(pool);
}

static void stop(struct pool *pool)
{
    struct job *job, *next;
    hand_over(pool);
    lock(pool);
    pool->stopping = true;
    pool->wake = NULL;
    HASH_ITER (hh, pool->jobs, job, next) {
        if (!withdraw(pool, job)) {
            cancellation_request(&job->cancellation);
        }
    }
    pthread_cond_broadcast(&pool->work);
    unlock(pool);
}

void pool_free(struct pool *pool)
{
    if (pool == NULL) {
        return;
    }
    stop(pool);
    for (uint32_t i = 0; i < pool->thread_count; i++) {
        pthread_join(pool->threads[i], NULL);
    }
    while (pool->jobs != NULL) {
        free_job(pool, pool->jobs);
    }
    pthread_cond_destroy(&pool->reports);
    pthread_cond_destroy(&pool->answers);
    pthread_cond_destroy(&pool->work);
    pthread_mutex_destroy(&pool->mutex);
    free(pool);
}

void pool_set_evaluator(struct pool *pool, struct evaluator *evaluator)
{
    pool->evaluator = evaluator;
}

void pool_set_log(struct pool *pool, const struct log_sink *sink)
{
    pool->log = *sink;
}

struct runner *pool_runner(struct pool *pool)
{
    return &pool->runner;
}
