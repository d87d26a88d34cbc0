/* SPDX-License-Identifier: Apache-2.0 */
/* src/base: errors, strings, hostlists, descriptors, processes. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/conf.h"
#include "base/crc32c.h"
#include "base/dirs.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/hostlist.h"
#include "base/proc.h"
#include "base/str.h"

static void test_err(void **state)
{
    struct err err = {0};
    assert_int_equal(err_set(&err, E_NOENT, "image '%s'", "rocky9"), -1);
    err_at(&err, "boot %s", "n1");
    assert_string_equal(err.text, "boot n1: image 'rocky9'");
    assert_int_equal(err_exit_status(&err), 66);
    errno = EACCES;
    err_sys(&err, "open");
    assert_int_equal(err.code, E_PERM);
    assert_string_equal(err.text, "open: Permission denied");
    assert_int_equal(err_code_parse(err_code_name(E_BUSY)), E_BUSY);
    assert_int_equal(err_set(NULL, E_FAIL, "nobody listens"), -1);
    err_set(&err, E_NOENT, "no VM '%s'", "a\nb\t\x1b[2J");
    err_at(&err, "node '%s'", "n\n1");
    assert_string_equal(err.text, "node 'n\\n1': no VM 'a\\nb\\t\\x1b[2J'");
}

static void test_one_line(void **state)
{
    char text[12] = "two\nlines\n\n";
    text[11] = '\0';
    str_one_line(text, sizeof text);
    assert_string_equal(text, "two\\nlines");
    memcpy(text, "1234567890\n", 11);
    str_one_line(text, sizeof text);
    assert_string_equal(text, "1234567890");
    /* What has no room is cut, and never in the middle of one character. */
    memcpy(text, "\n\x1b\x7f\n\n!", 7);
    str_one_line(text, sizeof text);
    assert_string_equal(text, "\\n\\x1b\\x7f");
    for (size_t size = 1; size < sizeof text; size++) {
        memset(text, '\x01', size);
        text[size - 1] = '\0';
        str_one_line(text, size);
        assert_true(strlen(text) < size && strlen(text) % 4 == 0);
    }
}

static void test_sizes(void **state)
{
    uint64_t v;
    assert_true(str_to_bytes("2M", 0, &v) && v == 2 << 20);
    assert_true(str_to_bytes("3 GiB", 0, &v) && v == 3ull << 30);
    assert_true(str_to_bytes("128", 1 << 20, &v) && v == 128ull << 20);
    assert_false(str_to_bytes("128", 0, &v));
    assert_false(str_to_bytes("-1M", 1, &v));
    assert_false(str_to_bytes("99999999999T", 1, &v));
    assert_false(str_to_bytes("1X", 1, &v));
    assert_true(str_to_ms("90", &v) && v == 90000);
    assert_true(str_to_ms("250ms", &v) && v == 250);
    char buf[16];
    assert_string_equal(str_from_bytes(1536ull << 20, buf, sizeof buf), "1.5G");
    assert_string_equal(str_from_bytes(512ull << 20, buf, sizeof buf), "512M");
}

static void test_nearest(void **state)
{
    static const char *const words[] = {"memory", "image", "type", "cpu", NULL};
    assert_string_equal(str_nearest("memroy", words), "memory");
    assert_string_equal(str_nearest("imge", words), "image");
    assert_null(str_nearest("zzzzzz", words));
    assert_true(str_is_name("n1.a-b_c"));
    assert_false(str_is_name("../x"));
    assert_false(str_is_name(""));
}

static void test_queue(void **state)
{
    AUTO_BUF b = {0};
    size_t at = 3;
    str_buf_puts(&b, "abcdef");
    str_buf_compact(&b, &at);
    assert_int_equal(at, 3); /* too little to move for */
    at = 6;
    str_buf_compact(&b, &at);
    assert_true(at == 0 && b.len == 0);
    for (int i = 0; i < 100000; i++)
        str_buf_puts(&b, i == 70000 ? "x" : "-");
    at = 70000;
    str_buf_compact(&b, &at);
    assert_true(at == 0 && b.len == 30000 && b.data[0] == 'x');
}

