#!/bin/bash
# Runs inside the machine that `cargo xtask boot` started, as root, once it is up. Each check is a line `ok: NAME` or
# `FAILED: NAME: WHY`; the last line is `done`.
export KITH_MODELS=/usr/share/kith/models KITH_RUNTIME_LIBRARY=/usr/lib/kith/libonnxruntime.so
said=/run/kith-boot-said
config=/etc/kith/kith.toml
systemctl mask --now serial-getty@ttyS0.service >/dev/null 2>&1
# For whoever has to find out why.
journalctl -f -n 200 >/dev/ttyS0 2>&1 &

check() { # NAME COMMAND…
    local name="$variant: $1"
    shift
    if "$@" >$said 2>&1; then
        echo "ok: $name"
    else
        echo "FAILED: $name: $(tr '\n' ' ' <$said | tail -c 400)"
        journalctl -u kith -n 40 --no-pager >/dev/ttyS0 2>&1
    fi
}
# Waits until a command succeeds; as long as a slow machine may take.
comes() { # SECONDS COMMAND…
    local until=$((SECONDS + $1))
    shift
    until "$@"; do
        [ $SECONDS -lt $until ] || return 1
        sleep 0.5
    done
}
refused() { ! "$@"; }
is() { [ "$1" = "$2" ] || { echo "$1 is not $2"; return 1; }; }
shows() { is "$(systemctl show -P "$1" kith)" "$2"; }
main_pid() { systemctl show -P MainPID kith; }
field() { # FIELD of the main process
    sed -n "s/^$1:\t//p" "/proc/$(main_pid)/status"
}
owned() { is "$(stat -c '%a %U:%G' "$1")" "$2"; }
heard() { # TOPIC, and what its next message has to be for jq
    head -n 1 < <(timeout 120 mosquitto_sub -u kith -P tr1cky-pass -t "$1" | jq --unbuffered -c "select($2)") | grep -q .
}
retained() { is "$(timeout 20 mosquitto_sub -u kith -P tr1cky-pass -t "$1" -C 1)" "$2"; }
journal_says() { journalctl -u kith --no-pager -o cat | grep -q "$1"; }
since_last_start() { journalctl --no-pager "$@" _PID="$(main_pid)"; }
restarted_after() { # COUNT of restarts before
    [ "$(systemctl show -P NRestarts kith)" -gt "$1" ] && systemctl is-active -q kith
}
restarts() { systemctl show -P NRestarts kith; }
decoders() { # each thread has children of its own
    cat /proc/"$(main_pid)"/task/*/children
}
a_decoder() { local all; all=$(decoders); [ -n "${all// /}" ] && echo "${all%% *}"; }
has_decoder_but() { local one; one=$(a_decoder) && [ "$one" != "$1" ]; }

recognises() { heard 'kith/box/camera/door/event' '.event_type == "recognized" and .person.id == "barack-obama"'; }

# The unit's own limits around another command: all of its settings but what it starts, and when it is ready.
under_the_limits() {
    local probe=/run/systemd/system/kith-probe.service
    rm -rf $probe.d
    cp /usr/lib/systemd/system/kith.service $probe
    cp -r /etc/systemd/system/kith.service.d $probe.d
    # Its runtime directory would be removed at its end, and it is the daemon's.
    cat >$probe.d/zz.conf <<END
[Service]
Type=oneshot
Restart=no
WatchdogSec=0
RuntimeDirectory=
ExecReload=
ExecStart=
ExecStart=/bin/sh -c "$1"
END
    systemctl daemon-reload
    systemctl start kith-probe
}

common() {
    check "starts and says that it is ready" systemctl start kith
    check "is active" systemctl is-active kith
    [ $variant = cpu ] ||
        check "a member of the group enrols" runuser -u ada -- taskset -c 0 kith --socket /run/kith/kith.sock enroll "Barack Obama" /srv/photos/obama.jpg
    check "runs as kith" owned "/proc/$(main_pid)" "555 kith:kith"
    check "has no rights" is "$(field CapEff) $(field CapBnd) $(field NoNewPrivs) $(field Seccomp)" "0000000000000000 0000000000000000 1 2"
    check "recognises who is in the clip, over the broker" recognises
    check "its decoder has two filters more" filters
    check "nothing is worth a warning but the provider" quiet
    check "state is for nobody else" owned /var/lib/kith "700 kith:kith"
    check "the gallery is for nobody else" owned /var/lib/kith/gallery.sqlite "600 kith:kith"
    check "the cache is for nobody else" owned /var/cache/kith "700 kith:kith"
    check "the runtime directory is for the group" owned /run/kith "750 kith:kith"
    check "the socket is for the group" owned /run/kith/kith.sock "660 kith:kith"
    check "/usr can't be written" refused under_the_limits "echo x >/usr/kith-probe"
    check "/etc/kith can't be written" refused under_the_limits "echo x >/etc/kith/kith-probe"
    check "homes can't be read" refused under_the_limits "cat /home/ada/secret"
    check "state can be written" under_the_limits "echo x >/var/lib/kith/probe && rm /var/lib/kith/probe"
    check "stops in order" stops
    check "says goodbye" retained kith/box/status offline
    check "takes its socket away" refused test -e /run/kith
}
filters() {
    local own its
    own=$(field Seccomp_filters)
    its=$(sed -n 's/^Seccomp_filters:\t//p' "/proc/$(a_decoder)/status")
    is "$its" $((own + 2))
}
quiet() {
    local warnings
    warnings=$(since_last_start -p warning -o cat | grep -vi 'provider\|faults on demand\|nobody is enrolled')
    is "$warnings" ""
}
stops() {
    local before=$SECONDS
    systemctl stop kith && shows Result success && shows ExecMainStatus 0 && [ $((SECONDS - before)) -lt 15 ]
}
status_says() { systemctl show -P StatusText kith | grep -q "$1"; }
levels() {
    journalctl -u kith -o json --no-pager _SYSTEMD_UNIT=kith.service | jq -e -s 'map(.PRIORITY) | (index("6") and index("4"))' &&
        ! journalctl -u kith -o cat --no-pager | grep -q '^<[0-9]>'
}

variant=gpu
common

systemctl start kith
check "a stranger is refused" refused runuser -u eve -- kith --socket /run/kith/kith.sock people list
check "the credential is for kith alone" refused runuser -u eve -- cat /run/credentials/kith.service/mqtt-password
check "its file is for root alone" refused runuser -u kith -- cat /etc/kith/credentials/mqtt-password
check "the status line says what goes on" comes 30 status_says "1 of 1 cameras deliver, 1 people enrolled, broker connected"
check "memory is limited" is "$(cat /sys/fs/cgroup/system.slice/kith.service/memory.{max,swap.max} | tr '\n' ' ')" "4294967296 0 "
check "the journal has levels" levels
check "reloads" systemctl reload kith
cp $config /run/good.toml
echo 'nonsense = 1' >$config
check "a reload with mistakes fails" refused systemctl reload kith
check "and changes nothing" systemctl is-active kith
cp /run/good.toml $config

before=$(a_decoder)
kill -9 "$before"
check "a killed decoder comes back" comes 60 has_decoder_but "$before"
before=$(restarts)
kill -9 "$(main_pid)"
check "comes back when killed" comes 60 restarted_after "$before"
before=$(restarts)
kill -STOP "$(main_pid)"
check "the watchdog ends what stands still, and it comes back" comes 120 restarted_after "$before"
check "the watchdog was it" journal_says "Failed with result 'watchdog'"
before=$(restarts)
touch /var/lib/kith/kith-fault-freeze-engine
check "a hung worker ends it with 70" comes 120 journal_says status=70
rm /var/lib/kith/kith-fault-freeze-engine
check "and it comes back" comes 120 restarted_after "$before"
check "recognises again" recognises
systemctl stop kith
echo 'nonsense = 1' >$config
systemctl start kith
check "a configuration with mistakes is not tried again" is "$(systemctl show -P ExecMainStatus kith) $(systemctl show -P ActiveState kith)" "78 failed"
cp /run/good.toml $config
systemctl reset-failed kith
check "systemd's judgement of what runs" systemd-analyze security --no-pager --threshold=20 kith.service

variant=cpu
mkdir -p /etc/systemd/system/kith.service.d
cp /srv/cpu.conf /etc/systemd/system/kith.service.d/
systemctl daemon-reload
common
check "no disks and cards in /dev" refused under_the_limits "ls /dev/vda || ls /dev/ttyS0"
check "systemd's judgement of what runs" systemd-analyze security --no-pager --threshold=15 kith.service
echo done
