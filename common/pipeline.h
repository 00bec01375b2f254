/* SPDX-License-Identifier: Apache-2.0 */
/* Pipeline files: YAML (JSON is YAML) becomes a plan. Every mistake is reported, not only the first. */
#ifndef PIPELINE_H
#define PIPELINE_H

#include "common/arena.h"
#include "common/error.h"
#include "common/saga/plan.h"
#include "common/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pipeline_problem {
    const char *file;
    int line;          /* 0: of the file as a whole */
    const char *field; /* "steps[1].needs"; "": of the line or file as a whole */
    const char *text;
};

struct pipeline_param {
    struct span name;
    struct span description;
    struct span fallback; /* JSON; empty: no default */
    bool required;
    bool secret; /* its value is a reference, which only the worker resolves */
    int line;
};

/* Where a step was written. */
struct pipeline_place {
    const char *file;
    int line;
    uint32_t position; /* in the list of steps of that file */
};

/* All that it points to lives in its arena, and in those of the pipelines it uses. */
struct pipeline {
    struct arena arena;
    const char *file; /* as problems name it */
    struct plan plan; /* to be used only where problem_count is 0 */
    struct plan_step *steps; /* plan.steps */
    struct pipeline_place *places; /* of the steps, plan.step_count of them */
    double *shares;                /* their weights as they were said; steps of a pipeline in it share its own */
    struct pipeline *inner;        /* a pipeline it uses, */
    struct pipeline *next;         /* and the one after it */
    struct pipeline_param *params;
    size_t param_count;
    struct pipeline_problem *problems; /* by line */
    size_t problem_count;
};

/* Never NULL (aborts without memory): what is wrong with the file stands in `problems`. Caller owes pipeline_free(). */
struct pipeline *pipeline_read_file(const char *path); /* "-": standard input */
struct pipeline *pipeline_read_text(struct span text, const char *file);
void pipeline_free(struct pipeline *pipeline); /* NULL is fine */

/* One line a problem: "upload.yaml:9: steps[1].need: unknown field; did you mean 'needs'?". Control characters are made visible. */
void pipeline_append_problems(const struct pipeline *pipeline, struct text *text);

/* Put every step on one queue. `queue` must outlive the pipeline. */
void pipeline_set_queue(struct pipeline *pipeline, const char *queue);

/* What a run is started with: pairs KEY=VALUE (VALUE is JSON if it parses, else a string) over the members of `params_file` (a JSON
 * object; NULL: none) over the defaults, as one JSON object appended to `json`. INVALID: a parameter that the file does not declare
 * (with a suggestion), every required one that is missing, no KEY=VALUE, more than LIMIT_CONTEXT_BYTES. */
bool pipeline_params(const struct pipeline *pipeline, const char *const *pairs, size_t pair_count, const char *params_file,
                     struct text *json, struct error *error);

/* The plan as a pipeline file, in JSON, one step a line. */
void pipeline_append_json(const struct plan *plan, struct text *text);

/* Shares of any size as integers that sum up to LIMIT_WEIGHT (largest remainder); all zero: all zero, which means equal.
 * false: one is negative or not finite. */
bool pipeline_set_weights(uint32_t *weights, const double *shares, size_t count);

#endif
