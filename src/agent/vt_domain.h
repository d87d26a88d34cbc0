/* SPDX-License-Identifier: Apache-2.0 */
/* Between vt_libvirt.c and vt_domain_snap.c: a domain's checkpoint. In workers only. */
#pragma once
#include "agent/snap.h"
#include "agent/vt_api.h"

const char *vt_domain_uri(const struct vt_run *r);
void vt_domain_name(const struct vt_run *r, char name[32]);

/* The verbs of QEMU's types. */
int vt_domain_checkpoint(struct vt_run *r, struct snap *c, struct err *err);
int vt_domain_recover(struct vt_run *r, struct err *err);
/* Start the domain of `xml` from r->snap; as virDomainCreateXML(). */
virDomainPtr vt_domain_restore(struct vt_run *r, virConnectPtr conn, const char *xml,
                               bool paused, struct err *err);
/* The machine type that it was saved with; NULL: none that could be one. */
const char *vt_domain_machine(const struct snap *c);
