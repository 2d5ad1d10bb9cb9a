#!/bin/bash
# xen.sh - real Xen for the lab: an emulated machine (qemu, no virtualisation needed) that boots Xen 4.17 and a Debian dom0,
# with vps0, a Debian with the site of our story, as its guest. Both are hosts of the lab $LAB (see ../lab.sh).
#   probe                can this machine do it? exit 0 and one line, or 1 and what is missing
#   build                the machine's disks (done by `up` when needed)
#   built                are they made?
#   took                 how many seconds that took, and the first boot with its snapshot: `disks 145` and `boot 46`
#   up [--owner PID]     a new lab with dom0, on, and vps0, which nobody has created yet. From the snapshot `booted`; the
#                        first time it is booted, and the snapshot made
#   save NAME            a snapshot of the whole machine as it is, memory and disks; it is there for later labs too
#   load NAME            back to it: what happened since has not happened
#   bare                 dom0's next boot is without Xen
#   has NAME             is there such a snapshot?
#   monitor COMMAND      a command for qemu's monitor
# All else with lab.sh: ssh, wait, power-cut dom0, boot dom0 (which boots, without any snapshot), console dom0, down.
# LAB as for lab.sh. XEN_IMAGE is the directory of the disks (target/lab/real-xen).
set -euo pipefail
export PATH=$PATH:/usr/sbin:/sbin
HERE=$(dirname "$(realpath "$0")"); LAB_DIR=$(dirname "$HERE"); PROJECT=$(realpath "$LAB_DIR/../.."); lab=$LAB_DIR/lab.sh
export LAB; LAB=$(realpath -m "${LAB:-$PROJECT/target/lab/real}")
export LAB_IMAGE; LAB_IMAGE=$(realpath -m "${LAB_IMAGE:-$PROJECT/target/lab/image}")
XEN_IMAGE=$(realpath -m "${XEN_IMAGE:-$PROJECT/target/lab/real-xen}")
BOOT_SECONDS=600  # on a slow machine that has other things to do
usage() { sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//p}' "$0"; }
die() { echo "xen: $*" >&2; exit 1; }
# shellcheck source=/dev/null
. "$HERE/image.sh"

probe() {
  local missing=() c
  [ "$(id -u)" = 0 ] || die "real Xen needs root here (for the TAP and the disks)"
  for c in qemu-system-x86_64 qemu-img mmdebstrap mkfs.ext4 cpio python3 ip; do command -v $c >/dev/null || missing+=("$c"); done
  [ ${#missing[@]} = 0 ] || die "missing: ${missing[*]} (scripts/needs xen)"
  [ -e /dev/net/tun ] || die "there is no /dev/net/tun"
  echo "real Xen: $(qemu-system-x86_64 --version | head -1), emulated"
}

made() {
  ! built || return 0
  local begun=$SECONDS
  build; echo "disks $((SECONDS - begun))" >"$(image_dir)/took"
}
built() { [ -e "$LAB_IMAGE/id.pub" ] && [ -e "$(image_dir)/done" ]; }
machine_dir() { echo "$(image_dir)/machine-$( (cat "$HERE/power.sh"; qemu-system-x86_64 --version) | md5sum | cut -c1-6)"; }

up() {
  local m d said begun
  probe >/dev/null
  "$lab" up --bare "$@"
  made; begun=$SECONDS; m=$(machine_dir); mkdir -p "$m"; ln -sfn "$m" "$LAB/machine"
  # There is one such machine: qemu holds its disks. What a killed one left has leaks at most; else it is made anew.
  for d in dom0 vps0; do
    if [ -e "$m/$d.qcow2" ] && ! said=$(qemu-img check -q -r leaks "$m/$d.qcow2" 2>&1); then
      [[ $said != *lock* ]] || die "the machine in $m is on already, in another lab"
      rm -f "$m"/*.qcow2
    fi
  done
  for d in dom0 vps0; do
    [ -e "$m/$d.qcow2" ] || qemu-img create -q -f qcow2 -F raw -b "../$d.img" "$m/$d.qcow2"
  done
  "$lab" _machine dom0=11 "$m/../dom0.pub" $BOOT_SECONDS "$HERE/power.sh" "$m"
  "$lab" _machine_guest vps0=12 "$m/../vps0.pub" dom0
  rm -f "$m/loadvm"; ! has booted || echo booted >"$m/loadvm"
  "$lab" boot dom0
  if has booted; then echo "from the snapshot" >"$LAB/begun"; return; fi
  "$lab" ssh dom0 'until systemctl is-system-running | grep -qv starting; do sleep 1; done; xl list >/dev/null'
  save booted; echo "by booting" >"$LAB/begun"; echo "boot $((SECONDS - begun))" >"$m/took"
}

monitor() { [ -S "$LAB/machine/monitor" ] || die "dom0 is off"; python3 "$HERE/monitor.py" "$LAB/machine/monitor" "$*"; }
save() { monitor savevm "$1"; }
has() { qemu-img snapshot -U -l "$LAB/machine/dom0.qcow2" | awk -v name="$1" '$2 == name { found = 1 } END { exit !found }'; }
# With a qemu of its own: what is loaded into one that has run before has no notion of time any more (`xl list` then says
# that nothing uses any).
load() { has "$1" || die "no snapshot $1"; "$lab" power-cut dom0; echo "$1" >"$LAB/machine/loadvm"; "$lab" boot dom0; }

verb=${1:-help}; [ $# = 0 ] || shift
case $verb in
  probe) probe ;;
  build) mkdir -p "$LAB_IMAGE"; [ -e "$LAB_IMAGE/id.pub" ] || ssh-keygen -qt ed25519 -N '' -C lab -f "$LAB_IMAGE/id"; made ;;
  built) built ;;
  took) cat "$(image_dir)/took" "$(machine_dir)/took" ;;
  up) up "$@" ;;
  save) save "$1" ;;
  load) load "$1" ;;
  has) has "$1" ;;
  bare) : >"$LAB/machine/bare" ;;
  monitor) monitor "$@" ;;
  help|-h|--help) usage ;;
  *) echo "xen: no verb $verb" >&2; usage >&2; exit 2 ;;
esac
