/* SPDX-License-Identifier: Apache-2.0 */
/* Plans; see the header. */
#include "agent/plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/dirs.h"
#include "base/str.h"

char *plan_scratch_path(const struct vm *vm)
{
    return dirs_path(DIRS_STATE, "scratch/%s.raw", vm->id);
}

char *plan_disk_path(const struct vm *vm, const char *id)
{
    return dirs_path(DIRS_STATE, "scratch/%s-%s.raw", vm->id, id);
}

char *plan_tap_name(const struct vm *vm, size_t nic)
{
    return str_printf("lg%s.%zu", vm->id, nic);
}

static uint32_t hash(const char *s)
{
    uint32_t h = 2166136261u;
    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 16777619u;
    return h ^ h >> 15;
}

/* An isolated network is its owner's, or its job's: nobody else's has the same name. */
uint32_t plan_network(const struct vm *vm, const struct profile_nic *nic)
{
    AUTO_STR key = str_printf("%.*s/%u/%s/%s", VM_TAG_LEN, vm->id, (unsigned)vm->uid,
                              vm->job ? vm->job : "", nic->network ? nic->network : "");
    return key ? hash(key) : 0;
}

void plan_bridge(const struct vm *vm, size_t i, char bridge[16])
{
    const struct profile_nic *nic = &vm->profile->nics[i];
    bridge[0] = '\0';
    switch (nic->type) {
    case PROFILE_NIC_ISOLATED:
        snprintf(bridge, 16, "lgb%.*s%07x", VM_TAG_LEN, vm->id,
                 plan_network(vm, nic) & 0xfffffff);
        break;
    case PROFILE_NIC_TAP_NAT:
        snprintf(bridge, 16, "lgn0");
        break;
    case PROFILE_NIC_VLAN: /* the site makes the bridge of the VLAN */
        snprintf(bridge, 16, "br.%s", nic->option ? nic->option : "");
        break;
    case PROFILE_NIC_BRIDGED_TAP:
        snprintf(bridge, 16, "%s", nic->option ? nic->option : "br0");
        break;
    default:
        break;
    }
}

/* A locally administered one that follows from the VM's id. */
void plan_mac(const struct vm *vm, size_t nic, char mac[18])
{
    const struct profile *p = vm->profile;
    if (nic < p->nic_count && p->nics[nic].mac) {
        snprintf(mac, 18, "%s", p->nics[nic].mac);
        return;
    }
    unsigned long id = strtoul(vm->id, NULL, 16);
    snprintf(mac, 18, "52:%02lx:%02lx:%02lx:%02lx:%02zx", id >> 24 & 255,
             id >> 16 & 255, id >> 8 & 255, id & 255, nic & 255);
}

void plan_free(struct plan *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->ndisks; i++) {
        free(p->disks[i].path);
        free(p->disks[i].serial);
    }
    for (size_t i = 0; i < p->nnics; i++)
        free(p->nics[i].tap);
    for (size_t i = 0; i < p->nshares; i++) {
        free(p->shares[i].tag);
        free(p->shares[i].source);
        free(p->shares[i].target);
        free(p->shares[i].socket);
    }
    free(p->disks);
    free(p->nics);
    free(p->shares);
    free(p->dir);
    free(p->kernel);
    free(p->initrd);
    free(p->cmdline);
    free(p->guest_socket);
    free(p->console_socket);
    free(p->root_dir);
    free(p);
}

static bool add_disk(struct plan *p, char *path, const char *format, const char *serial,
                     struct plan_disk how)
{
    how.path = path;
    how.format = format;
    how.serial = strdup(serial);
    p->disks[p->ndisks++] = how;
    return path && how.serial;
}

static bool wants_scratch(const struct profile *p, const struct image *image)
{
    return p->scratch_bytes ||
           (image && image->root_mode && !strcmp(image->root_mode, "scratch"));
}

