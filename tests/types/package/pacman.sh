# A source for pacman in /srv/cvg-pac. $1: the version of cvg-p that it has.
set -eu
R=/srv/cvg-pac; rm -rf $R; mkdir -p $R/db
pac() { # NAME VERSION [FIELD=VALUE]...
  n=$1 v=$2; shift 2; d=$(mktemp -d); chmod 755 $d; mkdir -p $d/usr/share/$n; echo $v >$d/usr/share/$n/version
  { printf 'pkgname = %s\npkgbase = %s\npkgver = %s\npkgdesc = t\nbuilddate = 1700000000\npackager = t <t@example.com>\nsize = 10\narch = any\n' $n $n $v; for l; do echo "${l%%=*} = ${l#*=}"; done; } >$d/.PKGINFO
  f=$n-$v-any.pkg.tar.gz; tar -C $d -czf $R/$f .PKGINFO usr; rm -rf $d
  mkdir $R/db/$n-$v
  { printf '%%FILENAME%%\n%s\n\n%%NAME%%\n%s\n\n%%VERSION%%\n%s\n\n%%CSIZE%%\n%s\n\n%%ISIZE%%\n10\n\n%%SHA256SUM%%\n%s\n\n%%ARCH%%\nany\n\n' $f $n $v $(stat -c %s $R/$f) $(sha256sum $R/$f | cut -d' ' -f1)
    for l; do case $l in depend=*) k=DEPENDS;; provides=*) k=PROVIDES;; conflict=*) k=CONFLICTS;; esac; printf '%%%s%%\n%s\n\n' $k ${l#*=}; done; } >$R/db/$n-$v/desc
}
pac cvg-p $1
pac cvg-pdep 1.0-1 depend=cvg-p
pac cvg-pbad 1.0-1 depend=cvg-nowhere
pac cvg-pmta1 1.0-1 provides=cvg-pmta conflict=cvg-pmta
pac cvg-pmta2 1.0-1 provides=cvg-pmta conflict=cvg-pmta
tar -C $R/db -czf $R/cvg.db $(ls $R/db); rm -r $R/db
printf '[options]\nArchitecture = auto\nSigLevel = Never\n[cvg]\nServer = file://%s\n' $R >/etc/pacman.conf
