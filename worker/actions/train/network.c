/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/actions/train/network.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double *numbers(size_t count)
{
    double *memory = calloc(count > 0 ? count : 1, sizeof *memory);
    if (memory == NULL) {
        abort();
    }
    return memory;
}

static size_t layer_count(size_t inputs, size_t outputs)
{
    return (inputs + 1) * outputs;
}

static size_t last_layer(const struct network *network)
{
    return network->units > 0 ? layer_count(network->features, network->units) : 0;
}

static size_t last_inputs(const struct network *network)
{
    return network->units > 0 ? network->units : network->features;
}

/* Mean and deviation; a feature that never changes says nothing and counts as it is. */
static void standardise(struct network *network, const struct dataset *dataset)
{
    for (size_t i = 0; i < dataset->features; i++) {
        double sum = 0, squares = 0;
        for (size_t j = 0; j < dataset->train_rows; j++) {
            double value = (double)dataset->values[dataset->order[j] * dataset->features + i];
            sum += value;
            squares += value * value;
        }
        double count = (double)dataset->train_rows;
        double variance = squares / count - sum / count * (sum / count);
        network->mean[i] = sum / count;
        network->scale[i] = variance > 1e-12 ? 1 / sqrt(variance) : 1;
    }
}

/* Uniform, as wide as keeps the outputs of a layer as wide as its inputs. The last layer begins at zero: every class alike. */
static void draw_weights(struct network *network)
{
    double width = sqrt(6.0 / (double)(network->features + network->units));
    for (size_t i = 0; i < network->units * network->features; i++) {
        network->weights[i] = (2 * random_unit(&network->random) - 1) * width;
    }
}

void network_init(struct network *network, const struct dataset *dataset, size_t units, uint64_t seed)
{
    *network = (struct network){.features = dataset->features, .units = units, .classes = dataset->classes, .random = seed};
    network->count = last_layer(network) + layer_count(last_inputs(network), network->classes);
    network->weights = numbers(network->count);
    network->velocity = numbers(network->count);
    network->mean = numbers(network->features);
    network->scale = numbers(network->features);
    standardise(network, dataset);
    draw_weights(network);
}

void network_fini(struct network *network)
{
    free(network->weights);
    free(network->velocity);
    free(network->mean);
    free(network->scale);
    *network = (struct network){0};
}

/* ---------------------------------------------------------------- forward */

/* What one row makes in the network. */
struct pass {
    double *input, *hidden, *output; /* output: probabilities */
};

static void pass_init(struct pass *pass, const struct network *network)
{
    pass->input = numbers(network->features);
    pass->hidden = numbers(network->units);
    pass->output = numbers(network->classes);
}

static void pass_fini(struct pass *pass)
{
    free(pass->input);
    free(pass->hidden);
    free(pass->output);
}

static void apply_layer(const double *weights, const double *inputs, size_t input_count, double *outputs, size_t output_count)
{
    const double *bias = weights + input_count * output_count;
    for (size_t i = 0; i < output_count; i++) {
        double sum = bias[i];
        for (size_t j = 0; j < input_count; j++) {
            sum += weights[i * input_count + j] * inputs[j];
        }
        outputs[i] = sum;
    }
}

static void softmax(double *values, size_t count)
{
    double greatest = values[0], sum = 0;
    for (size_t i = 1; i < count; i++) {
        greatest = values[i] > greatest ? values[i] : greatest;
    }
    for (size_t i = 0; i < count; i++) {
        values[i] = exp(values[i] - greatest);
        sum += values[i];
    }
    for (size_t i = 0; i < count; i++) {
        values[i] /= sum;
    }
}

static void forward(const struct network *network, const float *values, struct pass *pass)
{
    for (size_t i = 0; i < network->features; i++) {
        pass->input[i] = ((double)values[i] - network->mean[i]) * network->scale[i];
    }
    const double *inputs = pass->input;
    if (network->units > 0) {
        apply_layer(network->weights, pass->input, network->features, pass->hidden, network->units);
        for (size_t i = 0; i < network->units; i++) {
            pass->hidden[i] = tanh(pass->hidden[i]);
        }
        inputs = pass->hidden;
    }
    apply_layer(network->weights + last_layer(network), inputs, last_inputs(network), pass->output, network->classes);
    softmax(pass->output, network->classes);
}

static double loss_of(const struct pass *pass, uint32_t label)
{
    return -log(fmax(pass->output[label], 1e-300));
}

