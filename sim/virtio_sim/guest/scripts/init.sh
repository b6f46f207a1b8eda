#!/bin/sh
# First program of the initramfs: drivers, then either the agent here or the root file system on the disk.
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
cmdline=" $(cat /proc/cmdline) "
for module in $(cat /lib/order); do
	options=
	case "$module$cmdline" in virtio_pci*" virtio_pci.force_legacy=1 "*) options=force_legacy=1 ;; esac
	insmod "/lib/$module.ko" $options || echo "insmod $module failed" >/dev/console
done
case "$cmdline" in
*" guest.root=1 "*)
	tries=0
	until [ -b /dev/vda ]; do
		tries=$((tries + 1))
		[ $tries -gt 600 ] && echo "Unable to mount root: there is no /dev/vda" >/dev/console && poweroff -f
		sleep 0.1
	done
	mount -t ext4 -o ro /dev/vda /mnt || { echo "Unable to mount root" >/dev/console; poweroff -f; }
	for part in proc sys dev; do mount --move "/$part" "/mnt/$part"; done
	exec switch_root /mnt /checks/agent.sh root
	;;
esac
exec /checks/agent.sh initramfs
