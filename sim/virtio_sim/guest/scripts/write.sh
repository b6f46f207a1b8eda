# Write $1 blocks of 4 KiB from offset $2 on, backwards, straight onto the disk; then read them with empty caches.
. /checks/common.sh
dd if=/dev/urandom of=/tmp/blocks bs=4096 count="$1" 2>/dev/null
block=$1
while [ "$block" -gt 0 ]; do
	block=$((block - 1))
	dd if=/tmp/blocks of=/dev/vda bs=4096 count=1 skip=$block seek=$(($2 + block)) oflag=direct conv=notrunc 2>/dev/null
done
# Only this flushes the disk: sync does not, with nothing in the page cache.
dd if=/tmp/blocks of=/dev/vda bs=4096 count=1 seek="$2" conv=notrunc,fsync 2>/dev/null
echo 3 >/proc/sys/vm/drop_caches
dd if=/dev/vda of=/tmp/back bs=4096 skip="$2" count="$1" 2>/dev/null
cmp /tmp/blocks /tmp/back || fail "what was written does not come back"
fact sha256 "$(sha256sum </tmp/blocks | cut -d' ' -f1)"
rm /tmp/blocks /tmp/back
