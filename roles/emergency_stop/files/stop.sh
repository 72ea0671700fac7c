#!/bin/sh
# The stop on one host: latch, restart policy "no", stop, kill what is left, look again. POSIX shell and a container CLI;
# no Python, no temporary file outside Andon's own folder. The bastion sets the A_ variables in front of this text and
# reads the lines that begin with "A1 " (plugins/module_utils/andon/stop.py has both sides).
#
# A_CLI        container CLI             A_MODE   graceful | now          A_GRACE   seconds for SIGTERM
# A_STATE      Andon's folder here       A_SCOPE  all | strategy-<id>     A_CHECK   1: look only
# A_SELECTORS  engine filters, a line each (a union)      A_STRATEGY   label filter that must match too, or empty
# A_ADD, A_DROP  filters of containers that the inventory adds and protects      A_HEADER   the latch's first fields, JSON
# A_GREP, A_GREP_AND, A_GREP_ADD, A_GREP_DROP  the same as fixed strings in the engine's own files, for a host whose engine is silent
# A_SETTLE     seconds before the second look             A_ROOT   where the engine keeps its files, for when it is silent
# A_ADAPTERS   containers, a line each, that are halted through their own software first; a Python program for it is the standard
#              input (it has secrets in it, and this text is an argument that others can read)     A_BUDGET   seconds for that
#
# Every step is tried whatever the one before returned, so there is no `set -e`; each has a deadline of its own.
set -u
# The connection may break in the middle: what has begun is finished all the same.
trap '' HUP PIPE
LC_ALL=C
export LC_ALL
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
NL='
'
set -f # no globbing of what engines and people wrote; the two places that need it switch it on

file= # the latch, once it is written
adapter_job= # the adapters' program, while it runs

say() { printf 'A1 %s\n' "$*" 2>/dev/null; }
uptime_now() { read -r uptime _ </proc/uptime; }
clock() { date +%s.%N; }

if command -v timeout >/dev/null 2>&1; then
    bounded() { limit=$1; shift; timeout -s KILL "$limit" "$@" </dev/null; }
else
    bounded() { # no coreutils, no busybox: a watcher of our own
        limit=$1; shift
        "$@" </dev/null &
        job=$!
        (sleep "$limit"; kill -9 "$job") >/dev/null 2>&1 &
        watcher=$!
        wait "$job"; code=$?
        kill "$watcher" 2>/dev/null
        return "$code"
    }
fi

step() { # step NAME SECONDS COMMAND...: runs it, reports it, goes on
    name=$1; limit=$2; shift 2
    uptime_now; from=$uptime
    words=$(bounded "$limit" "$@" 2>&1 >/dev/null)
    rc=$?
    uptime_now
    say "step $name $rc $from $uptime $(printf '%s' "$words" | tail -n 3 | tr '\n\t' '  ' | cut -c1-300)"
    return "$rc"
}

# One line per container; the latch keeps these lines as they are.
FORM='{"id":{{json .Id}},"name":{{json .Name}},"image":{{json .Config.Image}},"image_id":{{json .Image}},"component":{{json (index .Config.Labels "andon.component")}},"strategy":{{json (index .Config.Labels "andon.strategy")}},"service":{{json (index .Config.Labels "com.docker.compose.service")}},"swarm":{{json (index .Config.Labels "com.docker.swarm.service.name")}},"restart_policy":{{json .HostConfig.RestartPolicy}},"was_running":{{json .State.Running}},"status":{{json .State.Status}},"pid":{{json .State.Pid}},"exit_code":{{json .State.ExitCode}},"started_at":{{json .State.StartedAt}},"finished_at":{{json .State.FinishedAt}}}'

ids_of() { # ids_of FILTERS [OPTION...]: ids that match any of the filters; fails if the engine does
    filters=$1; shift
    result=
    old=$IFS; IFS=$NL
    for one in $filters; do
        IFS=$old
        found=$(bounded 5 "$A_CLI" ps -q --no-trunc "$@" --filter "$one" 2>/dev/null) || { problem=$?; return 1; }
        result="$result $found"
        IFS=$NL
    done
    IFS=$old
    # shellcheck disable=SC2086 # ids are split on purpose
    set -- $result
    result=$*
}

