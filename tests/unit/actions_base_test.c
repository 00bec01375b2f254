/* SPDX-License-Identifier: Apache-2.0 */
/* What the actions stand on: signatures, checksums, encodings, CSV, journals. */
#include "worker/actions/action.h"
#include "worker/actions/digest.h"
#include "worker/actions/encoding.h"
#include "worker/actions/params.h"
#include "worker/actions/records/csv.h"
#include "worker/actions/store/sigv4.h"
#include "worker/actions/workspace.h"
#include "worker/stock_handlers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---------------------------------------------------------------- signatures */

#define EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

/* The examples of Amazon's "Signature Calculations for the Authorization Header: Transferring Payload in a Single Chunk". */
static const struct signature {
    const char *method, *path, *query, *headers[5], *payload, *signature;
} signatures[] = {
    {"GET",
     "/test.txt",
     "",
     {"host: examplebucket.s3.amazonaws.com", "range: bytes=0-9", "x-amz-content-sha256: " EMPTY, "x-amz-date: 20130524T000000Z"},
     EMPTY,
     "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"},
    {"PUT",
     "/test%24file.text",
     "",
     {"date: Fri, 24 May 2013 00:00:00 GMT", "host: examplebucket.s3.amazonaws.com",
      "x-amz-content-sha256: 44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072", "x-amz-date: 20130524T000000Z",
      "x-amz-storage-class: REDUCED_REDUNDANCY"},
     "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
     "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"},
    {"GET",
     "/",
     "lifecycle=",
     {"host: examplebucket.s3.amazonaws.com", "x-amz-content-sha256: " EMPTY, "x-amz-date: 20130524T000000Z"},
     EMPTY,
     "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"},
    {"GET",
     "/",
     "max-keys=2&prefix=J",
     {"host: examplebucket.s3.amazonaws.com", "x-amz-content-sha256: " EMPTY, "x-amz-date: 20130524T000000Z"},
     EMPTY,
     "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"},
};

static void signatures_are_those_of_amazons_examples(void **state)
{
    (void)state;
    const struct sigv4_key key = {
        .id = "AKIAIOSFODNN7EXAMPLE", .secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", .region = "us-east-1"};
    for (size_t i = 0; i < sizeof signatures / sizeof *signatures; i++) {
        const struct signature *row = &signatures[i];
        struct sigv4_request request = {.method = row->method,
                                        .path = row->path,
                                        .query = row->query,
                                        .headers = row->headers,
                                        .payload_sha256 = row->payload,
                                        .time = "20130524T000000Z"};
        while (request.header_count < 5 && row->headers[request.header_count] != NULL) {
            request.header_count++;
        }
        struct text text;
        text_init(&text, 4096);
        assert_true(sigv4_authorize(&text, &key, &request));
        assert_non_null(strstr(text_string(&text), "Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"));
        assert_string_equal(strstr(text_string(&text), "Signature=") + strlen("Signature="), row->signature);
        text_fini(&text);
    }
}

/* ---------------------------------------------------------------- names */

static void any_name_survives_percent_encoding(void **state)
{
    (void)state;
    char name[256];
    for (int i = 0; i < 255; i++) {
        name[i] = (char)(i + 1);
    }
    name[255] = '\0';
    char *encoded = percent_encode(name, true);
    assert_null(strpbrk(encoded, " \n\t?#&\""));
    assert_true(percent_decode(encoded));
    assert_string_equal(encoded, name);
    free(encoded);
    encoded = percent_encode("a/b c", false);
    assert_string_equal(encoded, "a%2Fb%20c");
    free(encoded);
    char broken[][8] = {"%", "%4", "%zz", "%00", "a%1"};
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        assert_false(percent_decode(broken[i]));
    }
}

/* ---------------------------------------------------------------- sizes */

static const struct size {
    const char *text;
    int64_t bytes; /* -1: refused */
} sizes[] = {
    {"0", 0},    {"500", 500}, {"64K", 65536}, {"2G", INT64_C(2) << 30}, {"1T", INT64_C(1) << 40}, {"", -1}, {"K", -1}, {"-1", -1},
    {"1KB", -1}, {"1.5M", -1}, {"1k", -1},     {"9000000000T", -1}};

static void sizes_are_numbers_with_binary_units(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        int64_t bytes = -1;
        bool ok = action_size_parse(sizes[i].text, &bytes);
        assert_int_equal(ok ? bytes : -1, sizes[i].bytes);
    }
}

/* ---------------------------------------------------------------- checksums by parts */

