/* SPDX-License-Identifier: Apache-2.0 */
/* What the agent must know of its node and of tickets before a deploy. */
#include "agent/agent.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/dirs.h"
#include "base/str.h"
#include "config.h"
#include "profile/profile.h"
#include "proto/ticket.h"

const struct place_facts *agent_facts(struct agent *a)
{
    static const struct place_facts none = {0};
    AUTO_STR vmm = dirs_path(DIRS_LIBEXEC, "lodge-vmm");
    a->facts = none;
    a->facts.kvm = access("/dev/kvm", R_OK | W_OK) == 0;
    a->facts.no_kvm = "/dev/kvm cannot be opened";
    a->facts.vmm = vmm && access(vmm, X_OK) == 0;
#ifdef WITH_LIBVIRT
    a->facts.qemu = access("/usr/bin/qemu-system-x86_64", X_OK) == 0;
    a->facts.no_qemu = "QEMU is not installed";
#else
    a->facts.no_qemu = "built without libvirt";
#endif
    return &a->facts;
}

int agent_ticket(struct agent *a, const char *text, uid_t uid, const char *job,
                 struct profile **out, struct err *err)
{
    AUTO_STR keys_dir = dirs_path(DIRS_CONFIG, "keys");
    AUTO_STR claims = dirs_path(DIRS_STATE, "tickets");
    AUTO(ticket_keys) keys = NULL;
    AUTO(ticket) t = NULL;
    if (!keys_dir || !claims)
        return err_oom(err);
    if (ticket_keys_load(keys_dir, &keys, err) < 0 ||
        ticket_open(text, keys, time(NULL), uid, job, &t, err) < 0)
        return -1;
    if (job && ticket_claim(claims, t, job, time(NULL), err) < 0)
        return -1;
    json_t *profile = json_object_get(t->grant, "profile");
    if (!profile)
        return err_set(err, E_INPUT, "the ticket grants no profile");
    return profile_from_json(profile, out, err);
}
