/* SPDX-License-Identifier: Apache-2.0 */
#include "common/json.h"
#include "common/limits.h"
#include "common/pipeline.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define X10 "xxxxxxxxxx"
#define X100 X10 X10 X10 X10 X10 X10 X10 X10 X10 X10
#define X101 X100 "x"
#define X201 X100 X100 "x"

/* A file, and what comes of it: the plan as pipeline_append_json() writes it, or every problem. */
struct row {
    const char *title, *file, *expected;
};

static const struct row good[] = {
    {"one step", "name: p\nsteps:\n  - name: a\n",
     "{\"name\": \"p\", \"steps\": [\n  {\"name\": \"a\", \"weight\": 1}\n]}\n"},
    {"JSON is YAML", "{\"name\": \"p\", \"steps\": [{\"name\": \"a\", \"with\": {\"x\": [1, 2.5, true, null, \"1\"]}}]}",
     "{\"name\": \"p\", \"steps\": [\n"
     "  {\"name\": \"a\", \"weight\": 1, \"with\": {\"x\":[1,2.5,true,null,\"1\"]}}\n"
     "]}\n"},
    {"scalars of the core schema", "name: p\n"
     "steps:\n"
     "  - name: a\n"
     "    with: {a: 0x1F, b: 0o17, c: 007, d: +5, e: .5, f: 1e3, g: ~, h: True, i: 'true', j: 1_000, k: 2024-01-02, l: yes, m: -0.50, n: 1.}\n",
     "{\"name\": \"p\", \"steps\": [\n"
     "  {\"name\": \"a\", \"weight\": 1, \"with\": {\"a\":31,\"b\":15,\"c\":7,\"d\":5,\"e\":0.5,\"f\":1.0e3,\"g\":null,\"h\":true,\"i\":\"true\",\"j\":\"1_000\",\"k\":\"2024-01-02\",\"l\":\"yes\",\"m\":-0.50,\"n\":1.0}}\n"
     "]}\n"},
    {"everything that may be said of a step", "name: p\n"
     "timeout: 1h\n"
     "on_failure: pause\n"
     "steps:\n"
     "  - name: a\n"
     "    when: .params.x\n"
     "    each: .params.y\n"
     "    max_parallel: 3\n"
     "    wrap: [logging, timing]\n"
     "    with: {x: 'a ${ .params.x }'}\n"
     "    retry: {max_attempts: 2, jitter: 0}\n"
     "    start_timeout: 1s\n"
     "    rollback: {retry: {max_attempts: 3}, timeout: 5s}\n"
     "  - name: b\n"
     "    validate: {assert: .params.z, message: no z}\n",
     "{\"name\": \"p\", \"timeout\": \"1h\", \"on_failure\": \"pause\", \"steps\": [\n"
     "  {\"name\": \"a\", \"weight\": 1, \"with\": {\"x\":\"a ${ .params.x }\"}, \"when\": \".params.x\", \"each\": \".params.y\", "
     "\"max_parallel\": 3, \"wrap\": [\"logging\", \"timing\"], \"retry\": {\"max_attempts\": 2, \"max_losses\": 5, \"backoff\": \"1s\", "
     "\"multiplier\": 2, \"max_backoff\": \"1m\", \"jitter\": 0}, \"start_timeout\": \"1s\", \"rollback\": {\"retry\": {\"max_attempts\": 3, "
     "\"max_losses\": 50, \"backoff\": \"1s\", \"multiplier\": 2, \"max_backoff\": \"1m\"}, \"timeout\": \"5s\"}},\n"
     "  {\"name\": \"b\", \"weight\": 1, \"validate\": {\"assert\": \".params.z\", \"message\": \"no z\"}}\n"
     "]}\n"},
    {"a flat plan, as we print one", "name: p\nsteps: [{name: in, uses: backstep.scope, weight: 0}, {name: in/a, scope: in, uses: a}, {name: b}]\n",
     "{\"name\": \"p\", \"steps\": [\n"
     "  {\"name\": \"in\", \"uses\": \"backstep.scope\", \"weight\": 0},\n"
     "  {\"name\": \"in/a\", \"scope\": \"in\", \"uses\": \"a\", \"weight\": 1},\n"
     "  {\"name\": \"b\", \"weight\": 1}\n"
     "]}\n"},
    {"a name that looks like a number", "name: 2024\nsteps:\n  - name: 7\n",
     "{\"name\": \"2024\", \"steps\": [\n  {\"name\": \"7\", \"weight\": 1}\n]}\n"},
    {"a name in another script", "name: Gr\303\266\303\237e pr\303\274fen\nsteps:\n  - {name: Schritt eins, uses: one}\n",
     "{\"name\": \"Gr\303\266\303\237e pr\303\274fen\", \"steps\": [\n"
     "  {\"name\": \"Schritt eins\", \"uses\": \"one\", \"weight\": 1}\n"
     "]}\n"},
    {"text over several lines", "name: p\ndescription: |\n  two\n  lines\nsteps:\n  - name: a\n",
     "{\"name\": \"p\", \"description\": \"two\\nlines\\n\", \"steps\": [\n"
     "  {\"name\": \"a\", \"weight\": 1}\n"
     "]}\n"},
    {"each step needs the one before", "name: p\n"
     "steps:\n"
     "  - name: a\n"
     "  - name: b\n"
     "  - name: c\n"
     "    needs: [a]\n"
     "  - name: d\n"
     "    needs: []\n",
     "{\"name\": \"p\", \"steps\": [\n"
     "  {\"name\": \"a\", \"weight\": 1},\n"
     "  {\"name\": \"b\", \"weight\": 1},\n"
     "  {\"name\": \"c\", \"weight\": 1, \"needs\": [\"a\"]},\n"
     "  {\"name\": \"d\", \"weight\": 1, \"needs\": []}\n"
     "]}\n"},
    {"a step that needs a later one", "name: p\nsteps:\n  - name: a\n    needs: [b]\n  - name: b\n    needs: []\n",
     "{\"name\": \"p\", \"steps\": [\n"
     "  {\"name\": \"a\", \"weight\": 1, \"needs\": [\"b\"]},\n"
     "  {\"name\": \"b\", \"weight\": 1, \"needs\": []}\n"
     "]}\n"},
    {"reads of what is needed indirectly", "name: p\n"
     "steps:\n"
     "  - name: a\n"
     "  - name: b\n"
     "  - name: c\n"
     "    reads: [a]\n"
     "  - name: d\n"
     "    reads: []\n",
     "{\"name\": \"p\", \"steps\": [\n"
     "  {\"name\": \"a\", \"weight\": 1},\n"
     "  {\"name\": \"b\", \"weight\": 1},\n"
     "  {\"name\": \"c\", \"weight\": 1, \"reads\": [\"a\"]},\n"
     "  {\"name\": \"d\", \"weight\": 1, \"reads\": []}\n"
     "]}\n"},
    {"weights of any size", "name: p\n"
     "steps:\n"
     "  - {name: a, weight: 0.2}\n"
     "  - {name: b, weight: 0.7}\n"
     "  - {name: c, weight: 1.0e-1}\n",
     "{\"name\": \"p\", \"steps\": [\n"
     "  {\"name\": \"a\", \"weight\": 2},\n"
     "  {\"name\": \"b\", \"weight\": 7},\n"
     "  {\"name\": \"c\", \"weight\": 1}\n"
     "]}\n"},
    {"weights that are all zero", "name: p\nsteps:\n  - {name: a, weight: 0}\n  - {name: b, weight: 0}\n",
     "{\"name\": \"p\", \"steps\": [\n"
     "  {\"name\": \"a\", \"weight\": 0},\n"
     "  {\"name\": \"b\", \"weight\": 0}\n"
     "]}\n"},
    {"all of retry", "name: p\n"
     "steps:\n"
     "  - name: a\n"
     "    retry: {max_attempts: 3, max_losses: 0, backoff: 500ms, multiplier: 1.5, max_backoff: 2h}\n",
     "{\"name\": \"p\", \"steps\": [\n"
     "  {\"name\": \"a\", \"weight\": 1, \"retry\": {\"max_attempts\": 3, \"max_losses\": 0, \"backoff\": \"500ms\", \"multiplier\": 1.5, \"max_backoff\": \"2h\"}}\n"
     "]}\n"},
    {"a backoff beyond the usual most", "name: p\nsteps:\n  - name: a\n    retry: {backoff: 5m}\n",
     "{\"name\": \"p\", \"steps\": [\n"
     "  {\"name\": \"a\", \"weight\": 1, \"retry\": {\"max_attempts\": 1, \"max_losses\": 5, \"backoff\": \"5m\", \"multiplier\": 2, \"max_backoff\": \"5m\"}}\n"
     "]}\n"},
    {"timeouts and no rollback", "name: p\n"
     "steps:\n"
     "  - name: a\n"
     "    queue: gpu\n"
     "    timeout: 10m\n"
     "    heartbeat_timeout: 90s\n"
     "    rollback: none\n",
     "{\"name\": \"p\", \"steps\": [\n"
     "  {\"name\": \"a\", \"queue\": \"gpu\", \"weight\": 1, \"timeout\": \"10m\", \"heartbeat_timeout\": \"90s\", \"rollback\": \"none\"}\n"
     "]}\n"},
    {"params", "name: p\n"
     "params:\n"
     "  s: {required: true, description: d}\n"
     "  t: {default: [1]}\n"
     "  u:\n"
     "steps: [{name: a}]\n",
     "{\"name\": \"p\", \"steps\": [\n  {\"name\": \"a\", \"weight\": 1}\n]}\n"},
    {"comments, a version and an end", "%YAML 1.1\n---\n# hello\nname: p # there\nsteps: [{name: a}]\n...\n",
     "{\"name\": \"p\", \"steps\": [\n  {\"name\": \"a\", \"weight\": 1}\n]}\n"},
    {"carriage returns", "name: p\r\nsteps:\r\n  - name: a\r\n",
     "{\"name\": \"p\", \"steps\": [\n  {\"name\": \"a\", \"weight\": 1}\n]}\n"},
};

