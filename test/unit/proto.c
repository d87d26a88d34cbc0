/* SPDX-License-Identifier: Apache-2.0 */
/* src/proto: JSON lines, and the server and client over real sockets in two processes.
 */
#include "unit.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "proto/client.h"
#include "proto/server.h"

static int feed(struct rpc_lines *l, const char *text, size_t len)
{
    while (len) {
        size_t part = len < 4096 ? len : 4096;
        char *room = rpc_lines_room(l, part);
        if (!room)
            return -1;
        memcpy(room, text, part);
        rpc_lines_added(l, part);
        text += part;
        len -= part;
    }
    return 0;
}

static void test_lines(void **state)
{
    struct rpc_lines l = {0};
    json_t *got = NULL;
    struct err err;
    feed(&l, "{\"a\":1}\n{\"b\"", 12);
    assert_int_equal(rpc_lines_next(&l, &got, &err), 1);
    assert_int_equal(json_integer_value(json_object_get(got, "a")), 1);
    json_decref(got);
    assert_int_equal(rpc_lines_next(&l, &got, &err), 0);
    feed(&l, ":2}\n", 4);
    assert_int_equal(rpc_lines_next(&l, &got, &err), 1);
    json_decref(got);
    static const char *const bad[] = {"[1]\n", "{\"a\":1,\"a\":2}\n",   "nonsense\n",
                                      "\n",    "{\"a\":\"\\u0000\"}\n", NULL};
    for (const char *const *b = bad; *b; b++) {
        feed(&l, *b, strlen(*b));
        assert_int_equal(rpc_lines_next(&l, &got, &err), -1);
        assert_int_equal(err.code, E_PROTO);
    }
    rpc_lines_done(&l);
}

static void test_line_too_long(void **state)
{
    struct rpc_lines l = {0};
    json_t *got = NULL;
    struct err err;
    size_t len = RPC_LINE_MAX + 10;
    char *x = malloc(len);
    memset(x, 'x', len);
    feed(&l, x, len);
    assert_int_equal(rpc_lines_next(&l, &got, &err), -1);
    assert_null(rpc_lines_room(&l, 1 << 20));
    rpc_lines_done(&l);
    free(x);
}

static void echo(struct rpc_call *call, json_t *params, void *arg)
{
    rpc_call_progress(call, json_pack("{s:i}", "percent", 50));
    rpc_call_answer(
        call, json_pack("{s:O, s:i}", "echo", params, "uid", (int)rpc_call_uid(call)));
}

static void refuse(struct rpc_call *call, json_t *params, void *arg)
{
    struct err err;
    err_set(&err, E_NOENT, "image 'rocky9' not found");
    rpc_call_fail(call, &err);
}

static void swap_fds(struct rpc_call *call, json_t *params, void *arg)
{
    AUTO_FD fd = rpc_call_take_fd(call);
    rpc_call_answer_fds(call, NULL, &fd, 1);
}

static void upgrade(struct rpc_call *call, json_t *params, void *arg)
{
    AUTO_STR rest = NULL;
    size_t len;
    AUTO_FD fd = rpc_call_upgrade(call, NULL, &rest, &len);
    fd_write_all(fd, "raw bytes", 9, NULL);
}

static void shout(struct rpc_call *call, json_t *params, void *arg)
{
    struct rpc_server **server = arg;
    rpc_server_emit(*server, "noise", json_pack("{s:i}", "n", 1), NULL);
    rpc_call_answer(call, NULL);
}

static void stop(struct rpc_call *call, json_t *params, void *arg)
{
    rpc_call_answer(call, NULL);
    sd_event *event = NULL;
    sd_event_default(&event);
    sd_event_exit(event, 0);
    sd_event_unref(event);
}

static const struct rpc_method methods[] = {
    {"echo", echo},   {"fail", refuse}, {"swap", swap_fds}, {"upgrade", upgrade},
    {"shout", shout}, {"stop", stop},   {NULL, NULL},
};

static char path[64];
static pid_t server_pid;

