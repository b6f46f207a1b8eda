# $1 times: take the function from its driver while $2 readers are at work, and give it back.
. /checks/common.sh
kind=$(kind)
for round in $(seq "$1"); do
	node=$(node "$kind")
	readers=
	for _ in $(seq "$2"); do
		case $kind in
		rng) cat "$node" >/dev/null 2>&1 & ;;
		blk) load "$node" 4096 16 1000000 7 >/dev/null 2>&1 & ;;
		esac
		readers="$readers $!"
	done
	before=$(interrupts)
	await '[ "$(interrupts)" -gt "$before" ]'
	echo "$address" >/sys/bus/pci/drivers/virtio-pci/unbind
	for reader in $readers; do
		kill "$reader" 2>/dev/null || true
		wait "$reader" 2>/dev/null || true
	done
	echo "$address" >/sys/bus/pci/drivers/virtio-pci/bind
	await 'ready "$kind"'
	touch_device "$kind" || fail "the device cannot be read afterwards, in round $round"
done
