# $1 times: unload the driver's module while the device is being read, and load it again.
. /checks/common.sh
kind=$(kind)
module=virtio_$kind
for round in $(seq "$1"); do
	node=$(node "$kind")
	dd if="$node" of=/dev/null bs=4096 2>/dev/null &
	reader=$!
	sleep 0.2
	# A module whose device is open cannot be unloaded, so the device goes first.
	echo "$(virtio)" >"/sys/bus/virtio/drivers/$(driver)/unbind"
	kill $reader 2>/dev/null || true
	wait $reader 2>/dev/null || true
	tries=0
	until rmmod "$module" 2>/dev/null; do
		tries=$((tries + 1))
		[ $tries -gt 50 ] && fail "module $module cannot be unloaded in round $round"
		sleep 0.1
	done
	[ -e "/sys/module/$module" ] && fail "module $module is still there"
	insmod "/lib/$module.ko"
	await 'ready "$kind"'
	touch_device "$kind" || fail "the device cannot be read afterwards, in round $round"
done
