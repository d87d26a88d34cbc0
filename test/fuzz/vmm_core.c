/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm_core.h"

#include <stdarg.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

int __real_ioctl(int fd, unsigned long request, void *arg);
int __wrap_ioctl(int fd, unsigned long request, ...);

/* KVM, which is not there, agrees to everything. */
int __wrap_ioctl(int fd, unsigned long request, ...)
{
    va_list ap;
    va_start(ap, request);
    void *arg = va_arg(ap, void *);
    va_end(ap);
    return fd < 0 ? 0 : __real_ioctl(fd, request, arg);
}

struct vm *core_vm(uint64_t size)
{
    static struct vm vm;
    static struct config config;
    static struct io_thread io;
    if (vm.config)
        return &vm;
    void *ram = mmap(NULL, size, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (ram == MAP_FAILED)
        abort();
    config.memory.size = size;
    config.memory.page = 4 * KIB;
    config.vcpus = 1;
    vm.config = &config;
    vm.kvm = vm.fd = vm.stats_fd = vm.memfd = vm.pagemap = -1;
    vm.end_fd = vm.parked_fd = -1;
    vm.memory[0] =
        (struct vm_memory){.size = size, .hva = ram, .fd = -1, .ram = true, .node = 0};
    vm.nmemory = 1;
    io.vm = &vm;
    io.epoll = io.wake = -1;
    vm.io = &io;
    vm.nio = 1;
    pthread_mutex_init(&vm.fail_lock, NULL);
    pthread_mutex_init(&vm.route_lock, NULL);
    pthread_mutex_init(&vm.ioapic.lock, NULL);
    pthread_mutex_init(&io.lock, NULL);
    return &vm;
}

void core_clear(struct vm *vm)
{
    if (madvise(vm->memory[0].hva, vm->memory[0].size, MADV_DONTNEED) < 0)
        abort();
}
