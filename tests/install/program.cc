// SPDX-License-Identifier: Apache-2.0
// A step in C++: the header is usable as it is, and a step may be a lambda that captures nothing.
#include <backstep.h>

#include <string>

int main(int argc, char **argv)
{
    backstep_step greet = {};
    greet.name = "greet";
    greet.execute = [](backstep_context *context, backstep_result *result) {
        std::string whom = backstep_json_string(backstep_param(context, "whom"), "world");
        return backstep_succeed(result, "{\"greeted\": %s}", backstep_quote(context, whom.c_str()));
    };
    backstep_registry *registry = backstep_registry_new();
    backstep_register(registry, &greet);
    return backstep_main(argc, argv, registry);
}
