# image.sh - part of lab.sh: the disk image that all hosts start from.
# The image is $LAB_IMAGE/HASH, where HASH is that of this file: change the list or the script and a new one is made.
SUITE=bookworm
PACKAGES=(
  systemd systemd-sysv libpam-systemd dbus procps iproute2 e2fsprogs  # a host
  openssh-server openssh-client sudo opendoas cron  # reached, and reaching others: a controller may be a host
  supervisor nginx-light curl python3 sqlite3  # the site
  git apt-utils openssl xz-utils bzip2 zstd unzip  # what single types take: checkouts, package archives, tarballs
  dnf zypper pacman-package-manager rpm createrepo-c  # other systems' package managers, for tests of `package`
  postgresql mariadb-server libvirt-daemon libvirt-daemon-system libvirt-clients)  # off until a test starts them
image_dir() { echo "$LAB_IMAGE/$(md5sum <"$HERE/image.sh" | cut -c1-12)"; }

mirror() {  # the one that this machine's apt takes Debian from; none: the tool's own default
  apt-get indextargets --format '$(ORIGIN) $(CODENAME) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
    awk -v suite=$SUITE '$1 == "Debian" && $2 == suite { print $3; exit }' || :
}

build() {
  local dir tmp list m old used
  dir=$(image_dir); [ ! -d "$dir" ] || [ -O "$dir" ] || die "the image in $LAB_IMAGE is another user's: set LAB_IMAGE to a directory of its own"
  [ ! -d "$dir" ] || return 0
  need ip iproute2 ssh openssh-client python3 python3-minimal setsid util-linux
  if ! command -v debootstrap >/dev/null; then need mmdebstrap mmdebstrap; fi
  mkdir -p "$LAB_IMAGE"
  # The lock is inherited by the builder: when lab.sh is killed, the next one waits until its builder is gone too.
  exec 8>"$LAB_IMAGE/lock"; flock -n 8 || { echo "waiting for another lab.sh to build the image" >&2; flock 8; }
  if [ -d "$dir" ]; then exec 8>&-; return 0; fi
  rm -rf --one-file-system "$LAB_IMAGE"/tmp.*  # what a killed build left
  [ -e "$LAB_IMAGE/id.pub" ] || { rm -f "$LAB_IMAGE/id"; ssh-keygen -qt ed25519 -N '' -C lab -f "$LAB_IMAGE/id"; }
  tmp=$(mktemp -d "$LAB_IMAGE/tmp.XXXXXX"); m=$(mirror); list=$(IFS=,; echo "${PACKAGES[*]}")
  echo "building the image of the lab's hosts in $LAB_IMAGE" >&2
  # In a mount namespace of its own, so that a killed builder leaves no /proc or /dev mounted in there,
  # and of processes, without which a user namespace gives no /proc.
  if command -v mmdebstrap >/dev/null; then
    unshare -mpf --mount-proc mmdebstrap --quiet --variant=minbase --include="$list" --aptopt='APT::Install-Recommends "false"' \
      --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
      --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
      $SUITE "$tmp/root" ${m:+"$m"} >"$tmp/log" 2>&1
  else
    unshare -m debootstrap --variant=minbase --include="$list" $SUITE "$tmp/root" ${m:+"$m"} >"$tmp/log" 2>&1
  fi || { tail -20 "$tmp/log" >&2; die "the image could not be built from ${m:-the default mirror}"; }
  furnish "$tmp/root"
  mv -T "$tmp/root" "$dir"; rm -rf "$tmp"
  used=$(cat "$RUN"/*/image 2>/dev/null || :)  # older images, but for those that hosts stand on
  for old in "$LAB_IMAGE"/????????????/; do old=${old%/}; [ "$old" = "$dir" ] || grep -qxF "$old" <<<"$used" || rm -rf --one-file-system "$old"; done
  exec 8>&-
}

furnish() {  # ROOT: what the packages do not bring
  local r=$1 u
  rm -rf "$r"/usr/share/{man,doc,locale,info}/* "$r"/var/cache/apt/* "$r"/var/lib/apt/lists/* "$r"/etc/ssh/ssh_host_*
  find "$r/run" "$r/tmp" -mindepth 1 -delete; : >"$r/etc/machine-id"
  : >"$r/etc/resolv.conf"  # the builder left this machine's
  mkdir -p "$r/var/log/journal"  # so that the journal outlives a power cut
  install -m700 -d "$r/root/.ssh"; install -m600 "$LAB_IMAGE/id.pub" "$r/root/.ssh/authorized_keys"
  chroot "$r" useradd -m -u 1000 -U -s /bin/bash admin
  install -o 1000 -g 1000 -m700 -d "$r/home/admin/.ssh"
  install -o 1000 -g 1000 -m600 "$LAB_IMAGE/id.pub" "$r/home/admin/.ssh/authorized_keys"
  install -m440 /dev/stdin "$r/etc/sudoers.d/admin" <<<'admin ALL=(ALL:ALL) NOPASSWD: ALL'
  install -m440 /dev/stdin "$r/etc/doas.conf" <<<'permit nopass admin'
  # many tests at once, and no name server
  printf 'MaxSessions 200\nMaxStartups 200:30:400\nUseDNS no\n' >"$r/etc/ssh/sshd_config.d/lab.conf"
  for u in postgresql mariadb libvirtd virtlogd virtlockd libvirt-guests; do  # many hosts boot at once
    chroot "$r" systemctl disable -q "$u.service" "$u.socket" 2>/dev/null || :; done
  for u in dnf-makecache.timer apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer systemd-timesyncd.service \
    sys-kernel-debug.mount sys-kernel-tracing.mount; do  # the last two are the machine's, and fail without root
    ln -sf /dev/null "$r/etc/systemd/system/$u"; done
}
