/* SPDX-License-Identifier: Apache-2.0 */
/* A YAML document as a tree that knows its lines. A plain subset: no anchors, aliases, tags, complex or repeated keys, and one
 * document a file. document.c is the only file that knows libyaml. */
#ifndef DOCUMENT_H
#define DOCUMENT_H

#include "common/arena.h"
#include "common/span.h"
#include "common/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum node_kind { NODE_SCALAR, NODE_LIST, NODE_MAP };

struct node {
    enum node_kind kind;
    int line;
    bool plain;         /* SCALAR: not quoted, so it may be a number, true, false or null */
    struct span scalar;
    struct node *first; /* LIST, MAP: children in order */
    size_t count;
    /* as a child */
    struct node *next;
    struct span key; /* of a map */
    int key_line;
};

/* What a plain scalar is, by YAML's core schema. */
enum scalar_kind { SCALAR_STRING, SCALAR_NULL, SCALAR_TRUE, SCALAR_FALSE, SCALAR_INTEGER, SCALAR_REAL, SCALAR_NOT_FINITE };

/* `line` 0: of the file as a whole. */
typedef void document_report(void *sink, int line, const char *text);

/* Read `text` into `arena`, reporting each thing that is wrong. NULL: there is no tree, and why has been reported; with a tree,
 * what was reported is wrong in details. */
struct node *document_read(struct span text, struct arena *arena, document_report *report, void *sink);

enum scalar_kind node_scalar_kind(const struct node *node);
const char *node_type_name(const struct node *node); /* "a map", "a list", "text", "a number" ...: for errors */
/* false: no number, or beyond 64 bits. */
bool node_integer(const struct node *node, int64_t *value);
bool node_number(const struct node *node, double *value);

/* Append as JSON; what our JSON cannot say (numbers that are not finite or too large, NUL in text) comes as null and is counted. */
size_t node_append_json(const struct node *node, struct text *text);

#endif
