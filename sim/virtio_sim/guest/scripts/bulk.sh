# $1 bytes over TCP to the other end, and others back.
. /checks/common.sh
connect
sum() { sha256sum "$1" | cut -d " " -f 1; }
[ -p /tmp/open ] || mkfifo /tmp/open
exec 9<>/tmp/open
# What both ends have counted, and the connections: where something stands that should go on.
counted() {
	for line in "$(grep "$own" /proc/net/dev)" "$(there tail -n +3 /proc/net/dev | grep -v "lo:")" \
		"$(grep virtio /proc/interrupts)" "$(grep :2328 /proc/net/tcp)" "$(there grep :2328 /proc/net/tcp)"; do
		echo "$line" | tr -s ' \n' ' '
		echo "; "
	done | tr -d '\n'
}
# A listener whose input ends would close the connection.
for way in there back; do
	dd if=/dev/urandom of=/tmp/sent bs=65536 count=$(($1 / 65536)) 2>/dev/null
	if [ "$way" = there ]; then
		listener=there sender= to=$THERE
	else
		listener= sender=there to=$HERE
	fi
	$listener timeout 130 nc -l -p 9000 <&9 >/tmp/arrived &
	listening=$!
	sleep 0.5
	mark "$way begin"
	$sender timeout 120 nc "$to" 9000 </tmp/sent || fail "the sender $way ended with $?: $(counted)"
	wait $listening || fail "the listener $way ended with $?: $(counted)"
	mark "$way end"
	fact "$way" "$(sum /tmp/sent) $(sum /tmp/arrived) $(stat -c %s /tmp/arrived)"
done
