/* SPDX-License-Identifier: Apache-2.0 */
/* The other side of DTM, a saga coordinator over HTTP (https://en.dtm.pub), as bench/others measures it:
 *
 *     bench_dtm actions                             answers every request at once with success, as a step that does nothing; on a free port of
 *                                                   loopback, which it prints
 *     bench_dtm drive SUBMIT ACTION WINDOW SECONDS  posts sagas of three such steps to SUBMIT and waits for the end of each, WINDOW at once, each
 *                                                   on a connection that it keeps; prints one JSON object, counted as bench/others.py counts
 *
 * In C, so that what is measured is DTM and not who asks it. */
#include "bench/times.h"
#include "common/clock.h"

#include <curl/curl.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STEPS 3
#define WINDOW_MAX 256
#define SECONDS_MAX 60
#define TIMES_MAX (UINT32_C(1) << 20) /* of all connections together: more than a minute of anything that HTTP can do here */
#define ANSWER_BYTES 512
#define ACTION_BYTES_MAX 200
#define SAGA_BYTES 2048 /* with six actions */

static _Noreturn void die(const char *what, const char *reason)
{
    fprintf(stderr, "bench_dtm: %s: %s\n", what, reason);
    exit(1);
}

/* --- The actions --- */

static enum MHD_Result answer(void *state, struct MHD_Connection *connection, const char *url, const char *method, const char *version,
                              const char *data, size_t *data_bytes, void **seen)
{
    static const char success[] = "{\"dtm_result\":\"SUCCESS\"}";
    (void)url;
    (void)method;
    (void)version;
    (void)data;
    if (*seen == NULL || *data_bytes > 0) { /* its headers, then its body */
        *seen = state;
        *data_bytes = 0;
        return MHD_YES;
    }
    struct MHD_Response *response =
        MHD_create_response_from_buffer(sizeof success - 1, (void *)(uintptr_t)success, MHD_RESPMEM_PERSISTENT);
    MHD_add_response_header(response, "Content-Type", "application/json");
    enum MHD_Result queued = MHD_queue_response(connection, MHD_HTTP_OK, response);
    MHD_destroy_response(response);
    return queued;
}

static int run_actions(void)
{
    static char any;
    struct sockaddr_in loopback = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct MHD_Daemon *daemon = MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD, 0, NULL, NULL, answer, &any, MHD_OPTION_SOCK_ADDR, &loopback,
                                                 MHD_OPTION_CONNECTION_LIMIT, 4096u, MHD_OPTION_END);
    if (daemon == NULL) {
        die("actions", "could not listen on loopback");
    }
    printf("%u\n", (unsigned)MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_BIND_PORT)->port);
    fflush(stdout);
    for (;;) {
        pause();
    }
}

/* --- Who starts the sagas --- */

static struct drive {
    const char *submit, *action;
    int64_t begun_us, counted_from_us, until_us;
    pthread_mutex_t lock; /* what follows */
    int64_t *times_ns;
    size_t count, counted;
} drive = {.lock = PTHREAD_MUTEX_INITIALIZER};

struct answer_text {
    char text[ANSWER_BYTES];
    size_t length;
};

static size_t take_answer(char *data, size_t size, size_t count, void *state)
{
    struct answer_text *taken = state;
    if (size * count >= sizeof taken->text - taken->length) {
        return 0; /* curl takes it for a failure */
    }
    memcpy(taken->text + taken->length, data, size * count);
    taken->length += size * count;
    taken->text[taken->length] = '\0';
    return size * count;
}

/* DTM's own clients post the same; `gid` is what the saga is known by. */
static void write_saga(char saga[static SAGA_BYTES], const void *connection, long number)
{
    int length = snprintf(saga, SAGA_BYTES,
                          "{\"gid\":\"%lld-%p-%ld\",\"trans_type\":\"saga\",\"wait_result\":true,\"payloads\":[\"{}\",\"{}\",\"{}\"],\"steps\":[",
                          (long long)drive.begun_us, connection, number);
    for (int step = 0; step < STEPS; step++) {
        length += snprintf(saga + length, SAGA_BYTES - (size_t)length, "%s{\"action\":\"%s\",\"compensate\":\"%s\"}", step > 0 ? "," : "",
                           drive.action, drive.action);
    }
    snprintf(saga + length, SAGA_BYTES - (size_t)length, "]}");
}

static void note(int64_t begun_us, int64_t ended_us)
{
    pthread_mutex_lock(&drive.lock);
    if (drive.count == TIMES_MAX) {
        die("drive", "more sagas ended than TIMES_MAX has room for");
    }
    drive.times_ns[drive.count++] = (ended_us - begun_us) * 1000;
    drive.counted += ended_us >= drive.counted_from_us && ended_us < drive.until_us;
    pthread_mutex_unlock(&drive.lock);
}

static void *run_sagas(void *state)
{
    char saga[SAGA_BYTES];
    struct answer_text taken;
    CURL *curl = curl_easy_init();
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
    curl_easy_setopt(curl, CURLOPT_URL, drive.submit);
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, saga);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_answer);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &taken);
    int64_t now_us = drive.begun_us;
    for (long number = 0; now_us < drive.until_us; number++) {
        write_saga(saga, curl, number);
        taken = (struct answer_text){0};
        int64_t begun_us = clock_monotonic_us();
        CURLcode sent = curl_easy_perform(curl);
        now_us = clock_monotonic_us();
        long status = 0;
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
        if (sent != CURLE_OK || status != 200 || strstr(taken.text, "SUCCESS") == NULL) {
            die(drive.submit, sent != CURLE_OK ? curl_easy_strerror(sent) : taken.text);
        }
        note(begun_us, now_us);
    }
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
    return state;
}

static int run_drive(long window, double seconds)
{
    pthread_t threads[WINDOW_MAX];
    drive.times_ns = malloc(sizeof *drive.times_ns * TIMES_MAX);
    if (drive.times_ns == NULL || curl_global_init(CURL_GLOBAL_ALL) != CURLE_OK) {
        die("drive", "no memory");
    }
    drive.begun_us = clock_monotonic_us();
    drive.until_us = drive.begun_us + (int64_t)(seconds * 1e6);
    drive.counted_from_us = drive.begun_us + (int64_t)(seconds * 1e6 / 4);
    for (long i = 0; i < window; i++) {
        if (pthread_create(&threads[i], NULL, run_sagas, NULL) != 0) {
            die("drive", "could not start a thread");
        }
    }
    for (long i = 0; i < window; i++) {
        pthread_join(threads[i], NULL);
    }
    putchar('{');
    times_print(drive.times_ns, drive.count);
    printf(",\"steps_per_s\":%.1f}\n", (double)(drive.counted * STEPS) / (seconds * 3 / 4));
    free(drive.times_ns);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "actions") == 0) {
        return run_actions();
    }
    long window = argc == 6 ? atol(argv[4]) : 0;
    double seconds = argc == 6 ? atof(argv[5]) : 0;
    if (argc != 6 || strcmp(argv[1], "drive") != 0 || strlen(argv[3]) > ACTION_BYTES_MAX || window < 1 || window > WINDOW_MAX ||
        !(seconds > 0 && seconds <= SECONDS_MAX)) {
        fprintf(stderr, "usage: bench_dtm actions | drive SUBMIT ACTION WINDOW SECONDS; ACTION %d bytes, WINDOW 1 to %d, SECONDS to %d\n",
                ACTION_BYTES_MAX, WINDOW_MAX, SECONDS_MAX);
        return 2;
    }
    drive.submit = argv[2];
    drive.action = argv[3];
    return run_drive(window, seconds);
}
