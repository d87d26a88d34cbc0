/* SPDX-License-Identifier: Apache-2.0 */
/* libvirt, loaded when a worker first needs it: the agent itself stays small, never
 * calls into it, and runs where it is not installed. */
#pragma once
#include "base/err.h"

#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

#define VT_API(X)                                                                      \
    X(virConnectOpen)                                                                  \
    X(virConnectClose)                                                                 \
    X(virDomainCreateXML)                                                              \
    X(virDomainLookupByName)                                                           \
    X(virDomainFree)                                                                   \
    X(virDomainDestroy)                                                                \
    X(virDomainSuspend)                                                                \
    X(virDomainResume)                                                                 \
    X(virDomainShutdown)                                                               \
    X(virDomainGetID)                                                                  \
    X(virDomainGetInfo)                                                                \
    X(virDomainGetName)                                                                \
    X(virDomainGetXMLDesc)                                                             \
    X(virConnectGetVersion)                                                            \
    X(virDomainAbortJob)                                                               \
    X(virDomainRestoreFlags)                                                           \
    X(virDomainSnapshotCreateXML)                                                      \
    X(virDomainSnapshotFree)                                                           \
    X(virConnectListAllDomains)                                                        \
    X(virGetLastError)                                                                 \
    X(virSetErrorFunc)

struct vt_api {
#define X(fn) __typeof__(&fn) fn;
    VT_API(X)
#undef X
};
/* The functions; NULL when libvirt is not installed. */
const struct vt_api *vt_api(struct err *err);
/* Connect as the agent's user does; where nobody else does it (no systemd), start
 * libvirtd first. NULL on failure. */
virConnectPtr vt_connect(const char *uri, struct err *err);
/* libvirt's last error as ours. */
int vt_error(struct err *err, const char *what);
/* Join the mount namespace of the system's libvirtd, so that it sees what we mount.
 * Before vt_connect(): a process with threads may not. */
int vt_join_daemon(struct err *err);
