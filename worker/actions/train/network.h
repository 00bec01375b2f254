/* SPDX-License-Identifier: Apache-2.0 */
/* Two small classifiers: softmax regression ("logistic"), and the same behind one hidden layer of tanh units. Trained by stochastic
 * gradient descent with momentum on standardised features. A function of its arguments: the same seed gives the same bits. */
#ifndef TRAIN_NETWORK_H
#define TRAIN_NETWORK_H

#include "worker/actions/train/dataset.h"

#define LIMIT_NETWORK_UNITS 4096

struct network {
    size_t features, units, classes; /* units 0: logistic */
    double *weights, *velocity; /* `count` each */
    size_t count;
    double *mean, *scale; /* of the features, from the training rows */
    uint64_t random; /* state */
};

struct network_training {
    double learning_rate, momentum, l2;
    size_t batch;
};

struct network_score {
    double loss, accuracy;
};

/* Caller owes network_fini(). Aborts without memory. */
void network_init(struct network *network, const struct dataset *dataset, size_t units, uint64_t seed);
void network_fini(struct network *network);

/* One pass over the training rows; returns the mean loss. `stop` is asked at every batch; it was stopped where the result is negative. */
double network_epoch(struct network *network, const struct dataset *dataset, const struct network_training *training,
                     bool (*stop)(void *state), void *state);
/* On the training rows, or on those held out. */
struct network_score network_evaluate(const struct network *network, const struct dataset *dataset, bool held_out);

/* The layers from the input on: `inputs` columns, `outputs` rows of weights, row by row, then as many biases. */
struct network_layer {
    size_t inputs, outputs;
    const double *weights, *bias;
};
size_t network_layers(const struct network *network, struct network_layer layers[2]);

#endif