static const struct row bad[] = {
    {"nothing", "",
     "p.yaml: is empty: a pipeline has a name and steps\n"},
    {"only comments", "# nothing here\n",
     "p.yaml: is empty: a pipeline has a name and steps\n"},
    {"a list", "- a\n",
     "p.yaml:1: is a list, where a map with 'name' and 'steps' is expected\n"},
    {"a word", "hello\n",
     "p.yaml:1: is text, where a map with 'name' and 'steps' is expected\n"},
    {"no name", "steps: [{name: a}]\n",
     "p.yaml:1: name: is missing\n"},
    {"no steps", "name: p\n",
     "p.yaml:1: steps: is missing\n"},
    {"an empty map", "{}\n",
     "p.yaml:1: name: is missing\np.yaml:1: steps: is missing\n"},
    {"an empty name", "name:\nsteps: [{name: a}]\n",
     "p.yaml:1: name: is empty\n"},
    {"a name of blanks", "name: ' p'\nsteps: [{name: a}]\n",
     "p.yaml:1: name: begins with a blank\n"},
    {"a name that ends with a blank", "name: 'p '\nsteps: [{name: a}]\n",
     "p.yaml:1: name: ends with a blank\n"},
    {"a name with a control character", "name: \"a\\tb\"\nsteps: [{name: a}]\n",
     "p.yaml:1: name: holds a control character at byte 2\n"},
    {"a name that is too long", "name: " X201 "\nsteps: [{name: a}]\n",
     "p.yaml:1: name: is 201 bytes long; at most 200 are allowed\n"},
    {"a name that is a list", "name: [p]\nsteps: [{name: a}]\n",
     "p.yaml:1: name: is a list, where text is expected\n"},
    {"no list of steps", "name: p\nsteps: 5\n",
     "p.yaml:2: steps: is a number, where a list is expected\n"},
    {"an empty list of steps", "name: p\nsteps: []\n",
     "p.yaml:2: steps: holds 0 steps; 1 to 1000 are allowed\n"},
    {"steps without a dash", "name: p\nsteps:\n  name: a\n",
     "p.yaml:3: steps: is a map, where a list is expected\n"},
    {"a step that is a word", "name: p\nsteps:\n  - a\n",
     "p.yaml:3: steps[0]: is text, where a map is expected\n"},
    {"a step without a name", "name: p\nsteps:\n  - uses: a\n",
     "p.yaml:3: steps[0].name: is missing\n"},
    {"a name that is no handler's", "name: p\nsteps:\n  - name: Schritt eins\n",
     "p.yaml:3: steps[0].name: 'Schritt eins' is no handler's name; say with 'uses' which handler (letters, digits, '.', '_', '-') does it\n"},
    {"a handler with a slash", "name: p\nsteps:\n  - name: a\n    uses: ../bin/sh\n",
     "p.yaml:4: steps[0].uses: '../bin/sh' is no identifier: '/' stands in it; write a letter or digit, then letters, digits, '.', '_' and '-'\n"},
    {"a handler that is too long", "name: p\nsteps:\n  - name: a\n    uses: " X101 "\n",
     "p.yaml:4: steps[0].uses: is 101 bytes long; at most 100 are allowed\n"},
    {"an empty handler", "name: p\nsteps:\n  - name: a\n    uses: ''\n",
     "p.yaml:4: steps[0].uses: is empty; write a letter or digit, then letters, digits, '.', '_' and '-'\n"},
    {"a queue that begins with a dot", "name: p\nsteps:\n  - name: a\n    queue: .x\n",
     "p.yaml:4: steps[0].queue: '.x' is no identifier: '.' begins it; write a letter or digit, then letters, digits, '.', '_' and '-'\n"},
    {"a mistyped field", "name: p\nsteps:\n  - name: a\n    need: [x]\n",
     "p.yaml:4: steps[0].need: unknown field; did you mean 'needs'?\n"},
    {"a mistyped field of the pipeline", "nmae: p\nsteps: [{name: a}]\n",
     "p.yaml:1: name: is missing\np.yaml:1: nmae: unknown field; did you mean 'name'?\n"},
    {"a field of nobody", "name: p\nsteps:\n  - name: a\n    colour: red\n",
     "p.yaml:4: steps[0].colour: unknown field\n"},
    {"a mistyped field of retry", "name: p\nsteps:\n  - name: a\n    retry: {attempts: 3}\n",
     "p.yaml:4: steps[0].retry.attempts: unknown field; did you mean 'max_attempts'?\n"},
    {"a field in another case", "name: p\nsteps:\n  - name: a\n    Weight: 3\n",
     "p.yaml:4: steps[0].Weight: unknown field; did you mean 'weight'?\n"},
    {"a mistyped field of params", "name: p\nparams: {s: {requird: true}}\nsteps: [{name: a}]\n",
     "p.yaml:2: params.s.requird: unknown field; did you mean 'required'?\n"},
    {"a comma in a text in braces", "name: p\nparams:\n  s: {default: 0, description: now, so that it works}\nsteps: [{name: a}]\n",
     "p.yaml:3: params.s.so that it works: unknown field; a text with a comma in braces must be quoted\n"},
    {"a negative weight", "name: p\nsteps:\n  - name: a\n    weight: -1\n",
     "p.yaml:4: steps[0].weight: '-1' is no weight; write a number that is not negative\n"},
    {"a weight that is text", "name: p\nsteps:\n  - name: a\n    weight: '5'\n",
     "p.yaml:4: steps[0].weight: the text '5' is no weight; write a number that is not negative\n"},
    {"an infinite weight", "name: p\nsteps:\n  - name: a\n    weight: .inf\n",
     "p.yaml:4: steps[0].weight: '.inf' is no weight; write a number that is not negative\n"},
    {"a weight that is a list", "name: p\nsteps:\n  - name: a\n    weight: [1]\n",
     "p.yaml:4: steps[0].weight: a list is no weight; write a number that is not negative\n"},
    {"a weight beyond all numbers", "name: p\nsteps:\n  - name: a\n    weight: 1e999\n",
     "p.yaml:4: steps[0].weight: '1e999' is no weight; write a number that is not negative\n"},
    {"a duration in parsecs", "name: p\nsteps:\n  - name: a\n    retry: {backoff: 2 parsecs}\n",
     "p.yaml:4: steps[0].retry.backoff: '2 parsecs' is not a duration; write 500ms, 10s, 5m or 2h\n"},
    {"a duration without a unit", "name: p\nsteps:\n  - name: a\n    timeout: 30\n",
     "p.yaml:4: steps[0].timeout: '30' is not a duration; write 500ms, 10s, 5m or 2h\n"},
    {"a duration with a fraction", "name: p\nsteps:\n  - name: a\n    timeout: 1.5h\n",
     "p.yaml:4: steps[0].timeout: '1.5h' is not a duration; write 500ms, 10s, 5m or 2h\n"},
    {"a negative duration", "name: p\nsteps:\n  - name: a\n    timeout: -5s\n",
     "p.yaml:4: steps[0].timeout: '-5s' is not a duration; write 500ms, 10s, 5m or 2h\n"},
    {"a duration beyond a year", "name: p\nsteps:\n  - name: a\n    timeout: 9999999h\n",
     "p.yaml:4: steps[0].timeout: '9999999h' is longer than a year (8784h)\n"},
    {"a timeout of nothing", "name: p\nsteps:\n  - name: a\n    timeout: 0s\n",
     "p.yaml:4: steps[0].timeout: must be longer than 0; leave it out for none\n"},
    {"a duration that is a map", "name: p\nsteps:\n  - name: a\n    heartbeat_timeout: {a: 1}\n",
     "p.yaml:4: steps[0].heartbeat_timeout: is a map, where text is expected\n"},
    {"attempts of nothing", "name: p\nsteps:\n  - name: a\n    retry: {max_attempts: 0}\n",
     "p.yaml:4: steps[0].retry.max_attempts: '0' is no integer from 1 to 1000\n"},
    {"too many attempts", "name: p\nsteps:\n  - name: a\n    retry: {max_attempts: 1001}\n",
     "p.yaml:4: steps[0].retry.max_attempts: '1001' is no integer from 1 to 1000\n"},
    {"attempts in words", "name: p\nsteps:\n  - name: a\n    retry: {max_attempts: three}\n",
     "p.yaml:4: steps[0].retry.max_attempts: 'three' is no integer from 1 to 1000\n"},
    {"half an attempt", "name: p\nsteps:\n  - name: a\n    retry: {max_attempts: 1.5}\n",
     "p.yaml:4: steps[0].retry.max_attempts: '1.5' is no integer from 1 to 1000\n"},
    {"negative losses", "name: p\nsteps:\n  - name: a\n    retry: {max_losses: -1}\n",
     "p.yaml:4: steps[0].retry.max_losses: '-1' is no integer from 0 to 1000\n"},
    {"a multiplier below one", "name: p\nsteps:\n  - name: a\n    retry: {multiplier: 0.5}\n",
     "p.yaml:4: steps[0].retry.multiplier: '0.5' is no number from 1 to 100\n"},
    {"a most that is less", "name: p\nsteps:\n  - name: a\n    retry: {backoff: 10s, max_backoff: 5s}\n",
     "p.yaml:4: steps[0].retry.max_backoff: is shorter than the backoff\n"},
    {"a retry that is a number", "name: p\nsteps:\n  - name: a\n    retry: 3\n",
     "p.yaml:4: steps[0].retry: is a number, where a map is expected\n"},
    {"a need that is unknown", "name: p\nsteps:\n  - name: upload\n  - name: b\n    needs: [uplaod, c]\n",
     "p.yaml:5: steps[1].needs[0]: there is no step 'uplaod'; did you mean 'upload'?\n"
     "p.yaml:5: steps[1].needs[1]: there is no step 'c'\n"},
    {"a need that is text", "name: p\nsteps:\n  - name: a\n  - name: b\n    needs: a\n",
     "p.yaml:5: steps[1].needs: is text, where a list is expected; write [a]\n"},
    {"a need named twice", "name: p\nsteps:\n  - name: a\n  - name: b\n    needs: [a, a]\n",
     "p.yaml:5: steps[1].needs[1]: 'a' is named twice\n"},
    {"a need that is a map", "name: p\nsteps:\n  - name: a\n    needs: [{a: 1}]\n",
     "p.yaml:4: steps[0].needs[0]: is a map, where the name of a step is expected\n"},
    {"a step that needs itself", "name: p\nsteps:\n  - name: a\n    needs: [a]\n",
     "p.yaml:4: steps[0].needs: goes round in a circle: a needs a\n"},
    {"a circle of three", "name: p\nsteps:\n  - name: a\n    needs: [c]\n  - name: b\n  - name: c\n",
     "p.yaml:5: steps[1].needs: goes round in a circle: a needs c needs b needs a\n"},
    {"two circles", "name: p\n"
     "steps:\n"
     "  - {name: a, needs: [b]}\n"
     "  - {name: b, needs: [a]}\n"
     "  - {name: c, needs: [d]}\n"
     "  - {name: d, needs: [c]}\n",
     "p.yaml:4: steps[1].needs: goes round in a circle: a needs b needs a\n"
     "p.yaml:6: steps[3].needs: goes round in a circle: c needs d needs c\n"},
    {"a read that is not needed", "name: p\nsteps:\n  - name: a\n  - name: b\n    needs: []\n    reads: [a]\n",
     "p.yaml:6: steps[1].reads: 'a' is not among the steps it needs, so it may not have run yet\n"},
    {"a read that is unknown", "name: p\nsteps:\n  - name: a\n    reads: [z]\n",
     "p.yaml:4: steps[0].reads[0]: there is no step 'z'\n"},
    {"a name that comes twice", "name: p\nsteps:\n  - name: a\n  - name: b\n  - name: a\n",
     "p.yaml:5: steps[2].name: 'a' is the name of steps[0] already (line 3)\n"},
    {"with that is a list", "name: p\nsteps:\n  - name: a\n    with: [1]\n",
     "p.yaml:4: steps[0].with: is a list, where a map is expected\n"},
    {"with an infinite number", "name: p\nsteps:\n  - name: a\n    with: {x: .inf}\n",
     "p.yaml:4: steps[0].with: holds what JSON cannot say: a number that is not finite or too large, or a NUL\n"},
    {"with a number that is too large", "name: p\nsteps:\n  - name: a\n    with: {x: 123456789012345678901234567890}\n",
     "p.yaml:4: steps[0].with: holds what JSON cannot say: a number that is not finite or too large, or a NUL\n"},
    {"with a NUL", "name: p\nsteps:\n  - name: a\n    with: {x: \"a\\0b\"}\n",
     "p.yaml:4: steps[0].with: holds what JSON cannot say: a number that is not finite or too large, or a NUL\n"},
    {"a template that is no jq", "name: p\nsteps:\n  - name: a\n    with: {x: {y: [1, 'a ${ b }']}}\n",
     "p.yaml:4: steps[0].with.x.y[1]: 'b' is not jq: line 1, column 1: b/0 is not defined\n"},
    {"expressions that are no jq", "name: p\nsteps:\n  - name: a\n    when: .x +\n    each: '[.x'\n  - name: b\n    validate: {assert: .ok}\n    timeout: 1\n",
     "p.yaml:4: steps[0].when: '.x +' is not jq: line 1: syntax error, unexpected end\n"
     "p.yaml:5: steps[0].each: '[.x' is not jq: ']' is missing\n"
     "p.yaml:8: steps[1].timeout: '1' is not a duration; write 500ms, 10s, 5m or 2h\n"},
    {"fields that hold the wrong thing", "name: p\n"
     "timeout: soon\n"
     "on_failure: never\n"
     "steps:\n"
     "  - name: a\n"
     "    wrap: x\n"
     "    start_timeout: 1\n"
     "    max_parallel: 2\n"
     "    retry: {jitter: 2}\n"
     "  - name: b\n"
     "    validate: x\n"
     "  - name: c\n"
     "    validate: {message: no}\n"
     "    uses: x\n"
     "  - {name: d, each: '[]', max_parallel: 0}\n",
     "p.yaml:2: timeout: 'soon' is not a duration; write 500ms, 10s, 5m or 2h\n"
     "p.yaml:3: on_failure: 'never' is unknown; write 'rollback' or 'pause'\n"
     "p.yaml:6: steps[0].wrap: is text, where a list is expected; write [x]\n"
     "p.yaml:7: steps[0].start_timeout: '1' is not a duration; write 500ms, 10s, 5m or 2h\n"
     "p.yaml:8: steps[0].max_parallel: says how many instances run at once, and needs 'each'\n"
     "p.yaml:9: steps[0].retry.jitter: '2' is no number from 0 to 1\n"
     "p.yaml:11: steps[1].validate: is text, where a map is expected\n"
     "p.yaml:13: steps[2].validate.assert: is missing\n"
     "p.yaml:14: steps[2].uses: does not go with 'validate'\n"
     "p.yaml:15: steps[3].max_parallel: '0' is no integer from 1 to 10000\n"},
    {"a scope that is none", "name: p\nsteps: [{name: a}, {name: a/b, uses: b, scope: a}, {name: c, scope: d}, {name: x/y, uses: y}]\n",
     "p.yaml:2: steps[3].name: 'x/y' holds a '/', which stands between a pipeline's name and its steps'\n"
     "p.yaml:2: steps[1].scope: 'a' is no pipeline that begins before it\n"
     "p.yaml:2: steps[2].scope: there is no step 'd'\n"},
    {"a pipeline that is not there", "name: p\nsteps:\n  - name: a\n    uses: pipeline:/nowhere/other.yaml\n",
     "p.yaml:4: steps[0].uses: /nowhere/other.yaml: No such file or directory\n"},
    {"an include that is not there", "name: p\nsteps:\n  - include: /nowhere/other.yaml\n    name: a\n",
     "p.yaml:3: steps[0]: /nowhere/other.yaml: No such file or directory\n"
     "p.yaml:4: steps[0]: 'name' does not go with 'include'\n"},
    {"a rollback that is a map", "name: p\nsteps:\n  - name: a\n    rollback: {uses: x}\n",
     "p.yaml:4: steps[0].rollback.uses: unknown field\n"},
    {"a rollback that is unknown", "name: p\nsteps:\n  - name: a\n    rollback: never\n",
     "p.yaml:4: steps[0].rollback: 'never' is unknown; write 'none', a map with 'retry' and 'timeout', or leave it out\n"},
    {"a rollback that is a list", "name: p\nsteps:\n  - name: a\n    rollback: [none]\n",
     "p.yaml:4: steps[0].rollback: a list is unknown; write 'none', a map with 'retry' and 'timeout', or leave it out\n"},
    {"a parameter that is text", "name: p\nparams: {s: photos}\nsteps: [{name: a}]\n",
     "p.yaml:2: params.s: is text, where a map with 'required' or 'default', and 'description', is expected\n"},
    {"params that are a list", "name: p\nparams: [s]\nsteps: [{name: a}]\n",
     "p.yaml:2: params: is a list, where a map is expected\n"},
    {"required and a default", "name: p\nparams: {s: {required: true, default: 1}}\nsteps: [{name: a}]\n",
     "p.yaml:2: params.s: is required and has a default; one of them is enough\n"},
    {"required in words", "name: p\nparams: {s: {required: yes}}\nsteps: [{name: a}]\n",
     "p.yaml:2: params.s.required: is text, where true or false is expected\n"},
    {"a parameter without a name", "name: p\nparams: {'': {default: 1}}\nsteps: [{name: a}]\n",
     "p.yaml:2: params.: its name is empty\n"},
    {"an anchor and an alias", "name: p\nsteps:\n  - &x {name: a}\n  - *x\n",
     "p.yaml:3: an anchor ('&x'): anchors and aliases are not allowed; write it out\n"
     "p.yaml:4: an alias ('*x'): anchors and aliases are not allowed; write it out\n"},
    {"an anchor alone", "name: p\nsteps:\n  - name: a\n    with: &w {a: 1}\n",
     "p.yaml:4: an anchor ('&w'): anchors and aliases are not allowed; write it out\n"},
    {"a merge key", "name: p\nsteps:\n  - {name: a, with: {<<: *w}}\n",
     "p.yaml:3: an alias ('*w'): anchors and aliases are not allowed; write it out\n"},
    {"a tag", "name: p\nsteps:\n  - name: a\n    with: {x: !!str 5, y: !mine z}\n",
     "p.yaml:4: a tag ('tag:yaml.org,2002:str'): tags are not allowed; quote what is to be text\n"
     "p.yaml:4: a tag ('!mine'): tags are not allowed; quote what is to be text\n"},
    {"a second document", "name: p\nsteps: [{name: a}]\n---\nname: q\n",
     "p.yaml:3: a second document begins here; a file holds one pipeline\n"},
    {"a key that comes twice", "name: p\nsteps:\n  - name: a\n    weight: 1\n    weight: 2\n",
     "p.yaml:5: 'weight' stands in line 4 already\n"},
    {"params and steps that come twice", "name: p\nparams: {a: , b: }\nparams: {c: , d: }\nsteps: [{name: a}]\nsteps: [{name: b}]\n",
     "p.yaml:3: 'params' stands in line 2 already\n"
     "p.yaml:5: 'steps' stands in line 4 already\n"},
    {"a key that is a list", "name: p\n? [a]\n: b\n",
     "p.yaml:2: a key that is a list or a map: a key is a name\n"},
    {"a tab", "name: p\nsteps:\n\t- name: a\n",
     "p.yaml:3: found character that cannot start any token, while scanning for the next token; indent with blanks, not with tabs\n"},
    {"a bracket that is not closed", "name: p\nsteps: [{name: a}\n",
     "p.yaml:3: did not find expected ',' or ']', while parsing a flow sequence that begins in line 2\n"},
    {"a quote that is not closed", "name: \"p\nsteps: []\n",
     "p.yaml:3: found unexpected end of stream, while scanning a quoted scalar that begins in line 1\n"},
    {"bad indentation", "name: p\nsteps:\n  - name: a\n   uses: b\n",
     "p.yaml:4: did not find expected '-' indicator, while parsing a block collection that begins in line 3\n"},
    {"two mistakes in two lines", "name: p\nstep: 1\nsteps:\n  - name: a\n    weight: x\n    timeout: y\n",
     "p.yaml:2: step: unknown field; did you mean 'steps'?\n"
     "p.yaml:5: steps[0].weight: 'x' is no weight; write a number that is not negative\n"
     "p.yaml:6: steps[0].timeout: 'y' is not a duration; write 500ms, 10s, 5m or 2h\n"},
    {"control characters", "name: p\nsteps: [{name: \"a\001\"}]\n",
     "p.yaml:2: control characters are not allowed\n"},
    {"half an UTF-8 letter", "name: p\303\nsteps: []\n",
     "p.yaml:1: invalid trailing UTF-8 octet\n"},
};

