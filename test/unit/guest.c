/* SPDX-License-Identifier: Apache-2.0 */
/* lodge-guest over a socketpair, without a machine: commands, flows, ends. */
#include "unit.h"

#include "guest_host.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"
#include "proto/chan.h"
#include "proto/command.h"
#include "proto/rpc.h"
#include "proto/tar.h"

static int setup(void **state)
{
    launch(WORKER);
    return 0;
}

static int teardown(void **state)
{
    return land() == 0 ? 0 : -1;
}

static void test_statuses(void **state)
{
    static const struct {
        const char *script;
        int status, sig;
    } cases[] = {{"exit 0", 0, -1},
                 {"exit 7", 7, -1},
                 {"exit 255", 255, -1},
                 {"kill -9 $$", -1, 9},
                 {"kill -15 $$", -1, 15}};
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct job j = {0};
        run(&j, shell(cases[i].script));
        assert_int_equal(j.status, cases[i].status);
        assert_int_equal(j.sig, cases[i].sig);
        job_done(&j);
    }
    struct job none = {0}, dir = {0};
    run(&none, json_pack("{s:s, s:[s]}", "op", "exec", "argv", "no-such-program"));
    assert_int_equal(none.status, 127);
    assert_string_equal(none.error, "no-such-program: No such file or directory");
    run(&dir, json_pack("{s:s, s:[s]}", "op", "exec", "argv", "/etc"));
    assert_int_equal(dir.status, 126);
    job_done(&none);
    job_done(&dir);
}

static void test_context(void **state)
{
    struct job j = {0};
    run(&j,
        json_pack("{s:s, s:[s,s,s,s,s], s:[s,s,{s:s}], s:s, s:i, s:{s:[i,i]}}", "op",
                  "exec", "argv", "sh", "-c",
                  "echo \"$A|$1|$(pwd)|$(umask)|$(ulimit -n)\"; printf %s \"$B\"; "
                  "echo err >&2",
                  "name", "a b", "env", "A=x y", "PATH=/usr/bin:/bin", "base64", "Qj3/",
                  "cwd", "/usr", "umask", 027, "rlimits", "nofile", 123, 456));
    assert_int_equal(j.status, 0);
    assert_string_equal(j.out[1].data, "x y|a b|/usr|0027|123\n\xff");
    assert_string_equal(j.out[2].data, "err\n");
    job_done(&j);
    struct job lost = {0};
    json_t *request = shell("pwd");
    json_object_set_new(request, "cwd", json_string("/no/such"));
    json_object_set_new(request, "env", json_pack("[s,s]", "HOME=/usr", "PATH=/bin"));
    run(&lost, request);
    assert_string_equal(lost.out[1].data, "/usr\n");
    assert_non_null(strstr(lost.out[2].data, "'/no/such'"));
    job_done(&lost);
}

/* A script that comes along, with and without a first line. */
static void test_script(void **state)
{
    static const char *const scripts[] = {
        "IyEvYmluL3NoCmVjaG8gImdvdCAkMSI7IGV4aXQgNAo=",
        "ZWNobyAiZ290ICQxIjsgZXhpdCA0Cg=="};
    for (size_t i = 0; i < ARRAY_SIZE(scripts); i++) {
        struct job j = {0};
        run(&j, json_pack("{s:s, s:[s,s], s:s}", "op", "exec", "argv", "job.sh", "it",
                          "script", scripts[i]));
        assert_int_equal(j.status, 4);
        assert_string_equal(j.out[1].data, "got it\n");
        job_done(&j);
    }
}

static void test_user(void **state)
{
    if (geteuid() != 0)
        skip(); /* only root can become somebody */
    struct job j = {0};
    json_t *request = shell("id -u; id -g; id -G; echo open >/dev/stdout");
    json_object_set_new(request, "uid", json_integer(65534));
    json_object_set_new(request, "gid", json_integer(65533));
    json_object_set_new(request, "groups", json_pack("[i,i]", 65533, 77));
    run(&j, request);
    assert_string_equal(j.out[1].data, "65534\n65533\n65533 77\nopen\n");
    job_done(&j);
}

