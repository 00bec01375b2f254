/* SPDX-License-Identifier: Apache-2.0 */
#include "common/document.h"

#include "common/limits.h"
#include "common/names.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <yaml.h>

struct reading {
    yaml_parser_t parser;
    yaml_event_t event; /* the current one */
    struct span text;
    struct arena *arena;
    document_report *report;
    void *sink;
    int depth;
    bool broken;     /* no sense in going on */
    bool incomplete; /* no sense in looking at the tree */
};

static int line_of(yaml_mark_t mark)
{
    return (int)mark.line + 1;
}

static void complain(struct reading *reading, int line, const char *text)
{
    reading->report(reading->sink, line, text);
}

static void give_up(struct reading *reading, int line, const char *text)
{
    if (!reading->broken) {
        complain(reading, line, text);
    }
    reading->broken = true;
}

/* ---- libyaml's events */

static int line_at(struct span text, size_t offset)
{
    int line = 1;
    for (size_t i = 0; i < offset && i < text.size; i++) {
        line += text.bytes[i] == '\n';
    }
    return line;
}

static bool is_tab_at(struct span text, size_t offset)
{
    return offset < text.size && text.bytes[offset] == '\t';
}

static void explain_syntax(struct reading *reading)
{
    const yaml_parser_t *parser = &reading->parser;
    char text[400];
    const char *problem = parser->problem != NULL ? parser->problem : "is no YAML";
    if (parser->error == YAML_READER_ERROR) {
        snprintf(text, sizeof text, "%s", problem);
        give_up(reading, line_at(reading->text, parser->problem_offset), text);
        return;
    }
    const char *hint = is_tab_at(reading->text, parser->problem_mark.index) ? "; indent with blanks, not with tabs" : "";
    if (parser->context != NULL && parser->context_mark.line != parser->problem_mark.line) {
        snprintf(text, sizeof text, "%s, %s that begins in line %d%s", problem, parser->context, line_of(parser->context_mark), hint);
    } else if (parser->context != NULL) {
        snprintf(text, sizeof text, "%s, %s%s", problem, parser->context, hint);
    } else {
        snprintf(text, sizeof text, "%s%s", problem, hint);
    }
    give_up(reading, line_of(parser->problem_mark), text);
}

static bool next_event(struct reading *reading)
{
    yaml_event_delete(&reading->event);
    if (reading->broken) {
        return false;
    }
    if (yaml_parser_parse(&reading->parser, &reading->event) == 0) {
        explain_syntax(reading);
        return false;
    }
    return true;
}

static void refuse_extras(struct reading *reading, const yaml_char_t *anchor, const yaml_char_t *tag)
{
    struct text text;
    text_init(&text, 300);
    if (anchor != NULL) {
        text_format(&text, "an anchor ('&%s'): anchors and aliases are not allowed; write it out",
                    SHOWN(span_of((const char *)anchor)));
        complain(reading, line_of(reading->event.start_mark), text_string(&text));
    }
    text_clear(&text);
    if (tag != NULL) {
        text_format(&text, "a tag ('%s'): tags are not allowed; quote what is to be text", SHOWN(span_of((const char *)tag)));
        complain(reading, line_of(reading->event.start_mark), text_string(&text));
    }
    text_fini(&text);
}

/* ---- the tree */

static struct node *read_node(struct reading *reading);

static struct node *new_node(struct reading *reading, enum node_kind kind)
{
    struct node *node = arena_take(reading->arena, sizeof *node);
    if (node == NULL) {
        give_up(reading, 0, "there is no memory for it");
        return NULL;
    }
    node->kind = kind;
    node->line = line_of(reading->event.start_mark);
    return node;
}

static struct node *read_scalar(struct reading *reading)
{
    struct node *node = new_node(reading, NODE_SCALAR);
    const yaml_event_t *event = &reading->event;
    if (node != NULL) {
        refuse_extras(reading, event->data.scalar.anchor, event->data.scalar.tag);
        node->plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
        node->scalar = arena_keep(reading->arena, (struct span){(const char *)event->data.scalar.value, event->data.scalar.length});
    }
    return node;
}

static struct node *read_alias(struct reading *reading)
{
    struct node *node = new_node(reading, NODE_SCALAR);
    struct text text;
    text_init(&text, 300);
    text_format(&text, "an alias ('*%s'): anchors and aliases are not allowed; write it out",
                SHOWN(span_of((const char *)reading->event.data.alias.anchor)));
    complain(reading, line_of(reading->event.start_mark), text_string(&text));
    text_fini(&text);
    reading->incomplete = true;
    return node;
}

