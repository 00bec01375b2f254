/* SPDX-License-Identifier: Apache-2.0 */
/* Between the files of pipeline*.c only. */
#ifndef PIPELINE_INTERNAL_H
#define PIPELINE_INTERNAL_H

#include "common/document.h"
#include "common/pipeline.h"

#define PROBLEMS_MAX 100 /* a reader mends some and looks again */

/* What is read of a step before it can be put in the plan. */
struct step_draft {
    const struct node *needs, *reads, *with; /* NULL: not given */
    const struct node *scope;                /* name of the step that begins the pipeline it is part of; of plans that we printed */
    const struct node *uses;                 /* of a pipeline in a pipeline */
    struct pipeline *pipeline;               /* it, read; NULL: this is a step like others */
    double weight;
};

/* An expression, to be compiled when all is read. */
struct written_expression {
    struct span expression;
    const char *file, *field;
    int line;
};

/* What the readers of all files of one pipeline share. */
struct reading {
    struct written_expression *expressions;
    size_t expression_count, expression_room;
};

struct reader {
    struct pipeline *pipeline;
    struct reading *reading;
    const struct reader *outer; /* whose file names this one; NULL: none does */
    const char *file;           /* as problems name it */
    char *real_path;            /* of it, absolute; NULL: standard input */
    struct step_draft *drafts;
    uint32_t step_room;
    char path[200]; /* of the field that is being read: "steps[1].retry" */
    size_t path_size;
    size_t problem_room;
};

/* Go into a field and come back: `size_t outer = reader_enter(...); ...; reader_leave(reader, outer);` */
size_t reader_enter(struct reader *reader, const char *format, ...) __attribute__((format(printf, 2, 3)));
void reader_leave(struct reader *reader, size_t outer);

/* Record a problem of the current path. */
void reader_problem(struct reader *reader, int line, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Into a field of a step, in its own file. `file` keeps the one to come back to, for reader_leave_step(). */
size_t reader_enter_step(struct reader *reader, uint32_t index, const char *field, const char **file);
void reader_leave_step(struct reader *reader, size_t outer, const char *file);

/* Remember an expression of the current path. */
void reader_expression(struct reader *reader, int line, struct span expression);
/* Compile all that were remembered. */
void reader_check_expressions(struct reader *reader);

/* pipeline_files.c: the file `name` that the current one names, as a tree in the pipeline's arena; NULL: why is reported. `inner` becomes
 * its reader; caller owes free(inner->real_path). */
const struct node *reader_open(struct reader *reader, int line, struct span name, struct reader *inner);
/* Read the pipeline that a step uses. NULL: why is reported. */
struct pipeline *reader_pipeline(struct reader *reader, const struct node *node, struct span name);
/* Put the steps of pipelines in the place of the steps that use them. */
void pipeline_flatten(struct reader *reader);
/* pipeline.c: read a document into the reader's pipeline. */
void reader_read(struct reader *reader, const struct node *root);
struct pipeline *pipeline_new(const char *file);
void pipeline_report_document(void *reader, int line, const char *text);

/* pipeline_params.c: whether the value of a secret parameter is what only a worker resolves, {"env": "NAME"} or {"file": "NAME"}. */
bool pipeline_is_reference(struct span json);

/* Turn names into indexes, weights into shares; find what repeats, is unknown or goes round in a circle. */
void pipeline_order(struct reader *reader);

#endif
