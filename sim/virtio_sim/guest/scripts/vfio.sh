#!/bin/sh
# The kit itself, on the device through the guest's own VFIO; what it is to run are the arguments.
. /checks/common.sh
[ -e "$function/iommu_group" ] || fail "the kernel has put the device into no IOMMU group"
echo vfio-pci >"$function/driver_override"
[ ! -e "$function/driver" ] || echo "$address" >"$function/driver/unbind"
echo "$address" >/sys/bus/pci/drivers_probe
[ "$(basename "$(readlink "$function/driver")")" = vfio-pci ] || fail "vfio-pci does not take the device"
echo 2 >/proc/sys/vm/nr_hugepages # each of them is one map of the IOMMU's
cd /tmp
status=0
/usr/bin/python3 -m virtio_sim.conformance.card "$address" --report /tmp/report.json "$@" 2>&1 || status=$?
fact status "$status"
[ ! -e /tmp/report.json ] || gzip </tmp/report.json | send report