static void expect_hosts(const char *text, const char *expanded, const char *folded)
{
    AUTO(hostlist) h = NULL;
    struct err err;
    assert_int_equal(hostlist_parse(text, &h, &err), 0);
    AUTO_BUF b = {0};
    for (size_t i = 0; i < h->count; i++)
        str_buf_printf(&b, "%s%s", i ? " " : "", h->names[i]);
    assert_string_equal(b.data, expanded);
    AUTO_STR back = hostlist_format((const char *const *)h->names, h->count);
    assert_string_equal(back, folded);
}

static void test_hostlist(void **state)
{
    expect_hosts("n1", "n1", "n1");
    expect_hosts("n[08-11],login", "n08 n09 n10 n11 login", "n[08-11],login");
    expect_hosts("n[1-3,7],m[1-2]", "n1 n2 n3 n7 m1 m2", "n[1-3,7],m[1-2]");
    expect_hosts("r[1-2]n[1-2]", "r1n1 r1n2 r2n1 r2n2", "r1n[1-2],r2n[1-2]");
    static const char *const bad[] = {"",
                                      "n[",
                                      "n[1-",
                                      "n[3-1]",
                                      "n[a]",
                                      "n[1]]",
                                      "a b",
                                      "n[0-99999999]",
                                      "n[1-60000][1-60000]",
                                      ",",
                                      NULL};
    for (const char *const *b = bad; *b; b++) {
        struct hostlist *h = NULL;
        assert_int_equal(hostlist_parse(*b, &h, NULL), -1);
        assert_null(h);
    }
}

static void test_files(void **state)
{
    char dir[] = "/tmp/lodge-unit-XXXXXX";
    assert_non_null(mkdtemp(dir));
    AUTO_STR deep = str_printf("%s/a/b", dir);
    AUTO_STR file = str_printf("%s/a/b/f", dir);
    struct err err;
    assert_int_equal(fd_mkdirs(deep, 0700, &err), 0);
    assert_int_equal(fd_replace_file(file, "one", 3, 0600, &err), 0);
    assert_int_equal(fd_replace_file(file, "two", 3, 0600, &err), 0);
    AUTO_STR text = NULL;
    size_t len;
    assert_int_equal(fd_read_file(file, 100, &text, &len, &err), 0);
    assert_string_equal(text, "two");
    assert_int_equal(len, 3);
    char *none = NULL;
    assert_int_equal(fd_read_file(file, 2, &none, NULL, &err), -1);
    assert_int_equal(fd_mkdirs(file, 0700, &err), -1);
    AUTO_STR sock = str_printf("%s/a/sock", dir);
    AUTO_STR link = str_printf("%s/a/link", dir);
    int listens = fd_unix_listen(sock, 0600, &err);
    fd_unix_remove(sock);
    assert_int_equal(access(sock, F_OK), 0);
    close(listens);
    fd_unix_remove(sock);
    assert_int_equal(access(sock, F_OK), -1);
    fd_unix_remove(file); /* not a socket */
    assert_int_equal(access(file, F_OK), 0);
    close(fd_unix_listen(sock, 0600, &err));
    assert_int_equal(symlink("/usr", link), 0);
    assert_int_equal(fd_remove_tree(dir, &err), 0);
    assert_int_equal(access(dir, F_OK), -1);
    assert_int_equal(access("/usr/bin", F_OK), 0);
    assert_int_equal(fd_remove_tree(dir, &err), 0);
}

static void test_at(void **state)
{
    (void)state;
    char buf[8];
    int fd = memfd_create("at", MFD_CLOEXEC);
    assert_int_equal(fd_write_at(fd, "cde", 3, 2), 0);
    assert_int_equal(fd_write_at(fd, "ab", 2, 0), 0);
    assert_int_equal(fd_read_at(fd, buf, sizeof buf, 1), 4); /* as far as the end */
    assert_memory_equal(buf, "bcde", 4);
    assert_int_equal(fd_read_at(fd, buf, sizeof buf, 9), 0);
    close(fd);
    assert_int_equal(fd_read_at(fd, buf, 1, 0), -1);
    assert_int_equal(fd_write_at(fd, buf, 1, 0), -1);
}