static void check(const struct row *row, bool good_one)
{
    struct text text;
    text_init(&text, LIMIT_RECORD_BYTES);
    struct pipeline *pipeline = pipeline_read_text(span_of(row->file), "p.yaml");
    if (pipeline->problem_count == 0) {
        pipeline_append_json(&pipeline->plan, &text);
    } else {
        pipeline_append_problems(pipeline, &text);
    }
    if (strcmp(text_string(&text), row->expected) != 0 || good_one != (pipeline->problem_count == 0)) {
        fail_msg("%s:\n%s", row->title, text_string(&text));
    }
    text_fini(&text);
    pipeline_free(pipeline);
}

static void legal_files_become_plans(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(good); i++) {
        check(&good[i], true);
    }
}

static void every_mistake_is_said_with_line_and_field(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(bad); i++) {
        check(&bad[i], false);
    }
}

/* What was written comes back the same. */
static void a_plan_survives_its_own_file(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(good); i++) {
        const struct row again = {good[i].title, good[i].expected, good[i].expected};
        check(&again, true);
    }
}

static struct pipeline *read_first_bytes(const char *file, size_t size)
{
    char *copy = malloc(size + (size == 0)); /* no byte to spare: a reader that goes too far is caught */
    memcpy(copy, file, size);
    struct pipeline *pipeline = pipeline_read_text((struct span){copy, size}, "p.yaml");
    free(copy);
    return pipeline;
}

