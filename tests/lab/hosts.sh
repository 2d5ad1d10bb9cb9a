# hosts.sh - part of lab.sh: the network and the hosts.
# A host is: a network namespace with one cable to the lab's switch, a disk (overlay on the image), and while it has
# power a cgroup with its own systemd in namespaces of its own. $LAB/hosts/H: disk work root octet console, and marks:
# on (has power), frozen (paused by Xen), partitioned (cable pulled by a test), guest (its power is Xen's business),
# init-sh (init.sh is its process 1).

cgroot() {  # where cgroup2 is mounted; the machine's own mount will do
  local m; if [ -e "$CGROUP/cgroup.procs" ]; then echo "$CGROUP"; return; fi
  m=$(findmnt -nt cgroup2 -o TARGET | head -1)
  if [ -z "$m" ]; then m=$RUN/cgroup; mkdir -p "$m"; mount -t cgroup2 none "$m" || return 1; fi
  echo "$m"
}
cg() { echo "$(cgroot)/$NS"; }
populated() { grep -qs 'populated 1' "$1/cgroup.events"; }
rm_cgroup() { [ ! -d "$1" ] || find "$1" -depth -type d -exec rmdir {} +; }
alive() { populated "$(cg)/$1"; }
pid1() { local p; p=$(head -qn1 "$(cg)/$1/init.scope/cgroup.procs" 2>/dev/null) && [ -n "$p" ] && echo "$p" || die "$1 has no init running"; }
wait_for() {  # WHAT COMMAND...: a minute at most; a leading ! waits for it to fail
  local what=$1 i not=""; shift; [ "$1" != ! ] || { not=1; shift; }
  for i in $(seq 3000); do if "$@"; then [ -n "$not" ] || return 0; elif [ -n "$not" ]; then return 0; fi; sleep .02; done
  die "waited a minute for $what, in vain"
}

# --- network: $NS.net is the switch, $NS.ctl the controller, $NS-HOST each host
new_net() { unshare -n ip netns add "$1"; }  # ip comes back to where it was: without root, not into the machine's own
network() {
  new_net "$NS.net"; new_net "$NS.ctl"
  ip -n "$NS.net" link add br0 type bridge; ip -n "$NS.net" link set br0 up
  if [ -n "${LATENCY:-}" ]; then
    need python3 python3-minimal
    spawn log _delay "$LATENCY"
    wait_for "the delayer (is there a /dev/net/tun? see $LAB/log)" quietly ip -n "$NS.net" link show ctl
    ip -n "$NS.net" link set eth0 netns "$NS.ctl"
  else
    ip -n "$NS.ctl" link add eth0 type veth peer name ctl netns "$NS.net"
  fi
  ip -n "$NS.net" link set ctl master br0 up; ip -n "$NS.ctl" link set eth0 up
  ip -n "$NS.ctl" link set lo up; ip -n "$NS.ctl" addr add $NET.1/24 dev eth0
}
_delay() {
  echo "$BASHPID" >"$(cg)/_lab/cgroup.procs"
  exec nsenter --net="/run/netns/$NS.net" python3 "$HERE/delay.py" "$1" eth0 ctl
}
quietly() { "$@" >/dev/null 2>&1; }
cable() {  # plugged in while the host has power and nobody pulled it
  local d=$LAB/hosts/$1 s=up
  if [ ! -e "$d/on" ] || [ -e "$d/frozen" ] || [ -e "$d/partitioned" ]; then s=down; fi
  ip -n "$NS.net" link set "p$(cat "$d/octet")" $s
}

