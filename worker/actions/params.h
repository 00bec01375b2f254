/* SPDX-License-Identifier: Apache-2.0 */
/* The params of an action as a table: where each comes from, what it may be, and what it is when nobody says.
 *
 * A value stands in the step's `with`, else among the run's params, else in the table. */
#ifndef ACTION_PARAMS_H
#define ACTION_PARAMS_H

#include "common/error.h"
#include "worker/backstep.h"

enum action_param_kind {
    PARAM_TEXT,
    PARAM_INTEGER, /* within least and most; also as text, since a command line has nothing else */
    PARAM_SIZE, /* bytes, or "64K", "100M", "2G"; within least and most */
    PARAM_DURATION, /* "500ms" "10s" ...; within least and most, in milliseconds */
    PARAM_NUMBER, /* any finite number within number_least and number_most */
    PARAM_BOOL,
    PARAM_CHOICE, /* one of `choices`, which are separated by '|' */
    PARAM_LIST, /* of texts; a single text is "a,b,c" */
};

struct action_param {
    const char *name; /* NULL ends a table */
    enum action_param_kind kind;
    const char *fallback; /* as text; NULL: none, and it must be given where `required` */
    bool required;
    int64_t least, most;
    double number_least, number_most;
    const char *choices;
    const char *unit; /* as the docs name it */
    const char *help; /* one line */
};

#define ACTION_PARAMS_MAX 40

struct action_values {
    const struct action_param *table;
    const struct backstep_json *json[ACTION_PARAMS_MAX]; /* NULL: the fallback */
    int64_t integers[ACTION_PARAMS_MAX];
    double numbers[ACTION_PARAMS_MAX];
    const char *texts[ACTION_PARAMS_MAX];
    char spelled[ACTION_PARAMS_MAX][32]; /* of a text that looks like a number, as a command line may give it */
};

/* Read and check all of them. What comes out is borrowed from the context and from `values`, which must stay where it is. INVALID: "param 'parallel': expected ..., found ..." */
bool action_values_read(struct action_values *values, const struct action_param *table, struct backstep_context *context,
                        struct error *error);

/* By name, which must be in the table (else it is our own bug). */
const char *value_text(const struct action_values *values, const char *name); /* TEXT, CHOICE; NULL: none */
int64_t value_integer(const struct action_values *values, const char *name); /* INTEGER, SIZE, DURATION, BOOL */
double value_number(const struct action_values *values, const char *name);
/* Calls `each` for every item of a LIST until it returns false; false then. */
bool value_list(const struct action_values *values, const char *name, bool (*each)(void *state, const char *item, size_t size),
                void *state);

/* "1024" "64K" "100M" "2G". */
bool action_size_parse(const char *text, int64_t *bytes);

#endif