static void files_cut_anywhere_are_read_or_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(good); i++) {
        for (size_t size = 0; size < strlen(good[i].file); size++) {
            struct pipeline *pipeline = read_first_bytes(good[i].file, size);
            assert_true(pipeline->problem_count > 0 || pipeline->plan.step_count > 0);
            pipeline_free(pipeline);
        }
    }
}

static void check_problem(struct pipeline *pipeline, const char *expected)
{
    struct text text;
    text_init(&text, MIB);
    pipeline_append_problems(pipeline, &text);
    assert_string_equal(text_string(&text), expected);
    text_fini(&text);
    pipeline_free(pipeline);
}

static void files_that_are_none_are_refused(void **state)
{
    (void)state;
    char path[] = "/tmp/backstep-pipeline-XXXXXX";
    int file = mkstemp(path);
    assert_true(file >= 0);
    assert_int_equal(ftruncate(file, 10000000), 0);
    struct pipeline *pipeline = pipeline_read_file(path);
    assert_int_equal(pipeline->problem_count, 1);
    assert_string_equal(pipeline->problems[0].text, "is larger than 256 KiB");
    pipeline_free(pipeline);
    close(file);
    unlink(path);
    check_problem(pipeline_read_file("/nowhere/p.yaml"), "/nowhere/p.yaml: No such file or directory\n");
    check_problem(pipeline_read_file("/tmp"), "/tmp: is a directory\n");
    static const char binary[] = "name: p\0steps";
    check_problem(pipeline_read_text((struct span){binary, sizeof binary}, "p.yaml"), "p.yaml: is no text: it holds NUL bytes\n");
}

