/* SPDX-License-Identifier: Apache-2.0 */
/* What the agent must know of its node before a deploy of type auto. */
#include "agent/agent.h"

#include <string.h>
#include <unistd.h>

#include "base/dirs.h"
#include "base/str.h"
#include "config.h"
#include "node/node.h"

enum { KVM_MS = 1000 };

const struct place_facts *agent_facts(struct agent *a)
{
    struct place_facts *f = &a->facts;
    AUTO_STR vmm = dirs_path(DIRS_LIBEXEC, "lodge-vmm");
    /* A tiny guest says whether /dev/kvm is any good; that does not change. */
    if (!a->facts_known) {
        AUTO(node_facts) node = NULL;
        if (node_facts_probe_some(1u << NODE_PROBE_KVM, KVM_MS, &node, NULL) == 0) {
            f->kvm = node_can_kvm(node);
            f->no_kvm = !node->kvm.present  ? "there is no /dev/kvm"
                        : !node->kvm.usable ? "/dev/kvm cannot be opened"
                                            : "this /dev/kvm cannot run Linux";
            a->facts_known = true;
        } else {
            f->no_kvm = "/dev/kvm did not answer";
        }
    }
    f->vmm = vmm && access(vmm, X_OK) == 0;
#ifdef WITH_LIBVIRT
    f->qemu = access("/usr/bin/qemu-system-x86_64", X_OK) == 0;
    f->no_qemu = "QEMU is not installed";
#else
    f->no_qemu = "built without libvirt";
#endif
    return f;
}