covered() { # covered [-a]: sets ids to what the cord covers here
    if [ -n "$A_STRATEGY" ]; then
        ids_of "$A_SELECTORS" "$@" --filter "$A_STRATEGY" || return 1
    else
        ids_of "$A_SELECTORS" "$@" || return 1
    fi
    all=$result
    ids_of "label=andon.protect=true$NL$A_DROP" "$@" || return 1
    drop=" $result "
    ids_of "$A_ADD" "$@" || return 1
    add=$result
    ids=
    for one in $all; do
        case $drop in *" $one "*) continue ;; esac
        case " $ids " in *" $one "*) ;; *) ids="$ids $one" ;; esac
    done
    for one in $add; do
        case " $ids " in *" $one "*) ;; *) ids="$ids $one" ;; esac
    done
    ids=${ids# }
}

look() { # look IDS...: sets lines to one FORM line per container that still exists
    if [ $# -eq 0 ]; then lines=; return 0; fi
    lines=$(bounded 8 "$A_CLI" inspect --type container --format "$FORM" "$@" 2>/dev/null)
    rc=$?
    [ "$rc" -lt 2 ] # 1: one of them has vanished in between
}

tell() { # tell KIND LINES
    printf '%s\n' "$2" | while IFS= read -r one; do [ -z "$one" ] || say "$1 $one"; done
}

running_of() { # running_of LINES: sets live to the ids whose line says running
    live=
    old=$IFS; IFS=$NL
    for one in $1; do
        case $one in
        *'"was_running":true'*) id=${one#'{"id":"'}; live="$live ${id%%\"*}" ;;
        esac
    done
    IFS=$old
    live=${live# }
}
policed_of() { # policed_of LINES: sets policed to the ids whose restart policy is not "no"
    policed=
    old=$IFS; IFS=$NL
    for one in $1; do
        # Which of its two fields comes first differs: with a label that is not there, the CLI answers from the raw JSON.
        policy=${one#*'"restart_policy":{'}
        case ${policy%%\}*} in
        *'"Name":"no"'* | *'"Name":""'*) ;;
        *) id=${one#'{"id":"'}; policed="$policed ${id%%\"*}" ;;
        esac
    done
    IFS=$old
    policed=${policed# }
}

latch_in() { # latch_in FOLDER LINES: writes or merges the latch there
    folder=$1
    (umask 077; mkdir -p "$folder") 2>/dev/null || return 1
    chmod 700 "${folder%/*}" "$folder" 2>/dev/null || return 1
    file=$folder/$A_SCOPE.json
    new=$folder/.$A_SCOPE.$$
    tries=0
    while [ "$tries" -lt 5 ]; do
        tries=$((tries + 1))
        if [ -e "$file" ]; then
            # Merge: the first press knows the old policies; nothing that it wrote is lost.
            head=$(sed -n '1{/"containers":\[$/p;}' "$file")
            if [ -z "$head" ] || [ "$(tail -n 1 "$file")" != ']}' ]; then
                cp -p "$file" "$file.damaged.$(date +%s).$$" || return 1
                say "note the latch file was damaged; a copy is kept beside it"
                [ -n "$head" ] || head="{$A_HEADER,\"containers\":["
            fi
            # Whole lines only: each ends in a text field, and half a line never does.
            old=$(sed -n '/^{"id":".*"},\{0,1\}$/{s/,$//;p;}' "$file")
            fresh=$(printf '%s\n%s\n' "$old" "$2" | awk 'NF { key = substr($0, 1, 72); if (!(key in seen)) { seen[key] = 1; print } }')
            # `&&`: a full disk must not leave half a file that looks whole.
            (umask 077; printf '%s\n' "$head" >"$new" && printf '%s\n' "$fresh" | sed '$!s/$/,/' >>"$new" && printf ']}\n' >>"$new") 2>/dev/null &&
                mv -f "$new" "$file" && { latched=merged; return 0; }
        else
            (umask 077; printf '{%s,"containers":[\n' "$A_HEADER" >"$new" && printf '%s\n' "$2" | sed '$!s/$/,/' >>"$new" && printf ']}\n' >>"$new") 2>/dev/null || break
            # `ln` fails where the file is already there: of two presses at once one is the first.
            ln "$new" "$file" 2>/dev/null && { rm -f "$new"; latched=new; return 0; }
        fi
    done
    rm -f "$new"
    return 1
}
latch() { # latch LINES: the lasting folder, else the one in memory
    if latch_in "$A_STATE/halts" "$1"; then say "latch $latched $file"
    elif latch_in /run/andon/halts "$1"; then say "latch volatile $file"
    else say "latch failed $A_STATE/halts"
    fi
}

processes_of() { # processes_of IDS...: sets pids to the processes in these containers' control groups, engine or no engine
    pids=
    [ $# -gt 0 ] || return 0
    patterns=
    for one in "$@"; do patterns="$patterns -e $one"; done
    set +f
    # shellcheck disable=SC2086 # the patterns are hexadecimal ids
    found=$(grep -ls -F $patterns /proc/[0-9]*/cgroup 2>/dev/null)
    set -f
    for one in $found; do one=${one#/proc/}; pids="$pids ${one%/cgroup}"; done
    pids=${pids# }
}

freezer() { # freezer PID STATE: freezes (1) or thaws (0) the control group of a process
    while IFS= read -r line; do
        path=${line#*:*:}
        case $line in
        *:freezer:*) base=/sys/fs/cgroup/freezer knob=freezer.state; if [ "$2" = 1 ]; then word=FROZEN; else word=THAWED; fi ;;
        0::*) base=/sys/fs/cgroup knob=cgroup.freeze word=$2 ;;
        *) continue ;;
        esac
        # Inside a container the path may begin with folders that are not mounted here: drop them one by one.
        while [ -n "$path" ]; do
            if [ -w "$base$path/$knob" ]; then printf '%s\n' "$word" >"$base$path/$knob" 2>/dev/null; return 0; fi
            case $path in /*/*) path=/${path#/*/} ;; *) path= ;; esac
        done
    done <"/proc/$1/cgroup" 2>/dev/null
    return 1
}

matches() { # matches FILE STRINGS: any of the fixed strings, a line each, is in the file
    [ -n "$2" ] && printf '%s\n' "$2" | grep -q -s -F -f - "$1"
}

without_engine() { # the engine is silent: its own files name the containers, the kernel stops them
    say "engine $1"
    roots=
    [ "$A_ROOT" != /var/lib/docker ] || roots=$(sed -n 's/.*"data-root"[[:space:]]*:[[:space:]]*"\([^"]*\)".*/\1/p' /etc/docker/daemon.json 2>/dev/null)
    ids=; lines=
    for root in $roots "$A_ROOT"; do
        set +f
        for file in "$root"/containers/*/config.v2.json; do
            set -f
            [ -r "$file" ] || continue
            folder=${file%/*}; id=${folder##*/}
            # shellcheck disable=SC2153 # set by the bastion, like all A_ variables
            if ! matches "$file" "$A_GREP_ADD"; then
                matches "$file" "$A_GREP" || continue
                [ -z "$A_GREP_AND" ] || matches "$file" "$A_GREP_AND" || continue
                matches "$file" "$A_GREP_DROP" && continue
            fi
            ids="$ids $id"
            name=$(sed -n 's/.*"Name":"\(\/[A-Za-z0-9_.-]*\)".*/\1/p' "$file" | head -n 1)
            policy=$(sed -n 's/.*"RestartPolicy":\({"Name":"[a-z-]*","MaximumRetryCount":[0-9]*}\).*/\1/p' "$folder/hostconfig.json" 2>/dev/null | head -n 1)
            running=false; grep -q -s '"Running":true' "$file" && running=true
            lines="$lines{\"id\":\"$id\",\"name\":\"$name\",\"image\":\"\",\"component\":\"\",\"strategy\":\"\",\"restart_policy\":${policy:-null},\"was_running\":$running,\"status\":\"unknown\"}$NL"
        done
        set -f
        [ -z "$ids" ] || break
    done
    lines=${lines%"$NL"}
    tell before "$lines"
    if [ -z "$ids" ]; then say "nothing no file of the engine names a covered container"; return; fi
    if [ "$A_CHECK" = 1 ]; then return; fi
    latch "$lines"
    uptime_now; from=$uptime
    # shellcheck disable=SC2086 # ids are split on purpose
    set -- $ids
    rounds=0
    while [ "$rounds" -lt 30 ]; do
        rounds=$((rounds + 1))
        processes_of "$@"
        [ -n "$pids" ] || break
        # Frozen first: nothing can fork away or run application code between the kills.
        for pid in $pids; do freezer "$pid" 1; done
        # shellcheck disable=SC2086
        kill -9 $pids 2>/dev/null
        for pid in $pids; do freezer "$pid" 0; done
        sleep 0.1 2>/dev/null || sleep 1
    done
    uptime_now
    say "step cgroup_kill $([ -z "$pids" ] && echo 0 || echo 1) $from $uptime $rounds rounds"
    sleep "$A_SETTLE"
    processes_of "$@"
    say "pids $pids"
    # One try, in case the engine answers again by now; the policy then is "no" before it can restart anything.
    # shellcheck disable=SC2086
    step policy 3 "$A_CLI" update --restart=no $ids
}

