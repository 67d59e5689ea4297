# shellcheck shell=sh
# Runs in the guest: containerd and dockerd of this asset set, and a container
# that answers on its own address and on a published port.
set -e

say() { echo "engine: $(cut -d' ' -f1 /proc/uptime) s: $*"; }
# wait_for SECONDS COMMAND... tries the command once a second.
wait_for() {
    limit=$1
    shift
    while ! "$@" >/dev/null 2>&1; do
        limit=$((limit - 1))
        [ "$limit" -gt 0 ] || {
            say "gave up waiting for: $*"
            tail -n 40 /var/log/*.log
            return 1
        }
        sleep 1
    done
}

mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /mnt
mkdir -p /mnt/etc.up /mnt/etc.work
mount -t overlay -o lowerdir=/etc,upperdir=/mnt/etc.up,workdir=/mnt/etc.work overlay /etc
mount -t tmpfs tmpfs /var
mkdir -p /var/lib /var/log /dev/pts /dev/shm
ln -s ../run /var/run
mount -t devpts -o gid=5,mode=0620,ptmxmode=0666 devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t cgroup2 cgroup2 /sys/fs/cgroup
# dockerd looks for the limits that it can set in its own group, and the root
# group has none.
echo "+cpuset +cpu +io +memory +hugetlb +pids" >/sys/fs/cgroup/cgroup.subtree_control
mkdir /sys/fs/cgroup/engine
echo $$ >/sys/fs/cgroup/engine/cgroup.procs
# By its path: this shell prefers its own applet to a program of the same name.
/usr/sbin/mke2fs -q -t ext4 /dev/vdb
mount -t ext4 /dev/vdb /var/lib
# shellcheck disable=SC3045
ulimit -n 1048576
ip link set lo up
ip link add du0 type dummy
ip addr add 10.55.0.2/24 dev du0
ip link set du0 up
ip route add default via 10.55.0.1
for f in ipv4/ip_forward ipv6/conf/all/forwarding ipv6/conf/default/forwarding; do echo 1 >/proc/sys/net/$f; done
echo "nameserver 10.55.0.1" >/run/resolv.conf
hostname arcbox

PATH=/arcbox/runtime/bin:/arcbox/test:$PATH
export PATH
say "starting containerd"
containerd >/var/log/containerd.log 2>&1 &
wait_for 120 test -S /run/containerd/containerd.sock
say "starting dockerd"
dockerd --containerd=/run/containerd/containerd.sock --firewall-backend=nftables --userland-proxy=false \
    --host=unix:///run/docker.sock >/var/log/dockerd.log 2>&1 &
wait_for 240 docker version
say "dockerd is ready"
docker version --format 'engine: dockerd {{.Server.Version}}, API {{.Server.APIVersion}}'
docker info --format 'engine: storage {{.Driver}}, cgroup v{{.CgroupVersion}} {{.CgroupDriver}}, firewall {{.FirewallBackend.Driver}}, {{.SecurityOptions}}'
if docker info 2>&1 | grep -i "^warning"; then exit 1; fi

for i in busybox demo web; do docker load -q -i /arcbox/test/$i.tar; done
say "images are loaded"
[ "$(docker run --rm --init --memory 64m --memory-swap 96m --cpus 0.5 --pids-limit 50 arcbox/test-busybox echo hello)" = hello ]
say "docker run works"
[ "$(docker run --rm arcbox/test-busybox sed -n 's/^Seccomp:[^0-9]*//p' /proc/self/status)" = 2 ]
say "seccomp holds"
docker network create --ipv6 app >/dev/null
docker run -d --name demo --network app -p 8080:80 arcbox/demo >/dev/null
docker run -d --name web --network app -p 8081:80 arcbox/test-web >/dev/null
address=$(docker inspect --format '{{.NetworkSettings.Networks.app.IPAddress}}' demo)
wait_for 20 wget -q -O - "http://$address/"
wget -q -O - "http://$address/" | grep "Hello from ArcBox"
say "the container answers on $address"
docker run --rm --network app arcbox/test-busybox sh -c 'wget -q -O - http://demo/' | grep "Hello from ArcBox"
docker run --rm --network app arcbox/test-busybox sh -c 'wget -q -O - http://web/' | grep "It works"
say "a container reaches others by name"
wget -q -O - http://10.55.0.2:8080/ | grep "Hello from ArcBox"
wget -q -O - http://10.55.0.2:8081/ | grep "It works"
say "published ports answer"
nft list tables | grep "docker-bridges"
docker exec demo ps | grep httpd
address6=$(docker inspect --format '{{.NetworkSettings.Networks.app.GlobalIPv6Address}}' demo)
wait_for 5 wget -q -O /dev/null "http://[$address6]/"
say "and on $address6"
docker stats --no-stream --format 'engine: {{.Name}} {{.MemUsage}}' demo
docker rm -f demo web >/dev/null
say "what the logs say is missing:"
grep -hiE 'not supported|module .* not found' /var/log/dockerd.log /var/log/containerd.log || true
for p in containerd dockerd; do echo "engine: $p $(grep VmRSS "/proc/$(pidof $p)/status")"; done
say "done"
