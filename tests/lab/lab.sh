#!/bin/bash
# lab.sh - a lab of real Debian hosts on one machine: systemd as PID 1, sshd, own disk, own address.
#   probe                        can this user have a lab here? exit 0 and one line, or 1 and what is missing
#   build                        make the disk image (done by `up` when needed; about half a minute)
#   up [--owner PID] HOST...     a new lab; returns when ssh answers. HOST is NAME, NAME=OCTET (10.77.0.OCTET)
#                                or either with :init=sh (a shell script for an init, sshd, cron: no systemd)
#                                and :off (no power yet). With --owner it goes when PID goes.
#                                --bare instead of hosts: the network alone, to be filled by real-xen/xen.sh
#   add HOST...                  more hosts in the lab
#   down                         take the lab away: power, disks, network; the image stays
#   down-all                     take away every lab whose owner died or whose directory is gone
#   status                       the hosts and how they are
#   power-cut H                  H loses power at once and its cable goes dead; its disk stays
#   boot H                       power it on again; returns when ssh answers
#   wait H [SECONDS]             until ssh on H answers (60)
#   reset H                      a fresh disk (same host key), booted if it was on
#   partition H | heal H         unplug or plug H's cable, no more than that
#   ssh H CMD...                 as root on H, through ssh     (options of ssh may come before H)
#   net CMD...                   run CMD here, on the lab's network, as the controller (10.77.0.1)
#   root H CMD...                run CMD on H's file system without ssh, also while H is off
#   put H SRC DST [MODE]         write SRC (- is stdin) to DST on H without ssh, also while H is off
#   console H                    what H printed, and its journal while it is on
#   dom0 H GUEST...              make H a Xen machine (a stand-in, see xen/) and the GUESTs its domains
#   xen-speed FACTOR             how long Xen takes: 1 as the real one, 0.1 the default
#   site                         provision the site of our story on dom0 and vps0 (see site/)
# LAB is the lab's directory (target/lab/main), LAB_IMAGE that of the image, which labs share
# (target/lab/image; without root image-UID). LATENCY=ms at `up` puts a one-way delay between the controller and the hosts.
# Without root all of it is in a user namespace (rootless.sh), and what CMD... of `net` takes for root is you. The
# image belongs to users of that namespace: unshare --user --map-root-user --map-auto rm -rf target/lab removes it.
# In $LAB: id (the key of root and admin on all hosts), ssh_config, known_hosts, hosts.txt (name address).
set -euo pipefail
export PATH=$PATH:/usr/sbin:/sbin  # which an ordinary user's has not
HERE=$(dirname "$(realpath "$0")"); SELF=$HERE/lab.sh; PROJECT=$(realpath "$HERE/../..")
LAB=$(realpath -m "${LAB:-$PROJECT/target/lab/main}")
me=$(id -u)
LAB_IMAGE=$(realpath -m "${LAB_IMAGE:-$PROJECT/target/lab/image$([ "$me" = 0 ] || echo "-$me")}")
ID=$(md5sum <<<"$LAB" | cut -c1-6)        # in the name of all that a lab owns outside its directory
RUN=/run/converge-lab
if [ "$me" != 0 ]; then
  export XDG_RUNTIME_DIR=${XDG_RUNTIME_DIR:-/run/user/$me}
  if [ -w "$XDG_RUNTIME_DIR" ]; then RUN=$XDG_RUNTIME_DIR/converge-lab; else RUN=/tmp/converge-lab-$me; fi