static void serve(void)
{
    struct rpc_server *server = NULL;
    sd_event *event = NULL;
    struct err err;
    int fd = fd_unix_listen(path, 0600, &err);
    if (fd < 0 || sd_event_default(&event) < 0 ||
        rpc_server_new(event, fd, "test", methods, &server, &server, &err) < 0)
        _exit(1);
    int r = sd_event_loop(event);
    rpc_server_free(server);
    sd_event_unref(event);
    exit(r);
}

static int start(void **state)
{
    snprintf(path, sizeof path, "/tmp/lodge-proto-%d.sock", (int)getpid());
    server_pid = fork();
    if (server_pid == 0)
        serve();
    for (int i = 0; i < 500 && access(path, F_OK) < 0; i++)
        usleep(10000);
    return 0;
}

static int end(void **state)
{
    AUTO(rpc_client) c = NULL;
    int status = -1;
    if (rpc_client_connect(path, &c, NULL) < 0 ||
        rpc_client_call(c, "stop", NULL, NULL, NULL, NULL) < 0)
        kill(server_pid, SIGKILL);
    waitpid(server_pid, &status, 0);
    unlink(path);
    return status;
}

static struct rpc_client *dial(void)
{
    struct rpc_client *c = NULL;
    struct err err;
    for (int i = 0; i < 100 && rpc_client_connect(path, &c, &err) < 0; i++)
        usleep(10000);
    assert_non_null(c);
    return c;
}

static void count(const char *event, json_t *data, void *arg)
{
    ++*(int *)arg;
}

static void test_call(void **state)
{
    AUTO(rpc_client) c = dial();
    AUTO_JSON result = NULL;
    struct err err;
    int notes = 0;
    struct rpc_client_opts opts = {.note = count, .arg = &notes, .timeout_ms = 5000};
    json_t *params = json_pack("{s:s}", "x", "y");
    assert_int_equal(rpc_client_call(c, "echo", params, &opts, &result, &err), 0);
    assert_int_equal(notes, 1);
    json_t *back = json_object_get(result, "echo");
    assert_string_equal(json_string_value(json_object_get(back, "x")), "y");
    assert_int_equal(json_integer_value(json_object_get(result, "uid")), getuid());
    assert_int_equal(rpc_client_call(c, "fail", NULL, NULL, NULL, &err), -1);
    assert_int_equal(err.code, E_NOENT);
    assert_string_equal(err.text, "image 'rocky9' not found");
    assert_int_equal(rpc_client_call(c, "nonsense", NULL, NULL, NULL, &err), -1);
    assert_int_equal(err.code, E_PROTO);
}

static void test_fds(void **state)
{
    AUTO(rpc_client) c = dial();
    struct err err;
    int pipes[2], got[4];
    size_t ngot = 4;
    assert_int_equal(pipe(pipes), 0);
    struct rpc_client_opts opts = {
        .fds = &pipes[1], .nfds = 1, .got_fds = got, .got_nfds = &ngot};
    assert_int_equal(rpc_client_call(c, "swap", NULL, &opts, NULL, &err), 0);
    assert_int_equal(ngot, 1);
    close(pipes[1]);
    assert_int_equal(write(got[0], "z", 1), 1);
    close(got[0]);
    char buf[4];
    assert_int_equal(read(pipes[0], buf, sizeof buf), 1);
    assert_int_equal(read(pipes[0], buf, sizeof buf), 0); /* nobody kept a copy */
    close(pipes[0]);
}

static void test_upgrade(void **state)
{
    AUTO(rpc_client) c = dial();
    struct err err;
    AUTO_STR rest = NULL;
    size_t len;
    assert_int_equal(rpc_client_call(c, "upgrade", NULL, NULL, NULL, &err), 0);
    AUTO_FD fd = rpc_client_take_fd(c, &rest, &len);
    char buf[16] = "";
    memcpy(buf, rest ? rest : "", len);
    assert_int_equal(fd_read_all(fd, buf + len, 9 - len, &err), 0);
    assert_string_equal(buf, "raw bytes");
}

