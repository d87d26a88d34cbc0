/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoints of QEMU's machines, by libvirt. The machine is paused; its memory and
 * devices go into the file "qemu" as libvirt saves them (a header, the domain's XML,
 * then QEMU's own stream); our disks are cut in the same pause.
 *
 * libvirtd runs as root, and the checkpoint is the user's: it gets no path of theirs,
 * but /proc/PID/fd/N, a file that we opened with their rights. On the way back nothing
 * of the XML in the file is believed: a pipe carries a header and XML of our own and
 * then the stream, each chunk checked before QEMU sees it. */
#include "agent/vt_domain.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/plan.h"
#include "agent/vt_xml.h"
#include "base/fd.h"
#include "base/str.h"

#define FILE_NAME "qemu"
enum { PIPE_BYTES = 1 << 20 };

/* The beginning of a file that libvirt saved (its save image, version 2), in the
 * machine's byte order. */
struct save_header {
    char magic[16];
    uint32_t version;
    uint32_t data_len; /* XML and what else is before the stream */
    uint32_t was_running;
    uint32_t compressed;
    uint32_t cookie_offset;
    uint32_t unused[14];
};
static const char magic[16] = "LibvirtQemudSave";
enum { SAVE_VERSION = 2, DATA_MAX = 16 << 20 };
_Static_assert(sizeof(struct save_header) == 92, "libvirt's header");

/* --- cut ----------------------------------------------------------------------------- */

/* Memory goes into the file, disks are left to us. */
static char *snapshot_xml(const struct plan *plan, int fd)
{
    AUTO_BUF b = {0};
    str_buf_printf(&b,
                   "<domainsnapshot><memory snapshot='external' "
                   "file='/proc/%d/fd/%d'/><disks>",
                   (int)getpid(), fd);
    for (size_t i = 0; i < plan->ndisks; i++) {
        char dev[16];
        vt_disk_dev(&plan->disks[i], i, vt_dialect_of(plan->profile->type), dev);
        str_buf_printf(&b, "<disk name='%s' snapshot='no'/>", dev);
    }
    str_buf_puts(&b, "</disks></domainsnapshot>");
    return str_buf_take(&b);
}

static bool is_running(const struct vt_api *v, virDomainPtr dom)
{
    virDomainInfo info;
    return v->virDomainGetInfo(dom, &info) == 0 && info.state == VIR_DOMAIN_RUNNING;
}

static int save_memory(struct vt_run *r, virDomainPtr dom, int fd, struct err *err)
{
    const struct vt_api *v = vt_api(err);
    AUTO(plan) plan = NULL;
    if (plan_make(r->vm, r->image, r->dir, &plan, err) < 0)
        return -1;
    AUTO_STR xml = snapshot_xml(plan, fd);
    if (!xml)
        return err_oom(err);
    virDomainSnapshotPtr s =
        v->virDomainSnapshotCreateXML(dom, xml, VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA);
    if (!s)
        return vt_error(err, "save memory");
    v->virDomainSnapshotFree(s);
    /* libvirtd may have taken it. */
    if (geteuid() == 0 && fchown(fd, r->snap->uid, r->snap->gid) < 0)
        return err_sys(err, "'" FILE_NAME "'");
    return 0;
}

static int cut(struct vt_run *r, struct snap *c, virDomainPtr dom, int fd,
               struct err *err)
{
    const struct vt_api *v = vt_api(err);
    bool running = is_running(v, dom);
    if (running && v->virDomainSuspend(dom) < 0)
        return vt_error(err, "pause");
    snap_paused(c);
    int ret = save_memory(r, dom, fd, err);
    if (ret == 0)
        ret = snap_cut_disks(r, c, err);
    if (running && (ret < 0 || !c->stop) && v->virDomainResume(dom) < 0)
        ret = ret < 0 ? ret : vt_error(err, "resume");
    snap_goes_on(c);
    return ret;
}

/* Where QEMU's stream begins, or 0. */
static off_t stream_at(int fd)
{
    struct save_header h;
    if (pread(fd, &h, sizeof h, 0) != sizeof h ||
        memcmp(h.magic, magic, sizeof magic) || h.version != SAVE_VERSION ||
        h.compressed || h.data_len > DATA_MAX)
        return 0;
    return sizeof h + h.data_len;
}

/* <type arch='x86_64' machine='pc-q35-7.2'>: another QEMU knows it by that name only. */
static char *machine_of(const struct vt_api *v, virDomainPtr dom)
{
    char *xml = v->virDomainGetXMLDesc(dom, 0);
    const char *at = xml ? strstr(xml, " machine='") : NULL;
    at = at ? at + strlen(" machine='") : NULL;
    char *machine = at ? strndup(at, strcspn(at, "'")) : NULL;
    free(xml);
    return machine;
}

static int describe(struct vt_run *r, struct snap *c, virConnectPtr conn,
                    virDomainPtr dom, int fd, struct err *err)
{
    const struct vt_api *v = vt_api(err);
    unsigned long qemu = 0;
    off_t at = stream_at(fd);
    json_t *entry = NULL;
    AUTO_STR machine = machine_of(v, dom);
    if (!at)
        return err_set(err, E_UNAVAIL,
                       "this libvirt saves in a form that we do not "
                       "know");
    if (v->virConnectGetVersion(conn, &qemu) < 0)
        return vt_error(err, "version");
    if (snap_sums(c, FILE_NAME, fd, &entry, err) < 0)
        return -1;
    json_object_set_new(entry, "stream_at", json_integer(at));
    json_object_set_new(entry, "machine", json_string(machine ? machine : ""));
    json_object_set_new(entry, "qemu", json_integer(qemu));
    if (fsync(fd) < 0) {
        json_decref(entry);
        return err_sys(err, "'" FILE_NAME "'");
    }
    return snap_add_file(c, "qemu", FILE_NAME, entry, err);
}

static int with(struct vt_run *r, virConnectPtr *conn, virDomainPtr *dom,
                struct err *err)
{
    const struct vt_api *v = vt_api(err);
    char name[32];
    vt_domain_name(r, name);
    if (!v || !(*conn = vt_connect(vt_domain_uri(r), err)))
        return -1;
    *dom = v->virDomainLookupByName(*conn, name);
    if (*dom)
        return 0;
    vt_error(err, "checkpoint");
    v->virConnectClose(*conn);
    return -1;
}

int vt_domain_checkpoint(struct vt_run *r, struct snap *c, struct err *err)
{
    virConnectPtr conn;
    virDomainPtr dom;
    AUTO_FD fd = snap_file(c, FILE_NAME, err);
    if (fd < 0 || with(r, &conn, &dom, err) < 0)
        return -1;
    int ret = cut(r, c, dom, fd, err);
    if (ret == 0)
        ret = describe(r, c, conn, dom, fd, err);
    vt_api(NULL)->virDomainFree(dom);
    vt_api(NULL)->virConnectClose(conn);
    return ret;
}

/* What libvirt still does for a worker that is gone is ended first. */
int vt_domain_recover(struct vt_run *r, struct err *err)
{
    const struct vt_api *v = vt_api(err);
    virConnectPtr conn;
    virDomainPtr dom;
    if (with(r, &conn, &dom, err) < 0)
        return -1;
    v->virDomainAbortJob(dom);
    bool paused = json_is_true(json_object_get(r->vm->cut, "paused"));
    int ret = 0;
    if (!paused && !is_running(v, dom) && v->virDomainResume(dom) < 0 &&
        !is_running(v, dom))
        ret = vt_error(err, "resume");
    v->virDomainFree(dom);
    v->virConnectClose(conn);
    return ret;
}

/* --- back ------------------------------------------------------------------------------ */

struct feed {
    const json_t *entry;
    const char *xml;
    int from, to, told;
    off_t stream;
};

/* In a child: 0, or the reason is written to f->told. */
static int feed_all(const struct feed *f, struct err *err)
{
    struct save_header h = {.version = SAVE_VERSION, .data_len = strlen(f->xml) + 1};
    memcpy(h.magic, magic, sizeof magic);
    if (fd_write_all(f->to, &h, sizeof h, NULL) < 0 ||
        fd_write_all(f->to, f->xml, h.data_len, NULL) < 0)
        return err_set(err, E_FAIL, " "); /* libvirt closed it: it says why */
    char *buf = malloc(SNAP_CHUNK);
    if (!buf)
        return err_oom(err);
    ssize_t n;
    for (size_t i = 0; (n = snap_read_chunk(f->entry, f->from, i, buf, err)) > 0; i++) {
        off_t at = (off_t)i * SNAP_CHUNK;
        size_t skip = at + n <= f->stream ? (size_t)n
                      : at < f->stream    ? (size_t)(f->stream - at)
                                          : 0;
        if (fd_write_all(f->to, buf + skip, n - skip, NULL) < 0)
            return err_set(err, E_FAIL, " ");
    }
    free(buf);
    return n < 0 ? -1 : 0;
}

static pid_t start_feed(const struct feed *f, struct err *err)
{
    pid_t pid = fork();
    if (pid < 0)
        err_sys(err, "fork");
    if (pid)
        return pid;
    struct err why = {0};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_IGN);
    if (feed_all(f, &why) < 0 && write(f->told, why.text, strlen(why.text)) < 0)
        _exit(2);
    _exit(*why.text ? 1 : 0);
}

