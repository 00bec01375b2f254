/* SPDX-License-Identifier: Apache-2.0 */
/* Parameters: what the command line gives, over a file of them, over what the pipeline's file says. */
#include "common/file.h"
#include "common/json.h"
#include "common/limits.h"
#include "common/names.h"
#include "common/pipeline_internal.h"

#include <stdlib.h>

struct merge {
    const struct pipeline *pipeline;
    const char *const *pairs;
    size_t pair_count;
    json_t *file; /* an object, or NULL */
};

static const struct pipeline_param *find_param(const struct pipeline *pipeline, struct span name)
{
    for (size_t i = 0; i < pipeline->param_count; i++) {
        if (span_equal(pipeline->params[i].name, name)) {
            return &pipeline->params[i];
        }
    }
    return NULL;
}

static bool refuse_undeclared(const struct pipeline *pipeline, struct span name, struct error *error)
{
    const char **names = calloc(pipeline->param_count + 1, sizeof *names);
    for (size_t i = 0; names != NULL && i < pipeline->param_count; i++) {
        names[i] = pipeline->params[i].name.bytes;
    }
    const char *suggestion = names != NULL ? name_suggest(name, names) : NULL;
    if (suggestion != NULL) {
        error_set(error, ERROR_INVALID, "%s declares no parameter '%s'; did you mean '%s'?", pipeline->file, SHOWN(name),
                  SHOWN(span_of(suggestion)));
    } else {
        error_set(error, ERROR_INVALID, "%s declares no parameter '%s'%s", pipeline->file, SHOWN(name),
                  pipeline->param_count == 0 ? "; it declares none at all" : "");
    }
    free(names);
    return false;
}

static struct span pair_key(const char *pair)
{
    return (struct span){pair, strcspn(pair, "=")};
}

static bool check_pair(const struct pipeline *pipeline, const char *pair, struct error *error)
{
    struct span key = pair_key(pair);
    if (pair[key.size] != '=' || key.size == 0) {
        return error_set(error, ERROR_INVALID, "-p '%s': KEY=VALUE is expected", SHOWN(span_of(pair)));
    }
    size_t size = strlen(pair);
    if (size > LIMIT_PARAM_BYTES) {
        return error_set(error, ERROR_INVALID, "-p %s: is %zu bytes long; at most %d are allowed", SHOWN(key), size,
                         LIMIT_PARAM_BYTES);
    }
    if (!utf8_is_valid(span_of(pair))) {
        return error_set(error, ERROR_INVALID, "-p %s: holds bytes that are no UTF-8", SHOWN(key));
    }
    return find_param(pipeline, key) != NULL || refuse_undeclared(pipeline, key, error);
}

static bool check_file(const struct pipeline *pipeline, json_t *file, const char *path, struct error *error)
{
    const char *key;
    json_t *value;
    json_object_foreach(file, key, value)
    {
        if (find_param(pipeline, span_of(key)) == NULL) {
            refuse_undeclared(pipeline, span_of(key), error);
            return error_prefix(error, "%s", path);
        }
    }
    return true;
}

static bool read_file(const char *path, json_t **file, struct error *error)
{
    struct text text;
    text_init(&text, LIMIT_CONTEXT_BYTES + 64 * KIB);
    bool ok = file_read(path, &text, LIMIT_CONTEXT_BYTES, error);
    if (ok && text.size > LIMIT_CONTEXT_BYTES) {
        ok = error_set(error, ERROR_INVALID, "is larger than %d KiB", LIMIT_CONTEXT_BYTES / KIB);
    }
    if (ok) {
        *file = json_read_object(text_span(&text), error);
        ok = *file != NULL;
    }
    text_fini(&text);
    return ok || error_prefix(error, "%s", path);
}

/* JSON if it parses, else a string. */
static void append_value(struct text *json, struct span value)
{
    if (json_is_valid(value)) {
        text_append_span(json, value);
    } else {
        text_append_json_string(json, value);
    }
}

static bool is_reference(const json_t *value)
{
    const json_t *env = json_object_get(value, "env"), *file = json_object_get(value, "file");
    const char *name = json_string_value(env != NULL ? env : file);
    return json_object_size(value) == 1 && name != NULL && identifier_is_valid(span_of(name));
}

bool pipeline_is_reference(struct span json)
{
    json_t *value = json_is_valid(json) ? json_loadb(json.bytes, json.size, JSON_DECODE_ANY, NULL) : NULL;
    bool is = value != NULL && is_reference(value);
    json_decref(value);
    return is;
}