static struct node **append_child(struct node *parent, struct node **end, struct node *child)
{
    *end = child;
    parent->count++;
    return &child->next;
}

static void read_items(struct reading *reading, struct node *list)
{
    struct node **end = &list->first;
    while (next_event(reading) && reading->event.type != YAML_SEQUENCE_END_EVENT) {
        struct node *item = read_node(reading);
        if (item == NULL) {
            return;
        }
        end = append_child(list, end, item);
    }
}

static void read_members(struct reading *reading, struct node *map)
{
    struct node **end = &map->first;
    while (next_event(reading) && reading->event.type != YAML_MAPPING_END_EVENT) {
        int line = line_of(reading->event.start_mark);
        struct node *key = read_node(reading);
        if (key != NULL && key->kind != NODE_SCALAR) {
            give_up(reading, line, "a key that is a list or a map: a key is a name");
        }
        struct node *value = next_event(reading) ? read_node(reading) : NULL;
        if (key == NULL || value == NULL) {
            return;
        }
        value->key = key->scalar;
        value->key_line = line;
        end = append_child(map, end, value);
    }
}

static int by_key(const void *left, const void *right)
{
    const struct node *a = *(const struct node *const *)left, *b = *(const struct node *const *)right;
    size_t size = a->key.size < b->key.size ? a->key.size : b->key.size;
    int order = size > 0 ? memcmp(a->key.bytes, b->key.bytes, size) : 0;
    if (order != 0 || a->key.size != b->key.size) {
        return order != 0 ? order : a->key.size < b->key.size ? -1 : 1;
    }
    return a->key_line - b->key_line;
}

static void refuse_repeated_keys(struct reading *reading, const struct node *map)
{
    const struct node **sorted = arena_take_array(reading->arena, map->count, sizeof *sorted);
    size_t count = 0;
    for (const struct node *child = map->first; child != NULL && sorted != NULL; child = child->next) {
        sorted[count++] = child;
    }
    if (count == 0) {
        return;
    }
    qsort(sorted, count, sizeof *sorted, by_key);
    for (size_t i = 1; i < count; i++) {
        if (span_equal(sorted[i - 1]->key, sorted[i]->key)) {
            char text[250];
            snprintf(text, sizeof text, "'%s' stands in line %d already", SHOWN(sorted[i]->key), sorted[i - 1]->key_line);
            complain(reading, sorted[i]->key_line, text);
        }
    }
}

static struct node *read_collection(struct reading *reading, enum node_kind kind)
{
    struct node *node = new_node(reading, kind);
    if (reading->depth >= LIMIT_YAML_DEPTH) {
        char text[80];
        snprintf(text, sizeof text, "nested deeper than %d", LIMIT_YAML_DEPTH);
        give_up(reading, line_of(reading->event.start_mark), text);
        return NULL;
    }
    if (node == NULL) {
        return NULL;
    }
    reading->depth++;
    if (kind == NODE_LIST) {
        refuse_extras(reading, reading->event.data.sequence_start.anchor, reading->event.data.sequence_start.tag);
        read_items(reading, node);
    } else {
        refuse_extras(reading, reading->event.data.mapping_start.anchor, reading->event.data.mapping_start.tag);
        read_members(reading, node);
        refuse_repeated_keys(reading, node);
    }
    reading->depth--;
    return reading->broken ? NULL : node;
}

/* The node that begins with the current event. NULL: broken. */
static struct node *read_node(struct reading *reading)
{
    switch (reading->event.type) {
    case YAML_SCALAR_EVENT: return read_scalar(reading);
    case YAML_ALIAS_EVENT: return read_alias(reading);
    case YAML_SEQUENCE_START_EVENT: return read_collection(reading, NODE_LIST);
    case YAML_MAPPING_START_EVENT: return read_collection(reading, NODE_MAP);
    default: give_up(reading, line_of(reading->event.start_mark), "is no YAML"); return NULL;
    }
}

static struct node *read_documents(struct reading *reading)
{
    struct node *root = NULL;
    while (next_event(reading) && reading->event.type != YAML_STREAM_END_EVENT) {
        if (reading->event.type != YAML_DOCUMENT_START_EVENT) {
            continue;
        }
        if (root != NULL) {
            give_up(reading, line_of(reading->event.start_mark), "a second document begins here; a file holds one pipeline");
            break;
        }
        if (next_event(reading)) {
            root = read_node(reading);
        }
    }
    return reading->broken ? NULL : root;
}

