# Leave two writers at work on the root file system; what ends the guest finds requests in flight.
. /checks/common.sh
# In the guest's own root file system.
mkdir -p /work/busy
for number in 1 2; do
	while :; do
		dd if=/bin/busybox of="/work/busy/$number" bs=4096 count=200 conv=fsync 2>/dev/null
	done >/dev/null 2>&1 &
done
before=$(interrupts)
await '[ "$(interrupts)" -gt $((before + 20)) ]'
