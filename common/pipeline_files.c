/* SPDX-License-Identifier: Apache-2.0 */
/* Files that a pipeline's file names: what it includes, and the pipelines it uses. */
#include "common/file.h"
#include "common/limits.h"
#include "common/names.h"
#include "common/pipeline_internal.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

/* `name` as the file at `naming` means it: beside it, unless it is absolute. */
static bool beside(const char *naming, struct span name, char path[PATH_MAX])
{
    const char *slash = name.size > 0 && name.bytes[0] == '/' ? NULL : strrchr(naming, '/');
    int size = snprintf(path, PATH_MAX, "%.*s%.*s", slash != NULL ? (int)(slash - naming + 1) : 0, naming, SPAN_ARGS(name));
    return size > 0 && size < PATH_MAX;
}

/* "a.yaml, which names b.yaml, which names a.yaml" */
static void describe_chain(const struct reader *reader, struct text *text)
{
    if (reader->outer != NULL) {
        describe_chain(reader->outer, text);
    }
    text_format(text, "%s names ", reader->file);
}

static bool may_open(struct reader *reader, int line, const char *path, const char *real_path)
{
    size_t depth = 1;
    for (const struct reader *at = reader; at != NULL; at = at->outer, depth++) {
        if (at->real_path != NULL && strcmp(at->real_path, real_path) == 0) {
            struct text chain;
            text_init(&chain, ERROR_MESSAGE_BYTES / 2);
            describe_chain(reader, &chain);
            reader_problem(reader, line, "goes round in a circle: %s%s%s", text_string(&chain), path, chain.overflow ? " ..." : "");
            text_fini(&chain);
            return false;
        }
    }
    if (depth > LIMIT_PIPELINE_DEPTH) {
        reader_problem(reader, line, "'%s' would be %zu files deep; at most %d are allowed", path, depth, LIMIT_PIPELINE_DEPTH);
        return false;
    }
    return true;
}

static const struct node *read_document(struct reader *reader, int line, const char *path, struct reader *inner)
{
    struct error error;
    struct text text;
    text_init(&text, LIMIT_PIPELINE_FILE_BYTES + 64 * KIB);
    const struct node *root = NULL;
    size_t before = reader->pipeline->problem_count;
    if (!file_read(path, &text, LIMIT_PIPELINE_FILE_BYTES, &error)) {
        reader_problem(reader, line, "%s: %s", path, error.message);
    } else {
        struct reader whole = *reader;
        whole.file = inner->file;
        whole.path_size = 0;
        whole.path[0] = '\0';
        root = document_read(text_span(&text), &reader->pipeline->arena, pipeline_report_document, &whole);
    }
    text_fini(&text);
    return reader->pipeline->problem_count == before ? root : NULL;
}

const struct node *reader_open(struct reader *reader, int line, struct span name, struct reader *inner)
{
    char path[PATH_MAX];
    *inner = (struct reader){.pipeline = reader->pipeline, .reading = reader->reading, .outer = reader};
    if (name.size == 0 || memchr(name.bytes, '\0', name.size) != NULL ||
        !beside(reader->real_path != NULL ? reader->file : "", name, path)) {
        reader_problem(reader, line, "'%s' is no path of a file", SHOWN(name));
        return NULL;
    }
    inner->file = arena_copy(&reader->pipeline->arena, span_of(path));
    inner->real_path = realpath(path, NULL);
    if (inner->file == NULL || (inner->real_path != NULL && !may_open(reader, line, path, inner->real_path))) {
        return NULL;
    }
    return read_document(reader, line, path, inner);
}

/* What is wrong with the inner file stands in its own lines. */
static void take_problems(struct reader *reader, const struct pipeline *inner)
{
    for (size_t i = 0; i < inner->problem_count; i++) {
        const struct pipeline_problem *problem = &inner->problems[i];
        struct reader at = *reader;
        at.file = problem->file;
        snprintf(at.path, sizeof at.path, "%s", problem->field);
        reader_problem(&at, problem->line, "%s", problem->text);
    }
}

/* `other.yaml`, `../other.yml`: a path; `other`: the file other.yaml. */
static struct span file_of(struct reader *reader, struct span name)
{
    if (memchr(name.bytes != NULL ? name.bytes : "", '/', name.size) != NULL ||
        memchr(name.bytes != NULL ? name.bytes : "", '.', name.size) != NULL) {
        return name;
    }
    char file[PATH_MAX];
    int size = snprintf(file, sizeof file, "%.*s.yaml", SPAN_ARGS(name));
    return size < PATH_MAX && name.size > 0 ? arena_keep(&reader->pipeline->arena, (struct span){file, (size_t)size})
                                            : (struct span){0};
}

struct pipeline *reader_pipeline(struct reader *reader, const struct node *node, struct span name)
{
    struct reader inner;
    const struct node *root = reader_open(reader, node->line, file_of(reader, name), &inner);
    struct pipeline *pipeline = NULL;
    if (root != NULL) {
        pipeline = pipeline_new(inner.file);
        inner.pipeline = pipeline;
        inner.file = pipeline->file;
        pipeline->next = reader->pipeline->inner; /* owned by the outer one from here on */
        reader->pipeline->inner = pipeline;
        reader_read(&inner, root);
        take_problems(reader, pipeline);
        pipeline = pipeline->problem_count == 0 ? pipeline : NULL;
    }
    free(inner.real_path);
    return pipeline;
}