static void a_file_is_hashed_whole_and_by_parts(void **state)
{
    (void)state;
    static const struct {
        size_t size;
        uint64_t part_bytes;
        size_t parts;
    } rows[] = {{0, 10, 1}, {1, 10, 1}, {10, 10, 1}, {11, 10, 2}, {1000000, 300000, 4}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        FILE *file = tmpfile();
        char *bytes = calloc(1, rows[i].size + 1);
        for (size_t j = 0; j < rows[i].size; j++) {
            bytes[j] = (char)(j * 7 % 251);
        }
        fwrite(bytes, 1, rows[i].size, file);
        fflush(file);
        struct content content;
        struct error error = {0};
        assert_true(content_read(&content, fileno(file), rows[i].part_bytes, NULL, NULL, &error));
        assert_int_equal(content.size, rows[i].size);
        assert_int_equal(content.part_count, rows[i].parts);
        unsigned char expected[SHA256_BYTES];
        char hex[SHA256_HEX_BYTES];
        sha256_of(bytes, rows[i].size, expected);
        digest_hex(expected, sizeof expected, hex);
        assert_string_equal(content.sha256, hex);
        size_t last = (rows[i].parts - 1) * (size_t)rows[i].part_bytes;
        sha256_of(bytes + last, rows[i].size - last, expected);
        assert_memory_equal(content.parts[rows[i].parts - 1].sha256, expected, sizeof expected);
        content_fini(&content);
        free(bytes);
        fclose(file);
    }
}

/* ---------------------------------------------------------------- CSV */

/* Fields of a row end with '|', rows with '/'; '!' is a row that is broken. */
static const struct csv {
    const char *text, *seen;
} csvs[] = {
    {"a,b\n1,2\n", "a|b|/1|2|/"},
    {"a,b\r\n1,2\r\n", "a|b|/1|2|/"},
    {"a\n1", "a|/1|/"},
    {"", ""},
    {"\n\n\na\n\n", "a|/"},
    {",\n", "||/"},
    {"\"a,b\",\"c\"\"d\"\n", "a,b|c\"d|/"},
    {"\"a\nb\",c\r\n\"x\"\r\n", "a\nb|c|/x|/"},
    {"\"\"\n", ""},
    {"a\"b,c\n", "a\"b|c|/"},
    {"\"a\"b,c\nnext\n", "!next|/"},
    {"ok\n\"never closed\nx\n", "ok|/!"},
};

static void csv_is_read_as_rfc_4180_has_it(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof csvs / sizeof *csvs; i++) {
        struct csv_row *row = calloc(1, sizeof *row);
        struct error error;
        struct text seen;
        FILE *file = tmpfile();
        fputs(csvs[i].text, file);
        rewind(file);
        csv_row_init(row);
        text_init(&seen, 1000);
        for (enum csv_outcome outcome; (outcome = csv_read(file, row, &error)) != CSV_END;) {
            for (size_t j = 0; outcome == CSV_ROW && j < row->count; j++) {
                text_append_span(&seen, csv_field(row, j));
                text_append_char(&seen, '|');
            }
            text_append_char(&seen, outcome == CSV_ROW ? '/' : '!');
        }
        assert_string_equal(text_string(&seen), csvs[i].seen);
        text_fini(&seen);
        csv_row_fini(row);
        free(row);
        fclose(file);
    }
}

/* ---------------------------------------------------------------- journals */

static bool append_line(void *state, char *line)
{
    text_append_string(state, line);
    return text_append_char(state, '|');
}

static void a_line_that_a_crash_has_cut_is_not_there(void **state)
{
    (void)state;
    char base[] = "/tmp/backstep-journal-XXXXXX";
    assert_non_null(mkdtemp(base));
    struct workspace workspace;
    struct journal journal;
    struct error error = {0};
    struct text seen;
    text_init(&seen, 1000);
    assert_false(workspace_open(&workspace, base, "run", "job", false, &error));
    workspace_fini(&workspace);
    assert_true(workspace_open(&workspace, base, "run", "job", true, &error));
    assert_true(journal_open(&journal, &workspace, "notes", &error));
    assert_true(journal_append(&journal, "one", true, &error));
    assert_int_equal(write(journal.fd, "tw", 2), 2);
    journal_close(&journal);
    assert_true(journal_read(&workspace, "notes", append_line, &seen, &error));
    assert_string_equal(text_string(&seen), "one|");
    assert_true(journal_open(&journal, &workspace, "notes", &error));
    assert_true(journal_append(&journal, "three", false, &error));
    journal_close(&journal);
    text_clear(&seen);
    assert_true(journal_read(&workspace, "notes", append_line, &seen, &error));
    assert_string_equal(text_string(&seen), "one|three|");
    assert_true(workspace_remove(&workspace, &error));
    assert_int_equal(access(workspace.path, F_OK), -1);
    workspace_fini(&workspace);
    text_fini(&seen);
    assert_true(remove_tree(base, &error));
}

