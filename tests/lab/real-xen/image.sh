# image.sh - part of xen.sh: what the emulated machine boots and its disks, from Debian's packages.
# $XEN_IMAGE/HASH holds: xen, vmlinuz, initrd (what qemu loads), dom0.img and vps0.img (ext4), host keys. HASH is that of
# this file, of the site and of the lab's key: change one and new images are made.
SUITE=bookworm
DOM0=(
  systemd systemd-sysv udev dbus procps iproute2 kmod e2fsprogs openssh-server sudo  # a host
  linux-image-amd64 initramfs-tools zstd  # the full kernel: the cloud one has no dom0 in it
  xen-hypervisor-4.17-amd64 xen-utils-4.17 xenstore-utils
  busybox-static cpio)  # the tiny guest
VPS0=(
  systemd systemd-sysv udev dbus procps iproute2 openssh-server
  supervisor nginx-light curl python3 sqlite3)  # the site
ADDRESS_DOM0=10.77.0.11 ADDRESS_VPS0=10.77.0.12
MAC_VPS0=00:16:3e:00:00:12

image_dir() { echo "$XEN_IMAGE/$(cat "$HERE/image.sh" "$HERE/tiny-init" "$LAB_DIR/site/"{backend.py,vps0.sh} "$LAB_IMAGE/id.pub" | md5sum | cut -c1-12)"; }

mirror() {  # the one that this machine's apt takes Debian from; none: the tool's own default
  apt-get indextargets --format '$(ORIGIN) $(CODENAME) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
    awk -v suite=$SUITE '$1 == "Debian" && $2 == suite { print $3; exit }' || :
}
security() { apt-get indextargets --format '$(ORIGIN) $(CODENAME) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
    awk '$1 ~ /^Debian/ && $2 ~ /-security$/ { print $3; exit }' || :; }

build() {
  local dir tmp
  dir=$(image_dir); [ ! -e "$dir/done" ] || return 0
  mkdir -p "$XEN_IMAGE"
  exec 8>"$XEN_IMAGE/lock"; flock -n 8 || { echo "waiting for another xen.sh to build the image" >&2; flock 8; }
  [ ! -e "$dir/done" ] || { exec 8>&-; return 0; }
  rm -rf --one-file-system "$XEN_IMAGE"/????????????/ "$XEN_IMAGE"/tmp.*
  tmp=$(mktemp -d "$XEN_IMAGE/tmp.XXXXXX"); chmod 755 "$tmp"
  echo "building dom0 and vps0 for real Xen in $XEN_IMAGE" >&2
  # Both at once: one unpacks while the other loads its packages.
  ( strap dom0 "${DOM0[@]}"; dom0 "$tmp/dom0"; disk "$tmp/dom0" 2G ) >"$tmp/dom0.log" 2>&1 & local first=$!
  ( strap vps0 "${VPS0[@]}"; vps0 "$tmp/vps0"; disk "$tmp/vps0" 1G ) >"$tmp/vps0.log" 2>&1 || { wait $first; tail -20 "$tmp/vps0.log" >&2; die "vps0 could not be built"; }
  wait $first || { tail -20 "$tmp/dom0.log" >&2; die "dom0 could not be built"; }
  rm -rf --one-file-system "$tmp"/{dom0,vps0}
  : >"$tmp/done"; mv -T "$tmp" "$dir"; exec 8>&-
}

