/* SPDX-License-Identifier: Apache-2.0 */
/* A pipeline of actions at work in this process: an orchestrator, in the caller's thread or in one of its own. */
#include "common/clock.h"
#include "common/limits.h"
#include "worker/action_pipeline.h"
#include "worker/orchestrator.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum job { JOB_BEGIN, JOB_RESUME, JOB_ROLL_BACK };

struct backstep_actions {
    struct action_plan plan;
    struct error problem; /* with the pipeline, or with the last call */
    bool sound;
    struct backstep_orchestrator *orchestrator; /* belongs to whoever is at work */
    struct cancellation cancellation;
    void (*listener)(void *state, const struct backstep_progress *progress);
    void *listener_state;
    enum job job;
    char *run_id, *params;
    pthread_t thread;
    bool threaded; /* it is to be joined */

    pthread_mutex_t lock; /* of what any thread may ask: */
    pthread_cond_t ended;
    bool at_work;
    enum backstep_status status;
    double percent;
    const char *current; /* one of the pipeline's names */
};

static void note_current(struct backstep_actions *actions, const char *step)
{
    size_t size = strcspn(step, "/");
    const struct backstep_pipeline_action *action = actions->plan.pipeline->actions;
    for (; action->action != NULL; action++) {
        const char *name = action->name != NULL ? action->name : action->action->name;
        if (strlen(name) == size && memcmp(name, step, size) == 0) {
            actions->current = name;
        }
    }
}

static void on_progress(void *state, const struct backstep_progress *progress)
{
    struct backstep_actions *actions = state;
    pthread_mutex_lock(&actions->lock);
    actions->percent = progress->percent;
    note_current(actions, progress->step);
    pthread_mutex_unlock(&actions->lock);
    if (actions->listener != NULL) {
        actions->listener(actions->listener_state, progress);
    }
}

struct backstep_actions *backstep_actions_new(const struct backstep_action_pipeline *pipeline)
{
    struct backstep_actions *actions = pipeline != NULL ? calloc(1, sizeof *actions) : NULL;
    if (actions == NULL) {
        return NULL;
    }
    pthread_mutex_init(&actions->lock, NULL);
    clock_condition_init(&actions->ended);
    actions->current = "";
    actions->sound = action_plan_init(&actions->plan, pipeline, &actions->problem);
    actions->orchestrator = backstep_orchestrator_new(actions->plan.registry);
    if (actions->orchestrator == NULL) {
        backstep_actions_free(actions);
        return NULL;
    }
    if (actions->sound) {
        orchestrator_set_plan(actions->orchestrator, &actions->plan.plan, actions->plan.steps);
    }
    orchestrator_set_cancellation(actions->orchestrator, &actions->cancellation);
    backstep_orchestrator_on_progress(actions->orchestrator, on_progress, actions);
    return actions;
}

static void join(struct backstep_actions *actions)
{
    if (actions->threaded) {
        pthread_join(actions->thread, NULL);
        actions->threaded = false;
    }
}

void backstep_actions_free(struct backstep_actions *actions)
{
    if (actions == NULL) {
        return;
    }
    backstep_actions_cancel(actions);
    join(actions);
    backstep_orchestrator_free(actions->orchestrator);
    action_plan_fini(&actions->plan);
    cancellation_fini(&actions->cancellation);
    pthread_cond_destroy(&actions->ended);
    pthread_mutex_destroy(&actions->lock);
    free(actions->run_id);
    free(actions->params);
    free(actions);
}

void backstep_actions_on_progress(struct backstep_actions *actions,
                                  void (*listener)(void *state, const struct backstep_progress *progress), void *state)
{
    if (actions == NULL) {
        return;
    }
    actions->listener = listener;
    actions->listener_state = state;
}

/* ---------------------------------------------------------------- at work */

static bool work(struct backstep_actions *actions)
{
    bool ok = actions->job == JOB_BEGIN ? backstep_execute(actions->orchestrator, actions->run_id, actions->params)
                                        : orchestrator_go_on(actions->orchestrator, actions->job == JOB_RESUME);
    pthread_mutex_lock(&actions->lock);
    actions->status = backstep_orchestrator_status(actions->orchestrator);
    actions->percent = backstep_orchestrator_percent(actions->orchestrator);
    actions->at_work = false;
    pthread_cond_broadcast(&actions->ended);
    pthread_mutex_unlock(&actions->lock);
    return ok;
}

static void *work_in_thread(void *actions)
{
    work(actions);
    return NULL;
}

/* Copies of what a run is given. */
static bool take(struct backstep_actions *actions, const char *run_id, const char *params)
{
    free(actions->run_id);
    free(actions->params);
    actions->run_id = run_id != NULL ? strdup(run_id) : NULL;
    actions->params = strdup(params != NULL ? params : "{}");
    bool there = actions->params != NULL && (run_id == NULL || actions->run_id != NULL);
    return there || error_set(&actions->problem, ERROR_TRANSIENT, "out of memory");
}

