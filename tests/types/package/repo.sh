# A package archive in /srv/cvg-repo, and apt told of nothing else. $1: what the one that is there must be
# made from.
set -eu
R=/srv/cvg-repo
[ "$(cat $R/made-from 2>/dev/null)" != "$1" ] || exit 0
rm -rf $R; mkdir -p $R/new; cd $R/new

# deb NAME VERSION [CONTROL LINE]...; CONF is its configuration file, PRE and POST are its scripts, DIR is
# another directory of it
deb() {
  d=$(mktemp -d); mkdir -p $d/DEBIAN $d/usr/share/$1; chmod 755 $d
  n=$1 v=$2; shift 2
  printf 'Package: %s\nVersion: %s\nArchitecture: %s\nMaintainer: Test <test@example.com>\nDescription: of the tests\n' $n $v ${ARCH:-all} >$d/DEBIAN/control
  for line; do echo "$line" >>$d/DEBIAN/control; done
  echo $v >$d/usr/share/$n/version
  if [ -n "${CONF:-}" ]; then mkdir -p $d/etc/$n; echo "$CONF" >$d/etc/$n/conf; echo /etc/$n/conf >$d/DEBIAN/conffiles; fi
  [ -z "${DIR:-}" ] || mkdir -p $d$DIR
  for script in preinst:"${PRE:-}" postinst:"${POST:-}"; do
    [ -z "${script#*:}" ] || { printf '#!/bin/sh\n%s\n' "${script#*:}" >$d/DEBIAN/${script%%:*}; chmod 755 $d/DEBIAN/${script%%:*}; }
  done
  dpkg-deb -Zgzip -b $d $R/new/${n}_${v}_${ARCH:-all}.deb >/dev/null; rm -rf $d
}

for v in 1.0 1.1 2.0-1; do
  # The scripts fail, hang, or kill dpkg, where a test asks for it.
  CONF="shipped with $v" PRE='[ ! -e /run/cvg-kill-dpkg ] || kill -9 $PPID' \
    POST='[ ! -e /run/cvg-fail ] || { echo "broken by design" >&2; exit 3; }; while [ -e /run/cvg-hang ]; do sleep .1; done' deb cvg-a $v
done
deb cvg-dep 1.0 'Depends: cvg-a'
deb cvg-dep2 1.0 'Depends: cvg-dep'
deb cvg-mta1 1.0 'Provides: cvg-mta' 'Conflicts: cvg-mta'
deb cvg-mta2 1.0 'Provides: cvg-mta' 'Conflicts: cvg-mta'
deb cvg-alone 1.0 'Provides: cvg-single'
deb cvg-bad 1.0 'Depends: cvg-nowhere (>= 2)'
ARCH=i386 deb cvg-arch 1.0
ARCH=amd64 deb cvg-arch 1.0
deb cvg-gone 1.0
DIR=/etc/of-cvg/web deb cvg-web 1.0
POST='[ ! -e /run/cvg-fail ]' deb cvg-site 1.0
for n in $(seq 20); do deb cvg-n$n 1.0; done
mv *.deb ..; cd ..; rm -rf new
apt-ftparchive packages . >Packages
apt-ftparchive release . >/run/cvg-release; mv /run/cvg-release Release
rm cvg-gone_1.0_all.deb
dpkg --add-architecture i386
[ ! -e /etc/apt/sources.list ] || mv /etc/apt/sources.list /root/sources.list.of-the-image
echo "deb [trusted=yes] file:$R ./" >/etc/apt/sources.list.d/cvg.list
apt-get -q update
echo "$1" >$R/made-from