static void test_refusals(void **state)
{
    static const char *const bad[] = {
        "{\"op\":\"fly\"}",
        "{\"op\":\"exec\",\"uid\":0,\"gid\":0}",
        "{\"op\":\"exec\",\"argv\":[],\"uid\":0,\"gid\":0}",
        "{\"op\":\"exec\",\"argv\":[7],\"uid\":0,\"gid\":0}",
        "{\"op\":\"exec\",\"argv\":[\"a\"],\"uid\":4294967295,\"gid\":0}",
        "{\"op\":\"exec\",\"argv\":[\"a\"],\"uid\":-1,\"gid\":0}",
        "{\"op\":\"exec\",\"argv\":[\"a\"],\"uid\":0,\"gid\":0,\"umask\":4096}",
        "{\"op\":\"exec\",\"argv\":[{\"base64\":\"AAAA\"}],\"uid\":0,\"gid\":0}",
        "{\"op\":\"exec\",\"argv\":[\"a\"],\"uid\":0,\"gid\":0,\"token\":\"short\"}",
        "{\"op\":\"exec\",\"argv\":[\"a\"],\"uid\":0,\"gid\":0,\"rlimits\":{\"x\":7}}",
        "{\"op\":\"shutdown\"}",
        "{\"no\":\"op\"}",
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct job j = {0};
        ask(&j, json_loads(bad[i], 0, NULL));
        UNTIL(j.over);
        if (!*j.error)
            fail_msg("taken: %s", bad[i]);
    }
}

/* Through cat and back with the credits of both directions. */
static void test_volume(void **state)
{
    const uint64_t total = 64 << 20;
    static char block[65536];
    struct job j = {.sum_only = true};
    uint64_t sent = 0, sum = 0;
    bool ended = false;
    ask(&j, json_pack("{s:s, s:[s]}", "op", "exec", "argv", "cat"));
    while (!j.over) {
        size_t n = chan_sendable(host.chan, j.stream, 0);
        n = n < sizeof block ? n : sizeof block;
        n = n < total - sent ? n : total - sent;
        if (n && chan_output_len(host.chan) < CHAN_OUTPUT_HIGH) {
            for (size_t i = 0; i < n; i++)
                block[i] = (sent + i) * 2654435761u >> 13;
            chan_data(host.chan, j.stream, 0, block, n, NULL);
            sum = sum_of(sum, block, n);
            sent += n;
        }
        if (sent == total && !ended) {
            chan_eof(host.chan, j.stream, 0);
            ended = true;
        }
        assert_true(turn(1000));
    }
    assert_int_equal(j.status, 0);
    assert_true(j.got[1] == total && j.sum == sum);
}

/* A reader that takes nothing stops the command at the window, and nothing is lost. */
static void test_back_pressure(void **state)
{
    struct job j = {.hold = true};
    ask(&j, shell("head -c 3000000 /dev/zero; echo done >&2"));
    for (int i = 0; i < 20; i++)
        turn(10);
    assert_true(j.got[1] <= CHAN_WINDOW);
    assert_int_equal(j.got[2], 0);
    j.hold = false;
    chan_consumed(host.chan, j.stream, 1, j.got[1]);
    chan_eof(host.chan, j.stream, 0);
    UNTIL(j.over);
    assert_int_equal(j.got[1], 3000000);
    assert_string_equal(j.out[2].data, "done\n");
    job_done(&j);
}

static void test_broken_pipes(void **state)
{
    struct job j = {0};
    ask(&j, shell("exec 0<&-; sleep 0.2; trap '' PIPE; sleep 10"));
    UNTIL(j.input_closed);
    chan_msg(host.chan, j.stream, json_pack("{s:i}", "signal", SIGTERM), NULL);
    UNTIL(j.over);
    assert_int_equal(j.sig, SIGTERM);
    struct job yes = {0};
    ask(&yes, json_pack("{s:s, s:[s]}", "op", "exec", "argv", "yes"));
    UNTIL(yes.got[1] > 1000);
    chan_msg(host.chan, yes.stream, json_pack("{s:i}", "closed", 1), NULL);
    UNTIL(yes.over);
    assert_int_equal(yes.sig, SIGPIPE);
    job_done(&j);
    job_done(&yes);
}

/* What a child still holds open is not waited for; what was written is not lost. */
static void test_left_behind(void **state)
{
    struct job j = {0};
    uint64_t begin = clock_ms();
    run(&j, shell("sleep 5 & head -c 200000 /dev/zero; exit 3"));
    assert_true(clock_ms() - begin < 4500);
    assert_int_equal(j.status, 3);
    assert_int_equal(j.got[1], 200000);
    job_done(&j);
}