static void what_was_settled_long_ago_is_pruned_and_nothing_else(void **state)
{
    (void)state;
    char base[] = "/tmp/backstep-prune-XXXXXX";
    assert_non_null(mkdtemp(base));
    struct workspace old, live;
    struct error error = {0};
    assert_true(workspace_open(&old, base, "old", "job", true, &error));
    assert_true(workspace_open(&live, base, "live", "job", true, &error));
    assert_true(workspace_settle(&old, &error));
    workspace_prune(&live, 3600);
    assert_int_equal(access(old.path, F_OK), 0);
    workspace_prune(&live, -2);
    assert_int_equal(access(old.path, F_OK), -1);
    assert_int_equal(access(live.path, F_OK), 0);
    workspace_fini(&old);
    workspace_fini(&live);
    assert_true(remove_tree(base, &error));
}

/* ---------------------------------------------------------------- the actions as a whole */

static void the_names_of_the_stock_handlers_are_those_of_the_actions(void **state)
{
    (void)state;
    struct backstep_registry *registry = backstep_registry_new();
    actions_register(registry);
    assert_string_equal(backstep_registry_error(registry), "");
    int count = 0;
    for (; stock_handlers[count] != NULL; count++) {
        assert_non_null(backstep_registry_find(registry, stock_handlers[count]));
    }
    assert_int_equal(backstep_registry_count(registry), count);
    backstep_registry_free(registry);
}

/* The weights of the system this one succeeds, in percent. */
static void default_steps_have_their_names_and_weights(void **state)
{
    (void)state;
    static const struct {
        struct action *action;
        const char *steps;
    } rows[] = {
        {&upload_action, "initialize 1 process_metadata 2 analyze_collection 1 organize_files 2 validate_files 1 upload_files 34 "
                         "generate_data_units 58 cleanup 1 "},
        {&export_action, "initialize 2 fetch_results 5 prepare_export 3 convert_data 42 save_files 38 finalize 10 "},
        {&train_action, "dataset 20 convert 0 train 75 model_upload 5 "},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct backstep_registry *registry = backstep_registry_new();
        struct text text;
        text_init(&text, 1000);
        action_setup_steps(rows[i].action, registry);
        for (int j = 0; j < backstep_registry_count(registry); j++) {
            const struct backstep_step *step = backstep_registry_step(registry, j);
            text_format(&text, "%s %g ", step->name, step->weight);
        }
        assert_string_equal(text_string(&text), rows[i].steps);
        text_fini(&text);
        backstep_registry_free(registry);
    }
}

static enum backstep_outcome audit(struct backstep_context *context, struct backstep_result *result)
{
    (void)context;
    return backstep_succeed(result, NULL);
}

static void setup_with_an_audit(const struct backstep_action *action, struct backstep_registry *registry,
                                const struct backstep_json *params)
{
    static const struct backstep_step step = {.name = "audit", .weight = 1, .execute = audit};
    action->default_steps(action, registry, params);
    backstep_insert_before(registry, "upload_files", &step);
    backstep_unregister(registry, "process_metadata");
}

static void an_action_takes_other_steps_from_its_user(void **state)
{
    (void)state;
    struct backstep_action published;
    struct text text;
    struct backstep_registry *registry = backstep_registry_new();
    action_publish(&upload_action, &published);
    published.setup_steps = setup_with_an_audit;
    assert_true(backstep_action_setup(&published, registry, NULL));
    text_init(&text, 1000);
    for (int i = 0; i < backstep_registry_count(registry); i++) {
        text_format(&text, "%s ", backstep_registry_step(registry, i)->name);
    }
    assert_string_equal(text_string(&text), "initialize analyze_collection organize_files validate_files audit upload_files "
                                            "generate_data_units cleanup ");
    text_fini(&text);
    backstep_registry_free(registry);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signatures_are_those_of_amazons_examples),
        cmocka_unit_test(any_name_survives_percent_encoding),
        cmocka_unit_test(sizes_are_numbers_with_binary_units),
        cmocka_unit_test(a_file_is_hashed_whole_and_by_parts),
        cmocka_unit_test(csv_is_read_as_rfc_4180_has_it),
        cmocka_unit_test(a_line_that_a_crash_has_cut_is_not_there),
        cmocka_unit_test(the_names_of_the_stock_handlers_are_those_of_the_actions),
        cmocka_unit_test(an_action_takes_other_steps_from_its_user),
        cmocka_unit_test(default_steps_have_their_names_and_weights),
        cmocka_unit_test(what_was_settled_long_ago_is_pruned_and_nothing_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
