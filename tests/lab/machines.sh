# machines.sh - part of lab.sh: hosts that are no namespaces of this machine, but an emulator's (see real-xen/).
# Such a host has in $LAB/hosts/H, beside what hosts.sh says: machine, the command that is its power, run on the
# switch's network with its cable, a TAP, as $TAP; and known.pub, its ssh key. Its guests have `guest` and no power of
# their own. All else of the lab takes them for hosts: ssh, wait, power-cut, boot, partition, status, console.

emulated() { [ -e "$LAB/hosts/$1/known.pub" ]; }
own_disk() { ! emulated "$1" || die "$verb: the disk of $1 is its emulator's: use ssh, while it is on"; }
key_of() { if emulated "$1"; then cat "$LAB/hosts/$1/known.pub"; else cat "$LAB/hosts/$1/host_key.pub"; fi; }

login_key() {  # as image.sh makes it, where there is no image to make
  mkdir -p "$LAB_IMAGE"
  [ -e "$LAB_IMAGE/id.pub" ] || { rm -f "$LAB_IMAGE/id"; ssh-keygen -qt ed25519 -N '' -C lab -f "$LAB_IMAGE/id"; }
}
enlist() {  # H=OCTET KEY.pub
  local h o d; h=$(spec_name "$1"); d=$LAB/hosts/$h
  [[ $1 =~ =([0-9]+) ]] || die "$1: an emulated host has an address of its own choice: say which ($h=OCTET)"
  o=${BASH_REMATCH[1]}
  ! grep -q " $NET.$o\$" "$LAB/hosts.txt" || die "$h: $NET.$o is taken"
  mkdir -p "$d"; echo "$o" >"$d/octet"; : >"$d/console"; install -m644 "$2" "$d/known.pub"
  echo "$h $NET.$o" >>"$LAB/hosts.txt"
}
machine() {  # H=OCTET KEY.pub SECONDS CMD...: off, until it is booted; SECONDS is how long its boot may take
  local h o; h=$(spec_name "$1")
  check_specs "$1"; enlist "$1" "$2"; o=$(cat "$LAB/hosts/$h/octet")
  ip -n "$NS.net" tuntap add "p$o" mode tap; ip -n "$NS.net" link set "p$o" master br0
  echo "$3" >"$LAB/hosts/$h/patience"; shift 3
  printf '#!/bin/sh\nexec%s\n' "$(printf ' %q' "$@")" >"$LAB/hosts/$h/machine"; chmod +x "$LAB/hosts/$h/machine"
  write_lists
}
machine_guest() {  # H=OCTET KEY.pub MACHINE
  check_specs "$1"; enlist "$1" "$2"; echo "$3" >"$LAB/hosts/$(spec_name "$1")/guest"
  write_lists
}
