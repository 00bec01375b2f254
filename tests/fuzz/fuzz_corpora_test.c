/* SPDX-License-Identifier: Apache-2.0 */
/* Every target over its corpus, one file after the other: what a fuzzer has found once stays a test. */
#include "common/file.h"
#include "common/limits.h"
#include "common/text.h"
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CORPUS "tests/fuzz/corpus"
#define INPUT_MAX_BYTES (8 * MIB)

struct target {
    const char *name;
    void (*run)(struct span bytes);
};

#define ROW_OF(name, given) {#name, fuzz_##name},
static const struct target targets[] = {FUZZ_TARGETS(ROW_OF)};

static bool replay(const struct target *target, const char *path)
{
    struct text text;
    struct error error = {0};
    text_init(&text, INPUT_MAX_BYTES + 64 * KIB);
    bool ok = file_read(path, &text, INPUT_MAX_BYTES, &error);
    if (ok) {
        printf("%s\n", path); /* the last one, where this is the end */
        fflush(stdout);
        /* Exactly as many bytes as there are: one too far is found. */
        struct span bytes = text_span(&text);
        char *copy = memcpy(malloc(bytes.size > 0 ? bytes.size : 1), bytes.size > 0 ? bytes.bytes : "", bytes.size);
        target->run((struct span){copy, bytes.size});
        free(copy);
    } else {
        fprintf(stderr, "%s: %s\n", path, error.message);
    }
    text_fini(&text);
    return ok;
}

static size_t replay_all(const struct target *target)
{
    char directory[200], path[600];
    size_t count = 0;
    snprintf(directory, sizeof directory, CORPUS "/%s", target->name);
    DIR *stream = opendir(directory);
    const struct dirent *entry;
    while (stream != NULL && (entry = readdir(stream)) != NULL) {
        snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
        if (entry->d_name[0] != '.') {
            count += replay(target, path);
        }
    }
    if (stream != NULL) {
        closedir(stream);
    }
    return count;
}

/* replay [TARGET FILE ...] */
int main(int argc, char **argv)
{
    bool ok = true;
    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) {
        if (argc > 1 && strcmp(argv[1], targets[i].name) == 0) {
            for (int file = 2; file < argc; file++) {
                ok = replay(&targets[i], argv[file]) && ok;
            }
        } else if (argc == 1) {
            size_t count = replay_all(&targets[i]);
            printf("note: fuzz %s: %zu files\n", targets[i].name, count);
            ok = ok && count > 0;
        }
    }
    return ok ? 0 : 1;
}
