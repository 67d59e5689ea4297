# shellcheck shell=sh
# Runs in the guest: does the kernel have what containers need? Each check uses
# the feature instead of looking for its name.

fails=0
check() {
    name=$1
    shift
    if out=$("$@" 2>&1); then echo "ok    $name"; else
        echo "FAIL  $name: $out"
        fails=$((fails + 1))
    fi
}
# Applies one nftables program in the throw-away table.
rules() { printf '%s\n' "$1" | nft -f -; }

mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /mnt
mkdir -p /mnt/up /mnt/work /mnt/merged /mnt/x

check "cgroup v2" mount -t cgroup2 cgroup2 /sys/fs/cgroup
for c in cpuset cpu io memory hugetlb pids; do
    check "cgroup controller $c" grep -qw "$c" /sys/fs/cgroup/cgroup.controllers
done
check "overlayfs" mount -t overlay -o lowerdir=/etc,upperdir=/mnt/up,workdir=/mnt/work overlay /mnt/merged
for fs in devpts mqueue binfmt_misc ramfs bpf; do check "file system $fs" mount -t "$fs" "$fs" /mnt/x; done
for fs in ext4 squashfs erofs fuse virtiofs 9p; do check "file system $fs" grep -qw "$fs" /proc/filesystems; done
check "loop device" sh -c 'losetup -f'
for ns in cgroup ipc mnt net pid time user uts; do check "namespace $ns" test -e "/proc/self/ns/$ns"; done
check "seccomp filter" grep -q '^Seccomp:' /proc/self/status
check "pressure figures" cat /proc/pressure/memory
check "keys" cat /proc/keys
check "configuration in /proc" test -e /proc/config.gz
check "no jump labels" sh -c '! zcat /proc/config.gz | grep -q "^CONFIG_JUMP_LABEL=y"'
check "IPv6" test -e /proc/net/if_inet6
check "bridge netfilter" test -e /proc/sys/net/bridge/bridge-nf-call-iptables
check "ip_nonlocal_bind" test -e /proc/sys/net/ipv4/ip_nonlocal_bind
check "random generator" dd if=/dev/hwrng of=/dev/null bs=16 count=1
# shellcheck disable=SC2016
check "clock set from the machine's" sh -c '[ "$(date +%s)" -gt 1577836800 ]'

for l in "name br9 type bridge" "name ve9 type veth" "name du9 type dummy" "name vx9 type vxlan id 9 dstport 4789"; do
    # shellcheck disable=SC2086
    check "link ${l##* type }" ip link add $l
done
ip link set du9 up
check "link macvlan" ip link add link du9 name mv9 type macvlan
check "link vlan" ip link add link du9 name vl9 type vlan id 9
check "tun" sh -c 'mkdir -p /dev/net; [ -c /dev/net/tun ]'

for family in ip ip6 inet bridge netdev; do check "nftables family $family" rules "table $family t {}"; done
for family in ip ip6; do
    check "nft nat, masquerade, redirect ($family)" rules "table $family nat {
        chain post { type nat hook postrouting priority 100; oifname \"du9\" masquerade; }
        chain pre { type nat hook prerouting priority -100; tcp dport 80 redirect to :8080; fib daddr type local counter; }
    }"
done
check "nft dnat" rules 'table ip dn { chain pre { type nat hook prerouting priority -100; tcp dport 81 dnat to 10.0.0.9:80; }; }'
check "nft ct, limit, log, reject, counter, quota" rules 'table inet f { chain c { type filter hook forward priority 0;
    ct state established,related accept; limit rate 10/second log prefix "x" ; ct count over 5 drop; quota over 5 mbytes drop; counter reject with icmpx admin-prohibited; }; }'
check "nft numgen, jhash, maps" rules 'table ip h { chain c { type nat hook prerouting priority -100;
    tcp dport 90 dnat to numgen random mod 2 map { 0 : 10.0.0.1, 1 : 10.0.0.2 }; tcp dport 91 dnat to jhash ip saddr mod 2 map { 0 : 10.0.0.1, 1 : 10.0.0.2 }; }; }'
check "nft tproxy, socket, queue" rules 'table inet tp { chain c { type filter hook prerouting priority -150;
    socket transparent 1 accept; tcp dport 92 tproxy ip to 127.0.0.1:5000; }; chain q { type filter hook input priority 0; tcp dport 93 queue num 1; }; }'
check "nft bridge reject and meta" rules 'table bridge b { chain c { type filter hook input priority 0; meta ibrname "br9" accept; ip protocol tcp reject with tcp reset; }; }'
check "nft ingress, dup, fwd" rules 'table netdev nd { chain c { type filter hook ingress device "du9" priority 0; ip daddr 10.1.1.1 dup to "ve9"; ip daddr 10.1.1.2 fwd to "ve9"; }; }'
check "nft flow table" rules 'table inet ft { flowtable f { hook ingress priority 0; devices = { du9, ve9 }; }; chain c { type filter hook forward priority 0; ip protocol tcp flow add @f; }; }'

for t in iptables ip6tables; do
    for r in \
        "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT" \
        "-A FORWARD -m addrtype --dst-type LOCAL -j DROP" \
        "-A FORWARD -m comment --comment x -m mark --mark 1/1 -j RETURN" \
        "-A FORWARD -p tcp -m multiport --dports 1,2 -j REJECT" \
        "-A FORWARD -m statistic --mode random --probability 0.5 -j ACCEPT" \
        "-A FORWARD -m recent --name r --rcheck --seconds 9 --reap -j ACCEPT" \
        "-A FORWARD -m physdev --physdev-is-in -j ACCEPT" \
        "-A FORWARD -m limit --limit 5/min -j LOG" \
        "-A FORWARD -m hashlimit --hashlimit-above 9/sec --hashlimit-name h -j DROP" \
        "-A FORWARD -m iprange --src-range $([ $t = iptables ] && echo 10.0.0.1-10.0.0.9 || echo fd00::1-fd00::9) -j DROP" \
        "-A FORWARD -j NFLOG --nflog-group 1" \
        "-A FORWARD -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu" \
        "-A OUTPUT -m owner --uid-owner 0 -j ACCEPT" \
        "-A OUTPUT -m connmark --mark 1 -j ACCEPT" \
        "-t nat -A POSTROUTING -j MASQUERADE --random-fully" \
        "-t nat -A PREROUTING -p tcp --dport 80 -j REDIRECT --to-ports 81" \
        "-t mangle -A PREROUTING -j MARK --set-xmark 1/1" \
        "-t mangle -A PREROUTING -p tcp --dport 80 -j TPROXY --on-port 1 --tproxy-mark 1" \
        "-t mangle -A PREROUTING -j CONNMARK --save-mark" \
        "-t raw -A PREROUTING -j CT --notrack" \
        "-t raw -A PREROUTING -m rpfilter --invert -j DROP"; do
        # shellcheck disable=SC2086
        case " $r" in *TCPMSS*) r="-t mangle $r" ;; esac
        # shellcheck disable=SC2086
        check "$t $r" "$t" $r
    done
done
check "ip_vs" test -e /proc/net/ip_vs

echo "$fails checks failed"
[ "$fails" = 0 ]
