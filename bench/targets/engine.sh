#!/bin/sh
# A stand-in for `docker` on the benchmark's targets: as much of its command line as the stop uses, on four containers, each a
# file "POLICY STATUS". Shell built-ins only: what is measured is SSH and Ansible, not fifty engines on a few cores.
# What it cannot do is an error, never a silent success.
set -eu
cd "${BENCH_ENGINE:-/srv/engine}"
names="momentum meanrev feed adapter"

id_of() { # id_of NAME: sets id, 64 hexadecimal digits
    case $1 in momentum) id=a1 ;; meanrev) id=a2 ;; feed) id=a3 ;; adapter) id=a4 ;; esac
    id=${id}00000000000000000000000000000000000000000000000000000000000000
}
name_of() { # name_of WORD: sets name from a name or an id
    case $1 in
    a1*) name=momentum ;; a2*) name=meanrev ;; a3*) name=feed ;; a4*) name=adapter ;;
    momentum | meanrev | feed) name=$1 ;;
    adapter) name=adapter ;;
    *) echo "stand-in: No such container: $1" >&2; exit 1 ;;
    esac
}
put() { printf '%s %s\n' "$policy" "$status" >"$name"; }

verb=$1; shift
covered=no every=no moment=0001-01-01T00:00:00Z
case $verb in
ps)
    while [ $# -gt 0 ]; do
        case $1 in
        -a) every=yes ;;
        -q | --no-trunc) ;;
        --filter)
            shift
            case $1 in label=andon.component) covered=yes ;; label=andon.protect=true) ;; *) echo "stand-in: filter $1" >&2; exit 1 ;; esac ;;
        *) echo "stand-in: ps $1" >&2; exit 1 ;;
        esac
        shift
    done
    [ "$covered" = yes ] || exit 0
    for name in $names; do
        read -r policy status <"$name"
        if [ "$every" = yes ] || [ "$status" = running ]; then id_of "$name"; echo "$id"; fi
    done
    exit 0
    ;;
inspect)
    # The one form that stop.sh asks for.
    [ "$1 $2 $3" = "--type container --format" ] || { echo "stand-in: inspect $*" >&2; exit 1; }
    shift 4
    [ ! -e ended ] || read -r moment <ended
    ;;
stop) if [ "$1" = -t ]; then shift 2; fi ;;
kill | pause) ;;
update) [ "$1" = --restart=no ] || { echo "stand-in: update $1" >&2; exit 1; }; shift ;;
*) echo "stand-in: $verb" >&2; exit 1 ;;
esac
for word in "$@"; do
    name_of "$word"
    read -r policy status <"$name"
    case $verb in
    update) policy=no; put ;;
    stop | kill) status=exited; put ;;
    pause) ;; # the kill that follows ends it
    inspect)
        id_of "$name"
        was=false code=0
        if [ "$status" = running ]; then was=true; fi
        printf '{"id":"%s","name":"/%s","image":"trading:1","image_id":"sha256:aa","component":"strategy","strategy":"","service":"","swarm":"","restart_policy":{"Name":"%s","MaximumRetryCount":0},"was_running":%s,"status":"%s","pid":0,"exit_code":%s,"started_at":"2026-11-22T03:00:00Z","finished_at":"%s"}\n' \
            "$id" "$name" "$policy" "$was" "$status" "$code" "$moment" ;;
    esac
done
# One process more, once per stop: the report's seconds are then true, and the benchmark knows when the target was down.
case $verb in stop | kill) date -u +%Y-%m-%dT%H:%M:%S.%NZ >ended ;; esac