respawner() { # respawner NAME: what on this host may have started it again
    set +f
    # shellcheck disable=SC2013 # names of files in /proc have no spaces
    for file in $(grep -lsa -F -e "$1" /proc/[0-9]*/cmdline 2>/dev/null); do
        pid=${file#/proc/}; pid=${pid%/cmdline}
        words=$(tr '\000' ' ' <"$file" 2>/dev/null | cut -c1-120 | tr '\n' ' ')
        case $words in *andon-stop* | '' | *"grep -lsa"*) continue ;; esac
        say "respawner process $pid $words"
    done
    # shellcheck disable=SC2013 # nor have systemd's units
    for file in $(grep -ls -F -e "$1" /etc/systemd/system/*.service /lib/systemd/system/*.service 2>/dev/null); do say "respawner unit 0 $file"; done
    set -f
}

others() { # others KIND: in a strategy's stop, everything else that is covered or protected: it must not be touched
    [ -n "$A_STRATEGY" ] || return 0
    ids_of "$A_SELECTORS$NL""label=andon.protect=true" -a || return 1
    rest=
    for one in $result; do
        case " $every " in *" $one "*) continue ;; esac
        case " $rest " in *" $one "*) ;; *) rest="$rest $one" ;; esac
    done
    # shellcheck disable=SC2086
    look $rest
    tell "$1" "$lines"
}

ask_adapters() { # ask_adapters LINES: their own halt for those that run and have one, in the background; sets adapted, adapter_job
    adapted=; names=
    old=$IFS; IFS=$NL
    for one in $1; do
        case $one in *'"was_running":true'*'"status":"running"'*) ;; *) continue ;; esac
        name=${one#*'"name":"/'}; name=${name%%\"*}
        case $NL$A_ADAPTERS$NL in *"$NL$name$NL"*) ;; *) continue ;; esac
        id=${one#'{"id":"'}; adapted="$adapted ${id%%\"*}"; names="$names $name"
    done
    IFS=$old
    [ -n "$names" ] || return 0
    if ! command -v python3 >/dev/null 2>&1; then say "adapters no python3 on this host"; return 0; fi
    # shellcheck disable=SC2086 # names are split on purpose
    if command -v timeout >/dev/null 2>&1; then
        timeout -s KILL "$A_BUDGET" python3 -I - $names <&3 2>/dev/null &
    else
        (python3 -I - $names <&3 2>/dev/null & job=$!; (sleep "$A_BUDGET"; kill -9 "$job") >/dev/null 2>&1 & wait "$job") &
    fi
    adapter_job=$!
}

stop_adapted() { # stop_adapted IDS...: the others at once, these when their adapter has answered or its time is up
    rest=
    for one in "$@"; do
        case " $adapted " in *" $one "*) ;; *) rest="$rest $one" ;; esac
    done
    others_job=
    # shellcheck disable=SC2086
    if [ -n "$rest" ]; then
        step stop $((A_GRACE + 15)) "$A_CLI" stop -t "$A_GRACE" $rest &
        others_job=$!
    fi
    uptime_now; from=$uptime
    wait "$adapter_job"; rc=$?
    adapter_job=
    uptime_now; say "step adapters $rc $from $uptime"
    # shellcheck disable=SC2086
    step stop $((A_GRACE + 15)) "$A_CLI" stop -t "$A_GRACE" $adapted
    [ -z "$others_job" ] || wait "$others_job"
}

stop_ids() { # stop_ids MODE LINES: policies, then stop or kill, of what these lines say
    running_of "$2"; policed_of "$2"
    # shellcheck disable=SC2086 # ids are split on purpose, here and below
    if [ "$1" = now ]; then
        [ -z "$live" ] || step pause 6 "$A_CLI" pause $live
        [ -z "$policed" ] || step policy 15 "$A_CLI" update --restart=no $policed
        [ -z "$live" ] || step kill 15 "$A_CLI" kill $live
    else
        [ -z "$policed" ] || step policy 15 "$A_CLI" update --restart=no $policed
        if [ -n "$adapter_job" ]; then stop_adapted $live
        elif [ -n "$live" ]; then step stop $((A_GRACE + 15)) "$A_CLI" stop -t "$A_GRACE" $live
        fi
    fi
}

main() {
    uptime_now
    say "begin $(clock) $uptime $(id -u)"
    if ! command -v "$A_CLI" >/dev/null 2>&1; then without_engine missing; return; fi
    problem=0
    if ! covered -a; then
        if [ "$problem" -ge 124 ]; then without_engine hung; else without_engine down; fi
        return
    fi
    every=$ids
    if [ -z "$ids" ]; then
        say "nothing no container matches"
        others other
        return
    fi
    # shellcheck disable=SC2086
    if ! look $ids; then without_engine hung; return; fi
    before=$lines
    tell before "$before"
    others other
    [ "$A_CHECK" = 0 ] || return
    latch "$before"
    [ -z "$A_ADAPTERS" ] || ask_adapters "$before"
    stop_ids "$A_MODE" "$before"
    # shellcheck disable=SC2086
    look $ids
    running_of "$lines"
    if [ -n "$live" ]; then
        say "left $live"
        # shellcheck disable=SC2086
        step kill 15 "$A_CLI" kill $live
    fi
    uptime_now; say "down $(clock) $uptime"
    # The second look: what runs again, or is new (created and perhaps not yet running), was started by something outside.
    rounds=0
    while :; do
        sleep "$A_SETTLE"
        if ! covered -a; then say "engine silent"; break; fi
        [ "$rounds" -lt 3 ] || break
        rounds=$((rounds + 1))
        # shellcheck disable=SC2086
        look $ids
        running_of "$lines"
        for one in $ids; do
            case " $every $live " in *" $one "*) ;; *) live="$live $one" ;; esac
        done
        [ -n "$live" ] || break
        # shellcheck disable=SC2086
        look $live
        tell respawned "$lines"
        latch "$lines"
        stop_ids now "$lines"
        old=$IFS; IFS=$NL
        for one in $lines; do
            IFS=$old
            id=${one#'{"id":"'}; id=${id%%\"*}
            case " $every " in *" $id "*) ;; *) every="$every $id" ;; esac
            name=${one#*'"name":"/'}; respawner "${name%%\"*}"
            IFS=$NL
        done
        IFS=$old
    done
    # shellcheck disable=SC2086
    look $every
    tell after "$lines"
    # shellcheck disable=SC2086
    processes_of $every
    say "pids $pids"
    others other_after
    # The latch must outlive a power cut; after the stop, so that a slow disk delays nothing.
    [ -z "$file" ] || bounded 3 sync "$file" 2>/dev/null || say "note the latch was not synced to the disk"
}
# A job in the background has /dev/null as its standard input; the program is handed to it through 3.
[ -z "$A_ADAPTERS" ] || exec 3<&0
main
uptime_now
say "end $(clock) $uptime"