static void test_stop_and_go(void **state)
{
    struct job j = {0};
    ask(&j, json_pack("{s:s, s:[s,s]}", "op", "exec", "argv", "sleep", "60"));
    UNTIL(j.pid);
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)j.pid);
    static const struct {
        int sig;
        const char *state;
    } steps[] = {{SIGTSTP, ") T"}, {SIGCONT, ") S"}};
    for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
        chan_msg(host.chan, j.stream, json_pack("{s:i}", "signal", steps[i].sig), NULL);
        bool seen = false;
        for (int k = 0; k < 200 && !seen; k++) {
            AUTO_STR text = NULL;
            turn(10);
            seen = fd_read_file(path, 4096, &text, NULL, NULL) == 0 &&
                   strstr(text, steps[i].state);
        }
        assert_true(seen);
    }
    chan_msg(host.chan, j.stream, json_pack("{s:i}", "signal", SIGINT), NULL);
    UNTIL(j.over);
    assert_int_equal(j.sig, SIGINT);
    job_done(&j);
}

static void test_pty(void **state)
{
    struct job j = {0};
    json_t *request =
        shell("trap 'echo caught; exit 5' INT; stty size; read x; stty size; "
              "tty >/dev/null; echo $?; sleep 30 & wait");
    json_object_set_new(request, "pty",
                        json_pack("{s:i, s:i}", "rows", 33, "cols", 99));
    ask(&j, request);
    UNTIL(j.out[1].data && strstr(j.out[1].data, "33 99"));
    chan_msg(host.chan, j.stream, json_pack("{s:[i,i]}", "winsize", 44, 111), NULL);
    chan_data(host.chan, j.stream, 0, "\n", 1, NULL);
    UNTIL(strstr(j.out[1].data, "44 111"));
    UNTIL(strstr(j.out[1].data, "\n0\r\n"));
    chan_data(host.chan, j.stream, 0, "\003", 1, NULL);
    UNTIL(j.over);
    assert_non_null(strstr(j.out[1].data, "caught"));
    assert_int_equal(j.status, 5);
    job_done(&j);
    /* A closed terminal hangs up what runs in it. */
    struct job cat = {0};
    request = json_pack("{s:s, s:[s], s:{}}", "op", "exec", "argv", "cat", "pty");
    ask(&cat, request);
    UNTIL(cat.pid);
    chan_close(host.chan, cat.stream);
    UNTIL(cat.over && (kill(cat.pid, 0) < 0 || (turn(10), false)));
    job_done(&cat);
}

static bool is_alive(pid_t pid)
{
    char path[64];
    AUTO_STR text = NULL;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    return fd_read_file(path, 4096, &text, NULL, NULL) == 0 && !strstr(text, ") Z");
}

/* die: also who left the session, after the shell that started it has gone. */
static void test_die(void **state)
{
    struct job j = {0};
    json_t *request =
        shell("setsid sh -c 'sleep 99 & echo $!; wait' & sleep 0.1; trap '' TERM; "
              "while :; do sleep 1; done");
    json_object_set_new(request, "die", json_true());
    ask(&j, request);
    UNTIL(j.out[1].len > 1 && j.out[1].data[j.out[1].len - 1] == '\n' && j.pid);
    pid_t deep = strtol(j.out[1].data, NULL, 10);
    assert_true(is_alive(deep) && is_alive(j.pid));
    chan_close(host.chan, j.stream);
    UNTIL(!is_alive(deep) && !is_alive(j.pid));
    UNTIL(j.over);
    job_done(&j);
}

