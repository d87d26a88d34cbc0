/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/parts.h"
int cgroup_make(struct vt_run *r, struct err *err)
{
    return 0;
}
int cgroup_clear(struct vt_run *r, struct err *err)
{
    return 0;
}
int cgroup_enter(struct vt_run *r, struct err *err)
{
    return 0;
}
int scratch_make(struct vt_run *r, struct err *err)
{
    return 0;
}
int scratch_clear(struct vt_run *r, struct err *err)
{
    return 0;
}
int net_make(struct vt_run *r, struct err *err)
{
    return 0;
}
int net_clear(struct vt_run *r, struct err *err)
{
    return 0;
}
int share_make(struct vt_run *r, struct err *err)
{
    return 0;
}
int share_clear(struct vt_run *r, struct err *err)
{
    return 0;
}
