#!/bin/bash
# The trading project on a lab host: trading.sh up | reset. Run inside the host only.
set -eu
cd /srv/trading
image() { # an image of one program; the host's own /usr is mounted into its containers, read-only
    docker image inspect trading:1 >/dev/null 2>&1 && return 0
    work=$(mktemp -d)
    root=$work/root
    mkdir -p "$root"/app "$root"/usr "$root"/proc "$root"/sys "$root"/dev "$root"/tmp "$root"/etc "$root"/var/log/trading
    for folder in bin sbin lib lib64; do ln -s "usr/$folder" "$root/$folder"; done
    cp /opt/lab/trader.py "$root/app/"
    # The same digest on every host, as from a registry: the same bytes in the layer, and a configuration without the time of
    # day, which `docker import` would put there (health and andon skew compare digests).
    tar -C "$root" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf "$work/layer.tar" .
    sum=$(sha256sum "$work/layer.tar" | cut -d' ' -f1)
    printf '{"architecture":"%s","os":"linux","created":"2026-11-01T00:00:00Z","config":{},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
        "$(docker version --format '{{.Server.Arch}}')" "$sum" >"$work/config.json"
    printf '[{"Config":"config.json","RepoTags":["trading:1"],"Layers":["layer.tar"]}]' >"$work/manifest.json"
    tar -C "$work" -c manifest.json config.json layer.tar | docker load -q >/dev/null
    rm -rf "$work"
}
case $1 in
up)
    cp /opt/lab/compose.yml compose.yml
    printf 'VENUE_MAIN=%s\nVENUE_SECOND=%s\nHOST=%s\n' "$LAB_VENUE_MAIN" "$LAB_VENUE_SECOND" "$(hostname)" >.env
    image
    docker compose -p trading up -d --quiet-pull >/dev/null 2>/var/log/compose.log || { cat /var/log/compose.log; exit 1; }
    ;;
reset) # back to what a fresh host has: engine and sshd on, no latch, exactly the project's containers, all running
    rm -f /run/lab/engine-off
    pkill -CONT -x dockerd || true # may not be stopped at all
    # One sshd, on port 22: a test may have killed it, or left one on another port.
    if [ "$(ss -Hltn | awk '$4 ~ /:(22|2222)$/' | wc -l)" != 2 ] || ss -Hltn | grep -q ':2222 '; then
        pkill -x sshd || true # there may be none
        sleep 0.2
        /usr/sbin/sshd
    fi
    rm -rf /var/lib/andon /run/andon
    tries=0
    until docker info >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ "$tries" -lt 300 ] || { tail -n 20 /var/log/dockerd.log; exit 1; }
        sleep 0.1
    done
    docker ps -aq --no-trunc | sort >/run/lab/all
    docker ps -aq --no-trunc --filter label=com.docker.compose.project=trading | sort >/run/lab/project
    comm -23 /run/lab/all /run/lab/project | xargs -r docker rm -f >/dev/null
    # A container that runs with the policy and without the memory limit that it was made with stays as it is: most tests touch few of them.
    docker compose -p trading ps -aq | xargs -r docker inspect --format '{{.Id}} {{.HostConfig.RestartPolicy.Name}} {{index .Config.Labels "lab.policy"}} {{.State.Status}} {{.HostConfig.Memory}}' |
        while read -r id policy wanted status memory; do
            if [ "$policy" != "$wanted" ] || [ "$status" != running ] || [ "$memory" != 0 ]; then echo "$id"; fi
        done | xargs -r docker rm -f >/dev/null
    docker compose -p trading up -d >/dev/null 2>/var/log/compose.log || { cat /var/log/compose.log; exit 1; }
    ;;
*) echo "trading.sh up | reset"; exit 2 ;;
esac
