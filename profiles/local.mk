# SPDX-License-Identifier: Apache-2.0
# Ready profiles and clusters; a file has the name of what it describes.
profilesdir = $(pkgdatadir)/profiles
dist_profiles_DATA = \
    profiles/beowulf.xml profiles/debian-fake.xml profiles/debian-fast.xml \
    profiles/debian-hpc.xml profiles/debian-kvm.xml profiles/debian-lxc.xml \
    profiles/debian-qemu.xml profiles/debian-xen.xml profiles/debian-xenhvm.xml \
    profiles/hpc-big.xml profiles/mpi-guest.xml profiles/pair.xml profiles/tiny.xml profiles/v3m-classic.xml
