/* SPDX-License-Identifier: Apache-2.0 */
/* backstep-export: the export action as a program. */
#include "worker/actions/action.h"

int main(int argc, char **argv)
{
    struct backstep_action published;
    action_publish(&export_action, &published);
    return backstep_action_main(argc, argv, &published);
}
