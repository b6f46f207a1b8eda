# Pings of one frame, of the longest frame, of many fragments, and from the other end.
. /checks/common.sh
connect
count() { awk '/packets transmitted/ { print $1, $4 }'; }
fact small "$(ping -q -c 20 -i 0.05 -W 20 "$THERE" | count)"
fact full "$(ping -q -c 10 -i 0.05 -W 20 -s 1472 "$THERE" | count)"
fact fragments "$(ping -q -c 5 -i 0.1 -W 20 -s 20000 "$THERE" | count)"
fact back "$(there ping -q -c 10 -i 0.05 -W 20 "$HERE" | count)"
