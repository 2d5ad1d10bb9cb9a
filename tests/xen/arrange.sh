# Run in dom0: a domain in each situation. Those that last but seconds are held by stopping the `xl` that works on them;
# `release` lets it go on.
set -eu
rm -f /etc/xen/t-*.cfg
config() {  # NAME KERNEL VIF ON_POWEROFF MORE
    cat >"/etc/xen/$1.cfg" <<END
name = "$1"
type = "pv"
kernel = "/boot/$2"
ramdisk = "/boot/tiny"
extra = "console=hvc0 quiet mitigations=off sysrq_always_enabled ${5-}"
memory = 96
vcpus = 1
vif = [ $3 ]
on_poweroff = "$4"
on_crash = "preserve"
END
}
quick() { config "$1" vmlinux "" preserve; }
# Unpacking the kernel and unplugging a network card take their time, in which the domain is caught.
slow() { config "$1" vmlinuz '"bridge=xenbr0"' destroy; }
create() { xl create "/etc/xen/$1.cfg" 2>/dev/null; }
row() { xl list | grep "^$1 " | tr -s ' ' | cut -d' ' -f3-5 || :; }
until_it_is() {  # NAME PATTERN
    n=0
    until row "$1" | grep -q -- "$2"; do
        n=$((n + 1)); [ $n -lt 300 ] || { echo "$1 never was $2" >&2; xl list >&2; exit 1; }
    done
}
booted() { until_it_is "$1" '-b----'; }
# A guest that still boots takes the request and does nothing: it is asked again.
goes() {  # NAME PATTERN
    n=0
    until row "$1" | grep -q -- "$2"; do
        [ $((n % 20)) != 0 ] || xl shutdown "$1" 2>/dev/null
        n=$((n + 1)); [ $n -lt 300 ] || { echo "$1 never went: $2" >&2; xl list >&2; exit 1; }
    done
}
xl_of() { pgrep -f "bin/xl $1 .*$2" | head -1; }

for name in absent running paused twice kept crashed; do quick t-$name; done
for name in half building leaving destroyed; do slow t-$name; done
for name in running paused twice kept crashed; do create t-$name; done

xl create /etc/xen/t-half.cfg 2>/dev/null & half=$!
until_it_is t-half '^0 0 --p---'
kill -KILL $half

xl pause t-paused
xl pause t-twice
xl pause t-twice
booted t-kept
goes t-kept '---s--'
booted t-crashed
xl sysrq t-crashed c
until_it_is t-crashed 's[c]-$'
booted t-running

create t-leaving
booted t-leaving
watcher=$(xl_of create t-leaving)
goes t-leaving '--ps--'
kill -STOP "$watcher"
until_it_is t-leaving '--ps--'

create t-destroyed
booted t-destroyed
xl destroy t-destroyed & destroyer=$!
until_it_is t-destroyed '--p---'
kill -STOP $destroyer
until_it_is t-destroyed '--p---'

xl create /etc/xen/t-building.cfg >/dev/null 2>&1 & builder=$!
until_it_is t-building '^0 0 --p---'
kill -STOP $builder
until_it_is t-building '^0 0 --p---'
