#!/bin/bash
# PID 1 of a lab host: sshd, the container engine, the trading project. Run by lab/lab.py, inside the host only.
set -eu
mkdir -p /run/sshd /run/lab /root/.ssh /var/log/trading /srv/trading
chmod 700 /root/.ssh
printf '%s\n' "$LAB_KEY" >/root/.ssh/authorized_keys
# The image's keys would be the same on every host; a mistaken identity must be noticed in tests as well.
rm -f /etc/ssh/ssh_host_*
ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key
# sshd >= 9.8 shuts out sources that fail to log in; the fault tests fail on purpose.
printf 'PerSourcePenalties no\nUseDNS no\nMaxStartups 100\nMaxSessions 100\n' >/etc/ssh/sshd_config.d/lab.conf
# A second user for the tests of sudo rules.
id oncall >/dev/null 2>&1 || useradd -m -s /bin/sh oncall
install -d -m 700 -o oncall -g oncall /home/oncall/.ssh
install -m 600 -o oncall -g oncall /root/.ssh/authorized_keys /home/oncall/.ssh/authorized_keys
printf 'oncall ALL=(root) NOPASSWD: ALL\n' >/etc/sudoers.d/andon

if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    # cgroup v2: processes out of the root group, then every controller on for the groups below.
    mount -o remount,rw /sys/fs/cgroup 2>/dev/null || mount -t cgroup2 cgroup2 /sys/fs/cgroup
    mkdir -p /sys/fs/cgroup/init
    while read -r pid; do echo "$pid" >/sys/fs/cgroup/init/cgroup.procs 2>/dev/null || continue; done </sys/fs/cgroup/cgroup.procs
    sed -e 's/ / +/g' -e 's/^/+/' </sys/fs/cgroup/cgroup.controllers >/sys/fs/cgroup/cgroup.subtree_control
else
    # cgroup v1: the mounts come read-only when the engine outside may not be fully privileged.
    for group in /sys/fs/cgroup/*; do mount -o remount,bind,rw "$group"; done
fi

mkdir -p /etc/docker
# live-restore: containers outlive their engine, as on many production hosts; one of the faults needs it.
printf '{"live-restore": true, "log-driver": "json-file"}\n' >/etc/docker/daemon.json
/usr/sbin/sshd

engine() { # runs dockerd, again and again, unless a test has switched it off
    while :; do
        if [ ! -e /run/lab/engine-off ]; then
            rm -f /var/run/docker.pid
            dockerd >>/var/log/dockerd.log 2>&1 || true # a test killed it: start it again
        fi
        sleep 0.2
    done
}
engine &
tries=0
until docker info >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ "$tries" -lt 300 ] || { echo "the engine did not start"; tail -n 20 /var/log/dockerd.log; exit 1; }
    sleep 0.1
done
/opt/lab/trading.sh up
touch /run/lab/ready
# bash reaps what the engine's shims leave behind.
while :; do wait -n || true; sleep 0.2; done
