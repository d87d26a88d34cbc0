# SPDX-License-Identifier: Apache-2.0
dist_noinst_SCRIPTS += bench/run bench/cli bench/controller bench/image bench/node bench/start
dist_noinst_SCRIPTS += bench/vmm/run bench/vmm/boot.py bench/vmm/boot.init bench/vmm/idle.py \
    bench/vmm/loads.py bench/vmm/loads.init
dist_noinst_SCRIPTS += bench/ckpt/run bench/ckpt/ckpt.py bench/ckpt/ckpt.init
noinst_PROGRAMS += bench/clone
bench_clone_SOURCES = bench/clone.c
bench_clone_LDADD = src/image/libimage.la
EXTRA_DIST += bench/vmm/machines.py bench/vmm/loads.c