struct network_score network_evaluate(const struct network *network, const struct dataset *dataset, bool held_out)
{
    struct network_score score = {0};
    struct pass pass;
    pass_init(&pass, network);
    size_t begin = held_out ? dataset->train_rows : 0, end = held_out ? dataset->rows : dataset->train_rows;
    for (size_t i = begin; i < end; i++) {
        size_t row = dataset->order[i], best = 0;
        forward(network, dataset->values + row * dataset->features, &pass);
        for (size_t j = 1; j < network->classes; j++) {
            best = pass.output[j] > pass.output[best] ? j : best;
        }
        score.accuracy += best == dataset->labels[row];
        score.loss += loss_of(&pass, dataset->labels[row]);
    }
    pass_fini(&pass);
    score.accuracy /= (double)(end - begin);
    score.loss /= (double)(end - begin);
    return score;
}

/* ---------------------------------------------------------------- backward */

/* Add what one layer's outputs are wrong by to its gradient; and, where `back`, what its inputs are. */
static void learn_layer(const double *weights, double *gradient, const double *inputs, size_t input_count, const double *wrong,
                        size_t output_count, double *back)
{
    double *bias = gradient + input_count * output_count;
    for (size_t i = 0; i < output_count; i++) {
        for (size_t j = 0; j < input_count; j++) {
            gradient[i * input_count + j] += wrong[i] * inputs[j];
        }
        bias[i] += wrong[i];
    }
    for (size_t j = 0; back != NULL && j < input_count; j++) {
        back[j] = 0;
        for (size_t i = 0; i < output_count; i++) {
            back[j] += weights[i * input_count + j] * wrong[i];
        }
    }
}

/* After forward(). `back`: room for `units`. */
static void backward(const struct network *network, struct pass *pass, uint32_t label, double *gradient, double *back)
{
    size_t last = last_layer(network);
    pass->output[label] -= 1; /* the derivative of the loss by the last layer's outputs */
    const double *inputs = network->units > 0 ? pass->hidden : pass->input;
    learn_layer(network->weights + last, gradient + last, inputs, last_inputs(network), pass->output, network->classes,
                network->units > 0 ? back : NULL);
    if (network->units > 0) {
        for (size_t i = 0; i < network->units; i++) {
            back[i] *= 1 - pass->hidden[i] * pass->hidden[i];
        }
        learn_layer(network->weights, gradient, pass->input, network->features, back, network->units, NULL);
    }
}

static void step(struct network *network, double *gradient, size_t rows, const struct network_training *training)
{
    for (size_t i = 0; i < network->count; i++) {
        double slope = gradient[i] / (double)rows + training->l2 * network->weights[i];
        network->velocity[i] = training->momentum * network->velocity[i] - training->learning_rate * slope;
        network->weights[i] += network->velocity[i];
    }
    memset(gradient, 0, network->count * sizeof *gradient);
}

double network_epoch(struct network *network, const struct dataset *dataset, const struct network_training *training,
                     bool (*stop)(void *state), void *state)
{
    double loss = 0;
    struct pass pass;
    pass_init(&pass, network);
    double *gradient = numbers(network->count), *back = numbers(network->units);
    uint32_t *order = calloc(dataset->train_rows, sizeof *order);
    if (order == NULL) {
        abort();
    }
    memcpy(order, dataset->order, dataset->train_rows * sizeof *order);
    random_shuffle(&network->random, order, dataset->train_rows);
    for (size_t begin = 0; begin < dataset->train_rows && loss >= 0; begin += training->batch) {
        size_t end = begin + training->batch < dataset->train_rows ? begin + training->batch : dataset->train_rows;
        for (size_t i = begin; i < end; i++) {
            forward(network, dataset->values + order[i] * dataset->features, &pass);
            loss += loss_of(&pass, dataset->labels[order[i]]);
            backward(network, &pass, dataset->labels[order[i]], gradient, back);
        }
        step(network, gradient, end - begin, training);
        loss = stop(state) ? -1 : loss;
    }
    free(order);
    free(gradient);
    free(back);
    pass_fini(&pass);
    return loss < 0 ? -1 : loss / (double)dataset->train_rows;
}

size_t network_layers(const struct network *network, struct network_layer layers[2])
{
    size_t count = 0;
    if (network->units > 0) {
        layers[count++] = (struct network_layer){.inputs = network->features,
                                                 .outputs = network->units,
                                                 .weights = network->weights,
                                                 .bias = network->weights + network->features * network->units};
    }
    const double *last = network->weights + last_layer(network);
    layers[count++] = (struct network_layer){.inputs = last_inputs(network),
                                             .outputs = network->classes,
                                             .weights = last,
                                             .bias = last + last_inputs(network) * network->classes};
    return count;
}
