/* SPDX-License-Identifier: Apache-2.0 */
/* Between the files of pipeline*.c only. */
#ifndef PIPELINE_INTERNAL_H
#define PIPELINE_INTERNAL_H

#include "common/document.h"
#include "common/pipeline.h"

#define PROBLEMS_MAX 100 /* a reader mends some and looks again */

/* What is read of a step before it can be put in the plan. */
struct step_draft {
    const struct node *needs, *reads; /* NULL: not given */
    double weight;
    bool retry_ok;
};

struct reader {
    struct pipeline *pipeline;
    struct step_draft *drafts;
    char path[200]; /* of the field that is being read: "steps[1].retry" */
    size_t path_size;
    size_t problem_room;
};

/* Go into a field and come back: `size_t outer = reader_enter(...); ...; reader_leave(reader, outer);` */
size_t reader_enter(struct reader *reader, const char *format, ...) __attribute__((format(printf, 2, 3)));
void reader_leave(struct reader *reader, size_t outer);

/* Record a problem of the current path. */
void reader_problem(struct reader *reader, int line, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Turn names into indexes, weights into shares; find what repeats, is unknown or goes round in a circle. */
void pipeline_order(struct reader *reader);

#endif