# --- hosts
spec_name() { local s=${1%%:*}; echo "${s%%=*}"; }
check_specs() {  # SPEC...
  local s seen=" "
  for s in "$@"; do
    [[ $s =~ ^[a-z][a-z0-9-]{0,30}(=[0-9]+)?(:init=sh)?(:off)?$ ]] || die "not a host: $s (NAME, NAME=OCTET, NAME:init=sh, NAME:off; lower case, digits, dashes)"
    [[ ! $s =~ =([0-9]+) ]] || { [ "${BASH_REMATCH[1]}" -gt 1 ] && [ "${BASH_REMATCH[1]}" -lt 255 ]; } || die "$s: 2 to 254, please"
    s=$(spec_name "$s")
    [ "$s" != localhost ] || die "no host can be named localhost"
    if [[ $seen = *" $s "* ]]; then die "$s is named twice"; fi
    if is_up && [ -d "$LAB/hosts/$s" ]; then die "there is a host $s already"; fi
    seen+="$s "
  done
}
create() {  # SPEC: its disk, key, name, cable
  local h o d; h=$(spec_name "$1"); d=$LAB/hosts/$h
  if [[ $1 =~ =([0-9]+) ]]; then o=${BASH_REMATCH[1]}; else o=11; while grep -q " $NET.$o\$" "$LAB/hosts.txt"; do o=$((o + 1)); done; fi
  ! grep -q " $NET.$o\$" "$LAB/hosts.txt" || die "$h: $NET.$o is taken"
  mkdir -p "$d"; echo "$o" >"$d/octet"; : >"$d/console"
  [[ $1 != *:init=sh* ]] || : >"$d/init-sh"
  ssh-keygen -qt ed25519 -N '' -C "$h" -f "$d/host_key"
  disk "$h"
  new_net "$NS-$h"; ip -n "$NS-$h" link add eth0 type veth peer name "p$o" netns "$NS.net"
  ip -n "$NS.net" link set "p$o" master br0; ip -n "$NS-$h" link set lo up
  ip -n "$NS-$h" link set eth0 up; ip -n "$NS-$h" addr add $NET.$o/24 dev eth0
  echo "$h $NET.$o" >>"$LAB/hosts.txt"
}
disk() {  # a fresh one
  local h=$1 d=$LAB/hosts/$1
  rm -rf --one-file-system "$d"/{disk,work,root}; mkdir -p "$d"/{disk/etc/ssh,work,root}
  install -m600 "$d/host_key" "$d/disk/etc/ssh/ssh_host_ed25519_key"
  install -m644 "$d/host_key.pub" "$d/disk/etc/ssh/ssh_host_ed25519_key.pub"
  [ ! -e "$d/init-sh" ] || install -Dm755 "$HERE/init.sh" "$d/disk/usr/local/sbin/init"
  echo "$h" >"$d/disk/etc/hostname"; md5sum <<<"$NS-$h" | cut -c1-32 >"$d/disk/etc/machine-id"
}
write_lists() {  # hosts.txt in all the forms in which it is wanted
  local h ip names
  names=$(awk '{print $2, $1}' "$LAB/hosts.txt")
  { cat /etc/hosts; echo "$names"; } >"$LAB/etc-hosts.new"; cat "$LAB/etc-hosts.new" >"$LAB/etc-hosts"; rm "$LAB/etc-hosts.new"
  while read -r h ip; do echo "$h,$ip $(key_of "$h" | cut -d' ' -f1,2)"; done <"$LAB/hosts.txt" >"$LAB/known_hosts"
  { while read -r h ip; do printf 'Host %s\n  HostName %s\n' "$h" "$ip"; done <"$LAB/hosts.txt"
    printf 'Host *\n  User root\n  IdentityFile "%s/id"\n  IdentitiesOnly yes\n  UserKnownHostsFile "%s/known_hosts"\n  StrictHostKeyChecking yes\n' "$LAB" "$LAB"
  } >"$LAB/ssh_config"
  while read -r h ip; do emulated "$h" || printf '127.0.0.1 localhost\n%s\n' "$names" | put "$h" - /etc/hosts 644; done <"$LAB/hosts.txt"
}
start() {  # power on; returns at once
  local d=$LAB/hosts/$1
  if [ -e "$d/on" ]; then die "$1 is on already"; fi
  : >"$d/on"
  spawn "hosts/$1/console" _power "$1"
}
_power() {  # stay with H for as long as it has power; a `reboot` inside it boots it again
  local h=$1 d=$LAB/hosts/$1 g status xen hardware; g=$(cg); set +e
  # its own namespaces on its own network, or an emulator on the switch's (machines.sh)
  hardware=(nsenter --net="/run/netns/$NS-$h" unshare -muipCfT --boottime "-$(cut -d. -f1 /proc/uptime)" "$SELF" _init "$h")
  [ ! -e "$d/machine" ] || hardware=(nsenter --net="/run/netns/$NS.net" env "TAP=p$(cat "$d/octet")" "$d/machine")
  echo "$BASHPID" >"$g/_lab/cgroup.procs"; : >"$d/on"
  while :; do
    xen=""; if [ "$(cat "$LAB/xen/dom0" 2>/dev/null)" = "$h" ]; then  # the machine is Xen's first, then dom0's
      python3 "$HERE/xen/hypervisor.py" --dir "$LAB/xen" --lab "$SELF" >>"$LAB/log" 2>&1 & xen=$!
      wait_for "the hypervisor (see $LAB/log)" test -S "$LAB/xen/dev/privcmd"
    fi
    echo "--- power on $(date -u +%FT%TZ)"; rm_cgroup "$g/$h"; mkdir "$g/$h"; cable "$h"
    [ ! -e "$d/frozen" ] || echo 1 >"$g/$h/cgroup.freeze"
    bash -c 'echo $$ >"$1" && shift && exec "$@"' - "$g/$h/cgroup.procs" "${hardware[@]}"
    status=$?  # as a signal: HUP (129) reboot, INT (130) power off, KILL (137) power cut
    echo 1 >"$g/$h/cgroup.kill"; while populated "$g/$h"; do sleep .01; done  # the rest of it dies a moment later
    [ -z "$xen" ] || { kill "$xen"; wait "$xen"; }  # the same box: its guests go with it
    echo "--- power off ($status)"
    [ $status = 129 ] && [ ! -e "$d/guest" ] || break
  done
  rm -f "$d/on" "$d/frozen"; cable "$h"
  exit $status
}
_init() {  # in the host's own namespaces: lay out the machine, then become its systemd
  local d=$LAB/hosts/$1 n
  assemble "$d"; cd "$d/root"
  mount -t proc proc proc; mount -t sysfs -o ro sysfs sys; mount -t cgroup2 cgroup2 sys/fs/cgroup
  mount -t tmpfs -o mode=755 tmpfs run; mount -t tmpfs -o mode=755 tmpfs dev
  mkdir dev/pts dev/shm; mount -t devpts -o newinstance,ptmxmode=666,mode=620,gid=5 devpts dev/pts
  mount -t tmpfs -o mode=1777 tmpfs dev/shm; ln -s pts/ptmx dev/ptmx; ln -s /proc/self/fd dev/fd
  for n in 0 1 2; do ln -s /proc/self/fd/$n "dev/$(sed -n $((n + 1))p <<<$'stdin\nstdout\nstderr')"; done
  for n in null zero full random urandom tty fuse; do [ ! -e /dev/$n ] || { : >dev/$n; mount --bind /dev/$n dev/$n; }; done
  # loop devices are the machine's own: what a host mounts of them goes with it
  for n in loop-control loop{0..15}; do [ ! -e /dev/$n ] || { : >dev/$n; mount --bind /dev/$n dev/$n; }; done
  # /proc/sys is the whole machine's: a host may read it, and has a boot id of its own. But what it sees of net is its
  # network namespace's (what is the whole machine's there is not shown, or cannot be written)
  cat proc/sys/kernel/random/uuid >dev/boot_id; mount --bind proc/sys proc/sys; mount -o remount,bind,ro proc/sys
  mount --bind proc/sys/net proc/sys/net; mount -o remount,bind,rw proc/sys/net
  for n in sysrq-trigger kmsg; do [ ! -e proc/$n ] || mount --bind dev/null proc/$n; done
  mount --bind dev/boot_id proc/sys/kernel/random/boot_id
  if [ "$(cat "$LAB/xen/dom0" 2>/dev/null)" = "$1" ]; then mkdir dev/xen; mount --bind "$LAB/xen/dev" dev/xen; fi
  n=/lib/systemd/systemd; [ ! -e "$d/init-sh" ] || n=/usr/local/sbin/init
  pivot_root . .; umount -l .
  exec chroot . /usr/bin/setpriv --bounding-set -sys_module,-sys_time,-mknod \
    /usr/bin/env -i container=lab PATH=/usr/sbin:/usr/bin:/sbin:/bin "$n"
}
assemble() {  # the host's disk at $1/root, in the caller's mount namespace
  mount -t overlay lab-disk -o "lowerdir=$(cat "$REG/image"),upperdir=$1/disk,workdir=$1/work${IN_USERNS:+,userxattr}" "$1/root"
}
root() {  # H CMD...: on its file system; while it is off, on the disk alone
  local h=$1 d=$LAB/hosts/$1; shift
  if alive "$h" && [ -n "$(head -qn1 "$(cg)/$h/init.scope/cgroup.procs" 2>/dev/null)" ]; then nsenter -t "$(pid1 "$h")" -m -u -i -n -p -T "$@"
  elif [ -e "$d/on" ]; then wait_for "$h to start or stop" settled "$h"; root "$h" "$@"
  else ( export -f assemble; export REG; exec unshare -m bash -ec 'd=$1; shift; assemble "$d"; exec chroot "$d/root" "$@"' - "$d" "$@" )
  fi
}
settled() { [ ! -e "$LAB/hosts/$1/on" ] || [ -n "$(head -qn1 "$(cg)/$1/init.scope/cgroup.procs" 2>/dev/null)" ]; }
put() {  # H SRC DST [MODE]: whole, by rename
  local h=$1 src=${2:?put H SRC DST [MODE]} dst=${3:?put H SRC DST [MODE]} mode=${4:-}
  [[ $dst = /* ]] || die "put: $dst is not an absolute path"
  if [ "$src" = - ]; then cat; else cat "$src"; fi |
    root "$h" sh -ec 'mkdir -p "$(dirname "$1")"; t=$1.put.$$; cat >"$t"; chmod "$2" "$t"; mv -fT "$t" "$1"' - \
      "$dst" "${mode:-$([ "$src" = - ] && echo 644 || stat -Lc %a "$src")}"
}
answers() {  # H [SECONDS]: until its sshd greets
  local h=$1 long end ip once=.5; ip=$NET.$(cat "$LAB/hosts/$1/octet")
  long=${2:-$(cat "$LAB/hosts/$1/patience" 2>/dev/null || echo 60)}; end=$((SECONDS + long))
  emulated "$h" && once=20  # where all is slow, hanging up early would be to never get through
  until net timeout "$once" bash -c "exec 3<>/dev/tcp/$ip/22 && head -c4 <&3" 2>/dev/null | grep -q SSH-; do
    [ $SECONDS -lt $end ] || die "$h: no ssh after $long s (lab.sh status; lab.sh console $h)"
    [ -e "$LAB/hosts/$h/on" ] || [ -e "$LAB/hosts/$h/guest" ] || die "$h has no power (lab.sh console $h)"
    sleep .05
  done
}
off() { [ ! -e "$LAB/hosts/$1/on" ]; }
power_cut() {
  ! off "$1" || return 0
  wait_for "$1 to have something running" alive_or_off "$1"
  off "$1" || { echo 1 >"$(cg)/$1/cgroup.kill"; wait_for "$1 to be off" off "$1"; }
}
alive_or_off() { alive "$1" || off "$1"; }
reset() {
  local was; was=$(off "$1" || echo on)
  power_cut "$1"; disk "$1"; write_lists; [ ! -e "$LAB/xen/dom0" ] || [ "$(cat "$LAB/xen/dom0")" != "$1" ] || dom0_disk "$1"
  if [ -n "$was" ] && [ ! -e "$LAB/hosts/$1/guest" ]; then start "$1"; answers "$1"; fi
}
status() {
  local h ip d s
  while read -r h ip; do
    d=$LAB/hosts/$h; s=off; [ ! -e "$d/on" ] || s=on; [ ! -e "$d/frozen" ] || s=paused
    [ ! -e "$d/partitioned" ] || s+=", cable pulled"
    [ ! -e "$d/guest" ] || s+=", guest of $(cat "$d/guest")"; [ "$(cat "$LAB/xen/dom0" 2>/dev/null)" != "$h" ] || s+=", dom0"
    printf '%-12s %-12s %s\n' "$h" "$ip" "$s"
  done <"$LAB/hosts.txt"
}

# --- Xen: see xen/. The hypervisor is started with the machine (_power) and its guests are hosts of the lab.
dom0() {  # H GUEST...
  local h=$1 g; shift
  [ -z "$(cat "$LAB/xen/dom0" 2>/dev/null)" ] || die "$(cat "$LAB/xen/dom0") is the lab's dom0 already"
  [ $# -gt 0 ] || die "dom0 $h: and its guests?"
  for g in "$@"; do [ -d "$LAB/hosts/$g" ] && [ "$g" != "$h" ] || die "$g cannot be a guest of $h: it is not another host of the lab"; done
  power_cut "$h"; for g in "$@"; do power_cut "$g"; echo "$h" >"$LAB/hosts/$g/guest"; done
  mkdir -p "$LAB/xen/dev"; printf '%s\n' "$@" >"$LAB/xen/guests"; echo "${LAB_XEN_SPEED:-0.1}" >"$LAB/xen/speed"
  # dom0's address moves to a bridge, as on a real one, so that a cfg's bridge=xenbr0 is there
  ip -n "$NS-$h" link add xenbr0 type bridge; ip -n "$NS-$h" addr flush dev eth0
  ip -n "$NS-$h" link set eth0 master xenbr0; ip -n "$NS-$h" link set xenbr0 up
  ip -n "$NS-$h" addr add "$NET.$(cat "$LAB/hosts/$h/octet")/24" dev xenbr0
  dom0_disk "$h"; echo "$h" >"$LAB/xen/dom0"; start "$h"; answers "$h"
}
dom0_disk() {  # xl, its configuration, and what Debian's xen-utils does at boot
  local h=$1 g
  put "$h" "$HERE/xen/xl" /usr/sbin/xl 755
  put "$h" "$HERE/xen/xendomains" /usr/lib/xen/bin/xendomains 755
  put "$h" "$HERE/xen/xendomains.service" /usr/lib/systemd/system/xendomains.service 644
  root "$h" sh -ec 'mkdir -p /etc/xen/auto /etc/systemd/system/multi-user.target.wants
    ln -sf /lib/systemd/system/xendomains.service /etc/systemd/system/multi-user.target.wants/xendomains.service
    for f in vmlinuz-6.1.0-56-amd64 guest-initrd.gz; do echo "a guest boots its own disk: this is only here to be found" >/boot/$f; done'
  while read -r g; do
    put "$h" - "/etc/xen/$g.cfg" 644 <<X
name = "$g"
type = "pv"
kernel = "/boot/vmlinuz-6.1.0-56-amd64"
ramdisk = "/boot/guest-initrd.gz"
extra = "console=hvc0 quiet mitigations=off host=$g addr=$NET.$(cat "$LAB/hosts/$g/octet")/24"
memory = 128
vcpus = 1
vif = [ "bridge=xenbr0,mac=00:16:3e:00:00:$(printf %02x "$(cat "$LAB/hosts/$g/octet")")" ]
on_poweroff = "destroy"
on_reboot = "restart"
on_crash = "destroy"
X
  done <"$LAB/xen/guests"
}
