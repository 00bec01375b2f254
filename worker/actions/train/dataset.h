/* SPDX-License-Identifier: Apache-2.0 */
/* A data set: rows of numbers, each with a class. */
#ifndef TRAIN_DATASET_H
#define TRAIN_DATASET_H

#include "common/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define LIMIT_DATASET_VALUES 50000000 /* rows times columns: 200 MB in memory */
#define LIMIT_DATASET_CLASSES 1000
#define LIMIT_DATASET_FILE_BYTES (INT64_C(8) << 30) /* unpacked: what no archive may swell beyond */

struct dataset {
    size_t rows, features, classes;
    float *values; /* rows * features */
    uint32_t *labels; /* by row */
    char **names; /* of the classes, sorted */
    uint32_t *order; /* all rows, the training ones first */
    size_t train_rows; /* the others are held out */
};

/* Read CSV, with or without a header; every field but the label is a number. `label`: a column's name, its number from 0, or NULL for the
 * last. INVALID: naming the line. Caller owes dataset_fini(), also after a failure. */
bool dataset_read_csv(struct dataset *dataset, FILE *file, const char *label, struct error *error);
/* Shuffle by `seed`, and hold the last `test_share` of the rows out. The same seed, the same split. INVALID: a part would be empty. */
bool dataset_split(struct dataset *dataset, double test_share, uint64_t seed, struct error *error);
/* Give the training rows each other's labels: what is learned then says nothing. */
void dataset_shuffle_labels(struct dataset *dataset, uint64_t seed);

bool dataset_save(const struct dataset *dataset, const char *path, struct error *error);
bool dataset_load(struct dataset *dataset, const char *path, struct error *error);
void dataset_fini(struct dataset *dataset);

/* Numbers by a seed: the same everywhere. */
uint64_t random_next(uint64_t *state);
size_t random_below(uint64_t *state, size_t bound);
double random_unit(uint64_t *state); /* [0, 1) */
void random_shuffle(uint64_t *state, uint32_t *items, size_t count);

#endif