static void file_names_cannot_drive_a_terminal(void **state)
{
    (void)state;
    check_problem(pipeline_read_text(span_of("x"), "a\x1b[31mb"),
                  "a\\x1b[31mb:1: is text, where a map with 'name' and 'steps' is expected\n");
}

/* '#' stands for the number. */
static void append_piece(struct text *text, const char *piece, size_t number)
{
    for (; *piece != '\0'; piece++) {
        if (*piece == '#') {
            text_format(text, "%zu", number);
        } else {
            text_append_char(text, *piece);
        }
    }
}

static struct pipeline *read_repeated(const char *head, const char *piece, size_t count, const char *tail)
{
    struct text text;
    text_init(&text, MIB);
    text_append_string(&text, head);
    for (size_t i = 0; i < count; i++) {
        append_piece(&text, piece, i);
    }
    text_append_string(&text, tail);
    struct pipeline *pipeline = pipeline_read_text(text_span(&text), "p.yaml");
    text_fini(&text);
    return pipeline;
}

static void a_thousand_steps_are_read_and_one_more_is_not(void **state)
{
    (void)state;
    struct pipeline *pipeline = read_repeated("name: p\nsteps:\n", "  - name: s#\n", 1000, "");
    assert_int_equal(pipeline->problem_count, 0);
    assert_int_equal(pipeline->plan.step_count, 1000);
    assert_int_equal(pipeline->plan.steps[999].needs[0], 998);
    pipeline_free(pipeline);
    check_problem(read_repeated("name: p\nsteps:\n", "  - name: s#\n", 1001, ""),
                  "p.yaml:3: steps: holds 1001 steps; 1 to 1000 are allowed\n");
}

