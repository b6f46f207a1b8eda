# Random reads of 4 KiB at depths 1 and $2, then a sequential read, past all caches; $1 requests each.
. /checks/common.sh
ready blk || fail "there is no disk"
for depth in 1 "$2"; do
	mark "random$depth begin"
	fact "random$depth" "$(load /dev/vda 4096 "$depth" "$1" 7)"
	mark "random$depth end"
done
mark "sequential begin"
fact sequential "$(load /dev/vda 131072 4 "$3" 0)"
mark "sequential end"
