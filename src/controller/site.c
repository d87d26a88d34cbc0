/* SPDX-License-Identifier: Apache-2.0 */
/* lodge site init, verify: see the header. */
#include "controller/site.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/conf.h"
#include "base/dirs.h"
#include "base/fd.h"
#include "base/proc.h"
#include "base/str.h"
#include "controller/dispatch.h"
#include "controller/hub.h"
#include "proto/client.h"
#include "proto/ticket.h"
#include "store/nodes.h"

enum { KEY_MAX = 16384 };

static bool exists(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}

/* --- init ------------------------------------------------------------------------------- */

static int make_conf(const char *path, struct err *err)
{
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);
    if (!f)
        return err_oom(err);
    conf_write_template(f);
    fclose(f);
    AUTO_STR own = text;
    return fd_replace_file(path, own, len, 0644, err);
}

static int make_key(const char *path, struct err *err)
{
    const char *argv[] = {"ssh-keygen", "-q",     "-t", "ed25519", "-N", "",
                          "-C",         "lodged", "-f", path,      NULL};
    if (proc_run(&(struct proc_spec){.argv = argv}, 60000, NULL, err) < 0)
        return err->code == E_NOENT
                   ? err_set(
                         err, E_UNAVAIL,
                         "ssh-keygen is not installed: apt-get install openssh-client")
                   : -1;
    return 0;
}

static int make_known_hosts(const char *path, struct err *err)
{
    return fd_replace_file(path, "", 0, 0644, err);
}

static int make_ticket_key(const char *path, struct err *err)
{
    AUTO(ticket_key) key = NULL;
    AUTO_STR dir = strndup(path, strrchr(path, '/') - path);
    return dir ? ticket_key_open(dir, &key, err) : err_oom(err);
}

static int make_setup(const char *path, struct err *err)
{
    AUTO_STR pub = dirs_path(DIRS_CONFIG, "id_ed25519.pub");
    AUTO_STR keys = dirs_path(DIRS_CONFIG, "keys");
    AUTO_STR key = NULL;
    if (!pub || !keys)
        return err_oom(err);
    if (fd_read_file(pub, KEY_MAX, &key, NULL, err) < 0)
        return -1;
    AUTO_STR text = str_printf(
        "On each node:\n\n"
        "1. Install Lodge and start its agent: systemctl enable --now lodge-agent\n"
        "   (without systemd: lodge-agent --stay).\n\n"
        "2. Let the controller in, to the agent and nowhere else. One line in\n"
        "   /root/.ssh/authorized_keys:\n\n"
        "restrict,command=\"" LODGE_LIBEXECDIR "/lodge-join\" %s\n"
        "   or, where keys are not tied to a command, in /etc/ssh/sshd_config:\n\n"
        "Subsystem lodge " LODGE_LIBEXECDIR "/lodge-join\n\n"
        "3. Let the node check tickets: copy %s/*.pub there, to the same place.\n\n"
        "Then here: lodge node add NODE... --host-key FILE. FILE has the nodes' host\n"
        "keys: like /etc/ssh/ssh_known_hosts, or what ssh-keyscan prints, or one "
        "node's\n"
        "/etc/ssh/ssh_host_ed25519_key.pub.\n",
        key, keys);
    return text ? fd_replace_file(path, text, strlen(text), 0644, err) : err_oom(err);
}

/* In this order: the last needs the others. */
static const struct {
    const char *leaf;
    int (*make)(const char *path, struct err *err);
} parts[] = {
    {"lodge.conf", make_conf},         {"id_ed25519", make_key},
    {"known_hosts", make_known_hosts}, {"keys/signing.key", make_ticket_key},
    {"node-setup.txt", make_setup},
};

int site_init(json_t **made, struct err *err)
{
    json_t *list = json_array();
    int r = list ? dirs_make(DIRS_CONFIG, err) : err_oom(err);
    if (r == 0)
        r = dirs_make(DIRS_STATE, err);
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(parts); i++) {
        AUTO_STR path = dirs_path(DIRS_CONFIG, "%s", parts[i].leaf);
        if (!path)
            r = err_oom(err);
        else if (!exists(path) && (r = parts[i].make(path, err)) == 0)
            json_array_append_new(list, json_string(path));
    }
    if (r < 0)
        json_decref(list);
    else
        *made = list;
    return r;
}

