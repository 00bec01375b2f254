/* SPDX-License-Identifier: Apache-2.0 */
/* backstep-export: the export action as a program. */
#include "worker/actions/action.h"

int main(int argc, char **argv)
{
    struct backstep_registry *registry = backstep_registry_new();
    action_setup_steps(&export_action, registry);
    return backstep_main(argc, argv, registry);
}
