#!/bin/bash
# init.sh - process 1 of a host that has no systemd (lab.sh up H:init=sh): sshd and cron, orphans reaped, no more.
# `reboot -f` and `poweroff -f` in it are the kernel's own, and do what they say.
hostname "$(cat /etc/hostname)"
# The lab looks for process 1 where systemd would be.
mkdir -p /sys/fs/cgroup/init.scope /sys/fs/cgroup/others && echo 1 >/sys/fs/cgroup/init.scope/cgroup.procs
mkdir -p /run/lock /run/sshd
find /tmp -mindepth 1 -delete
daemon() { (echo "$BASHPID" >/sys/fs/cgroup/others/cgroup.procs; exec "$@"); }
daemon /usr/sbin/sshd
daemon /usr/sbin/cron
sleep infinity &
while :; do wait; done  # and bash reaps whatever becomes its child
