/* SPDX-License-Identifier: Apache-2.0 */
/* The sweep; see the header. What is looked at is named by the id alone, so no record
 * of it is needed. */
#include "agent/reclaim.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/link.h"
#include "agent/parts.h"
#include "agent/stage.h"
#include "agent/vt.h"
#include "agent/work.h"
#include "base/dirs.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "config.h"
#include "profile/profile.h"

enum { IDS_MAX = 4096, SWEEP_MS = 120000 };

struct sweep {
    struct agent *agent;
    char ids[IDS_MAX][VM_ID_LEN + 1];
    size_t n;
};

/* `at` begins with an id of ours that has no row: note it. */
static void note(struct sweep *s, const char *at)
{
    char id[VM_ID_LEN + 1] = {0};
    struct vm *vm;
    if (strspn(at, "0123456789abcdef") < VM_ID_LEN ||
        strncmp(at, s->agent->tag, VM_TAG_LEN))
        return;
    memcpy(id, at, VM_ID_LEN);
    list_each (vm, &s->agent->vms, in)
        if (!strcmp(vm->id, id))
            return;
    for (size_t i = 0; i < s->n; i++)
        if (!strcmp(s->ids[i], id))
            return;
    if (s->n < IDS_MAX)
        memcpy(s->ids[s->n++], id, sizeof id);
}

static void look_in(struct sweep *s, const char *dir, const char *prefix)
{
    DIR *d = dir ? opendir(dir) : NULL;
    for (struct dirent *e; d && (e = readdir(d));)
        if (str_starts(e->d_name, prefix))
            note(s, e->d_name + strlen(prefix));
    if (d)
        closedir(d);
}

/* The id in a process's environment or, for libvirt's, in its arguments. */
static const char *id_of(const char *text, size_t len)
{
    static const char *const marks[] = {"LODGE_VM=", "guest=lodge-", "lodge-"};
    for (const char *p = text; p < text + len; p += strlen(p) + 1)
        for (size_t i = 0; i < ARRAY_SIZE(marks); i++)
            if (str_starts(p, marks[i]))
                return p + strlen(marks[i]);
    return NULL;
}

static char *slurp(const char *pid, const char *what, size_t *len)
{
    char path[64];
    char *text = NULL;
    snprintf(path, sizeof path, "/proc/%.20s/%s", pid, what);
    return fd_read_file(path, 1 << 20, &text, len, NULL) < 0 ? NULL : text;
}

static void look_at_processes(struct sweep *s)
{
    DIR *d = opendir("/proc");
    for (struct dirent *e; d && (e = readdir(d));) {
        size_t elen, clen;
        if (!isdigit((unsigned char)*e->d_name))
            continue;
        AUTO_STR env = slurp(e->d_name, "environ", &elen);
        AUTO_STR line = slurp(e->d_name, "cmdline", &clen);
        const char *id = env ? id_of(env, elen) : NULL;
        if (!id && line && (strstr(line, "qemu") || strstr(line, "libvirt_lxc")))
            id = id_of(line, clen);
        if (id)
            note(s, id);
    }
    if (d)
        closedir(d);
}

static void look(struct sweep *s)
{
    AUTO_STR run = dirs_path(DIRS_RUN, "vms");
    AUTO_STR scratch = dirs_path(DIRS_STATE, "scratch");
    look_in(s, run, "");
    look_in(s, scratch, "");
    look_in(s, "/sys/class/net", "lg");
    look_in(s, "/sys/fs/cgroup/lodge", "");
    look_in(s, "/sys/fs/cgroup/memory/lodge", "");
    look_in(s, "/sys/fs/cgroup/cpu/lodge", "");
    look_in(s, "/sys/fs/cgroup/cpuacct/lodge", "");
    look_at_processes(s);
}

/* --- taking back, in a worker --------------------------------------------------------- */