static int make_disks(struct plan *p, const struct image *image, struct err *err)
{
    const struct profile *f = p->profile;
    p->disks = calloc(f->disk_count + 3, sizeof *p->disks);
    bool ok = p->disks != NULL;
    if (ok && image && image->root && strcmp(image->root_format, "none")) {
        bool qcow2 = !strcmp(image->root_format, "qcow2");
        ok = add_disk(p, strdup(image->root), qcow2 ? "qcow2" : "raw", "lodge-root",
                      (struct plan_disk){.readonly = image->kind != IMAGE_DISK});
    }
    if (ok && wants_scratch(f, image))
        ok = add_disk(p, plan_scratch_path(p->vm), "raw", "lodge-scratch",
                      (struct plan_disk){0});
    for (size_t i = 0; ok && i < f->disk_count; i++) {
        const struct profile_disk *d = &f->disks[i];
        ok = add_disk(p, d->path ? strdup(d->path) : plan_disk_path(p->vm, d->id),
                      profile_disk_format_names[d->format], d->id,
                      (struct plan_disk){.readonly = d->readonly, .shared = d->shared});
    }
    if (ok && f->cdrom)
        ok = add_disk(p, strdup(f->cdrom), "raw", "cdrom",
                      (struct plan_disk){.readonly = true, .cdrom = true});
    return ok ? 0 : err_oom(err);
}

static int make_nics(struct plan *p, struct err *err)
{
    const struct profile *f = p->profile;
    p->nics = calloc(f->nic_count + 1, sizeof *p->nics);
    if (!p->nics)
        return err_oom(err);
    for (size_t i = 0; i < f->nic_count; i++) {
        struct plan_nic *n = &p->nics[p->nnics];
        if (f->nics[i].type == PROFILE_NIC_NONE)
            continue;
        n->type = f->nics[i].type;
        n->queues = f->nics[i].queues;
        plan_mac(p->vm, i, n->mac);
        p->nnics++;
        plan_bridge(p->vm, i, n->bridge);
        if (n->type != PROFILE_NIC_USER && f->type != PROFILE_LXC &&
            !(n->tap = plan_tap_name(p->vm, i)))
            return err_oom(err);
    }
    return 0;
}

static int make_shares(struct plan *p, struct err *err)
{
    const struct profile *f = p->profile;
    p->shares = calloc(f->share_count + 1, sizeof *p->shares);
    if (!p->shares)
        return err_oom(err);
    for (size_t i = 0; i < f->share_count; i++) {
        struct plan_share *s = &p->shares[p->nshares++];
        s->tag = strdup(f->shares[i].tag);
        s->source = strdup(f->shares[i].source);
        s->target = strdup(f->shares[i].target);
        s->readonly = f->shares[i].readonly;
        s->socket = str_printf("%s/own/fs%zu.sock", p->dir, i);
        if (!s->tag || !s->source || !s->target || !s->socket)
            return err_oom(err);
    }
    return 0;
}

/* The image's words, the profile's, and where kernel messages go. */
static int make_boot(struct plan *p, const struct image *image, struct err *err)
{
    const struct profile *f = p->profile;
    const char *kernel = f->kernel ? f->kernel : image ? image->kernel : NULL;
    const char *initrd = f->initrd ? f->initrd : image ? image->initrd : NULL;
    if (!kernel)
        return 0;
    AUTO_BUF b = {0};
    /* An image's words are complete; without one, say what we count on. */
    str_buf_puts(&b, image && image->append ? image->append : "console=ttyS0 panic=-1");
    /* Emulated, a busy host makes the kernel's trial of its timer fail. */
    if (f->type == PROFILE_QEMU)
        str_buf_puts(&b, " no_timer_check");
    if (wants_scratch(f, image))
        str_buf_puts(&b, " lodge.mode=scratch");
    if (f->init)
        str_buf_printf(&b, " lodge.init=%s", f->init);
    if (f->append)
        str_buf_printf(&b, " %s", f->append);
    p->kernel = strdup(kernel);
    p->initrd = initrd ? strdup(initrd) : NULL;
    p->cmdline = str_buf_take(&b);
    return p->kernel && p->cmdline && (!initrd || p->initrd) ? 0 : err_oom(err);
}

int plan_make(const struct vm *vm, const struct image *image, const char *dir,
              struct plan **out, struct err *err)
{
    AUTO(plan) p = calloc(1, sizeof *p);
    if (!p)
        return err_oom(err);
    p->vm = vm;
    p->profile = vm->profile;
    p->dir = strdup(dir);
    p->guest_socket = str_printf("%s/guest.sock", dir);
    p->console_socket = str_printf("%s/console.sock", dir);
    p->root_dir = str_printf("%s/root", dir);
    if (!p->dir || !p->guest_socket || !p->console_socket || !p->root_dir)
        return err_oom(err);
    if (make_disks(p, image, err) < 0 || make_nics(p, err) < 0 ||
        make_shares(p, err) < 0 || make_boot(p, image, err) < 0)
        return -1;
    *out = move(p);
    return 0;
}