/* A hello of which the first part was read with an upgrade's answer. */
static void test_open_after(void **state)
{
    int ends[2];
    char hello[64];
    size_t len = snprintf(hello, sizeof hello, "{\"hello\": {\"protocol\": %d}}\n",
                          RPC_PROTOCOL);
    for (size_t read = 0; read <= len; read += len / 2) {
        AUTO(rpc_client) c = NULL;
        struct err err;
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
        assert_int_equal(fd_write_all(ends[1], hello + read, len - read, &err), 0);
        assert_int_equal(rpc_client_open_after(ends[0], hello, read, "x", &c, &err), 0);
        close(ends[1]);
    }
}

static void test_events(void **state)
{
    AUTO(rpc_client) listener = dial();
    AUTO(rpc_client) talker = dial();
    AUTO_JSON event = NULL;
    struct err err;
    assert_int_equal(
        rpc_client_call(listener, "events.subscribe", NULL, NULL, NULL, &err), 0);
    assert_int_equal(rpc_client_call(talker, "shout", NULL, NULL, NULL, &err), 0);
    assert_int_equal(rpc_client_wait_event(listener, 5000, &event, &err), 0);
    assert_string_equal(json_string_value(json_object_get(event, "event")), "noise");
    AUTO_JSON none = NULL;
    assert_int_equal(rpc_client_wait_event(listener, 20, &none, &err), -1);
    assert_int_equal(err.code, E_TIMEOUT);
}

static void test_act_as(void **state)
{
    AUTO(rpc_client) c = dial();
    AUTO_JSON result = NULL;
    struct err err;
    json_t *who = json_pack("{s:i, s:i}", "uid", 65534, "gid", 65534);
    int r = rpc_client_call(c, "session.as", json_incref(who), NULL, NULL, &err);
    if (getuid() == 0) {
        assert_int_equal(r, 0);
        assert_int_equal(rpc_client_call(c, "echo", NULL, NULL, &result, &err), 0);
        assert_int_equal(json_integer_value(json_object_get(result, "uid")), 65534);
        r = rpc_client_call(c, "session.as", json_pack("{s:i,s:i}", "uid", 0, "gid", 0),
                            NULL, NULL, &err);
    }
    assert_int_equal(r, -1);
    assert_int_equal(err.code, E_PERM);
    json_decref(who);
}

/* Rubbish, half lines and clients that never read must not hurt the others. */
static void test_hostile(void **state)
{
    struct err err;
    static const char *const rubbish[] = {"x\n",
                                          "{\"id\":1}\n",
                                          "{\"id\":\"1\"}\n",
                                          "[]\n",
                                          "{\"id\":\"1\",\"method\":\"echo\"",
                                          NULL};
    for (const char *const *r = rubbish; *r; r++) {
        AUTO_FD fd = fd_unix_connect(path, &err);
        assert_int_equal(fd_write_all(fd, *r, strlen(*r), &err), 0);
    }
    AUTO_FD deaf = fd_unix_connect(path, &err);
    fd_set_nonblock(deaf, true, &err);
    AUTO_STR big = str_printf(
        "{\"id\":\"1\",\"method\":\"echo\",\"params\":{\"x\":\"%0*d\"}}\n", 200000, 0);
    for (int i = 0; i < 200; i++)
        if (send(deaf, big, strlen(big), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
            break;
    AUTO(rpc_client) c = dial();
    struct rpc_client_opts opts = {.timeout_ms = 5000};
    assert_int_equal(rpc_client_call(c, "echo", NULL, &opts, NULL, &err), 0);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),      cmocka_unit_test(test_line_too_long),
        cmocka_unit_test(test_call),       cmocka_unit_test(test_fds),
        cmocka_unit_test(test_events),     cmocka_unit_test(test_upgrade),
        cmocka_unit_test(test_open_after), cmocka_unit_test(test_act_as),
        cmocka_unit_test(test_hostile),
    };
    return cmocka_run_group_tests_name("proto", tests, start, end);
}