/* Nobody is at work from here on but who is told so. */
static bool begin(struct backstep_actions *actions, enum job job)
{
    pthread_mutex_lock(&actions->lock);
    bool may = actions->sound && !actions->at_work && (job == JOB_BEGIN || actions->status == BACKSTEP_RUN_PAUSED);
    if (may) {
        actions->at_work = true;
        cancellation_reset(&actions->cancellation);
        actions->percent = job == JOB_BEGIN ? 0 : actions->percent;
        actions->current = job == JOB_BEGIN ? "" : actions->current;
    }
    pthread_mutex_unlock(&actions->lock);
    if (may) {
        join(actions);
        actions->problem = (struct error){0};
        actions->job = job;
    }
    return may;
}

static void give_up(struct backstep_actions *actions)
{
    pthread_mutex_lock(&actions->lock);
    actions->at_work = false;
    pthread_cond_broadcast(&actions->ended);
    pthread_mutex_unlock(&actions->lock);
}

static bool work_apart(struct backstep_actions *actions)
{
    int problem = pthread_create(&actions->thread, NULL, work_in_thread, actions);
    if (problem != 0) {
        error_set(&actions->problem, ERROR_TRANSIENT, "no thread could be made: %s", strerror(problem));
        give_up(actions);
        return false;
    }
    actions->threaded = true;
    return true;
}

bool backstep_actions_run(struct backstep_actions *actions, const char *run_id, const char *params)
{
    if (actions == NULL || !begin(actions, JOB_BEGIN)) {
        return false;
    }
    if (!take(actions, run_id, params)) {
        give_up(actions);
        return false;
    }
    return work(actions);
}

bool backstep_actions_start(struct backstep_actions *actions, const char *run_id, const char *params)
{
    if (actions == NULL || !begin(actions, JOB_BEGIN)) {
        return false;
    }
    if (!take(actions, run_id, params)) {
        give_up(actions);
        return false;
    }
    return work_apart(actions);
}

bool backstep_actions_resume(struct backstep_actions *actions)
{
    return actions != NULL && begin(actions, JOB_RESUME) && work_apart(actions);
}

bool backstep_actions_roll_back(struct backstep_actions *actions)
{
    return actions != NULL && begin(actions, JOB_ROLL_BACK) && work_apart(actions);
}

bool backstep_actions_wait(struct backstep_actions *actions, int64_t timeout_ms)
{
    if (actions == NULL) {
        return true;
    }
    int64_t wait_ms = timeout_ms < LIMIT_DURATION_MS ? timeout_ms : LIMIT_DURATION_MS;
    struct timespec until = clock_deadline(wait_ms > 0 ? wait_ms : 0);
    int waited = 0;
    pthread_mutex_lock(&actions->lock);
    while (actions->at_work && waited == 0) {
        waited = timeout_ms < 0 ? pthread_cond_wait(&actions->ended, &actions->lock)
                                : pthread_cond_timedwait(&actions->ended, &actions->lock, &until);
    }
    bool over = !actions->at_work;
    pthread_mutex_unlock(&actions->lock);
    return over;
}

void backstep_actions_cancel(struct backstep_actions *actions)
{
    if (actions == NULL) {
        return;
    }
    pthread_mutex_lock(&actions->lock);
    if (actions->at_work) {
        cancellation_request(&actions->cancellation);
    }
    pthread_mutex_unlock(&actions->lock);
}

/* ---------------------------------------------------------------- how it stands */

enum backstep_status backstep_actions_status(struct backstep_actions *actions)
{
    if (actions == NULL) {
        return BACKSTEP_RUN_NONE;
    }
    pthread_mutex_lock(&actions->lock);
    enum backstep_status status = actions->at_work ? BACKSTEP_RUN_AT_WORK : actions->status;
    pthread_mutex_unlock(&actions->lock);
    return status;
}

double backstep_actions_percent(struct backstep_actions *actions)
{
    if (actions == NULL) {
        return 0;
    }
    pthread_mutex_lock(&actions->lock);
    double percent = actions->percent;
    pthread_mutex_unlock(&actions->lock);
    return percent;
}

const char *backstep_actions_current(struct backstep_actions *actions)
{
    if (actions == NULL) {
        return "";
    }
    pthread_mutex_lock(&actions->lock);
    const char *current = actions->current;
    pthread_mutex_unlock(&actions->lock);
    return current;
}

static bool is_at_work(struct backstep_actions *actions)
{
    return backstep_actions_status(actions) == BACKSTEP_RUN_AT_WORK;
}

const char *backstep_actions_error(struct backstep_actions *actions)
{
    if (actions == NULL || is_at_work(actions)) {
        return "";
    }
    return actions->problem.message[0] != '\0' ? actions->problem.message : backstep_orchestrator_error(actions->orchestrator);
}

const char *backstep_actions_result(struct backstep_actions *actions)
{
    return actions == NULL || is_at_work(actions) ? "" : backstep_orchestrator_result(actions->orchestrator);
}

const char *backstep_actions_data(struct backstep_actions *actions, const char *step)
{
    return actions == NULL || is_at_work(actions) ? NULL : backstep_orchestrator_data(actions->orchestrator, step);
}