static void nesting_is_bounded(void **state)
{
    (void)state;
    check_problem(read_repeated("name: ", "[", 100000, ""), "p.yaml:1: nested deeper than 64\n");
    check_problem(read_repeated("name: p\nsteps: [{name: a, with: {x: ", "[", 62, ""), "p.yaml:2: nested deeper than 64\n");
}

static void problems_are_bounded(void **state)
{
    (void)state;
    struct pipeline *pipeline = read_repeated("name: p\nsteps:\n", "  - name: a #\n", 500, "");
    assert_int_equal(pipeline->problem_count, 101);
    assert_string_equal(pipeline->problems[100].text, "there are more mistakes; mend these first");
    pipeline_free(pipeline);
}

static void many_keys_are_compared_quickly(void **state)
{
    (void)state;
    struct pipeline *pipeline = read_repeated("name: p\nsteps: [{name: a, with: {", "k#: 1, ", 20000, "k7: 2}}]\n");
    assert_int_equal(pipeline->problem_count, 1);
    assert_string_equal(pipeline->problems[0].text, "'k7' stands in line 2 already");
    pipeline_free(pipeline);
}

static void needs_default_to_the_step_before(void **state)
{
    (void)state;
    struct pipeline *pipeline = pipeline_read_text(span_of("name: p\nsteps: [{name: a}, {name: b}, {name: c, needs: []}]\n"), "p");
    const struct plan_step *steps = pipeline->plan.steps;
    assert_int_equal(steps[0].needs_count, 0);
    assert_int_equal(steps[1].needs_count, 1);
    assert_int_equal(steps[1].needs[0], 0);
    assert_int_equal(steps[2].needs_count, 0);
    assert_true(span_equal(steps[1].queue, span_of("default")));
    assert_true(span_equal(steps[1].handler, span_of("b")));
    assert_int_equal(pipeline->places[2].line, 2);
    pipeline_set_queue(pipeline, "mine");
    assert_true(span_equal(steps[2].queue, span_of("mine")));
    pipeline_free(pipeline);
}