static void test_crc(void **state)
{
    assert_int_equal(crc32c("123456789", 9), 0xe3069283);
    assert_int_equal(crc32c("", 0), 0);
}

static void test_send_some(void **state)
{
    static char much[1 << 20], got[1 << 20];
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(fd_send_some(pair[0], much, 0), 0);
    ssize_t n = fd_send_some(pair[0], much, sizeof much);
    assert_true(n > 0 && n < (ssize_t)sizeof much);
    assert_int_equal(fd_send_some(pair[0], much, sizeof much), 0);
    assert_int_equal(fd_read_all(pair[1], got, n, NULL), 0);
    assert_true(fd_send_some(pair[0], much, 1) == 1);
    close(pair[1]);
    assert_int_equal(fd_send_some(pair[0], much, 1), -1);
    assert_int_equal(errno, EPIPE);
    close(pair[0]);
}

static void test_lock(void **state)
{
    char dir[] = "/tmp/lodge-unit-XXXXXX";
    assert_non_null(mkdtemp(dir));
    struct err err;
    AUTO_STR path = str_printf("%s/lock", dir);
    int first = fd_lock_file(path, 0600, LOCK_EX, &err);
    assert_true(first >= 0);
    assert_int_equal(fd_lock_file(path, 0600, LOCK_EX | LOCK_NB, &err), -1);
    assert_int_equal(err.code, E_BUSY);
    close(first);
    int second = fd_lock_file(path, 0600, LOCK_SH | LOCK_NB, &err);
    assert_true(second >= 0);
    close(second);
    assert_int_equal(fd_lock_file("/nowhere/lock", 0600, LOCK_EX, &err), -1);
    assert_int_equal(err.code, E_NOENT);
    assert_int_equal(fd_remove_tree(dir, &err), 0);
}

static void test_pass_fds(void **state)
{
    int pair[2], fds[4];
    struct err err;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    int send[] = {0, 1};
    assert_int_equal(fd_send(pair[0], "x\n", 2, send, 2, &err), 0);
    char buf[8];
    size_t nfds = 1; /* room for one: the second must not leak */
    assert_int_equal(fd_recv(pair[1], buf, sizeof buf, fds, &nfds, &err), 2);
    assert_int_equal(nfds, 1);
    assert_true(fcntl(fds[0], F_GETFD) & FD_CLOEXEC);
    close(fds[0]);
    close(pair[0]);
    close(pair[1]);
}

static void test_proc(void **state)
{
    struct err err = {0};
    AUTO_STR out = NULL;
    proc_shed(); /* what comes now must still be there */
    const char *hello[] = {"sh", "-c", "echo hello; echo there >&2", NULL};
    assert_int_equal(proc_run(&(struct proc_spec){.argv = hello}, 10000, &out, &err),
                     0);
    assert_string_equal(out, "hello\nthere\n");
    const char *fails[] = {"sh", "-c", "echo broken; exit 3", NULL};
    assert_int_equal(proc_run(&(struct proc_spec){.argv = fails}, 10000, NULL, &err),
                     -1);
    assert_string_equal(err.text, "'sh' ended with status 3: broken");
    const char *missing[] = {"/nonexistent/x", NULL};
    assert_int_equal(proc_run(&(struct proc_spec){.argv = missing}, 100, NULL, &err),
                     -1);
    assert_int_equal(err.code, E_NOENT);
    const char *hangs[] = {"sleep", "60", NULL};
    assert_int_equal(proc_run(&(struct proc_spec){.argv = hangs}, 50, NULL, &err), -1);
    assert_int_equal(err.code, E_TIMEOUT);
    int pidfd, status;
    pid_t pid;
    assert_int_equal(proc_spawn(&(struct proc_spec){.argv = hangs}, &pidfd, &pid, &err),
                     0);
    assert_true(proc_start_time(pid) > 0);
    assert_int_equal(proc_wait(pidfd, 0, &status, &err), -1);
    proc_kill(pidfd, SIGTERM, &err);
    assert_int_equal(proc_wait(pidfd, 10000, &status, &err), 0);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
    close(pidfd);
}

