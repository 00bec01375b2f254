/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/actions/action.h"

#include "common/names.h"

#include <assert.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TOKEN "token"
#define TOKEN_BYTES 8
#define DATA_BYTES (48 * 1024) /* below the limit of a result, which says no more of where it was broken */

static bool read_token(const struct workspace *workspace, char token[2 * TOKEN_BYTES + 1])
{
    char *path = workspace_file(workspace, TOKEN);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t size = fd >= 0 ? read(fd, token, 2 * TOKEN_BYTES) : -1;
    if (fd >= 0) {
        close(fd);
    }
    free(path);
    token[size == 2 * TOKEN_BYTES ? size : 0] = '\0';
    return size == 2 * TOKEN_BYTES;
}

static bool make_token(const struct workspace *workspace, struct error *error)
{
    unsigned char bytes[TOKEN_BYTES];
    char token[2 * TOKEN_BYTES + 1];
    struct text text;
    if (read_token(workspace, token)) {
        return true;
    }
    random_bytes(bytes, sizeof bytes);
    text_init(&text, 2 * TOKEN_BYTES);
    hex_append(&text, bytes, sizeof bytes);
    bool ok = workspace_write(workspace, TOKEN, &text, error);
    text_fini(&text);
    return ok;
}

/* A workspace of this name that is settled was another run's. */
static bool make_workspace(struct action_call *call, const char *base, const char *job, struct error *error)
{
    const char *run_id = backstep_run_id(call->context);
    if (!workspace_open(&call->workspace, base, run_id, job, true, error)) {
        return false;
    }
    if (workspace_has(&call->workspace, "settled")) {
        if (!workspace_remove(&call->workspace, error)) {
            return false;
        }
        workspace_fini(&call->workspace);
        if (!workspace_open(&call->workspace, base, run_id, job, true, error)) {
            return false;
        }
    }
    return make_token(&call->workspace, error);
}

static bool open_workspace(struct action_call *call, bool creates, struct error *error)
{
    char token[2 * TOKEN_BYTES + 1] = "";
    const char *job = value_text(&call->values, "job");
    const char *base = value_text(&call->values, "work");
    if (!identifier_check(span_of(job), error)) {
        return error_prefix(error, "param 'job'");
    }
    bool ok = creates ? make_workspace(call, base, job, error)
                      : workspace_open(&call->workspace, base, backstep_run_id(call->context), job, false, error);
    if (ok && !read_token(&call->workspace, token)) {
        ok = error_set(error, ERROR_TRANSIENT, "%s: was not made by this action's first step", call->workspace.path);
    }
    snprintf(call->owner, sizeof call->owner, "%.60s/%.60s/%s", backstep_run_id(call->context), job, token);
    return ok;
}

static bool begin(struct action_call *call, struct backstep_context *context, const struct action_part *part, bool creates,
                  struct error *error)
{
    *call = (struct action_call){.context = context};
    text_init(&call->data, DATA_BYTES);
    return action_values_read(&call->values, part->params, context, error) && open_workspace(call, creates, error);
}

static void end(struct action_call *call)
{
    workspace_fini(&call->workspace);
    text_fini(&call->data);
}

static enum backstep_outcome judge(const struct action_call *call, bool ok, const struct error *error)
{
    if (!ok) {
        return error->kind == ERROR_TRANSIENT ? backstep_fail(call->result, "%s", error->message)
                                              : backstep_fail_permanently(call->result, "%s", error->message);
    }
    if (call->skipped) {
        return backstep_skip(call->result);
    }
    return backstep_succeed(call->result, call->data.size > 0 ? "%s" : NULL, text_string(&call->data));
}

static enum backstep_outcome execute(struct backstep_context *context, struct backstep_result *result)
{
    const struct action_part *part = backstep_state(context);
    struct action_call call;
    struct error error = {0};
    bool ok = begin(&call, context, part, part->creates, &error);
    call.result = result;
    ok = ok && part->execute(&call, &error);
    enum backstep_outcome outcome = judge(&call, ok, &error);
    end(&call);
    return outcome;
}

/* A step that made no workspace, or whose params no workspace can be made of, has done nothing. */
static enum backstep_outcome roll_back(struct backstep_context *context, const struct backstep_result *done,
                                       struct backstep_result *result)
{
    const struct action_part *part = backstep_state(context);
    struct action_call call;
    struct error error = {0};
    (void)done;
    bool ok = begin(&call, context, part, false, &error);
    call.result = result;
    if (!ok && part->creates && call.workspace.path != NULL && !workspace_has(&call.workspace, TOKEN)) {
        ok = workspace_remove(&call.workspace, &error); /* killed while it was made, or removed: it holds no journal */
    } else if (!ok && (part->creates || error.kind == ERROR_INVALID)) {
        ok = call.skipped = true;
    } else {
        ok = ok && part->rollback(&call, &error);
    }
    enum backstep_outcome outcome = judge(&call, ok, &error);
    end(&call);
    return outcome;
}

static bool can_skip(struct backstep_context *context)
{
    const struct action_part *part = backstep_state(context);
    struct action_call call = {.context = context};
    return action_values_read(&call.values, part->params, context, NULL) && part->can_skip(&call);
}

static void register_as(const struct action *action, bool as_handlers, struct backstep_step *steps,
                        struct backstep_registry *registry)
{
    assert(action->count <= ACTION_PARTS_MAX);
    for (int i = 0; i < action->count; i++) {
        const struct action_part *part = &action->parts[i];
        steps[i] = (struct backstep_step){.name = as_handlers ? part->handler : part->name,
                                          .weight = part->weight,
                                          .execute = execute,
                                          .rollback = part->rollback != NULL ? roll_back : NULL,
                                          .can_skip = part->can_skip != NULL ? can_skip : NULL,
                                          .state = (void *)(uintptr_t)part};
        if (backstep_registry_find(registry, steps[i].name) == NULL) { /* a program of that name goes before */
            backstep_register(registry, &steps[i]);
        }
    }
}

void action_setup_steps(struct action *action, struct backstep_registry *registry)
{
    register_as(action, false, action->steps, registry);
}

void action_register_handlers(struct action *action, struct backstep_registry *registry)
{
    register_as(action, true, action->handlers, registry);
}

static void default_steps(const struct backstep_action *published, struct backstep_registry *registry,
                          const struct backstep_json *params)
{
    (void)params; /* steps that are not wanted skip themselves */
    action_setup_steps(published->state, registry);
}

void action_publish(struct action *action, struct backstep_action *published)
{
    const struct action_param *params = action->parts[0].params;
    for (size_t i = 0; params[i].name != NULL; i++) {
        action->specs[i] =
            (struct backstep_param_spec){.name = params[i].name, .description = params[i].help, .required = params[i].required};
    }
    *published = (struct backstep_action){.params = action->specs, .default_steps = default_steps, .state = action};
}

void actions_register(struct backstep_registry *registry)
{
    struct action *const actions[] = {&upload_action, &export_action, &train_action};
    for (size_t i = 0; i < sizeof actions / sizeof *actions; i++) {
        action_register_handlers(actions[i], registry);
    }
}
