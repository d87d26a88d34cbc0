# SPDX-License-Identifier: Apache-2.0
# Sourced in L1 with --iommu. vfio_bind ADDRESS: hand a device over to vfio-pci and print its
# address; vfio_class CLASS: the same for the first one of a PCI class (0x020000: e1000e), vfio_nvme:
# for the emulated NVMe disk.
vfio_bind() {
    modprobe vfio-pci || return
    d=/sys/bus/pci/devices/$1
    echo vfio-pci >"$d/driver_override" || return
    [ ! -e "$d/driver" ] || echo "$1" >"$d/driver/unbind" || return
    echo "$1" >/sys/bus/pci/drivers_probe || return
    [ "$(basename "$(readlink "$d/driver")")" = vfio-pci ] || return
    echo "$1"
}

vfio_class() {
    for d in /sys/bus/pci/devices/*; do
        [ "$(cat "$d/class")" = "$1" ] && [ "$(cat "$d/vendor")" != 0x1af4 ] || continue
        vfio_bind "${d##*/}"
        return
    done
    echo "no PCI device of class $1" >&2
    return 1
}

vfio_nvme() {
    vfio_class 0x010802
}