static void test_dirs(void **state)
{
    setenv("LODGE_STATE_DIR", "/x/y", 1);
    AUTO_STR path = dirs_path(DIRS_STATE, "vm/%d", 7);
    assert_string_equal(path, "/x/y/vm/7");
    unsetenv("LODGE_STATE_DIR");
}

static int load(const char *path, const char *text, struct conf **out, struct err *err)
{
    assert_int_equal(fd_replace_file(path, text, strlen(text), 0600, NULL), 0);
    return conf_load(path, out, err);
}

static void test_conf(void **state)
{
    char dir[] = "/tmp/lodge-unit-XXXXXX";
    assert_non_null(mkdtemp(dir));
    AUTO_STR path = str_printf("%s/lodge.conf", dir);
    struct err err;
    AUTO(conf) c = NULL;
    assert_int_equal(
        load(path, "# x\n\n shares = /home:/scratch \nheartbeat=2s\noutside_jobs = no",
             &c, &err),
        0);
    assert_false(conf_yes(c, CONF_OUTSIDE_JOBS));
    assert_string_equal(conf_text(c, CONF_SHARES), "/home:/scratch");
    assert_int_equal(conf_number(c, CONF_HEARTBEAT), 2000);
    assert_int_equal(conf_number(c, CONF_TICKET_LIFE), 30ull * 86400000);
    assert_true(conf_is_default(c, CONF_LISTEN) && !conf_is_default(c, CONF_SHARES));
    static const struct {
        const char *text, *why;
    } bad[] = {
        {"shares=/a\nsharse = x\n", ":2: unknown key 'sharse'; did you mean 'shares'?"},
        {"heartbeat = soon\n",
         ":1: heartbeat: 'soon' is not a time like 30s, 15m, 2h or 7d"},
        {"image_cache = 5\n",
         ":1: image_cache: '5' is not a size like 512M, 40G or 1T"},
        {"outside_jobs = maybe\n", ":1: outside_jobs: 'maybe' is not 'yes' or 'no'"},
        {"listen\n", ":1: 'listen' is not of the form 'key = value'"},
        {"listen=a\nlisten=b", ":2: 'listen' is given twice"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct conf *none = NULL;
        AUTO_STR want = str_printf("%s%s", path, bad[i].why);
        assert_int_equal(load(path, bad[i].text, &none, &err), -1);
        assert_null(none);
        assert_string_equal(err.text, want);
    }
    /* What is written as the template is accepted, and changes nothing. */
    FILE *f = fopen(path, "w");
    conf_write_template(f);
    fclose(f);
    AUTO(conf) t = NULL;
    assert_int_equal(conf_load(path, &t, &err), 0);
    for (int i = 0; i < CONF_COUNT; i++)
        assert_true(conf_is_default(t, i));
    fd_remove_tree(dir, NULL);
    AUTO(conf) none = NULL;
    assert_int_equal(conf_load(path, &none, &err), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_err),       cmocka_unit_test(test_one_line),
        cmocka_unit_test(test_sizes),     cmocka_unit_test(test_nearest),
        cmocka_unit_test(test_hostlist),  cmocka_unit_test(test_queue),
        cmocka_unit_test(test_files),     cmocka_unit_test(test_at),
        cmocka_unit_test(test_pass_fds),  cmocka_unit_test(test_crc),
        cmocka_unit_test(test_send_some), cmocka_unit_test(test_lock),
        cmocka_unit_test(test_proc),      cmocka_unit_test(test_dirs),
        cmocka_unit_test(test_conf),
    };
    return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
