# Uses the device from every processor; how many interrupts each of its queues raised.
. /checks/common.sh
kind=$(kind)
for cpu in $(seq 0 $(($(nproc) - 1))); do
	case $kind in
	net) connect && taskset $((1 << cpu)) ping -q -c 5 -i 0.1 -W 20 "$THERE" >/dev/null ;;
	blk) taskset $((1 << cpu)) dd if=/dev/vda of=/dev/null bs=4096 count=8 iflag=direct 2>/dev/null ;;
	esac
done
case $kind in net) name=input ;; blk) name=req ;; esac
grep "$(virtio)-$name" /proc/interrupts | while read -r line; do
	fact "${line##*-}" "$(echo "$line" | awk '{ for (i = 2; $i ~ /^[0-9]+$/; i++) n += $i } END { print n + 0 }')"
done