/* What libyaml need not be asked. */
static bool is_plausible(struct reading *reading)
{
    struct span text = reading->text;
    char reason[100];
    if (text.size > LIMIT_PIPELINE_FILE_BYTES) {
        snprintf(reason, sizeof reason, "is larger than %d KiB", LIMIT_PIPELINE_FILE_BYTES / KIB);
        give_up(reading, 0, reason);
    } else if (text.size > 0 && memchr(text.bytes, '\0', text.size) != NULL) {
        give_up(reading, 0, "is no text: it holds NUL bytes");
    }
    return !reading->broken;
}

/* Some editors begin a file with a byte order mark; libyaml takes it for text once it has been told the encoding. */
static struct span without_mark(struct span text)
{
    static const char mark[] = "\xef\xbb\xbf";
    size_t size = sizeof mark - 1;
    bool marked = text.size >= size && memcmp(text.bytes, mark, size) == 0;
    return marked ? (struct span){text.bytes + size, text.size - size} : text;
}

struct node *document_read(struct span text, struct arena *arena, document_report *report, void *sink)
{
    struct reading reading = {.text = text, .arena = arena, .report = report, .sink = sink};
    struct node *root = NULL;
    if (!is_plausible(&reading)) {
        return NULL;
    }
    if (yaml_parser_initialize(&reading.parser) == 0) {
        report(sink, 0, "there is no memory to read it");
        return NULL;
    }
    struct span body = without_mark(text);
    yaml_parser_set_encoding(&reading.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&reading.parser, (const unsigned char *)(body.size > 0 ? body.bytes : ""), body.size);
    root = read_documents(&reading);
    if (root == NULL && !reading.broken) {
        report(sink, 0, "is empty: a pipeline has a name and steps");
    }
    yaml_event_delete(&reading.event);
    yaml_parser_delete(&reading.parser);
    return reading.incomplete ? NULL : root;
}

/* ---- scalars: YAML's core schema */

static size_t count_digits(const char *at)
{
    return strspn(at, "0123456789");
}

/* [-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)? */
static enum scalar_kind decimal_kind(const char *at)
{
    at += *at == '-' || *at == '+';
    size_t whole = count_digits(at), part = 0;
    at += whole;
    bool point = *at == '.';
    if (point) {
        part = count_digits(at + 1);
        at += 1 + part;
    }
    if (whole + part == 0) {
        return SCALAR_STRING;
    }
    bool exponent = *at == 'e' || *at == 'E';
    if (exponent) {
        at++;
        at += *at == '-' || *at == '+';
        size_t digits = count_digits(at);
        at += digits;
        exponent = digits > 0;
    }
    if (*at != '\0') {
        return SCALAR_STRING;
    }
    return point || exponent ? SCALAR_REAL : SCALAR_INTEGER;
}

static bool is_based_integer(const char *at)
{
    size_t size = strlen(at);
    if (size < 3 || at[0] != '0') {
        return false;
    }
    return (at[1] == 'x' && strspn(at + 2, "0123456789abcdefABCDEF") == size - 2) ||
           (at[1] == 'o' && strspn(at + 2, "01234567") == size - 2);
}

enum scalar_kind node_scalar_kind(const struct node *node)
{
    static const struct {
        const char *text;
        enum scalar_kind kind;
    } words[] = {
        {"", SCALAR_NULL},      {"~", SCALAR_NULL},     {"null", SCALAR_NULL},         {"Null", SCALAR_NULL},
        {"NULL", SCALAR_NULL},  {"true", SCALAR_TRUE},  {"True", SCALAR_TRUE},         {"TRUE", SCALAR_TRUE},
        {"false", SCALAR_FALSE}, {"False", SCALAR_FALSE}, {"FALSE", SCALAR_FALSE},
        {".inf", SCALAR_NOT_FINITE}, {".Inf", SCALAR_NOT_FINITE}, {".INF", SCALAR_NOT_FINITE}, {"+.inf", SCALAR_NOT_FINITE},
        {"+.Inf", SCALAR_NOT_FINITE}, {"+.INF", SCALAR_NOT_FINITE}, {"-.inf", SCALAR_NOT_FINITE}, {"-.Inf", SCALAR_NOT_FINITE},
        {"-.INF", SCALAR_NOT_FINITE}, {".nan", SCALAR_NOT_FINITE}, {".NaN", SCALAR_NOT_FINITE}, {".NAN", SCALAR_NOT_FINITE},
    };
    if (node->kind != NODE_SCALAR || !node->plain) {
        return SCALAR_STRING;
    }
    const char *text = node->scalar.size > 0 ? node->scalar.bytes : "";
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcmp(text, words[i].text) == 0) {
            return words[i].kind;
        }
    }
    return is_based_integer(text) ? SCALAR_INTEGER : decimal_kind(text);
}

