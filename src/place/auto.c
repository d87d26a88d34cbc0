/* SPDX-License-Identifier: Apache-2.0 */
/* Type auto; see the header. Called by the agent at deploy and by `lodge explain`. */
#include "place/auto.h"

#include <stdio.h>
#include <string.h>

#include "base/own.h"
#include "base/str.h"
#include "profile/types.h"

/* NULL: the type will do; else why it will not. */
static const char *hpc_no(const struct place_facts *f)
{
    if (!f->kvm)
        return f->no_kvm;
    if (!f->vmm)
        return "lodge-vmm is not installed";
    return NULL;
}

static const char *kvm_no(const struct place_facts *f)
{
    return !f->kvm ? f->no_kvm : f->qemu ? NULL : f->no_qemu;
}

static const char *qemu_no(const struct place_facts *f)
{
    return f->qemu ? NULL : f->no_qemu;
}

/* Best first. Containers and paravirtual machines are never a surprise: who wants them
 * says so. */
static const struct {
    enum profile_type type;
    const char *(*no)(const struct place_facts *);
} ranking[] = {
    {PROFILE_HPC, hpc_no},
    {PROFILE_KVM, kvm_no},
    {PROFILE_QEMU, qemu_no},
};

int place_auto(const struct place_facts *f, const struct profile *p,
               enum profile_type *out, char *reason, size_t size, struct err *err)
{
    AUTO_BUF b = {0};
    for (size_t i = 0; i < ARRAY_SIZE(ranking); i++) {
        const char *name = profile_type_names[ranking[i].type];
        const char *no = ranking[i].no(f);
        enum profile_cap missing;
        if (!no && !profile_type_fits(ranking[i].type, p, &missing)) {
            str_buf_printf(&b, "%snot %s: it cannot %s", b.len ? "; " : "", name,
                           profile_cap_texts[missing]);
            continue;
        }
        if (no) {
            str_buf_printf(&b, "%snot %s: %s", b.len ? "; " : "", name, no);
            continue;
        }
        snprintf(reason, size, "%s%s%s", name, b.len ? "; " : "", b.len ? b.data : "");
        *out = ranking[i].type;
        return 0;
    }
    return err_set(err, E_UNAVAIL, "no type of machine can run here: %s",
                   b.data ? b.data : "");
}