/* The agent is killed and comes back: not a byte is lost or doubled, either way. */
static void test_attach(void **state)
{
    static const char token[] = "0123456789abcdef0123456789abcdef";
    struct job j = {.hold = true}, k = {0}, again = {0};
    json_t *request = shell("seq 1 200000; cat; echo end >&2; exit 9");
    json_object_set_new(request, "token", json_string(token));
    ask(&j, request);
    chan_data(host.chan, j.stream, 0, "first ", 6, NULL);
    UNTIL(j.got[1] > 100000);
    chan_reset(host.chan);
    UNTIL(j.gone && chan_state(host.chan) == CHAN_UP);
    uint64_t have = 4321; /* what the client took out of what came */
    ask(&k, json_pack("{s:s, s:s, s:I, s:i}", "op", "attach", "token", token, "stdout",
                      (json_int_t)have, "stderr", 0));
    k.attached = -1;
    UNTIL(k.attached >= 0);
    assert_int_equal(k.attached, 6);
    chan_data(host.chan, k.stream, 0, "second", 6, NULL);
    chan_eof(host.chan, k.stream, 0);
    UNTIL(k.over);
    assert_int_equal(k.status, 9);
    assert_string_equal(k.out[2].data, "end\n");
    AUTO_BUF want = {0};
    for (int i = 1; i <= 200000; i++)
        str_buf_printf(&want, "%d\n", i);
    str_buf_puts(&want, "first second");
    assert_int_equal(want.len, have + k.out[1].len);
    assert_memory_equal(want.data, j.out[1].data, have);
    assert_memory_equal(want.data + have, k.out[1].data, k.out[1].len);
    /* It is over: nothing to take up. */
    ask(&again, json_pack("{s:s, s:s, s:i, s:i}", "op", "attach", "token", token,
                          "stdout", 0, "stderr", 0));
    UNTIL(again.over);
    assert_string_equal(again.error, "not-found");
    job_done(&j);
    job_done(&k);
}

static void test_many(void **state)
{
    for (int i = 0; i < 300; i++) {
        struct job j = {0};
        run(&j, json_pack("{s:s, s:[s,s]}", "op", "exec", "argv", "echo", "hi"));
        assert_int_equal(j.status, 0);
        assert_string_equal(j.out[1].data, "hi\n");
        job_done(&j);
    }
    static struct job all[50];
    for (int i = 0; i < 50; i++) {
        char script[64];
        snprintf(script, sizeof script, "sleep 0.2; echo %d; exit %d", i, i);
        ask(&all[i], shell(script));
    }
    for (int i = 0; i < 50; i++) {
        UNTIL(all[i].over);
        assert_int_equal(all[i].status, i);
        assert_int_equal(strtol(all[i].out[1].data, NULL, 10), i);
        job_done(&all[i]);
    }
}

static void test_questions(void **state)
{
    static const char *const ops[] = {"ping", "load", "sync", "freeze", "thaw"};
    for (size_t i = 0; i < ARRAY_SIZE(ops); i++) {
        struct job j = {0};
        ask(&j, json_pack("{s:s}", "op", ops[i]));
        UNTIL(j.over);
        assert_string_equal(j.error, "");
    }
}

/* The worker is killed: its commands go with it, the supervisor starts another. */
static void test_killed_worker(void **state)
{
    teardown(state);
    launch(SUPERVISED);
    struct job ping = {0}, j = {0};
    json_t *request = shell("echo $PPID; sleep 60");
    json_object_set_new(request, "die", json_true());
    ask(&j, request);
    UNTIL(j.out[1].len > 1 && j.pid);
    /* The command's parent is its monitor, the monitor's is the worker. */
    char path[64];
    AUTO_STR text = NULL;
    snprintf(path, sizeof path, "/proc/%ld/stat", strtol(j.out[1].data, NULL, 10));
    assert_int_equal(fd_read_file(path, 4096, &text, NULL, NULL), 0);
    pid_t worker = strtol(strrchr(text, ')') + 3, NULL, 10);
    assert_int_equal(kill(worker, SIGKILL), 0);
    UNTIL(j.gone);
    UNTIL(!is_alive(j.pid));
    UNTIL(chan_state(host.chan) == CHAN_UP);
    ask(&ping, json_pack("{s:s}", "op", "ping"));
    UNTIL(ping.over);
    assert_string_equal(ping.error, "");
    job_done(&j);
}

static void check_identity(const char *identity, const char *script)
{
    struct job tell = {0}, look = {0};
    ask(&tell, json_loads(identity, 0, NULL));
    UNTIL(tell.over);
    assert_string_equal(tell.error, "");
    run(&look, shell(script));
    if (look.status)
        fail_msg("%s: %s%s", script, look.out[1].data, look.out[2].data);
    job_done(&tell);
    job_done(&look);
}