const char *node_type_name(const struct node *node)
{
    static const char *const names[] = {
        [SCALAR_STRING] = "text",      [SCALAR_NULL] = "nothing",    [SCALAR_TRUE] = "true",          [SCALAR_FALSE] = "false",
        [SCALAR_INTEGER] = "a number", [SCALAR_REAL] = "a number",   [SCALAR_NOT_FINITE] = "a number that is not finite",
    };
    if (node->kind == NODE_SCALAR) {
        return names[node_scalar_kind(node)];
    }
    return node->kind == NODE_LIST ? "a list" : "a map";
}

bool node_integer(const struct node *node, int64_t *value)
{
    if (node_scalar_kind(node) != SCALAR_INTEGER) {
        return false;
    }
    const char *text = node->scalar.bytes;
    int base = text[0] == '0' && text[1] == 'x' ? 16 : text[0] == '0' && text[1] == 'o' ? 8 : 10;
    errno = 0;
    *value = strtoll(base == 10 ? text : text + 2, NULL, base);
    return errno == 0;
}

bool node_number(const struct node *node, double *value)
{
    enum scalar_kind kind = node_scalar_kind(node);
    int64_t integer;
    if (node_integer(node, &integer)) {
        *value = (double)integer;
        return true;
    }
    if (kind != SCALAR_REAL && kind != SCALAR_INTEGER) {
        return false;
    }
    *value = strtod(node->scalar.bytes, NULL);
    return isfinite(*value);
}

/* ---- JSON */

/* A real number as its author wrote it, but for what JSON's grammar does not allow. */
static void append_real(struct text *text, const char *at)
{
    if (*at == '-') {
        text_append_char(text, '-');
    }
    at += *at == '-' || *at == '+';
    size_t zeros = strspn(at, "0");
    size_t whole = count_digits(at);
    at += zeros < whole ? zeros : whole;
    whole -= zeros < whole ? zeros : whole;
    text_append(text, whole > 0 ? at : "0", whole > 0 ? whole : 1);
    at += whole;
    text_append_char(text, '.');
    size_t part = *at == '.' ? count_digits(at + 1) : 0;
    text_append(text, part > 0 ? at + 1 : "0", part > 0 ? part : 1);
    at += *at == '.' ? 1 + part : 0;
    text_append_string(text, at); /* the exponent */
}

static size_t append_scalar(const struct node *node, struct text *text)
{
    int64_t integer;
    double real;
    switch (node_scalar_kind(node)) {
    case SCALAR_TRUE: text_append_string(text, "true"); return 0;
    case SCALAR_FALSE: text_append_string(text, "false"); return 0;
    case SCALAR_NULL: text_append_string(text, "null"); return 0;
    case SCALAR_STRING:
        if (node->scalar.size == 0 || memchr(node->scalar.bytes, '\0', node->scalar.size) == NULL) {
            text_append_json_string(text, node->scalar);
            return 0;
        }
        break;
    case SCALAR_INTEGER:
        if (node_integer(node, &integer)) {
            text_format(text, "%lld", (long long)integer);
            return 0;
        }
        break;
    case SCALAR_REAL:
        if (node_number(node, &real)) {
            append_real(text, node->scalar.bytes);
            return 0;
        }
        break;
    case SCALAR_NOT_FINITE: break;
    }
    text_append_string(text, "null");
    return 1;
}

size_t node_append_json(const struct node *node, struct text *text)
{
    if (node->kind == NODE_SCALAR) {
        return append_scalar(node, text);
    }
    size_t faults = 0;
    text_append_char(text, node->kind == NODE_LIST ? '[' : '{');
    for (const struct node *child = node->first; child != NULL; child = child->next) {
        if (child != node->first) {
            text_append_char(text, ',');
        }
        if (node->kind == NODE_MAP) {
            text_append_json_string(text, child->key);
            text_append_char(text, ':');
        }
        faults += node_append_json(child, text);
    }
    text_append_char(text, node->kind == NODE_LIST ? ']' : '}');
    return faults;
}
