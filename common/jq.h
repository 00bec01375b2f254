/* SPDX-License-Identifier: Apache-2.0 */
/* libjq, which jq.c alone knows. It cannot be interrupted, ends the process where memory is out, and some input crashes it: so it is
 * only called in a process of its own, after jq_confine(). */
#ifndef COMMON_JQ_H
#define COMMON_JQ_H

#include "common/error.h"
#include "common/span.h"
#include "common/text.h"

#include <stdbool.h>

#define JQ_EXIT_MEMORY 3 /* exit status of a confined process that needed more memory than it may have */

/* For good: no environment, no file that is not open yet, no core dump, default signals, LIMIT_EXPRESSION_MEMORY_BYTES more address space than
 * now. false: a limit could not be set. */
bool jq_confine(void);

struct jq_program;
struct jq_input;

/* Caller owes jq_program_free(). NULL: not jq, `error` has "line 1: …"; the expression itself is not quoted. */
struct jq_program *jq_program_new(struct span expression, struct error *error);
void jq_program_free(struct jq_program *program); /* NULL is fine */

/* Caller owes jq_input_free(). NULL: no JSON. */
struct jq_input *jq_input_new(struct span json, struct error *error);
void jq_input_free(struct jq_input *input); /* NULL is fine */

/* Run a program that jq_append_one() has put together: append what the next of its expressions gives, as jq_program_run() does. Begin with
 * `input`; NULL goes on with the next. */
bool jq_program_run_next(struct jq_program *program, const struct jq_input *input, struct text *output, struct error *error);
/* Add an expression, balanced for itself, to such a program: nearly all that compiling takes is for jq's own definitions, once a program. */
void jq_append_one(struct text *program, struct span expression);

/* Append the one value that the program makes of the input, as compact JSON. false: it gives an error, no value or several, or what it gives
 * is larger than the text may be. */
bool jq_program_run(struct jq_program *program, const struct jq_input *input, struct text *output, struct error *error);

/* The same, but for any number of values, one a line. */
bool jq_program_run_all(struct jq_program *program, const struct jq_input *input, struct text *output, struct error *error);

#endif
