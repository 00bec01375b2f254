/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/references.h"

#include "common/file.h"
#include "common/limits.h"
#include "common/names.h"
#include "common/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REFERENCE "$secret"

static const json_t *reference_in(const json_t *value)
{
    return json_object_size(value) == 1 ? json_object_get(value, REFERENCE) : NULL;
}

static bool has_reference(json_t *value)
{
    const char *key;
    json_t *member;
    size_t index;
    if (reference_in(value) != NULL) {
        return true;
    }
    json_object_foreach(value, key, member)
    {
        if (has_reference(member)) {
            return true;
        }
    }
    json_array_foreach(value, index, member)
    {
        if (has_reference(member)) {
            return true;
        }
    }
    return false;
}

static json_t *text_of(struct span bytes, const char *what, const char *name, struct error *error)
{
    json_t *value = utf8_is_valid(bytes) ? json_stringn(bytes.bytes, bytes.size) : NULL;
    if (value == NULL) {
        error_set(error, ERROR_INVALID, "secret %s '%s': it is no UTF-8", what, name);
    }
    return value;
}

static json_t *from_environment(const char *name, struct error *error)
{
    char variable[LIMIT_IDENTIFIER_BYTES + 32];
    snprintf(variable, sizeof variable, "BACKSTEP_SECRET_%s", name);
    const char *value = getenv(variable);
    if (value == NULL) {
        error_set(error, ERROR_INVALID, "secret env '%s': this worker's environment has no %s", name, variable);
        return NULL;
    }
    return text_of(span_of(value), "env", name, error);
}

/* A line break at its end is the editor's. */
static struct span without_line_break(struct span bytes)
{
    return bytes.size > 0 && bytes.bytes[bytes.size - 1] == '\n' ? (struct span){bytes.bytes, bytes.size - 1} : bytes;
}

static json_t *from_file(const char *name, struct error *error)
{
    const char *directory = getenv("BACKSTEP_SECRETS");
    struct text path, text;
    json_t *value = NULL;
    if (directory == NULL || directory[0] == '\0') {
        error_set(error, ERROR_INVALID, "secret file '%s': this worker has no BACKSTEP_SECRETS, the directory of such files", name);
        return NULL;
    }
    text_init(&path, SIZE_MAX / 2);
    text_init(&text, LIMIT_PARAM_BYTES + 64 * KIB);
    text_format(&path, "%s/%s", directory, name);
    if (!file_read(text_string(&path), &text, LIMIT_PARAM_BYTES, error)) {
        error_prefix(error, "secret file '%s'", name);
    } else if (text.size > LIMIT_PARAM_BYTES) {
        error_set(error, ERROR_INVALID, "secret file '%s': is larger than %d KiB", name, LIMIT_PARAM_BYTES / KIB);
    } else {
        value = text_of(without_line_break(text_span(&text)), "file", name, error);
    }
    text_fini(&path);
    text_fini(&text);
    return value;
}

static const struct source {
    const char *kind;
    json_t *(*read)(const char *name, struct error *error);
} sources[] = {{"env", from_environment}, {"file", from_file}};

static json_t *resolve(const json_t *reference, struct error *error)
{
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
        const char *name = json_string_value(json_object_get(reference, sources[i].kind));
        if (name == NULL || json_object_size(reference) != 1) {
            continue;
        }
        if (!identifier_check(span_of(name), error)) {
            error_prefix(error, "secret %s", sources[i].kind);
            return NULL;
        }
        return sources[i].read(name, error);
    }
    error_set(error, ERROR_INVALID, "a secret is neither {\"env\": NAME} nor {\"file\": NAME}");
    return NULL;
}

static json_t *rebuild(json_t *value, struct error *error);

static json_t *rebuild_object(json_t *value, struct error *error)
{
    json_t *made = json_object(), *member;
    const char *key;
    json_object_foreach(value, key, member)
    {
        json_t *resolved = rebuild(member, error);
        if (resolved == NULL || json_object_set_new(made, key, resolved) != 0) {
            json_decref(made);
            return NULL;
        }
    }
    return made;
}

static json_t *rebuild_array(json_t *value, struct error *error)
{
    json_t *made = json_array(), *member;
    size_t index;
    json_array_foreach(value, index, member)
    {
        json_t *resolved = rebuild(member, error);
        if (resolved == NULL || json_array_append_new(made, resolved) != 0) {
            json_decref(made);
            return NULL;
        }
    }
    return made;
}

static json_t *rebuild(json_t *value, struct error *error)
{
    const json_t *reference = reference_in(value);
    return reference != NULL       ? resolve(reference, error)
           : json_is_object(value) ? rebuild_object(value, error)
           : json_is_array(value)  ? rebuild_array(value, error)
                                   : json_incref(value);
}

json_t *references_resolve(json_t *value, struct error *error)
{
    return has_reference(value) ? rebuild(value, error) : json_incref(value);
}
