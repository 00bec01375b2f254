/* SPDX-License-Identifier: Apache-2.0 */
/* backstep-upload: the upload action as a program. */
#include "worker/actions/action.h"

int main(int argc, char **argv)
{
    struct backstep_action published;
    action_publish(&upload_action, &published);
    return backstep_action_main(argc, argv, &published);
}