static int check_entry(const struct snap *c, const json_t *entry, off_t *stream,
                       struct err *err)
{
    json_int_t at = 0, bytes = 0;
    json_unpack((json_t *)entry, "{s:I, s:I}", "stream_at", &at, "bytes", &bytes);
    if (at <= (json_int_t)sizeof(struct save_header) || at >= bytes)
        return err_set(err, E_INPUT,
                       "checkpoint '%s': the manifest's entry of file "
                       "'" FILE_NAME "' is wrong",
                       c->path);
    *stream = at;
    return 0;
}

static int check_version(const struct snap *c, const json_t *entry, virConnectPtr conn,
                         struct err *err)
{
    unsigned long here = 0;
    json_int_t made = json_integer_value(json_object_get(entry, "qemu"));
    if (vt_api(NULL)->virConnectGetVersion(conn, &here) < 0)
        return vt_error(err, "version");
    if (made > (json_int_t)here)
        return err_set(
            err, E_INPUT,
            "checkpoint '%s' was made by QEMU %lld.%lld, and here is %lu.%lu", c->path,
            made / 1000000, made / 1000 % 1000, here / 1000000, here / 1000 % 1000);
    return 0;
}

/* The machine's name, if it is one: it goes into our XML. */
const char *vt_domain_machine(const struct snap *c)
{
    const char *m = json_string_value(json_object_get(
        json_object_get(json_object_get(c->manifest, "files"), FILE_NAME), "machine"));
    return m && *m && strlen(m) < 40 &&
                   strspn(m, "abcdefghijklmnopqrstuvwxyz0123456789.-") == strlen(m)
               ? m
               : NULL;
}