/* --- verify ------------------------------------------------------------------------------ */

static void gap(json_t *gaps, const char *code, const char *grade, const char *way_out,
                const char *fmt, ...) __attribute__((format(printf, 5, 6)));

static void gap(json_t *gaps, const char *code, const char *grade, const char *way_out,
                const char *fmt, ...)
{
    AUTO_BUF b = {0};
    va_list ap;
    va_start(ap, fmt);
    str_buf_vprintf(&b, fmt, ap);
    va_end(ap);
    json_array_append_new(gaps, json_pack("{s:s, s:s, s:s, s:s}", "code", code, "grade",
                                          grade, "what", b.data ? b.data : "",
                                          "way_out", way_out));
}

static void verify_files(json_t *gaps)
{
    static const struct {
        const char *leaf, *code;
        mode_t never; /* bits that must not be set */
    } files[] = {
        {"id_ed25519", "ssh-key", 077},
        {"known_hosts", "known-hosts", 022},
        {"keys/signing.key", "ticket-key", 077},
    };
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        AUTO_STR path = dirs_path(DIRS_CONFIG, "%s", files[i].leaf);
        struct stat st;
        if (!path)
            continue;
        if (lstat(path, &st) < 0)
            gap(gaps, files[i].code, "fail", "lodge site init", "'%s': %s", path,
                strerror(errno));
        else if (st.st_mode & files[i].never)
            gap(gaps, files[i].code, "fail", "chmod go-rwx on it",
                "'%s' is open to others (mode %o)", path, st.st_mode & 07777);
    }
}

static void verify_conf(json_t *gaps)
{
    AUTO(conf) conf = NULL;
    AUTO_STR path = dirs_path(DIRS_CONFIG, "lodge.conf");
    struct err err;
    if (path && !exists(path))
        gap(gaps, "conf-missing", "warn", "lodge site init",
            "'%s' is not there: all is at its default", path);
    else if (conf_load(NULL, &conf, &err) < 0)
        gap(gaps, "conf-wrong", "fail", "correct the line", "%s", err.text);
}

/* Submit hosts come by munge. */
static void verify_munge(json_t *gaps)
{
    AUTO(conf) conf = NULL;
    const char *named = getenv("LODGE_MUNGE_SOCKET");
    const char *path = named && *named ? named : "/run/munge/munge.socket.2";
    if (conf_load(NULL, &conf, NULL) < 0 ||
        (!*conf_text(conf, CONF_LISTEN) && !*conf_text(conf, CONF_CONTROLLER)))
        return;
    if (!exists(path))
        gap(gaps, "munge", "fail", "systemctl start munge, with the site's key",
            "'%s' is not there: munged does not run, and submit hosts need it", path);
}

static void verify_nodes(json_t *gaps, struct rpc_client *lodged)
{
    json_t *rows = NULL, *row;
    size_t i;
    struct err err;
    if (rpc_client_call(lodged, "node.list", NULL, NULL, &rows, &err) < 0) {
        gap(gaps, "nodes", "fail", "see lodged's log", "%s", err.text);
        return;
    }
    if (!json_array_size(rows))
        gap(gaps, "no-nodes", "warn", "lodge node add NODE --host-key FILE",
            "no node was added yet");
    json_array_foreach (rows, i, row) {
        const char *link = json_string_value(json_object_get(row, "link"));
        const char *name = json_string_value(json_object_get(row, "name"));
        if (link && strcmp(link, "up"))
            gap(gaps, "node-down", "fail", "lodge node show tells more",
                "node '%s': %s", name, json_string_value(json_object_get(row, "why")));
    }
    json_decref(rows);
}

int site_verify(json_t **gaps, struct err *err)
{
    AUTO(rpc_client) lodged = NULL;
    AUTO_STR path = dirs_path(DIRS_RUN, "lodged.sock");
    struct err why;
    json_t *list = json_array();
    if (!list || !path)
        return err_oom(err);
    verify_conf(list);
    verify_munge(list);
    verify_files(list);
    if (rpc_client_connect(path, &lodged, &why) < 0)
        gap(list, "no-lodged", "fail", "systemctl start lodged, or run 'lodged'",
            "lodged does not answer: %s", why.text);
    else
        verify_nodes(list, lodged);
    *gaps = list;
    return 0;
}
