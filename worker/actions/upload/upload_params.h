/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPLOAD_PARAMS_H
#define UPLOAD_PARAMS_H

#include "worker/actions/params.h"

extern const struct action_param upload_params[];

#endif
