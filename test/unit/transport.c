/* SPDX-License-Identifier: Apache-2.0 */
/* src/transport: links over unix and exec (lodge-join) to a real server in another
 * process, which is killed, stopped and started again. Kind ssh is tested with a real
 * sshd by t1200-nodes.t. */
#include "unit.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/proc.h"
#include "base/str.h"
#include "proto/server.h"
#include "transport/link.h"

static char path[64], join[512];

static void echo(struct rpc_call *call, json_t *params, void *arg)
{
    rpc_call_answer(call, json_incref(params));
}

static void never(struct rpc_call *call, json_t *params, void *arg)
{
}

static pid_t serve(void)
{
    static const struct rpc_method methods[] = {
        {"echo", echo}, {"never", never}, {NULL, NULL}};
    unlink(path);
    pid_t pid = fork();
    if (pid)
        return pid;
    struct rpc_server *server = NULL;
    sd_event *event = NULL;
    int fd = fd_unix_listen(path, 0600, NULL);
    if (fd < 0 || sd_event_new(&event) < 0 ||
        rpc_server_new(event, fd, "test", methods, NULL, &server, NULL) < 0)
        _exit(1);
    sd_event_loop(event);
    _exit(0);
}

static void stop(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

struct seen {
    int ups, downs, answers, errors;
    enum err_code last;
    char text[256];
};

static void on_state(enum link_state state, const struct err *why, void *arg)
{
    struct seen *s = arg;
    if (state == LINK_UP)
        s->ups++;
    if (state == LINK_DOWN) {
        s->downs++;
        s->last = why->code;
        snprintf(s->text, sizeof s->text, "%s", why->text);
    }
}

static void on_done(json_t *result, const struct err *err, void *arg)
{
    struct seen *s = arg;
    if (err) {
        s->errors++;
        s->last = err->code;
        snprintf(s->text, sizeof s->text, "%s", err->text);
    } else {
        s->answers += json_integer_value(json_object_get(result, "n"));
    }
}

/* Run the loop until *value is want, at most 30 s. */
static void until(sd_event *event, const int *value, int want)
{
    uint64_t end = clock_ms() + 30000;
    while (*value < want && clock_ms() < end)
        sd_event_run(event, 100000);
    assert_int_equal(*value, want);
}

/* What is closed inside a callback is freed by the loop's next turn. */
static void finish(sd_event *event)
{
    sd_event_run(event, 1000);
    sd_event_unref(event);
}

static const struct link_hooks hooks = {.state = on_state};
static const struct link_times quick = {
    .connect = 8000, .heartbeat = 400, .backoff_min = 20, .backoff_max = 100};

static void run_kind(const struct transport_spec *spec)
{
    sd_event *event = NULL;
    struct err err;
    struct seen seen = {0};
    AUTO(link) l = NULL;
    pid_t server = serve();
    assert_true(sd_event_new(&event) >= 0);
    assert_int_equal(link_new(event, "n1", spec, &quick, &hooks, &seen, &l, &err), 0);
    until(event, &seen.ups, 1);
    seen.downs = 0; /* sshd may not have listened yet at the first try */
    for (int i = 0; i < 100; i++)
        assert_int_equal(link_call(l, "echo", json_pack("{s:i}", "n", 1), 5000, on_done,
                                   &seen, &err),
                         0);
    until(event, &seen.answers, 100);
    link_call(l, "never", NULL, 100, on_done, &seen, &err);
    until(event, &seen.errors, 1);
    assert_int_equal(seen.last, E_TIMEOUT);
    assert_string_equal(seen.text, "n1: no answer in time");
    /* Killed: the request under way fails, then it comes back by itself. */
    link_call(l, "never", NULL, 0, on_done, &seen, &err);
    sd_event_run(event, 10000);
    stop(server);
    until(event, &seen.errors, 2);
    until(event, &seen.downs, 1);
    assert_int_equal(link_call(l, "echo", NULL, 0, on_done, &seen, &err), -1);
    server = serve();
    until(event, &seen.ups, 2);
    /* Stopped: the heartbeat notices, the loop is never held up. */
    kill(server, SIGSTOP);
    until(event, &seen.downs, 2);
    assert_int_equal(seen.last, E_TIMEOUT);
    kill(server, SIGCONT);
    until(event, &seen.ups, 3);
    stop(server);
    unlink(path);
    link_free(move(l));
    finish(event);
}

static void test_unix(void **state)
{
    run_kind(&(struct transport_spec){.kind = "unix", .path = path});
}

static void test_exec(void **state)
{
    const char *argv[] = {join, path, NULL};
    run_kind(&(struct transport_spec){.kind = "exec", .argv = argv});
}

struct sshd {
    char dir[64];
    char *key, *known, *strange;
    unsigned port;
    int pidfd;
};

static void keygen(const char *path)
{
    const char *argv[] = {"ssh-keygen", "-q", "-t", "ed25519", "-N",
                          "",           "-f", path, NULL};
    struct err err;
    if (proc_run(&(struct proc_spec){.argv = argv}, 60000, NULL, &err) < 0)
        fail_msg("%s", err.text);
}

static void put(const char *path, const char *text)
{
    assert_int_equal(fd_replace_file(path, text, strlen(text), 0600, NULL), 0);
}

/* With a subsystem, or with a key that is tied to the command. */
static void sshd_start(struct sshd *s, bool forced)
{
    snprintf(s->dir, sizeof s->dir, "/tmp/lodge-sshd-XXXXXX");
    assert_non_null(mkdtemp(s->dir));
    s->port = 20000 + getpid() % 20000;
    s->key = str_printf("%s/user", s->dir);
    s->known = str_printf("%s/known", s->dir);
    s->strange = str_printf("%s/strange", s->dir);
    AUTO_STR host = str_printf("%s/host", s->dir);
    AUTO_STR host_pub = str_printf("%s/host.pub", s->dir);
    AUTO_STR user_pub = str_printf("%s/user.pub", s->dir);
    AUTO_STR conf = str_printf("%s/conf", s->dir);
    AUTO_STR host_key = NULL;
    AUTO_STR user_key = NULL;
    keygen(host);
    keygen(s->key);
    assert_int_equal(fd_read_file(host_pub, 4096, &host_key, NULL, NULL), 0);
    assert_int_equal(fd_read_file(user_pub, 4096, &user_key, NULL, NULL), 0);
    AUTO_STR known = str_printf("[127.0.0.1]:%u %s", s->port, host_key);
    AUTO_STR strange = str_printf("[127.0.0.1]:%u %s", s->port, user_key);
    put(s->known, known);
    put(s->strange, strange);
    if (forced) {
        AUTO_STR tied =
            str_printf("restrict,command=\"%s %s\" %s", join, path, user_key);
        put(user_pub, tied);
    }
    AUTO_STR text = str_printf("Port %u\nListenAddress 127.0.0.1\nHostKey %s\n"
                               "AuthorizedKeysFile %s\nStrictModes no\nUsePAM no\n"
                               "PidFile none\nPermitRootLogin prohibit-password\n"
                               "%s %s %s\n",
                               s->port, host, user_pub,
                               forced ? "#" : "Subsystem lodge", join, path);
    put(conf, text);
    fd_mkdirs("/run/sshd", 0755, NULL); /* where sshd locks its unprivileged child in */
    const char *argv[] = {"/usr/sbin/sshd", "-D", "-q", "-f", conf, NULL};
    struct err err;
    if (proc_spawn(&(struct proc_spec){.argv = argv, .die_with_us = true}, &s->pidfd,
                   NULL, &err) < 0)
        fail_msg("%s", err.text);
}

static void sshd_stop(struct sshd *s)
{
    int status;
    proc_kill(s->pidfd, SIGTERM, NULL);
    proc_wait(s->pidfd, 10000, &status, NULL);
    close(s->pidfd);
    free(s->key);
    free(s->known);
    free(s->strange);
    assert_int_equal(fd_remove_tree(s->dir, NULL), 0);
}

static void test_ssh(void **state)
{
    struct sshd sshd;
    if (access("/usr/sbin/sshd", X_OK) < 0 || getuid() != 0) {
        print_message("skip: needs root and openssh-server\n");
        skip();
    }
    sshd_start(&sshd, true);
    struct transport_spec tied = {.kind = "ssh",
                                  .host = "127.0.0.1",
                                  .port = sshd.port,
                                  .identity = sshd.key,
                                  .known_hosts = sshd.known};
    run_kind(&tied);
    sshd_stop(&sshd);
    sshd_start(&sshd, false);
    run_kind(&(struct transport_spec){.kind = "ssh",
                                      .host = "127.0.0.1",
                                      .port = sshd.port,
                                      .identity = sshd.key,
                                      .known_hosts = sshd.known});
    /* Another host key than the known one: refused, and it says why. */
    sd_event *event = NULL;
    struct seen seen = {0};
    struct link *l = NULL;
    struct transport_spec spec = {.kind = "ssh",
                                  .host = "127.0.0.1",
                                  .port = sshd.port,
                                  .identity = sshd.key,
                                  .known_hosts = sshd.strange};
    assert_true(sd_event_new(&event) >= 0);
    assert_int_equal(link_new(event, "n1", &spec, NULL, &hooks, &seen, &l, NULL), 0);
    until(event, &seen.downs, 1);
    assert_int_equal(seen.last, E_PERM); /* sshd listens by now */
    assert_non_null(strstr(seen.text, "host key"));
    link_free(l);
    finish(event);
    sshd_stop(&sshd);
}

static void test_refusals(void **state)
{
    sd_event *event = NULL;
    struct err err;
    struct transport *t = NULL;
    static const struct transport_callbacks none = {0};
    assert_true(sd_event_new(&event) >= 0);
    struct transport_spec spec = {.kind = "rsh"};
    assert_int_equal(transport_open(event, &spec, &none, NULL, &t, &err), -1);
    assert_string_equal(err.text, "transport 'rsh' is not one of ssh, exec, unix");
    spec = (struct transport_spec){.kind = "ssh", .host = "n1"};
    assert_int_equal(transport_open(event, &spec, &none, NULL, &t, &err), -1);
    spec = (struct transport_spec){.kind = "exec",
                                   .argv = (const char *[]){"/no/such", 0}};
    assert_int_equal(transport_open(event, &spec, &none, NULL, &t, &err), -1);
    assert_int_equal(err.code, E_NOENT);
    sd_event_unref(event);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    snprintf(path, sizeof path, "/tmp/lodge-transport-%d.sock", (int)getpid());
    snprintf(join, sizeof join, "%s/lodge-join", getenv("LODGE_TOP_BUILDDIR"));
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unix),
        cmocka_unit_test(test_exec),
        cmocka_unit_test(test_ssh),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests_name("transport", tests, NULL, NULL);
}
