# $1 bytes over TCP to the other end, and others back.
. /checks/common.sh
connect
sum() { sha256sum "$1" | cut -d " " -f 1; }
[ -p /tmp/open ] || mkfifo /tmp/open
exec 9<>/tmp/open
# A listener whose input ends would close the connection.
for way in there back; do
	dd if=/dev/urandom of=/tmp/sent bs=65536 count=$(($1 / 65536)) 2>/dev/null
	if [ "$way" = there ]; then
		there nc -l -p 9000 <&9 >/tmp/arrived &
		listener=$!
		sleep 0.5
		mark "$way begin"
		nc "$THERE" 9000 </tmp/sent || fail "no connection there"
	else
		nc -l -p 9000 <&9 >/tmp/arrived &
		listener=$!
		sleep 0.5
		mark "$way begin"
		there nc "$HERE" 9000 </tmp/sent || fail "no connection back"
	fi
	wait $listener
	mark "$way end"
	fact "$way" "$(sum /tmp/sent) $(sum /tmp/arrived) $(stat -c %s /tmp/arrived)"
done
