# probe.sh - part of lab.sh: whether a lab can be had here, and getting the tools that it needs.
# need COMMAND PACKAGE ...: install what is missing, or say what to install
need() {
  local missing=()
  while [ $# -gt 0 ]; do command -v "$1" >/dev/null || missing+=("$2"); shift 2; done
  [ ${#missing[@]} -gt 0 ] || return 0
  if ! can_install >/dev/null; then die "please install: ${missing[*]}"; fi
  echo "installing ${missing[*]}" >&2
  # --no-remove: a machine must not lose anything to a test
  if [ -z "$(find /var/lib/apt/lists -maxdepth 1 -name '*_Packages*' -print -quit 2>/dev/null)" ]; then apt-get -qq update; fi
  DEBIAN_FRONTEND=noninteractive apt-get install -qqy --no-install-recommends --no-remove "${missing[@]}" >&2 ||
    die "apt-get could not install: ${missing[*]}"
}

can_install() { [ "$(id -u)" = 0 ] && [ -z "$IN_USERNS" ] && command -v apt-get; }

# One line: what is missing, with exit 1; or ok. Tries the real thing where asking would not tell. This is root's;
# an ordinary user's probe_user asks for what makes a namespace, and then for this one inside it.
probe() {
  local t g
  no() { echo "no lab here: $*"; exit 1; }
  for t in unshare nsenter flock setsid; do command -v $t >/dev/null || no "no $t (package util-linux)"; done
  if ! can_install >/dev/null; then
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
  bash -c 'echo $$ >"$1"' - "$g/cvl-probe-$$/cgroup.procs" 2>/dev/null || { rmdir "$g/cvl-probe-$$"; no "no process can be moved into a cgroup made in $g"; }
  wait_for "the cgroup to be empty" ! populated "$g/cvl-probe-$$"; rmdir "$g/cvl-probe-$$"
  if command -v ip >/dev/null; then
    unshare -n sh -c 'ip link add br0 type bridge && ip link add veth0 type veth peer name veth1' 2>/dev/null || no "the kernel has no bridge or no veth"
  fi
  t=$(dirname "$LAB"); { mkdir -p "$t" && t=$(mktemp -d "$t/probe.XXXXXX"); } 2>/dev/null || no "nothing can be written to $t: set LAB to a directory elsewhere"
  mkdir "$t"/{l,u,w,m}; mkdir "$t/l/d"
  unshare -m sh -ec 'mount -t overlay probe -o "$2" "$1/m"; rmdir "$1/m/d"; mkdir "$1/m/d"' - "$t" \
    "lowerdir=$t/l,upperdir=$t/u,workdir=$t/w${IN_USERNS:+,userxattr}" 2>/dev/null ||
    { rm -rf "$t"; no "no overlay mounts on the file system of $(dirname "$LAB")${IN_USERNS:+ without root} (is it an overlay itself, or a network's? set LAB to a directory elsewhere)"; }
  unshare -muipCfTn sh -ec 'mount -t proc probe "$1"; mount -t sysfs -o ro probe "$1"; mount -t cgroup2 probe "$1"' - "$t/m" 2>/dev/null ||
    { rm -rf "$t"; no "no /proc and /sys of a host's own can be mounted (in a container, where parts of them are covered: run it with --privileged)"; }
  rm -rf "$t"
  [ ! -d "$(image_dir)" ] || [ -O "$(image_dir)" ] || no "the image in $LAB_IMAGE is another user's: set LAB_IMAGE to a directory of its own"
  if [ -d "$(image_dir)" ]; then echo "lab: ok, the image is ready"; else echo "lab: ok, the image is still to be built (lab.sh build)"; fi
}

# For an ordinary user: all that is missing and how to get it, in one line.
probe_user() {
  local name missing=() install=() t f start out
  name=$(id -un)
  is() { [ "$(cat "/proc/sys/$1" 2>/dev/null)" = "$2" ]; }
  if is user/max_user_namespaces 0; then missing+=("user namespaces, which are switched off (sysctl -w user.max_user_namespaces=10000)")
  elif is kernel/unprivileged_userns_clone 0; then missing+=("user namespaces, which are for root only (sysctl -w kernel.unprivileged_userns_clone=1)")
  elif ! unshare --user --map-root-user --mount --cgroup true 2>/dev/null; then
    if is kernel/apparmor_restrict_unprivileged_userns 1; then missing+=("user namespaces, which AppArmor restricts (sysctl -w kernel.apparmor_restrict_unprivileged_userns=0)")
    else missing+=("user namespaces, which are refused (by a container, a chroot or a security module)"); fi
  fi
  unshare --help | grep -q -e --map-auto || missing+=("an unshare of util-linux 2.38 or newer")
  if ! { command -v newuidmap && command -v newgidmap; } >/dev/null; then install+=(uidmap); fi
  for t in ip:iproute2 ssh:openssh-client python3:python3-minimal; do command -v "${t%:*}" >/dev/null || install+=("${t#*:}"); done
  [ -d "$(image_dir)" ] || command -v mmdebstrap >/dev/null || install+=(mmdebstrap)
  [ ${#install[@]} = 0 ] || missing+=("${install[*]} (apt-get install ${install[*]})")
  # 65536: with fewer there is no `nobody` in the hosts. The range to be asked for begins behind all others.
  start=$(awk -F: '$2 + $3 > n { n = $2 + $3 } END { print (n > 100000 ? n : 100000) }' /etc/subuid /etc/subgid 2>/dev/null || :)
  for f in uid gid; do
    awk -F: -v name="$name" -v id="$me" '($1 == name || $1 == id) && $3 >= 65536 { found = 1 } END { exit !found }' "/etc/sub$f" 2>/dev/null ||
      missing+=("65536 ${f}s for $name in /etc/sub$f (usermod --add-sub${f}s ${start:-100000}-$((${start:-100000} + 65535)) $name)")
  done
  if ! out=$(delegated true 2>&1); then
    t="log in by ssh or on a console, with libpam-systemd: su and sudo give none"
    if [ -S "$XDG_RUNTIME_DIR/systemd/private" ]; then t="systemd-run --user: ${out##*$'\n'}"
    elif [ ! -d /run/systemd/system ]; then t="no systemd runs here; root can make one, chown it with its cgroup.procs and move your shell there"; fi
    missing+=("a cgroup of its own ($t)")
  fi
  [ ${#missing[@]} = 0 ] || { printf -v out '; %s' "${missing[@]}"; echo "no lab here without root: it lacks ${out#; }"; exit 1; }
  out=$(delegated "${USERNS[@]}" "$SELF" _inside probe 2>&1) || { echo "no lab here without root: ${out#no lab here: }"; exit 1; }
  echo "$out"
}
