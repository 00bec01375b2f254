/* SPDX-License-Identifier: Apache-2.0 */
/* Command lines. Options are rows of a table (ours: common/defaults.c); a program or command takes some of its sets.
 *
 * A value comes from the command line, else the environment (BACKSTEP_<NAME>, upper case, `-` as `_`), else the configuration file
 * (--config), else the row. A repeatable option collects: the file's values, those of a file made for it, then the environment's (one a line),
 * then the command line's. */
#ifndef OPTIONS_H
#define OPTIONS_H

#include "common/error.h"
#include "common/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum option_kind {
    OPTION_FLAG,
    OPTION_TEXT,
    OPTION_NUMBER,     /* integer, within least and most */
    OPTION_DURATION,   /* 500ms, 10s ...; within least and most, in milliseconds */
    OPTION_CHOICE,     /* one of `choices` */
    OPTION_IDENTIFIER, /* see names.h */
    OPTION_ADDRESSES,  /* HOST:PORT, separated by commas; see names.h */
    OPTION_PAIR,       /* KEY=VALUE */
};

struct option_spec {
    const char *name;  /* long; NULL ends a table */
    char letter;       /* or 0 */
    unsigned sets;     /* bits: it belongs to these. Rows of one name may differ by set */
    enum option_kind kind;
    const char *value; /* "HOST:PORT", as help shows it; NULL for a flag */
    const char *fallback; /* its default, as text; NULL: none */
    const char *help;     /* one line */
    bool repeatable;
    bool environment;     /* taken from the environment by every command, not only by daemons */
    int64_t least, most;  /* NUMBER, DURATION; both 0: any that is not negative */
    const char *const *choices; /* CHOICE: NULL-terminated */
    const char *fills; /* TEXT: a file of NAME=VALUE lines, which are given to this repeatable option; NULL: no such file */
    const char *const
        *secrets; /* PAIR: NULL-terminated names whose values are refused on the command line. Its variable is taken out of the
                                 * environment once it is read, and no message shows what a file or the environment gave */
};

struct options;

struct options_input {
    const struct option_spec *specs;
    unsigned sets;
    bool daemon;                 /* takes every option from the environment */
    const char *const *arguments; /* without the names of program and command */
    size_t argument_count;
    const char *(*environment)(const char *name); /* NULL: getenv() */
};

/* NULL: INVALID, one line that names the option, what was found and what is expected. Caller owes options_free().
 * Where --help or -h stands among the options, nothing else is looked at. */
struct options *options_read(const struct options_input *input, struct error *error);
void options_free(struct options *options);

bool options_help_wanted(const struct options *options);
/* What is no option, in order; all that follows `--`. */
const char *const *options_arguments(const struct options *options, size_t *count);

/* By long name, which must be in one of the sets (else it is our own bug). All borrowed from `options`. */
bool option_given(const struct options *options, const char *name);       /* by anyone, but not by default */
bool option_flag(const struct options *options, const char *name);
const char *option_text(const struct options *options, const char *name); /* NULL: not given, and no default */
int64_t option_number(const struct options *options, const char *name);   /* NUMBER; 0: not given, and no default */
int64_t option_duration_ms(const struct options *options, const char *name);
const char *const *option_list(const struct options *options, const char *name, size_t *count); /* repeatable ones */
/* "the command line", "BACKSTEP_LEASE", "backstep.conf:3", "default": where the value came from, for messages. */
const char *option_origin(const struct options *options, const char *name);

/* The options of `sets`, one a line, aligned, with their defaults, cut to lines of `width` columns (0: 100). */
void options_append_help(struct text *text, const struct option_spec *specs, unsigned sets, size_t width);

#endif
