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
    backstep_action action = {};
    action.name = "greeting";
    action.state = &greet;
    action.default_steps = [](const backstep_action *self, backstep_registry *registry, const backstep_json *) {
        backstep_register(registry, static_cast<const backstep_step *>(self->state));
    };
    backstep_pipeline_action actions[2] = {};
    actions[0].action = &action;
    backstep_action_pipeline pipeline = {};
    pipeline.name = "greetings";
    pipeline.actions = actions;
    backstep_actions *greetings = backstep_actions_new(&pipeline);
    bool greeted = backstep_actions_start(greetings, nullptr, nullptr) && backstep_actions_wait(greetings, -1) &&
                   backstep_actions_status(greetings) == BACKSTEP_RUN_SUCCEEDED;
    backstep_actions_free(greetings);
    if (!greeted) {
        return 1;
    }
    backstep_registry *registry = backstep_registry_new();
    backstep_register(registry, &greet);
    return backstep_main(argc, argv, registry);
}