static void kill_marked(const char *id, bool *libvirt, bool *container)
{
    AUTO_STR mark = str_printf("LODGE_VM=%s", id);
    AUTO_STR guest = str_printf("guest=lodge-%s", id);
    AUTO_STR name = str_printf("lodge-%s", id);
    DIR *d = opendir("/proc");
    for (struct dirent *e; d && mark && guest && name && (e = readdir(d));) {
        size_t len;
        if (!isdigit((unsigned char)*e->d_name))
            continue;
        AUTO_STR env = slurp(e->d_name, "environ", &len);
        for (char *p = env; env && p < env + len; p += strlen(p) + 1)
            if (!strcmp(p, mark))
                kill(atoll(e->d_name), SIGKILL);
        AUTO_STR line = slurp(e->d_name, "cmdline", &len);
        for (char *p = line; line && p < line + len; p += strlen(p) + 1) {
            *libvirt |= str_starts(p, guest);
            *container |= !strcmp(p, name) && strstr(line, "libvirt_lxc");
        }
    }
    if (d)
        closedir(d);
}

static void drop_links(const char *id)
{
    AUTO_STR prefix = str_printf("lg%s", id);
    DIR *d = opendir("/sys/class/net");
    for (struct dirent *e; d && prefix && (e = readdir(d));)
        if (str_starts(e->d_name, prefix))
            link_delete(e->d_name, NULL);
    if (d)
        closedir(d);
}

static int take_back(struct agent *a, const char *id, struct err *err)
{
    struct vm vm = {.agent = a, .profile = profile_new(), .name = (char *)id};
    struct vt_run r = {.vm = &vm, .profile = vm.profile, .vt = json_object()};
    bool libvirt = false, container = false;
    memcpy(vm.id, id, VM_ID_LEN);
    vm.vt = r.vt;
    r.dir = vm_path(&vm, NULL);
    int ret = r.dir && r.vt && vm.profile ? 0 : err_oom(err);
    if (ret == 0)
        kill_marked(id, &libvirt, &container);
#ifdef WITH_LIBVIRT
    if (ret == 0 && (libvirt || container)) {
        r.ops = container ? &vt_lxc : &vt_qemu;
        vm.profile->type = container ? PROFILE_LXC : PROFILE_QEMU;
        if (r.dir && fd_mkdirs(r.dir, 0711, err) < 0)
            ret = -1;
        else
            ret = r.ops->destroy(&r, err);
    }
#endif
    drop_links(id);
    if (ret == 0)
        ret = stage_clear(&r, err);
    profile_free(vm.profile);
    json_decref(r.vt);
    free(r.dir);
    return ret;
}

static int sweep_work(void *arg, work_tell_f tell, json_t **out, struct err *err)
{
    struct sweep *s = arg;
    int ret = 0;
    for (size_t i = 0; i < s->n; i++) {
        struct err why = {0};
        int r = take_back(s->agent, s->ids[i], &why);
        tell(json_pack("{s:s, s:s*}", "id", s->ids[i], "why", r < 0 ? why.text : NULL));
        if (r < 0)
            ret = err_set(err, why.code, "%s: %s", s->ids[i], why.text);
    }
    net_sweep(s->agent, true);
    return ret;
}

static void on_note(void *arg, json_t *told)
{
    const char *why = json_string_value(json_object_get(told, "why"));
    log_warn(NULL, "swept what was left of VM %s%s%s",
             json_string_value(json_object_get(told, "id")), why ? ": " : "",
             why ? why : "");
}

static void on_done(void *arg, json_t *result, const struct err *why)
{
    free(arg);
}

void reclaim_start(struct agent *a)
{
    struct sweep *s = calloc(1, sizeof *s);
    if (!s)
        return;
    s->agent = a;
    look(s);
    cgroup_sweep();
    struct work_spec spec = {.event = a->event,
                             .what = "the sweep",
                             .run = sweep_work,
                             .note = on_note,
                             .done = on_done,
                             .arg = s,
                             .done_arg = s,
                             .timeout_ms = SWEEP_MS};
    struct work *w;
    if ((!s->n && !net_sweep(a, false)) || work_start(&spec, &w, NULL) < 0)
        free(s);
}

static void print(json_t *told)
{
    const char *why = json_string_value(json_object_get(told, "why"));
    printf("%s%s%s\n", json_string_value(json_object_get(told, "id")), why ? ": " : "",
           why ? why : "");
    json_decref(told);
}

int reclaim_print(struct agent *a, struct err *err)
{
    struct sweep *s = calloc(1, sizeof *s);
    if (!s)
        return err_oom(err);
    s->agent = a;
    int r = agent_read(a, err);
    if (r == 0) {
        look(s);
        cgroup_sweep();
        r = sweep_work(s, print, NULL, err);
    }
    free(s);
    return r;
}
