set -eu
# A source for dnf and zypper in /srv/cvg-rpm. $1: what the one that is there must be made from.
R=/srv/cvg-rpm
[ "$(cat $R/made-from 2>/dev/null)" != "$1" ] || exit 0
rm -rf $R; mkdir -p $R
# Debian gives every user a database of his own, and zypper does not know that.
mkdir -p /etc/rpm; echo '%_dbpath /var/lib/rpm' >/etc/rpm/macros; rm -rf /root/.rpmdb
rpmpkg() { # name version-release [spec lines]
  n=$1; v=${2%-*}; r=${2#*-}; shift 2
  d=$(mktemp -d)
  { printf 'Name: %s\nVersion: %s\nRelease: %s\nSummary: t\nLicense: MIT\nBuildArch: noarch\n' $n $v $r; for l; do echo "$l"; done
    printf '%%description\nt\n%%install\nmkdir -p %%{buildroot}/usr/share/%s\necho %s > %%{buildroot}/usr/share/%s/version\n' $n $v $n
    [ -z "${POST:-}" ] || printf '%%pre -p <lua>\n%s\n' "$POST"
    printf '%%files\n/usr/share/%s\n' $n; } > $d/x.spec
  rpmbuild -bb --define "_topdir $d" --define "_rpmdir $R" --define "_build_name_fmt %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm" $d/x.spec >$d/log 2>&1 || { cat $d/log; exit 1; }
  rm -rf $d
}
for v in 1.0-1 1.1-1 2.0-1; do POST='if posix.stat("/run/cvg-fail") then error("broken by design") end' rpmpkg cvg-r $v; done
rpmpkg cvg-rdep 1.0-1 'Requires: cvg-r'
rpmpkg cvg-rbad 1.0-1 'Requires: cvg-nowhere'
rpmpkg cvg-rmta1 1.0-1 'Provides: cvg-rmta' 'Conflicts: cvg-rmta2'
rpmpkg cvg-rmta2 1.0-1 'Provides: cvg-rmta' 'Conflicts: cvg-rmta1'
rpmpkg cvg-repoch 1.0-1 'Epoch: 2'
createrepo_c -q $R
mkdir -p /etc/yum.repos.d /etc/zypp/repos.d
printf '[cvg]\nname=cvg\nbaseurl=file://%s\nenabled=1\ngpgcheck=0\n' $R > /etc/yum.repos.d/cvg.repo
printf '[cvg]\nname=cvg\nbaseurl=dir:%s\nenabled=1\ngpgcheck=0\nautorefresh=0\n' $R > /etc/zypp/repos.d/cvg.repo
dnf -q makecache --refresh 2>/dev/null; zypper -n refresh >/dev/null
echo "$1" >$R/made-from