fi
REG=$RUN/$ID HOLD=$RUN/$ID.holder CGROUP=/run/cvl-cgroup NS=cvl-$ID NET=10.77.0
read -r _ _ users </proc/self/uid_map; IN_USERNS=""; [ "$users" = 4294967295 ] || IN_USERNS=1
export LAB LAB_IMAGE IN_USERNS
usage() { sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//p}' "$SELF"; }
die() { echo "lab: $*" >&2; exit 1; }
# shellcheck source=/dev/null
. "$HERE/probe.sh"
# shellcheck source=/dev/null
. "$HERE/image.sh"
# shellcheck source=/dev/null
. "$HERE/hosts.sh"
# shellcheck source=/dev/null
. "$HERE/machines.sh"
# shellcheck source=/dev/null
. "$HERE/rootless.sh"

# One `up`, `add` or `down` of a lab at a time. What is started must not inherit the lock: 9>&-
lock() { mkdir -p "$RUN"; exec 9>"$REG.lock"; flock -w 120 9 || die "another lab.sh is busy with $LAB since two minutes"; }
is_up() { [ "$(cat "$REG/up" 2>/dev/null)" = "$(cat /proc/sys/kernel/random/boot_id)" ] && [ -e "/run/netns/$NS.ctl" ]; }
# enough of it to be looked at, even if `up` failed on the way
must_be_up() { { [ -e "$REG/token" ] && [ -e "/run/netns/$NS.ctl" ]; } || die "no lab is up in $LAB (lab.sh up HOST...)"; }

up() {
  local owner="" bare="" specs=()
  lock; trap '[ -e "$REG/token" ] || let_go' EXIT
  while [ $# -gt 0 ]; do case $1 in
    --owner) owner=${2:?--owner needs a PID}; shift 2 ;; --bare) bare=1; shift ;; -*) die "up: unknown option $1" ;; *) specs+=("$1"); shift ;;
  esac; done
  [ ${#specs[@]} -gt 0 ] || [ -n "$bare" ] || die "up: which hosts? (lab.sh up dom0 vps0)"
  check_specs "${specs[@]}"
  ! is_up || die "a lab is up in $LAB already ($(cut -d' ' -f1 "$LAB/hosts.txt" | xargs)): lab.sh down, or lab.sh add HOST"
  # `down` removes the directory: it must be one that holds nothing else
  [ -e "$LAB/.converge-lab" ] || [ -z "$(ls -A "$LAB" 2>/dev/null)" ] || die "$LAB is not empty and no lab: set LAB to a directory of its own"
  clear_away 9>&-  # what a killed `up` or `down` left
  if [ ${#specs[@]} -gt 0 ]; then build 9>&-; else login_key; fi
  mkdir -p "$REG" "$LAB/hosts"; echo "$LAB" >"$REG/dir"; echo "$owner" >"$REG/owner"; image_dir >"$REG/image"
  cat /proc/sys/kernel/random/uuid >"$REG/token"; : >"$LAB/.converge-lab"; : >"$LAB/hosts.txt"; : >"$LAB/log"
  install -m600 "$LAB_IMAGE/id" "$LAB/id"; install -m644 "$LAB_IMAGE/id.pub" "$LAB/id.pub"
  mkdir -p "$(cg)/_lab"
  [ -z "$owner" ] || spawn log _watch "$owner" "$(cat "$REG/token")"
  network; add_hosts "${specs[@]}"
  cat /proc/sys/kernel/random/boot_id >"$REG/up"
}

add_hosts() {  # SPEC...: all disks first, then all power, then wait for all
  local s on=()
  for s in "$@"; do create "$s"; [[ $s = *:off ]] || on+=("$(spec_name "$s")"); done
  write_lists
  for s in "${on[@]}"; do start "$s"; done
  for s in "${on[@]}"; do answers "$s"; done
}

# Everything that runs for a lab, hosts and helpers, is below one cgroup: killing that is the whole of stopping
# it, and safe to do again or after half an `up`.
clear_away() {
  local g n; g=$(cg)
  [ ! -e "$LAB/.converge-lab" ] || [ -O "$LAB/.converge-lab" ] || die "the lab in $LAB is another user's: set LAB to a directory of its own"
  if [ -d "$g" ]; then
    echo 1 >"$g/cgroup.kill"; wait_for "processes of the lab to end" ! populated "$g"; rm_cgroup "$g"
  fi
  for n in $(ip netns list | cut -d' ' -f1); do [[ $n != "$NS"[-.]* ]] || ip netns del "$n"; done
  if [ -e "$LAB/.converge-lab" ]; then rm -rf --one-file-system "$LAB"; fi
  rm -rf "$REG"
}

down() { lock; clear_away; let_go; }

_watch() {  # OWNER TOKEN: outlives its caller, outside the lab's cgroup, or it would end itself
  ( echo "$BASHPID" >"$(cg)/_lab/cgroup.procs"  # but the waiting itself ends with the lab
    exec python3 -c 'import os,select,sys; select.select([os.pidfd_open(int(sys.argv[1]))],[],[])' "$1" ) || :
  lock; [ "$(cat "$REG/token" 2>/dev/null)" = "$2" ] || exit 0  # it is gone, or another one lies here now
  clear_away; let_go
}

down_all() {
  local r owner dir
  for r in "$RUN"/*/; do
    [ -e "$r/dir" ] || continue
    dir=$(cat "$r/dir") owner=$(cat "$r/owner")
    if [ ! -d "$dir" ] || { [ -n "$owner" ] && ! kill -0 "$owner" 2>/dev/null; }; then
      echo "taking down $dir"; LAB=$dir "$SELF" down || echo "lab: $dir would not go" >&2
    fi
  done
}

net() {  # the machine's files, the lab's network and names
  nsenter --net="/run/netns/$NS.ctl" unshare -m sh -c 'mount --bind "$0" /etc/hosts && exec "$@"' "$LAB/etc-hosts" "$@"
}

verb=${1:-help}; [ $# = 0 ] || shift
need_host() { must_be_up; [ -n "${1:-}" ] || die "$verb: which host?"; [ -d "$LAB/hosts/$1" ] || die "no host $1 in the lab (there are: $(cut -d' ' -f1 "$LAB/hosts.txt" | xargs))"; }
case $verb in
  help|-h|--help) ;;
  *) if [ "$me" != 0 ]; then rootless "$verb" "$@"; exit; fi ;;
esac
case $verb in
  probe) probe ;;
  build) build ;;
  up) up "$@" ;;
  add) must_be_up; [ $# -gt 0 ] || die "add: which hosts?"; check_specs "$@"; lock; add_hosts "$@" ;;
  down) down ;;
  down-all) down_all ;;
  status) must_be_up; status ;;
  power-cut) need_host "$@"; power_cut "$1" ;;
  boot) need_host "$@"; [ ! -e "$LAB/hosts/$1/guest" ] || die "$1 is a Xen guest: start it on its dom0, with xl create"
    start "$1"; answers "$1" ;;
  wait) need_host "$@"; answers "$@" ;;
  reset) need_host "$@"; own_disk "$1"; reset "$1" ;;
  partition) need_host "$@"; : >"$LAB/hosts/$1/partitioned"; cable "$1" ;;
  heal) need_host "$@"; rm -f "$LAB/hosts/$1/partitioned"; cable "$1" ;;
  ssh) must_be_up; net ssh -F "$LAB/ssh_config" "$@" ;;
  net) must_be_up; net "$@" ;;
  root) need_host "$@"; own_disk "$1"; h=$1; shift; root "$h" "$@" ;;
  put) need_host "$@"; own_disk "$1"; put "$@" ;;
  console) need_host "$@"; cat "$LAB/hosts/$1/console"; emulated "$1" || ! alive "$1" || root "$1" journalctl -b --no-pager ;;
  dom0) need_host "$@"; own_disk "$1"; dom0 "$@" ;;
  xen-speed) must_be_up; [[ ${1:-} =~ ^[0-9]+(\.[0-9]+)?$ ]] || die "xen-speed: a number, such as 0.1 or 1"
    [ -d "$LAB/xen" ] || die "no host of this lab is a dom0 (lab.sh dom0 H GUEST...)"
    echo "$1" >"$LAB/xen/speed.new"; mv "$LAB/xen/speed.new" "$LAB/xen/speed" ;;
  site) must_be_up; "$HERE/site/site.sh" ;;
  # not for people: what lab.sh, the hypervisor and real-xen/xen.sh call
  _machine) must_be_up; lock; machine "$@" ;;
  _machine_guest) must_be_up; lock; machine_guest "$@" ;;
  _inside) _inside "$@" ;;
  _hold) _hold ;;
  _delay) _delay "$1" ;;
  _watch) _watch "$@" ;;
  _power) _power "$1" ;;
  _init) _init "$1" ;;
  _freeze) : >"$LAB/hosts/$1/frozen"; cable "$1"; [ ! -d "$(cg)/$1" ] || echo 1 >"$(cg)/$1/cgroup.freeze" ;;
  _thaw) rm -f "$LAB/hosts/$1/frozen"; [ ! -d "$(cg)/$1" ] || echo 0 >"$(cg)/$1/cgroup.freeze"; cable "$1" ;;
  _signal) p=$(pid1 "$1" 2>/dev/null); kill -s "$2" "$p" ;;
  help|-h|--help) usage ;;
  *) echo "lab: no verb $verb" >&2; usage >&2; exit 2 ;;
esac