strap() {  # NAME PACKAGE...: a Debian in $tmp/NAME
  local root=$tmp/$1 list m s; shift; list=$(IFS=,; echo "$*"); m=$(mirror); s=$(security)
  local sources=("deb ${m:-http://deb.debian.org/debian} $SUITE main" "deb ${s:-http://security.debian.org/debian-security} $SUITE-security main")
  # What no virtual machine has is left out of the kernel's modules: that halves the time all this takes.
  printf '%s\n' "${sources[@]}" | unshare -mpf --mount-proc mmdebstrap --variant=minbase --include="$list" --aptopt='APT::Install-Recommends "false"' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
    --dpkgopt='path-exclude=/lib/modules/*/kernel/drivers/gpu/*' --dpkgopt='path-exclude=/lib/modules/*/kernel/drivers/media/*' \
    --dpkgopt='path-exclude=/lib/modules/*/kernel/drivers/net/wireless/*' --dpkgopt='path-exclude=/lib/modules/*/kernel/drivers/net/ethernet/*' \
    --dpkgopt='path-exclude=/lib/modules/*/kernel/drivers/infiniband/*' --dpkgopt='path-exclude=/lib/modules/*/kernel/drivers/iio/*' \
    --dpkgopt='path-exclude=/lib/modules/*/kernel/drivers/staging/*' --dpkgopt='path-exclude=/lib/modules/*/kernel/drivers/scsi/*' \
    --dpkgopt='path-exclude=/lib/modules/*/kernel/drivers/usb/*' --dpkgopt='path-exclude=/lib/modules/*/kernel/drivers/hwmon/*' \
    --dpkgopt='path-exclude=/lib/modules/*/kernel/sound/*' --dpkgopt='path-exclude=/lib/modules/*/kernel/net/bluetooth/*' \
    --essential-hook='mkdir -p "$1/etc/initramfs-tools/conf.d" "$1/usr/share/initramfs-tools/modules.d"
      printf "MODULES=list\nCOMPRESS=gzip\n" >"$1/etc/initramfs-tools/conf.d/lab"
      printf "%s\n" virtio_pci virtio_blk virtio_net virtio_rng ext4 xen_blkfront xen_netfront >"$1/usr/share/initramfs-tools/modules.d/lab"' \
    $SUITE "$root" -
}