static int load(struct vt_run *r, virConnectPtr conn, const struct feed *f, int pipe,
                int told, bool paused, struct err *err)
{
    const struct vt_api *v = vt_api(err);
    AUTO_STR path = str_printf("/proc/%d/fd/%d", (int)getpid(), pipe);
    pid_t pid = path ? start_feed(f, err) : -1;
    if (pid < 0)
        return path ? -1 : err_oom(err);
    close(f->to);
    close(f->told);
    int ret = v->virDomainRestoreFlags(conn, path, NULL,
                                       paused ? VIR_DOMAIN_SAVE_PAUSED
                                              : VIR_DOMAIN_SAVE_RUNNING) < 0
                  ? vt_error(err, "restore")
                  : 0;
    /* Nobody reads any more: a feeder that still writes gets EPIPE. */
    close(pipe);
    char why[257];
    ssize_t n = read(told, why, sizeof why - 1);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    why[n > 0 ? n : 0] = '\0';
    if (*why && strcmp(why, " "))
        ret = err_set(err, E_IO, "checkpoint '%s': %s", r->snap->path, why);
    else if (ret < 0)
        err_at(err, "checkpoint '%s'", r->snap->path);
    return ret;
}

/* A QEMU whose stream ends before it began waits for it for ever: what holds the
 * beginning is checked before one is started. */
static int check_beginning(const struct snap *c, const json_t *entry, int fd,
                           off_t stream, struct err *err)
{
    enum { BEGINNING = 64 };
    AUTO_STR buf = malloc(SNAP_CHUNK);
    if (!buf)
        return err_oom(err);
    for (size_t i = 0; (off_t)i * SNAP_CHUNK < stream + BEGINNING; i++)
        if (snap_read_chunk(entry, fd, i, buf, err) <= 0)
            return err->code ? err_at(err, "checkpoint '%s'", c->path)
                             : err_set(err, E_INPUT,
                                       "checkpoint '%s': file '" FILE_NAME
                                       "' has no machine in it",
                                       c->path);
    return 0;
}

virDomainPtr vt_domain_restore(struct vt_run *r, virConnectPtr conn, const char *xml,
                               bool paused, struct err *err)
{
    struct snap *c = r->snap;
    const json_t *entry =
        json_object_get(json_object_get(c->manifest, "files"), FILE_NAME);
    struct feed f = {.entry = entry, .xml = xml};
    char name[32];
    int data[2], told[2];
    vt_domain_name(r, name);
    if (check_entry(c, entry, &f.stream, err) < 0 ||
        check_version(c, entry, conn, err) < 0)
        return NULL;
    AUTO_FD from = snap_open_file(c, FILE_NAME, err);
    struct err why = {0};
    if (from < 0)
        return NULL;
    if (check_beginning(c, entry, from, f.stream, &why) < 0) {
        *err = why;
        return NULL;
    }
    if (pipe2(data, O_CLOEXEC) < 0 || pipe2(told, O_CLOEXEC) < 0) {
        err_sys(err, "pipe");
        return NULL;
    }
    fcntl(data[1], F_SETPIPE_SZ, PIPE_BYTES);
    f.from = from;
    f.to = data[1];
    f.told = told[1];
    int ret = load(r, conn, &f, data[0], told[0], paused, err);
    close(told[0]);
    virDomainPtr dom = vt_api(NULL)->virDomainLookupByName(conn, name);
    if (ret == 0 && !dom)
        vt_error(err, "restore");
    if (ret < 0 && dom) {
        /* Loaded whole, but not what the manifest says: never half a machine. */
        vt_api(NULL)->virDomainDestroy(dom);
        vt_api(NULL)->virDomainFree(dom);
        dom = NULL;
    }
    return dom;
}