/* ---- weights */

static void weights_sum_up_to_the_whole(void **state)
{
    (void)state;
    static const struct {
        double shares[4];
        size_t count;
        uint32_t weights[4];
    } rows[] = {
        {{1, 1, 1}, 3, {333333334, 333333333, 333333333}},
        {{0.2, 0.6, 0.2}, 3, {200000000, 600000000, 200000000}},
        {{0, 0}, 2, {0, 0}},
        {{5}, 1, {1000000000}},
        {{1e308, 1e308, 1e308, 1e308}, 4, {250000000, 250000000, 250000000, 250000000}},
        {{1e-300, 1e300}, 2, {0, 1000000000}},
        {{0, 1, 2}, 3, {0, 333333333, 666666667}},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        uint32_t weights[4];
        assert_true(pipeline_set_weights(weights, rows[i].shares, rows[i].count));
        for (size_t j = 0; j < rows[i].count; j++) {
            assert_int_equal(weights[j], rows[i].weights[j]);
        }
    }
}

static void weights_that_are_none_are_refused(void **state)
{
    (void)state;
    static const double shares[] = {-1, 1.0 / 0.0, -1.0 / 0.0};
    for (size_t i = 0; i < COUNT(shares); i++) {
        uint32_t weight;
        assert_false(pipeline_set_weights(&weight, &shares[i], 1));
    }
}

/* ---- parameters */

static const char params_file[] = "name: p\nparams:\n"
                                  "  source: {required: true}\n"
                                  "  target: {default: ./store}\n"
                                  "  size: {default: 0.1}\n"
                                  "  extra:\n"
                                  "  other: {required: true}\n"
                                  "steps: [{name: a}]\n";

struct params_row {
    const char *pairs[4];
    const char *file;     /* contents; NULL: none */
    const char *expected; /* JSON, or the error; FILE stands for the file's path */
};