host() {  # ROOT NAME ADDRESS DEVICE: what both have
  local r=$1 u
  rm -rf "$r"/usr/share/{man,doc,locale,info}/* "$r"/var/cache/apt/* "$r"/var/lib/apt/lists/* "$r"/etc/ssh/ssh_host_*
  find "$r/run" "$r/tmp" -mindepth 1 -delete
  echo "$2" >"$r/etc/hostname"; md5sum <<<"real-xen-$2" | cut -c1-32 >"$r/etc/machine-id"; : >"$r/etc/resolv.conf"
  printf '127.0.0.1 localhost\n%s dom0\n%s vps0\n' $ADDRESS_DOM0 $ADDRESS_VPS0 >"$r/etc/hosts"
  ssh-keygen -qt ed25519 -N '' -C "$2" -f "$r/etc/ssh/ssh_host_ed25519_key"; cp "$r/etc/ssh/ssh_host_ed25519_key.pub" "$tmp/$2.pub"
  install -m700 -d "$r/root/.ssh"; install -m600 "$LAB_IMAGE/id.pub" "$r/root/.ssh/authorized_keys"
  printf 'UseDNS no\nMaxSessions 200\nMaxStartups 200:30:400\n' >"$r/etc/ssh/sshd_config.d/lab.conf"
  printf '[Match]\nName=%s\n[Network]\nAddress=%s/24\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n[Link]\nRequiredForOnline=no\n' "$4" "$3" >"$r/etc/systemd/network/20-$4.network"
  for u in systemd-networkd ssh; do ln -sf "/lib/systemd/system/$u.service" "$r/etc/systemd/system/multi-user.target.wants/$u.service"; done
  mkdir -p "$r/var/log/journal"
  for u in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer systemd-timesyncd.service \
    systemd-networkd-wait-online.service systemd-udev-settle.service sys-kernel-debug.mount sys-kernel-tracing.mount dev-hugepages.mount getty@tty1.service; do
    ln -sf /dev/null "$r/etc/systemd/system/$u"; done
}

dom0() {  # ROOT
  local r=$1 k
  host "$r" dom0 $ADDRESS_DOM0 xenbr0
  echo '/dev/vda / ext4 noatime 0 1' >"$r/etc/fstab"
  printf '[NetDev]\nName=xenbr0\nKind=bridge\n[Bridge]\nForwardDelaySec=0\n' >"$r/etc/systemd/network/10-xenbr0.netdev"
  printf '[Match]\nName=eth0\n[Network]\nBridge=xenbr0\n' >"$r/etc/systemd/network/10-eth0.network"
  chroot "$r" useradd -m -u 1000 -U -s /bin/bash admin
  install -o 1000 -g 1000 -m700 -d "$r/home/admin/.ssh"; install -o 1000 -g 1000 -m600 "$LAB_IMAGE/id.pub" "$r/home/admin/.ssh/authorized_keys"
  install -m440 /dev/stdin "$r/etc/sudoers.d/admin" <<<'admin ALL=(ALL:ALL) NOPASSWD: ALL'
  k=$(cd "$r/boot"; ls vmlinuz-*); k=${k#vmlinuz-}
  ln -s "vmlinuz-$k" "$r/boot/vmlinuz"; ln -s "initrd.img-$k" "$r/boot/initrd"
  zcat "$r/boot/xen-4.17-amd64.gz" >"$tmp/xen"; cp "$r/boot/initrd.img-$k" "$tmp/initrd"
  # dom0 and the tiny guests boot the same kernel as vps0, but unpacked already: emulated, that alone takes 6 s each time
  python3 -c 'import lzma, sys
kernel = sys.stdin.buffer.read()
at = kernel.find(b"\xfd7zXZ\0")
sys.stdout.buffer.write(lzma.LZMADecompressor().decompress(kernel[at:]) if at >= 0 else sys.exit("the kernel is not packed with xz"))' \
    <"$r/boot/vmlinuz-$k" >"$r/boot/vmlinux"
  cp "$r/boot/vmlinux" "$tmp/vmlinux"; cp "$r/boot/vmlinuz-$k" "$tmp/vmlinuz"
  tiny "$r"
  mkdir -p "$r/etc/xen/auto"; cat >"$r/etc/xen/vps0.cfg" <<C
name = "vps0"
type = "pv"
kernel = "/boot/vmlinuz"
ramdisk = "/boot/initrd"
extra = "root=/dev/xvda ro console=hvc0 net.ifnames=0 mitigations=off quiet"
memory = 256
vcpus = 1
vif = [ "bridge=xenbr0,mac=$MAC_VPS0" ]
disk = [ "phy:/dev/vdb,xvda,w" ]
on_poweroff = "destroy"
on_reboot = "restart"
on_crash = "destroy"
C
}

tiny() {  # ROOT: /boot/tiny, an initramfs that is all of a guest: it starts in a second and knows how to go
  local g=$1/tmp/tiny a
  mkdir -p "$g"/{bin,sbin,proc,sys,dev,etc}; cp "$1/bin/busybox" "$g/bin/"
  for a in sh mount cat sleep rm true; do ln -s busybox "$g/bin/$a"; done
  for a in poweroff reboot halt init; do ln -s ../bin/busybox "$g/sbin/$a"; done
  install -m755 "$HERE/tiny-init" "$g/init"
  printf '::sysinit:/bin/true\nhvc0::respawn:/bin/sh\n' >"$g/etc/inittab"
  chroot "$1" sh -c 'cd /tmp/tiny && find . | cpio -o -H newc --quiet | gzip -9 >/boot/tiny'
  rm -rf "$g"
}

vps0() {  # ROOT
  local r=$1
  host "$r" vps0 $ADDRESS_VPS0 eth0
  echo '/dev/xvda / ext4 noatime 0 1' >"$r/etc/fstab"
  install -m755 "$LAB_DIR/site/backend.py" "$r/usr/local/bin/backend"
  chroot "$r" sh -es <"$LAB_DIR/site/vps0.sh"
  # An operator comes when the boot is long over, and finds what it left broken. Emulated, supervisord takes longer to fail than
  # sshd to answer: sshd waits for its first try.
  mkdir -p "$r/etc/systemd/system/ssh.service.d"
  printf '[Unit]\nAfter=supervisor.service\n[Service]\nTimeoutStartSec=10min\nExecStartPre=/usr/local/sbin/supervisord-was-tried\n' >"$r/etc/systemd/system/ssh.service.d/last.conf"
  printf '#!/bin/sh\nwhile [ "$(systemctl show -P Result supervisor)" = success ]; do sleep 1; done\n' | install -m755 /dev/stdin "$r/usr/local/sbin/supervisord-was-tried"
}

disk() {  # ROOT SIZE: an ext4 of it
  truncate -s "$2" "$1.img"; mkfs.ext4 -q -F -E lazy_itable_init=1 -m0 -d "$1" "$1.img"
}
