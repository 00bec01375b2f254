/* SPDX-License-Identifier: Apache-2.0 */
/* A network after so many epochs, on the disk: what the next attempt goes on from. */
#ifndef TRAIN_CHECKPOINT_H
#define TRAIN_CHECKPOINT_H

#include "worker/actions/train/network.h"
#include "worker/actions/workspace.h"

#define CHECKPOINT_FILE "checkpoint"

/* `settings`: whatever makes another network; a checkpoint made with others is as good as none. */
bool checkpoint_save(const struct network *network, uint32_t epoch, const char *settings, const struct workspace *workspace,
                     struct error *error);
/* Into a network that network_init() made. 0: there is none to go on from. */
uint32_t checkpoint_load(struct network *network, const char *settings, const struct workspace *workspace);

/* The network as one JSON object, for whoever uses it; the same bytes for the same network. */
struct model_facts {
    const struct network *network;
    const struct dataset *dataset; /* its classes' names */
    struct network_score held_out;
    const char *settings; /* a JSON object */
};
bool model_save(const struct model_facts *facts, const struct workspace *workspace, const char *name, struct error *error);

#endif