static void test_identity(void **state)
{
    if (geteuid() != 0)
        skip(); /* namespaces of one's own want root */
    teardown(state);
    launch(ENCLOSED);
    struct job early = {0}, wrong = {0};
    ask(&early, shell("true"));
    UNTIL(early.over);
    assert_string_equal(early.error, "state"); /* nobody said who we are yet */
    ask(&wrong, json_pack("{s:s, s:i}", "op", "identity", "hostname", 7));
    UNTIL(wrong.over);
    assert_string_equal(wrong.error, "protocol");
    check_identity("{\"op\":\"identity\",\"hostname\":\"n0\"}",
                   "ip link show lo | grep -q UP,"); /* without any network, too */
    check_identity(
        "{\"op\":\"identity\",\"hostname\":\"n1\",\"machine_id\":"
        "\"0123456789abcdef0123456789abcdef\",\"interfaces\":[{\"mac\":"
        "\"52:54:00:00:00:01\",\"mtu\":1400,\"addresses\":[\"10.9.0.2/24\","
        "\"fd09::2/64\"]}],\"routes\":[{\"to\":\"default\",\"via\":\"10.9.0.1\"},"
        "{\"to\":\"10.77.0.0/16\",\"via\":\"10.9.0.9\"}],\"dns\":[\"10.9.0.3\"],"
        "\"search\":[\"cluster\"],\"hosts\":[{\"address\":\"10.9.0.2\",\"names\":"
        "[\"n1\",\"n1.cluster\"]}],\"groups\":[{\"name\":\"g\",\"gid\":4000,"
        "\"members\":[\"u\"]}],\"users\":[{\"name\":\"u\",\"uid\":4001,\"gid\":4000,"
        "\"home\":\"/home/u\",\"shell\":\"/bin/none\"}],\"mounts\":[{\"tag\":"
        "\"/mnt/share\",\"target\":\"/mnt/to/here\",\"type\":\"bind\",\"readonly\":"
        "true}],\"ssh_host_keys\":[{\"type\":\"ed25519\",\"private\":\"SECRET\"}]}",
        "set -ex; test $(hostname) = n1; test $(cat /etc/hostname) = n1;"
        "grep -q ^0123456789abcdef0123456789abcdef$ /etc/machine-id;"
        "ip -o addr show d0 | grep 10.9.0.2/24; ip -o addr show d0 | grep fd09::2/64;"
        "ip link show d0 | grep 'mtu 1400'; ip route | grep '^default via 10.9.0.1';"
        "ip route | grep '^10.77.0.0/16 via 10.9.0.9'; ip link show lo | grep -q UP,;"
        "grep -q '^10.9.0.2 n1 n1.cluster$' /etc/hosts;"
        "grep -q '^nameserver 10.9.0.3$' /etc/resolv.conf;"
        "grep -q '^search cluster$' /etc/resolv.conf; grep -q '^g:x:4000:u$' "
        "/etc/group;"
        "grep -q '^old::1' /etc/passwd;"
        "grep -q '^u:x:4001:4000::/home/u:/bin/sh$' /etc/passwd;"
        "test $(stat -c %u:%g:%a /home/u) = 4001:4000:700; cat /mnt/to/here/file;"
        "! touch /mnt/to/here/x; test $(stat -c %a /etc/ssh/ssh_host_ed25519_key) = "
        "600");
    /* Again, as after a thaw: what changed changes, what was there stays once. */
    check_identity(
        "{\"op\":\"identity\",\"hostname\":\"n2\",\"interfaces\":[{\"mac\":"
        "\"52:54:00:00:00:01\",\"addresses\":[\"10.9.0.5/24\"]}],\"users\":[{\"name\":"
        "\"u\",\"uid\":4002,\"gid\":4000,\"home\":\"/home/u\"}]}",
        "set -ex; test $(hostname) = n2; ip -o addr show d0 | grep 10.9.0.5/24;"
        "! ip -o addr show d0 | grep 10.9.0.2; ! ip -o addr show d0 | grep fd09;"
        "test $(grep -c ^u: /etc/passwd) = 1; grep ^u:x:4002: /etc/passwd");
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_statuses),      cmocka_unit_test(test_context),
        cmocka_unit_test(test_user),          cmocka_unit_test(test_script),
        cmocka_unit_test(test_refusals),      cmocka_unit_test(test_volume),
        cmocka_unit_test(test_back_pressure), cmocka_unit_test(test_broken_pipes),
        cmocka_unit_test(test_left_behind),   cmocka_unit_test(test_stop_and_go),
        cmocka_unit_test(test_pty),           cmocka_unit_test(test_die),
        cmocka_unit_test(test_attach),        cmocka_unit_test(test_many),
        cmocka_unit_test(test_questions),     cmocka_unit_test(test_killed_worker),
        cmocka_unit_test(test_identity),
    };
    return cmocka_run_group_tests_name("guest", tests, setup, teardown);
}
