/* SPDX-License-Identifier: Apache-2.0 */
/* lodge-guest over a socketpair: trees and files into the guest and out of it. */
#include "unit.h"

#include "guest_host.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "proto/tar.h"

static char dir[] = "/tmp/lodge-copy-XXXXXX";
static struct job tree; /* what "get" of its directory a gave */

static void get_tree(void)
{
    char cmd[512];
    struct job make = {0};
    assert_non_null(mkdtemp(dir));
    snprintf(cmd, sizeof cmd,
             "cd %s && mkdir -p a/b/%0120d && echo x >a/one && seq 1 99999 >a/b/two && "
             "ln -s ../one a/b/link && chmod 751 a/one && touch -d 2001-02-03 a/one && "
             "mkdir a/ro && echo y >a/ro/f && chmod 555 a/ro",
             dir, 7);
    run(&make, shell(cmd));
    assert_int_equal(make.status, 0);
    job_done(&make);
    AUTO_STR a = str_printf("%s/a", dir);
    run(&tree, json_pack("{s:s, s:s}", "op", "get", "path", a));
    assert_int_equal(tree.status, 0);
}

static int setup(void **state)
{
    launch(WORKER);
    get_tree();
    return 0;
}

static int teardown(void **state)
{
    char cmd[128];
    struct job clean = {0};
    snprintf(cmd, sizeof cmd, "chmod -R u+w %s && rm -rf %s", dir, dir);
    run(&clean, shell(cmd));
    job_done(&tree);
    job_done(&clean);
    return land() == 0 && clean.status == 0 ? 0 : -1;
}

/* An archive into the guest, all at once or as the channel takes it. */
static void put(struct job *j, const char *path, const char *data, size_t len)
{
    ask(j, json_pack("{s:s, s:s}", "op", "put", "path", path));
    for (size_t at = 0; at < len;) {
        size_t n = chan_sendable(host.chan, j->stream, 0);
        n = n < len - at ? n : len - at;
        chan_data(host.chan, j->stream, 0, data + at, n, NULL);
        at += n;
        turn(50);
    }
    chan_eof(host.chan, j->stream, 0);
    UNTIL(j->over);
}

/* A tree out of the guest by get, in again by put under another name: the same. */
static void test_tree(void **state)
{
    char cmd[512];
    AUTO_STR b = str_printf("%s/b", dir);
    struct job j = {0}, same = {0};
    put(&j, b, tree.out[1].data, tree.out[1].len);
    assert_int_equal(j.status, 0);
    snprintf(cmd, sizeof cmd,
             "cd %s && diff -r a b && [ -L b/b/link ] && "
             "[ \"$(cd a; find . ! -type l -printf '%%p %%m %%Ts\\n' | sort)\" = "
             "\"$(cd b; find . ! -type l -printf '%%p %%m %%Ts\\n' | sort)\" ]",
             dir);
    run(&same, shell(cmd));
    if (same.status)
        fail_msg("%s %s", same.out[1].data, same.out[2].data);
    job_done(&j);
    job_done(&same);
}

/* A file does not take the place of what is none (here: a directory's mount or a device;
 * a socket does for both). */
static void test_not_a_file(void **state)
{
    char file[3 * 512];
    AUTO_FD tar = memfd_create("tar", MFD_CLOEXEC);
    AUTO_STR one = str_printf("%s/a/one", dir);
    assert_int_equal(tar_pack(tar, "/dev/null", NULL, NULL), 0);
    assert_int_equal(tar_pack(tar, one, NULL, NULL), 0);
    assert_int_equal(pread(tar, file, sizeof file, 1024), sizeof file);
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    snprintf(at.sun_path, sizeof at.sun_path, "%s/socket", dir);
    AUTO_FD sock = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(sock, (struct sockaddr *)&at, sizeof at), 0);
    struct job j = {0};
    put(&j, at.sun_path, file, sizeof file);
    assert_true(j.status > 0);
    assert_non_null(strstr(j.out[2].data, "not a file"));
    job_done(&j);
}

/* An archive cut off is an error, not a success. */
static void test_cut_off(void **state)
{
    AUTO_STR never = str_printf("%s/never", dir);
    struct job j = {0};
    put(&j, never, tree.out[1].data, 700);
    assert_true(j.status > 0);
    job_done(&j);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tree),
        cmocka_unit_test(test_not_a_file),
        cmocka_unit_test(test_cut_off),
    };
    return cmocka_run_group_tests_name("guest_copy", tests, setup, teardown);
}
