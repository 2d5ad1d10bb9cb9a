#!/bin/bash
# power.sh MACHINE - dom0's power, run by lab.sh on the switch's network with the cable $TAP: Xen under qemu's emulation,
# from MACHINE's disks. MACHINE/loadvm, if it is there, names the snapshot that it goes on from, once.
# cache=writeback: what the guest has synced is on the disk when this process is killed, and what it has not is lost.
# MACHINE/bare, if it is there: the same dom0 boots without Xen, once.
set -euo pipefail
cd "$1"
load=(); if [ -e loadvm ]; then load=(-loadvm "$(cat loadvm)"); rm loadvm; fi
linux="root=/dev/vda ro net.ifnames=0 mitigations=off quiet console="
boot=(-kernel ../xen -append "console=com1 com1=115200,8n1 dom0_mem=640M,max:640M dom0_max_vcpus=1 spec-ctrl=no xpti=0 loglvl=warning"
  -initrd "../vmlinux ${linux}hvc0,../initrd")
if [ -e bare ]; then boot=(-kernel ../vmlinuz -append "${linux}ttyS0" -initrd ../initrd); rm bare; fi
rm -f monitor
exec qemu-system-x86_64 -accel tcg,thread=multi,tb-size=512 -cpu qemu64,+svm -smp 2 -m 2304 -nodefaults -no-user-config \
  -display none -no-reboot -serial stdio -qmp unix:monitor,server=on,wait=off \
  "${boot[@]}" \
  -drive file=dom0.qcow2,format=qcow2,if=none,id=d0,cache=writeback -device virtio-blk-pci,drive=d0 \
  -drive file=vps0.qcow2,format=qcow2,if=none,id=d1,cache=writeback -device virtio-blk-pci,drive=d1 \
  -netdev "tap,id=n0,ifname=$TAP,script=no,downscript=no" -device virtio-net-pci,netdev=n0,romfile=,mac=00:16:3e:00:00:11 \
  -device virtio-rng-pci "${load[@]}"
