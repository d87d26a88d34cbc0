/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/sandbox.h"
#include "vmm/vm.h"
int sandbox_enter(const struct config *c, struct err *err)
{
    return 0;
}
int sandbox_close(struct vm *vm, struct err *err)
{
    return 0;
}
int sandbox_filters(struct vm *vm, struct err *err)
{
    return 0;
}
int sandbox_thread(const struct vm *vm, enum sandbox_kind kind)
{
    return 0;
}
