#!/bin/bash
# PID 1 of the benchmark's farm: boot.sh COUNT. One sshd per target on ports 2201, 2202, ..., each in namespaces of its own, so
# that it sees its own processes, its own /srv/engine (engine.sh's containers) and its own /var/lib/andon. Run by bench/farm.py.
set -eu
mkdir -p /run/sshd /root/.ssh /srv/engine /var/lib/andon
chmod 700 /root/.ssh
printf '%s\n' "$BENCH_KEY" >/root/.ssh/authorized_keys
rm -f /etc/ssh/ssh_host_*
ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key
# Before /usr/bin in the PATH that Debian's sshd gives: the stand-in answers as `docker`.
install -m 755 /opt/bench/engine.sh /usr/local/bin/docker
for number in $(seq 1 "$1"); do
    home=/bench/$number
    mkdir -p "$home/engine" "$home/andon"
    # shellcheck disable=SC2016 # the inner shell expands these
    unshare --mount --pid --fork --mount-proc /bin/sh -c 'mount --bind "$1/engine" /srv/engine && mount --bind "$1/andon" /var/lib/andon && exec /usr/sbin/sshd -D -p "$2" -o UseDNS=no -o PidFile=none' \
        sh "$home" $((2200 + number)) &
done
/opt/bench/reset.sh
touch /bench/ready
# bash reaps what ends.
while :; do wait -n || true; sleep 0.5; done