/* A secret must not stand on the log: only who resolves it may know it. The message shows nothing of what was given. */
static bool refer_secrets(const struct pipeline *pipeline, json_t *params, struct error *error)
{
    for (size_t i = 0; i < pipeline->param_count; i++) {
        const struct pipeline_param *param = &pipeline->params[i];
        json_t *value = param->secret ? json_object_getn(params, param->name.bytes, param->name.size) : NULL;
        if (value == NULL) {
            continue;
        }
        if (!is_reference(value)) {
            return error_set(
                error, ERROR_INVALID,
                "parameter '%s' is secret, and its value would stand on the log: give {\"env\": \"NAME\"} or {\"file\": \"NAME\"}, "
                "which the worker resolves",
                SHOWN(param->name));
        }
        json_object_setn_new(params, param->name.bytes, param->name.size, json_pack("{s:O}", "$secret", value));
    }
    return true;
}

static bool has_secrets(const struct pipeline *pipeline)
{
    for (size_t i = 0; i < pipeline->param_count; i++) {
        if (pipeline->params[i].secret) {
            return true;
        }
    }
    return false;
}

static bool append_referred(const struct pipeline *pipeline, struct span merged, struct text *json, struct error *error)
{
    json_t *params = has_secrets(pipeline) ? json_read_object(merged, error) : NULL;
    bool ok = !has_secrets(pipeline) || (params != NULL && refer_secrets(pipeline, params, error));
    if (ok && params != NULL) {
        json_write(params, json);
    } else if (ok) {
        text_append_span(json, merged);
    }
    json_decref(params);
    return ok && (!json->overflow || error_set(error, ERROR_INVALID, "there is no memory for the parameters"));
}

/* The last pair of that name wins. false: nobody gives it. */
static bool append_given(const struct merge *merge, const struct pipeline_param *param, struct text *json)
{
    for (size_t i = merge->pair_count; i > 0; i--) {
        const char *pair = merge->pairs[i - 1];
        if (span_equal(pair_key(pair), param->name)) {
            append_value(json, span_of(pair + param->name.size + 1));
            return true;
        }
    }
    json_t *value = merge->file != NULL ? json_object_get(merge->file, param->name.bytes) : NULL;
    if (value != NULL) {
        json_write(value, json);
    } else if (param->fallback.size > 0) {
        text_append_span(json, param->fallback);
    }
    return value != NULL || param->fallback.size > 0;
}

static bool append_params(const struct merge *merge, struct text *json, struct text *missing)
{
    const struct pipeline *pipeline = merge->pipeline;
    const char *comma = "";
    text_append_char(json, '{');
    for (size_t i = 0; i < pipeline->param_count; i++) {
        const struct pipeline_param *param = &pipeline->params[i];
        size_t before = json->size;
        text_append_string(json, comma);
        text_append_json_string(json, param->name);
        text_append_char(json, ':');
        if (append_given(merge, param, json)) {
            comma = ",";
            continue;
        }
        json->size = json->overflow ? json->size : before;
        if (param->required) {
            text_format(missing, "%s'%s'", missing->size > 0 ? ", " : "", SHOWN(param->name));
        }
    }
    return text_append_char(json, '}');
}

static bool merge_params(const struct merge *merge, struct text *json, struct error *error)
{
    struct text missing, merged;
    text_init(&missing, ERROR_MESSAGE_BYTES / 2);
    text_init(&merged, LIMIT_CONTEXT_BYTES);
    bool ok = append_params(merge, &merged, &missing);
    if (missing.size > 0) {
        const char *many = strchr(text_string(&missing), ',') != NULL ? "parameters" : "parameter";
        ok = error_set(error, ERROR_INVALID, "%s requires the %s %s%s; give it as -p NAME=VALUE", merge->pipeline->file, many,
                       text_string(&missing), missing.overflow ? ", ..." : "");
    } else if (!ok) {
        error_set(error, ERROR_INVALID, "the parameters are larger than %d KiB together", LIMIT_CONTEXT_BYTES / KIB);
    } else {
        ok = append_referred(merge->pipeline, text_span(&merged), json, error);
    }
    text_fini(&missing);
    text_fini(&merged);
    return ok;
}

bool pipeline_params(const struct pipeline *pipeline, const char *const *pairs, size_t pair_count, const char *params_file,
                     struct text *json, struct error *error)
{
    struct merge merge = {.pipeline = pipeline, .pairs = pairs, .pair_count = pair_count};
    for (size_t i = 0; i < pair_count; i++) {
        if (!check_pair(pipeline, pairs[i], error)) {
            return false;
        }
    }
    bool ok =
        params_file == NULL || (read_file(params_file, &merge.file, error) && check_file(pipeline, merge.file, params_file, error));
    ok = ok && merge_params(&merge, json, error);
    json_decref(merge.file);
    return ok;
}
