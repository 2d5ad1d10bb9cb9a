# probe.sh - part of lab.sh: whether a lab can be had here, and getting the tools that it needs.
# need COMMAND PACKAGE ...: install what is missing, or say what to install
need() {
  local missing=()
  while [ $# -gt 0 ]; do command -v "$1" >/dev/null || missing+=("$2"); shift 2; done
  [ ${#missing[@]} -gt 0 ] || return 0
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then die "please install: ${missing[*]}"; fi
  echo "installing ${missing[*]}" >&2
  # --no-remove: a machine must not lose anything to a test
  if [ -z "$(find /var/lib/apt/lists -maxdepth 1 -name '*_Packages*' -print -quit 2>/dev/null)" ]; then apt-get -qq update; fi
  DEBIAN_FRONTEND=noninteractive apt-get install -qqy --no-install-recommends --no-remove "${missing[@]}" >&2 ||
    die "apt-get could not install: ${missing[*]}"
}

# One line: what is missing, with exit 1; or ok. Tries the real thing where asking would not tell.
probe() {
  local t g
  no() { echo "no lab here: $*"; exit 1; }
  [ "$(id -u)" = 0 ] || no "it needs root (hosts with a systemd of their own need namespaces, overlay mounts and a cgroup)"
  for t in unshare nsenter flock setsid; do command -v $t >/dev/null || no "no $t (package util-linux)"; done
  if ! command -v apt-get >/dev/null; then
    command -v ip >/dev/null || no "no ip (package iproute2)"
    command -v ssh >/dev/null || no "no ssh (package openssh-client)"
    command -v python3 >/dev/null || no "no python3"
    [ -d "$(image_dir)" ] || command -v mmdebstrap debootstrap >/dev/null || no "no mmdebstrap or debootstrap to build the image with"
  fi
  [ -e /proc/self/ns/time ] || no "the kernel has no time namespaces (5.6 and newer have)"
  unshare -muipCfTn true 2>/dev/null || no "namespaces cannot be made (in a container: run it with --privileged)"
  g=$(cgroot 2>/dev/null) || no "there is no cgroup2 and it cannot be mounted"
  mkdir "$g/cvl-probe-$$" 2>/dev/null || no "no cgroup can be made in $g"
  [ -e "$g/cvl-probe-$$/cgroup.kill" ] || { rmdir "$g/cvl-probe-$$"; no "cgroups cannot be killed as one here (kernel 5.14 and newer can)"; }
  rmdir "$g/cvl-probe-$$"
  if command -v ip >/dev/null; then
    unshare -n sh -c 'ip link add br0 type bridge && ip link add veth0 type veth peer name veth1' 2>/dev/null || no "the kernel has no bridge or no veth"
  fi
  t=$(dirname "$LAB"); mkdir -p "$t"; t=$(mktemp -d "$t/probe.XXXXXX"); mkdir "$t"/{l,u,w,m}
  unshare -m mount -t overlay probe -o "lowerdir=$t/l,upperdir=$t/u,workdir=$t/w" "$t/m" 2>/dev/null ||
    { rm -rf "$t"; no "no overlay mounts on the file system of $(dirname "$LAB") (is it an overlay itself? set LAB to a directory elsewhere)"; }
  rm -rf "$t"
  if [ -d "$(image_dir)" ]; then echo "lab: ok, the image is ready"; else echo "lab: ok, the image is still to be built (lab.sh build)"; fi
}
