# shellcheck shell=sh
# Runs in the guest: packets flow on both processors while netfilter hooks, links
# and time stamping come and go. Each of those switches a static key of the
# kernel.

seconds=120
ip link set lo up
end=$(($(cut -d. -f1 /proc/uptime) + seconds))
running() { [ "$(cut -d. -f1 /proc/uptime)" -lt "$end" ]; }

mount -t tmpfs tmpfs /tmp
truncate -s 64M /tmp/zeros
httpd -p 5001 -h /tmp
for _ in 1 2; do
    (while running; do wget -q -O /dev/null http://127.0.0.1:5001/zeros; done) &
done

rounds=0
while running; do
    for family in ip ip6 inet; do
        printf 'table %s soak {\nchain i { type filter hook input priority 0; ct state established counter\n}\nchain n { type nat hook postrouting priority 100; tcp dport 9 masquerade\n}\n}\n' $family | nft -f - || exit 1
        nft delete table $family soak || exit 1
    done
    ip link add soak0 type veth 2>/dev/null && ip link set soak0 up && ip link del soak0
    # A time stamp option on a socket switches the key of all receive paths.
    ping -c 1 -A -W 1 127.0.0.1 >/dev/null
    rounds=$((rounds + 1))
done
echo "soak: $rounds rounds, $(sed -n 's/^ *lo: *\([0-9]*\).*/\1/p' /proc/net/dev) bytes through the loopback device"
[ "$rounds" -gt 5 ]