static const struct params_row params_rows[] = {
    {{"source=photos", "other=1"}, NULL, "{\"source\":\"photos\",\"target\":\"./store\",\"size\":0.1,\"other\":1}"},
    {{"source=[1, 2]", "other={\"a\":null}", "extra=true"}, NULL,
     "{\"source\":[1, 2],\"target\":\"./store\",\"size\":0.1,\"extra\":true,\"other\":{\"a\":null}}"},
    {{"source=a=b", "other="}, NULL, "{\"source\":\"a=b\",\"target\":\"./store\",\"size\":0.1,\"other\":\"\"}"},
    {{"source=a", "source=b", "other=\"1\""}, NULL, "{\"source\":\"b\",\"target\":\"./store\",\"size\":0.1,\"other\":\"1\"}"},
    {{"source=sa\"y", "other=01"}, NULL, "{\"source\":\"sa\\\"y\",\"target\":\"./store\",\"size\":0.1,\"other\":\"01\"}"},
    {{"other=x"}, "{\"source\": {\"b\": 0.1}, \"other\": 5, \"target\": null}",
     "{\"source\":{\"b\":0.1},\"target\":null,\"size\":0.1,\"other\":\"x\"}"},
    {{NULL}, NULL, "p.yaml requires the parameters 'source', 'other'; give it as -p NAME=VALUE"},
    {{"source=1"}, NULL, "p.yaml requires the parameter 'other'; give it as -p NAME=VALUE"},
    {{"sorce=1"}, NULL, "p.yaml declares no parameter 'sorce'; did you mean 'source'?"},
    {{"zzzzzz=1"}, NULL, "p.yaml declares no parameter 'zzzzzz'"},
    {{"source"}, NULL, "-p 'source': KEY=VALUE is expected"},
    {{"=1"}, NULL, "-p '=1': KEY=VALUE is expected"},
    {{"source=\xff"}, NULL, "-p source: holds bytes that are no UTF-8"},
    {{NULL}, "{\"targets\": 1}", "FILE: p.yaml declares no parameter 'targets'; did you mean 'target'?"},
    {{NULL}, "[1]", "FILE: is an array, not an object"},
    {{NULL}, "{\"source\": 1, \"source\": 2}", "FILE: no JSON: line 1, column 22: duplicate object key near '\"source\"'"},
    {{NULL}, "", "FILE: is empty, where JSON is expected"},
};

static void check_params(const struct pipeline *pipeline, const struct params_row *row)
{
    char path[] = "/tmp/backstep-params-XXXXXX", expected[400];
    int file = mkstemp(path);
    assert_true(file >= 0);
    size_t size = row->file != NULL ? strlen(row->file) : 0;
    assert_int_equal(write(file, row->file != NULL ? row->file : "", size), size);
    const char *mark = strstr(row->expected, "FILE");
    snprintf(expected, sizeof expected, "%s%s", mark != NULL ? path : "", mark != NULL ? mark + 4 : row->expected);

    size_t count = 0;
    while (row->pairs[count] != NULL) {
        count++;
    }
    struct text json;
    struct error error = {0};
    text_init(&json, LIMIT_CONTEXT_BYTES);
    bool ok = pipeline_params(pipeline, row->pairs, count, row->file != NULL ? path : NULL, &json, &error);
    const char *found = ok ? text_string(&json) : error.message;
    close(file);
    unlink(path);
    if (strcmp(found, expected) != 0) {
        fail_msg("'%s' instead of '%s'", found, expected);
    }
    assert_true(!ok || json_is_valid(text_span(&json)));
    text_fini(&json);
}

static void parameters_are_merged(void **state)
{
    (void)state;
    struct pipeline *pipeline = pipeline_read_text(span_of(params_file), "p.yaml");
    assert_int_equal(pipeline->problem_count, 0);
    for (size_t i = 0; i < COUNT(params_rows); i++) {
        check_params(pipeline, &params_rows[i]);
    }
    pipeline_free(pipeline);
}

static void parameters_have_a_limit(void **state)
{
    (void)state;
    struct pipeline *pipeline = read_repeated("name: p\nparams: {", "k#: {}, ", 9, "x: {}}\nsteps: [{name: a}]\n");
    static char values[9][LIMIT_PARAM_BYTES];
    const char *pairs[9];
    for (size_t i = 0; i < COUNT(pairs); i++) {
        memset(values[i], 'x', sizeof values[i] - 1);
        memcpy(values[i], "k0=", 3);
        values[i][1] = (char)('0' + i);
        pairs[i] = values[i];
    }
    struct text json;
    struct error error = {0};
    text_init(&json, LIMIT_CONTEXT_BYTES);
    assert_false(pipeline_params(pipeline, pairs, COUNT(pairs), NULL, &json, &error));
    assert_string_equal(error.message, "the parameters are larger than 512 KiB together");
    assert_true(pipeline_params(pipeline, pairs, 7, NULL, &json, &error));
    text_fini(&json);
    pipeline_free(pipeline);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(legal_files_become_plans),
        cmocka_unit_test(every_mistake_is_said_with_line_and_field),
        cmocka_unit_test(a_plan_survives_its_own_file),
        cmocka_unit_test(files_cut_anywhere_are_read_or_refused),
        cmocka_unit_test(files_that_are_none_are_refused),
        cmocka_unit_test(file_names_cannot_drive_a_terminal),
        cmocka_unit_test(a_thousand_steps_are_read_and_one_more_is_not),
        cmocka_unit_test(nesting_is_bounded),
        cmocka_unit_test(problems_are_bounded),
        cmocka_unit_test(many_keys_are_compared_quickly),
        cmocka_unit_test(needs_default_to_the_step_before),
        cmocka_unit_test(weights_sum_up_to_the_whole),
        cmocka_unit_test(weights_that_are_none_are_refused),
        cmocka_unit_test(parameters_are_merged),
        cmocka_unit_test(parameters_have_a_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
