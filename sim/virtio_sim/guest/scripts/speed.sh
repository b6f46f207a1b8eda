# Of the device's own disk or of its peer's ($1): random reads of 4 KiB at depths 1 and $3, then a sequential read, past
# all caches; $2 requests each, and $4.
. /checks/common.sh
case $1 in
own) disk=$(disk "$function") ;;
peer) disk=$(disk "$peer") ;;
esac
[ -b "$disk" ] || fail "there is no disk"
for depth in 1 "$3"; do
	mark "random$depth begin"
	fact "random$depth" "$(load "$disk" 4096 "$depth" "$2" 7)"
	mark "random$depth end"
done
mark "sequential begin"
fact sequential "$(load "$disk" 131072 4 "$4" 0)"
mark "sequential end"
