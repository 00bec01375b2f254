/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/actions/train/checkpoint.h"

#include "worker/actions/digest.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------- "checkpoint 1 EPOCH RANDOM COUNT", settings, weights, velocity, SHA-256 */

static void hash_of(const struct text *text, unsigned char sha256[SHA256_BYTES])
{
    sha256_of(text_string(text), text->size, sha256);
}

bool checkpoint_save(const struct network *network, uint32_t epoch, const char *settings, const struct workspace *workspace,
                     struct error *error)
{
    unsigned char sha256[SHA256_BYTES];
    struct text text;
    text_init(&text, SIZE_MAX / 2);
    text_format(&text, "checkpoint 1 %" PRIu32 " %" PRIu64 " %zu\n%s\n", epoch, network->random, network->count, settings);
    text_append(&text, network->weights, network->count * sizeof *network->weights);
    text_append(&text, network->velocity, network->count * sizeof *network->velocity);
    hash_of(&text, sha256);
    text_append(&text, sha256, sizeof sha256);
    bool ok = workspace_write(workspace, CHECKPOINT_FILE, &text, error);
    text_fini(&text);
    return ok;
}

/* All of the file; empty where there is none. */
static void read_all(const struct workspace *workspace, struct text *text)
{
    char bytes[16384];
    char *path = workspace_file(workspace, CHECKPOINT_FILE);
    FILE *file = fopen(path, "re");
    for (size_t got; file != NULL && (got = fread(bytes, 1, sizeof bytes, file)) > 0;) {
        text_append(text, bytes, got);
    }
    if (file != NULL) {
        fclose(file);
    }
    free(path);
}

static bool is_whole(struct text *text)
{
    unsigned char sha256[SHA256_BYTES];
    if (text->size < SHA256_BYTES) {
        return false;
    }
    text->size -= SHA256_BYTES;
    hash_of(text, sha256);
    return memcmp(sha256, text->bytes + text->size, SHA256_BYTES) == 0;
}

/* What follows the header where the settings are the same; NULL: they are not. */
static const char *skip_settings(const struct text *text, const char *settings)
{
    size_t size = strlen(settings);
    const char *line = memchr(text->bytes, '\n', text->size);
    bool same = line != NULL && (size_t)(text->bytes + text->size - line) > size + 2 && memcmp(line + 1, settings, size) == 0 &&
                line[1 + size] == '\n';
    return same ? line + size + 2 : NULL;
}

uint32_t checkpoint_load(struct network *network, const char *settings, const struct workspace *workspace)
{
    struct text text;
    uint32_t epoch = 0;
    uint64_t random = 0;
    size_t count = 0, bytes = network->count * sizeof *network->weights;
    text_init(&text, SIZE_MAX / 2);
    read_all(workspace, &text);
    bool ok = is_whole(&text) && sscanf(text.bytes, "checkpoint 1 %" SCNu32 " %" SCNu64 " %zu", &epoch, &random, &count) == 3;
    const char *at = ok ? skip_settings(&text, settings) : NULL;
    ok = at != NULL && count == network->count && (size_t)(text.bytes + text.size - at) == 2 * bytes;
    if (ok) {
        memcpy(network->weights, at, bytes);
        memcpy(network->velocity, at + bytes, bytes);
        network->random = random;
    }
    text_fini(&text);
    return ok ? epoch : 0;
}

/* ---------------------------------------------------------------- the model */

static void append_numbers(struct text *text, const char *name, const double *values, size_t count)
{
    text_format(text, "\"%s\":[", name);
    for (size_t i = 0; i < count; i++) {
        text_format(text, "%s%.17g", i > 0 ? "," : "", values[i]);
    }
    text_append_char(text, ']');
}

static void append_layer(struct text *text, const struct network_layer *layer)
{
    text_format(text, "{\"inputs\":%zu,\"outputs\":%zu,", layer->inputs, layer->outputs);
    append_numbers(text, "weights", layer->weights, layer->inputs * layer->outputs);
    text_append_char(text, ',');
    append_numbers(text, "bias", layer->bias, layer->outputs);
    text_append_char(text, '}');
}

bool model_save(const struct model_facts *facts, const struct workspace *workspace, const char *name, struct error *error)
{
    struct network_layer layers[2];
    struct text text;
    size_t count = network_layers(facts->network, layers);
    text_init(&text, SIZE_MAX / 2);
    text_format(&text, "{\"model\":\"%s\",\"classes\":[", facts->network->units > 0 ? "hidden" : "logistic");
    for (size_t i = 0; i < facts->dataset->classes; i++) {
        text_append_string(&text, i > 0 ? "," : "");
        text_append_json_string(&text, span_of(facts->dataset->names[i]));
    }
    text_format(&text, "],\"accuracy\":%.6f,\"loss\":%.6f,\"settings\":%s,", facts->held_out.accuracy, facts->held_out.loss,
                facts->settings);
    append_numbers(&text, "mean", facts->network->mean, facts->network->features);
    text_append_char(&text, ',');
    append_numbers(&text, "scale", facts->network->scale, facts->network->features);
    text_append_string(&text, ",\"layers\":[");
    for (size_t i = 0; i < count; i++) {
        text_append_string(&text, i > 0 ? "," : "");
        append_layer(&text, &layers[i]);
    }
    text_append_string(&text, "]}\n");
    bool ok = workspace_write(workspace, name, &text, error);
    text_fini(&text);
    return ok;
}
